"""The example packages under docs/ are what strangers would write: wheels, in one fresh environment.

Three packages of three authors (a sampler, a ratio transform, a reward) are built, installed beside
each other, tested and used together by one run. Nothing of the checkout is on the path.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fresh import ROOT, Fresh

EXAMPLES = ROOT / "docs" / "examples"
PACKAGES = {
    "guardcore-fading-sde": ("sampler", "fading-sde"),
    "guardcore-spread-clip": ("ratio_transform", "spread-clip"),
    "guardcore-colourfulness": ("reward", "colourfulness"),
}
TRAIN = (
    "guardcore train --out run --sampler fading-sde:power=0.5 --reward colourfulness "
    "--ratio mean-revise --ratio spread-clip:width=5e-4 --gradient-weight flat "
    "--set rollout.groups=2 --set rollout.group_size=4 --set rollout.batch_size=8 "
    "--set train.iterations=2 --set evaluate.num_images=8"
)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """An environment with GuardCore alone."""
    return Fresh(tmp_path_factory.mktemp("fresh"))


@pytest.fixture(scope="module")
def config_before(bare: Fresh) -> str:
    """What a run would be before anybody else's package is there."""
    return bare.run("guardcore config show", bare.folder)


@pytest.fixture(scope="module")
def fresh(bare: Fresh, config_before: str) -> Fresh:
    """The environment with the three wheels."""
    wheels = bare.folder / "examples"
    sources = " ".join(f"'{EXAMPLES / package}'" for package in PACKAGES)
    bare.run(f"pip wheel --quiet --wheel-dir '{wheels}' {sources}", bare.folder)
    bare.run(f"pip install --quiet '{wheels}'/*.whl", bare.folder)
    return bare


def test_installing_them_changes_nothing_by_itself(
    fresh: Fresh, config_before: str, tmp_path: Path
) -> None:
    assert fresh.run("guardcore config show", tmp_path) == config_before


def test_each_is_listed_with_origin_and_version(fresh: Fresh, tmp_path: Path) -> None:
    listed = json.loads(fresh.run("guardcore plugins list --json", tmp_path))
    rows = {row["qualified"]: (row["kind"], row["version"]) for row in listed["components"]}
    for package, (kind, name) in PACKAGES.items():
        assert rows[f"{package}:{name}"] == (kind, "0.1.0")
    assert listed["problems"] == []


def test_the_doctor_has_nothing_to_say(fresh: Fresh, tmp_path: Path) -> None:
    said = fresh.run(f"guardcore plugins doctor {' '.join(PACKAGES)}", tmp_path)
    assert said.strip() == "3 plugins, 3 components: no finding"


def test_their_own_tests_pass_against_what_is_installed(fresh: Fresh, tmp_path: Path) -> None:
    for package in PACKAGES:
        (test,) = (EXAMPLES / package).glob("test_*.py")
        assert "check_" in test.read_text()  # of the contract kit
        (tmp_path / test.name).write_text(test.read_text())
    assert "9 passed" in fresh.run("pytest -q -p no:cacheprovider", tmp_path)


def test_one_run_uses_all_three(fresh: Fresh, tmp_path: Path) -> None:
    fresh.run(TRAIN, tmp_path)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    used = {row["path"]: (row["name"], row["version"]) for row in manifest["components"]}
    assert used["sampler"] == ("guardcore-fading-sde:fading-sde", "0.1.0")
    assert used["ratio.1"] == ("guardcore-spread-clip:spread-clip", "0.1.0")
    assert used["reward.0"] == ("guardcore-colourfulness:colourfulness", "0.1.0")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert [row["iteration"] for row in rows] == [0, 1, 2]
    assert all(0 < row["reward/colourfulness"] <= 1 and row["grad_norm"] > 0 for row in rows[1:])
