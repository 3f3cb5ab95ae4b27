"""What costs nothing: help and lists import neither torch nor diffusers."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "diffusers", "transformers", "peft", "numpy", "PIL", "scipy", "safetensors"}
HEAVY |= {"matplotlib", "jinja2", "fastapi", "uvicorn", "urllib3"}
OURS = {"guardcore", "guardcore_cli", "guardcore_plugins"}
REPORT = """
import atexit, sys
atexit.register(lambda: sys.stderr.write("MODULES " + " ".join(sorted(sys.modules))))
from guardcore_cli.main import run
run()
"""


def imported(*argv):
    """The modules that a command has imported when it is over."""
    command = [sys.executable, "-c", REPORT, *argv]
    done = subprocess.run(command, capture_output=True, text=True)
    return done, set(done.stderr.rpartition("MODULES ")[2].split())


@pytest.mark.parametrize(
    "argv",
    [
        ["--help"],
        ["train", "--help"],
        ["plan", "--help"],
        ["plan", "no-such-file.yaml"],
        ["plugins", "list"],
        ["plugins", "list", "--json"],
        ["plugins", "inspect", "sampler", "cps"],
        ["plugins", "inspect", "backbone", "sd3", "--json"],
        ["plugins", "doctor"],
        ["plugins", "doctor", "guardcore", "--no-contracts"],
        ["plugins", "new", "--help"],
        ["plugins", "new", "reward", "guardcore-late"],
        ["config", "show"],
        ["config", "check"],
        ["train", "no-such-file.yaml"],
        ["report", "no-such-file.yaml"],
        ["study", "--help"],
        ["study", "no-such-file.yaml"],
        ["study", "tiny-sd3", "--strategy", "plain", "--list"],
        ["train", "--strategy", "gaurd"],
        ["serve-reward", "--help"],
        ["serve-reward", "no-such-reward"],
    ],
    ids=" ".join,
)
def test_nothing_heavy_is_imported_before_it_is_needed(argv):
    done, modules = imported(*argv)
    assert "typer" in modules
    assert modules & HEAVY == set()
    assert done.returncode == (
        2 if {"no-such-file.yaml", "gaurd", "no-such-reward", "guardcore-late"} & {*argv} else 0
    )


def test_of_guardcore_itself_help_imports_the_command_line_alone():
    # DESIGN's 0.3 s over typer, rich and pydantic, in a form that a busy machine can't blur
    _, modules = imported("--help")
    ours = {name for name in modules if name.partition(".")[0] in OURS}
    assert ours <= {"guardcore", "guardcore.errors"} | {n for n in ours if "guardcore_cli" in n}
    assert "yaml" not in modules


@pytest.mark.parametrize(
    "command", ["train", "sample", "eval", "report", "bench", "serve-reward", "config", "plugins"]
)
def test_help_lists_every_command(guardcore, command):
    done = guardcore("--help")
    assert done.code == 0
    assert f" {command} " in done.out
    assert guardcore(command, "-h").code == 0
