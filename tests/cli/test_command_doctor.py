"""``guardcore plugins doctor``: unruly plugins, each named, none in anybody's way."""

import json
import os
import re
import subprocess
import sys

import pytest

from stranger import install, plugin
from unruly import LAWLESS, MORE, TWELVE, WARNINGS


@pytest.fixture
def strange(guardcore, tmp_path):
    """Install into a folder that the command sees."""
    folder = tmp_path / "site"
    folder.mkdir()
    guardcore.path += (folder,)
    return lambda *arguments, **more: install(folder, *arguments, **more)


@pytest.fixture
def unruly(strange):
    """All of them at once."""
    for name, (_, modules, more) in {**TWELVE, **MORE}.items():
        strange(name, modules, **more)


def test_every_plugin_with_a_fault_is_named_with_the_right_reason(guardcore, unruly):
    """Twelve others have a test of their own, tests/cli/test_unruly.py."""
    done = guardcore("plugins", "doctor", *MORE, "--json")
    assert done.code == 1
    assert done.err == ""
    report = json.loads(done.out)
    assert set(report) == {"findings", "plugins", "ok"}
    assert report["ok"] is False
    found = [(row["distribution"], row["check"], row["severity"]) for row in report["findings"]]
    assert sorted(found) == sorted(
        (name, check, "warning" if check in WARNINGS else "failure")
        for name, (check, _, _) in MORE.items()
    )
    keys = {"check", "severity", "distribution", "version", "plugin", "reason", "remedy"}
    assert all(set(row) == keys and row["reason"] and row["remedy"] for row in report["findings"])
    unloaded = {row["distribution"] for row in report["plugins"] if not row["loaded"]}
    assert unloaded == {"panicking", "gone", "halting"}


def test_contracts_can_be_left_out(guardcore, unruly):
    done = guardcore("plugins", "doctor", *LAWLESS, "--no-contracts")
    assert done.code == 0
    assert done.out == "4 plugins, 4 components: no finding\n"


def test_no_unruly_plugin_changes_what_does_not_name_it(guardcore, unruly):
    with_them = guardcore("config", "show")
    guardcore.path = guardcore.path[:1]
    without = guardcore("config", "show")
    assert with_them.code == without.code == 0
    assert with_them.out == without.out


def test_the_table_fits_80_columns_and_needs_no_colour(unruly, tmp_path):
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "guardcore_cli", "plugins", "doctor", "broken", "usurper"],
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "80"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in done.stdout
    assert lines[0].split() == ["severity", "plugin", "finding", "→", "remedy"]
    assert re.match(r"failure +broken 1\.0 +import: cannot be imported", lines[1])
    assert re.match(r" +broken-words +module named 'no_such_module'", lines[2])
    assert re.match(r" +→ install what provides 'no_such_module'", lines[3])
    assert re.match(r"warning +usurper 1\.0 +reserved-name: .*'ppo-clip'", lines[4])
    assert lines[-1] == "2 plugins, 1 component: 1 failure, 1 warning"


def test_warnings_alone_exit_with_0(guardcore, strange):
    strange("usurper", {"usurper_words": plugin("ppo-clip")})
    done = guardcore("plugins", "doctor", "usurper")
    assert done.code == 0
    assert done.out.splitlines()[-1] == "1 plugin, 1 component: 0 failures, 1 warning"


def test_a_sound_installation_is_told_so_in_a_line(guardcore):
    done = guardcore("plugins", "doctor", "guardcore", "--no-contracts")
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(r"\d+ plugins, \d+ components: no finding\n", done.out)


@pytest.mark.slow  # a minute; tests/core/contracts has them one by one
def test_our_own_built_ins_keep_their_contracts(guardcore):
    done = guardcore("plugins", "doctor", "guardcore", "--json")
    assert (done.code, done.err) == (0, "")
    report = json.loads(done.out)
    assert report["ok"] is True
    assert report["findings"] == []


def test_a_distribution_that_offers_nothing_is_an_error_with_a_hint(guardcore):
    done = guardcore("plugins", "doctor", "guardcor")
    assert done.code == 2
    assert "did you mean 'guardcore'" in done.err


def test_markup_in_a_reason_is_shown_as_it_is(guardcore, strange):
    strange("marked", {"marked_words": "raise ValueError('[red]not[/bold] markup')"})
    assert "[red]not[/bold] markup" in guardcore("plugins", "doctor", "marked").out
