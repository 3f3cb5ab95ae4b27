"""The doctor's check of contracts: what it builds, what it says, and what it keeps to itself."""

import os
import subprocess
import sys

import pytest

from guardcore.doctor import CHECKS, examine
from guardcore.plugins import PluginHost
from stranger import install, plugin

CONTRACT = {"contract": CHECKS["contract"]}

JUDGE = """
from guardcore import GuardcoreError, Options, hookimpl
from pydantic import Field

class JudgeOptions(Options):
    words: int = {field}

class Judge:
    def __call__(self, images, prompts):
        {scores}
    def close(self):
        print("closed")

def judge(options: JudgeOptions):
    "A judge."
    print("built")
    {first}
    return Judge()

@hookimpl
def guardcore_register_rewards(register):
    register("judge", judge)
"""


def judging(scores="return images.mean((1, 2, 3))", field="Field(3, description='n')", first=""):
    return JUDGE.format(scores=scores, field=field, first=first)


def found(*names):
    return list(examine(names, checks=CONTRACT).findings)


def test_a_broken_law_is_a_failure_with_its_name(site):
    install(site, "court", {"court_judge": judging("return images.mean((2, 3))")})
    (finding,) = found()
    assert (finding.check, finding.severity) == ("contract", "failure")
    assert (finding.distribution, finding.plugin) == ("court", "court-judge")
    assert finding.reason == (
        "reward 'court:judge' breaks the law 'one-number-an-image': expected one number an image, "
        "[1], received [1, 3]; smallest case: disc at 64×64"
    )
    assert "docs/contract-kit.md" in finding.remedy


def test_a_sound_component_gives_no_finding_and_its_prints_are_dropped(site, capsys):
    install(site, "court", {"court_judge": judging()})
    assert found("court") == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (judging(field="Field(description='n')"), "its option 'words' is required"),
        (judging(first="raise GuardcoreError('no model at /models')"), "no model at /models"),
        (judging(first="import no_such_judge"), "No module named 'no_such_judge'"),
        (judging("raise GuardcoreError('no song in the prompt')"), "no song in the prompt"),
    ],
)
def test_what_cannot_be_built_here_is_a_warning(site, source, reason):
    install(site, "court", {"court_judge": source})
    (finding,) = found("court")
    assert (finding.check, finding.severity) == ("not-checked", "warning")
    assert finding.reason.startswith("its reward 'judge' cannot be checked here: ")
    assert reason in finding.reason
    assert examine(["court"], checks=CONTRACT).ok


def test_the_built_ins_are_checked_only_where_they_are_named(site, monkeypatch):
    looked_at = []
    monkeypatch.setattr("guardcore.testing.component.check_registered", looked_at.append)
    install(site, "court", {"court_judge": judging()})
    examine(checks=CONTRACT)
    assert [entry.qualified for entry in looked_at] == ["court:judge"]
    looked_at.clear()
    examine(["guardcore"], checks=CONTRACT)
    assert {entry.origin.distribution for entry in looked_at} == {"guardcore"}
    assert len(looked_at) == len(list(PluginHost.discover().registry)) - 1


def test_what_is_being_checked_is_told_before_it(site):
    install(site, "court", {"court_judge": judging()})
    told = []
    examine(["court"], checks=CONTRACT, telling=told.append)
    assert told == ["reward court:judge"]


def test_an_interruption_leaves_the_rest_unchecked_and_the_report_whole(site):
    hanging = judging("raise KeyboardInterrupt")  # as Ctrl-C in a judge that never answers
    install(site, "a-court", {"a_judge": hanging})
    install(site, "b-court", {"b_judge": judging()})
    install(site, "c-court", {"c_word": plugin("c-word")})
    checks = {"docstring": CHECKS["docstring"], **CONTRACT}
    (finding,) = examine(checks=checks).findings
    assert (finding.check, finding.severity, finding.distribution) == (
        "not-checked",
        "warning",
        "a-court",
    )
    assert finding.reason == "interrupted while its reward 'judge' was checked, and 2 after it"
    assert "--no-contracts" in finding.remedy


def test_without_anything_to_check_nothing_heavy_is_imported():
    script = (
        "import sys\n"
        "from guardcore.doctor import CHECKS, examine\n"
        "examine(checks={'contract': CHECKS['contract']})\n"
        "print(sorted({'torch', 'hypothesis', 'numpy'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]", done.stderr
