"""Every block of the tutorials is executed, in order, as a reader would: files written, commands run.

The reader's venv is made by the first tutorial's own commands. What it takes from outside is the
packages of the environment that runs the tests, so that nothing is downloaded; GuardCore and the
tutorials' packages are built and installed for real.
"""

import json
import os
import shlex
import site
import subprocess
import sys
from pathlib import Path

import pytest

from pages import DOCS, ROOT, blocks

TUTORIALS = ("first-run.md", "write-a-ratio-transform.md", "write-a-reward.md", "your-gpu.md")
EXAMPLES = {
    "write-a-ratio-transform.md": "guardcore-spread-clip",
    "write-a-reward.md": "guardcore-colourfulness",
}


def script(page: Path) -> str:
    """A page as one shell script that stops at the first command that fails."""
    parts = ["set -euo pipefail"]
    for block in blocks(page):
        if block.title:
            parts.append(f"cat > {shlex.quote(block.title)} <<'THE_END'\n{block.text}THE_END")
        elif block.language == "sh":
            parts.append(block.text)
    return "\n".join(parts)


class Reader:
    """A person in a folder with a clone of GuardCore in it, and no network."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "guardcore").symlink_to(ROOT)
        tools = home / ".tools"
        tools.mkdir()
        packages = [p for p in (*site.getsitepackages(), *sys.path) if p.endswith("site-packages")]
        lines = [f"import site; site.addsitedir({package!r})\n" for package in set(packages)]
        (tools / "sitecustomize.py").write_text("".join(lines))
        python = tools / "python3.11"
        python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        python.chmod(0o755)
        offline = {"PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
        path = f"{tools}:{os.environ['PATH']}"
        self.environment = {**os.environ, **offline, "PATH": path, "PYTHONPATH": str(tools)}

    def follow(self, page: str) -> str:
        """Do what a page says; return what the commands print."""
        done = subprocess.run(
            ["bash", "-c", script(DOCS / page)],
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{page}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A reader who has been through the first run."""
    person = Reader(tmp_path_factory.mktemp("reader"))
    person.output = person.follow("first-run.md")
    return person


def manifest(run: Path) -> set[tuple[str, str, str]]:
    """Path, qualified name and version of every component of a run."""
    stored = json.loads((run / "manifest.json").read_text())
    return {(row["path"], row["name"], row["version"]) for row in stored["components"]}


def test_the_first_run_leaves_what_its_table_lists(reader):
    page = (DOCS / "first-run.md").read_text()
    run = reader.home / "first"
    for entry in run.iterdir():
        assert f"| `{entry.name}{'/' if entry.is_dir() else ''}` |" in page
    assert (reader.home / "circles.png").stat().st_size > 1000
    assert '"update": 2' in reader.output


def test_the_tutorials_ratio_transform_is_used_by_a_run(reader):
    output = reader.follow("write-a-ratio-transform.md")
    used = manifest(reader.home / "spread-clip" / "with-spread-clip")
    assert ("ratio.1", "guardcore-spread-clip:spread-clip", "0.1.0") in used
    table = output.rpartition("step  sigma")[2].splitlines()
    assert [line.split()[0] for line in table[1:]] == [str(step) for step in range(7)]
    assert "2 passed" in output


def test_the_tutorials_reward_is_used_by_a_run(reader):
    output = reader.follow("write-a-reward.md")
    run = reader.home / "colourfulness" / "colourful"
    assert ("reward.0", "guardcore-colourfulness:colourfulness", "0.1.0") in manifest(run)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    assert all(0 < row["reward/colourfulness"] <= 0.5 for row in rows[1:])
    assert "2 passed" in output
    assert "the config is sound" in output


def test_the_gpu_page_is_followed_from_a_plan_to_an_export(reader):
    output = reader.follow("your-gpu.md")
    assert output.count("8 prompts × 24 images = 192") == 2
    assert "fits 24 GB" in output
    assert "the config is sound" in output
    assert (reader.home / "comfyui" / "comfyui_lora.safetensors").is_file()


@pytest.mark.parametrize(("page", "package"), EXAMPLES.items())
def test_a_tutorial_writes_exactly_the_example_package(page, package):
    written = {block.title: block.text for block in blocks(DOCS / page) if block.title}
    for path in (DOCS / "examples" / package).iterdir():
        if path.suffix in (".py", ".toml"):
            assert written[path.name] == path.read_text()


@pytest.mark.parametrize("page", TUTORIALS)
def test_no_block_of_a_tutorial_is_left_out(page):
    for block in blocks(DOCS / page):
        assert block.title or block.language in ("sh", "text"), block
