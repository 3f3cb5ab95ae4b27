"""Twelve unruly plugins at once: each is named for what it is, and none is in anybody's way."""

import json

import pytest
import yaml

from runs import metrics, rows, state
from stranger import install
from toy import toy_tree
from unruly import TWELVE, WARNINGS

REASONS = {
    "broken": "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'",
    "misspelt": "did you mean 'guardcore_register_ratio_transforms'?",
    "older": "guardcore.v0",
    "first": "claimed by second:taken too",
    "second": "claimed by first:taken too",
    "usurper": "'ppo-clip'",
    "careless": "annotate its argument with a subclass of guardcore.Options",
    "impure": "breaks the law 'pure'",
    "coupled": "breaks the law 'rows-independent'",
    "misshapen": "breaks the law 'one-number-a-row'",
    "undefined": "breaks the law 'finite'",
    "slow": "its import takes",
    "needy": "needs rich<1",
}
"""A part of what is said of each."""


@pytest.fixture
def unruly(guardcore, tmp_path):
    """All of them, installed where the command sees them."""
    folder = tmp_path / "site"
    for name, (_, modules, more) in TWELVE.items():
        install(folder, name, modules, **more)
    return folder


def test_the_doctor_names_each_for_what_it_is(guardcore, unruly):
    guardcore.path += (unruly,)
    done = guardcore("plugins", "doctor", *TWELVE, "--json")
    assert (done.code, done.err) == (1, "")
    findings = json.loads(done.out)["findings"]
    found = {row["distribution"]: row for row in findings}
    assert len(found) == len(findings) == len(TWELVE)
    for name, (check, _, _) in TWELVE.items():
        severity = "warning" if check in WARNINGS else "failure"
        assert (found[name]["check"], found[name]["severity"]) == (check, severity)
        assert REASONS[name] in found[name]["reason"]
        assert found[name]["remedy"]


def test_together_they_are_the_twelve_faults():
    faults = {check for check, _, _ in TWELVE.values()}
    lawless = [name for name, (check, _, _) in TWELVE.items() if check == "contract"]
    assert len(faults - {"contract"}) + len(lawless) == 12


@pytest.mark.parametrize("names", ["short", "qualified"])
def test_a_run_that_uses_none_of_them_is_the_run_without_them(guardcore, unruly, tmp_path, names):
    """A short name of a third party has everybody imported, a qualified one nobody else."""
    tree = toy_tree()
    if names == "qualified":
        tree = toy_tree(
            backbone="toy:toy",
            reward=["toy:brightness"],
            prompts={"train": "toy:words", "eval": "toy:words"},
        )
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(tree))
    alone = guardcore("train", "toy.yaml", "--out", "alone")
    guardcore.path += (unruly,)
    among = guardcore("train", "toy.yaml", "--out", "among")
    assert alone.code == among.code == 0, among.err
    assert among.err.replace("among", "alone") == alone.err
    one, other = tmp_path / "alone", tmp_path / "among"
    assert (one / "config.yaml").read_text() == (other / "config.yaml").read_text()
    assert metrics(one) == metrics(other)
    assert rows(one, "steps") == rows(other, "steps")
    before, after = state(one), state(other)
    assert before.keys() == after.keys()
    assert all(before[name].equal(after[name]) for name in before)
