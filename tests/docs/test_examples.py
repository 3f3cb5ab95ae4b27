"""The example packages under docs/ are what a stranger would write: built, installed, used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
SMALL = {
    "rollout": "{groups: 2, group_size: 4, batch_size: 4, num_inference_steps: 4, height: 64, "
    "width: 64, train_steps: [0, 1]}",
    "train.iterations": "2",
    "evaluate.num_images": "4",
    "tracker": "[]",
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The example as a wheel, installed into a directory of its own."""
    wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    source = str(EXAMPLES / "guardcore-warmth")
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), source]
    subprocess.run([*pip, *build], check=True)
    wheel = next(wheels.glob("guardcore_warmth-*.whl"))
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    return {**os.environ, "PYTHONPATH": str(site)}


def guardcore(*arguments: str, env: dict[str, str], cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "guardcore_cli", *arguments],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_is_listed_with_origin_and_version(environment, tmp_path):
    listed = json.loads(guardcore("plugins", "list", "--json", env=environment, cwd=tmp_path))
    rows = {row["qualified"]: row for row in listed["components"]}
    assert rows["guardcore-warmth:temper"]["kind"] == "ratio_transform"
    assert rows["guardcore-warmth:warmth"]["version"] == "0.3.0"
    assert listed["problems"] == []


def test_the_example_trains_the_embedded_model(environment, tmp_path):
    words = ["ratio-norm", "temper:power=0.25", "ppo-clip:low=1e-4,high=2e-4"]
    ratio = [part for word in words for part in ("--ratio", word)]
    settings = [part for path, value in SMALL.items() for part in ("--set", f"{path}={value}")]
    guardcore(
        "train",
        *ratio,
        "--reward",
        "warmth",
        *settings,
        "--out",
        "run",
        env=environment,
        cwd=tmp_path,
    )
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    used = {(row["path"], row["name"], row["version"]) for row in manifest["components"]}
    assert ("ratio.1", "guardcore-warmth:temper", "0.3.0") in used
    assert ("reward.0", "guardcore-warmth:warmth", "0.3.0") in used
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert [row["iteration"] for row in rows] == [0, 1, 2]
    assert all(-1 <= row["reward/warmth"] <= 1 for row in rows[1:])


def test_installing_the_example_changes_nothing_by_itself(environment, tmp_path):
    bare = {key: value for key, value in environment.items() if key != "PYTHONPATH"}
    with_plugin = guardcore("config", "show", env=environment, cwd=tmp_path)
    assert with_plugin == guardcore("config", "show", env=bare, cwd=tmp_path)
