"""For each kind: scaffold, then do what the command says comes next, in a fresh environment.

The lines that are run are the lines that are printed. They run beside each other, except those that
write what all share: the environment's packages, and mypy's cache.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import pytest

from fresh import Fresh
from guardcore.kinds import KINDS
from guardcore.scaffold.usage import EXAMPLES

pytestmark = pytest.mark.packages

SMALL = (
    "--set rollout.groups=2 --set rollout.group_size=4 --set rollout.batch_size=8 "
    "--set evaluate.num_images=8 --out run"
)
PLACE = {
    "prompt_source": "prompts.train",
    "window": "rollout.train_steps",
    "reward": "reward.0",
    "ratio_transform": "ratio.1",
    "gradient_weight": "gradient_weight.0",
    "penalty": "penalty.0",
    "tracker": "tracker.1",
}
"""Where a run's manifest names the component, where it isn't under its kind's own name."""


@dataclass(frozen=True)
class Walk:
    """What a stranger saw: the lines to run, what each printed, and the run's directory."""

    printed: dict[str, str]
    run: Path

    def said(self, beginning: str) -> str:
        (line,) = (line for line in self.printed if line.startswith(beginning))
        return self.printed[line]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    return Fresh(tmp_path_factory.mktemp("fresh"))


@pytest.fixture(scope="module")
def walks(fresh: Fresh, tmp_path_factory: pytest.TempPathFactory):
    """A walk for every kind, each begun when a core is free."""
    home, sharing = tmp_path_factory.mktemp("home"), Lock()
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        yield {kind: pool.submit(walk, fresh, kind, home, sharing) for kind in KINDS}


def walk(fresh: Fresh, kind: str, home: Path, sharing: Lock) -> Walk:
    """Scaffold, and run the lines that are printed; the training with few images."""
    said = kind.replace("_", "-")
    printed = fresh.run(f"guardcore plugins new {said} my-{said}", home)
    first, *lines = [line.strip() for line in printed.splitlines() if line.startswith("  ")]
    package, results = home / first.removeprefix("cd "), {}
    for line in lines:
        command = f"{line} {SMALL}" if line.startswith("guardcore train") else line
        if line.startswith("pip") or "mypy" in line:
            with sharing:
                results[line] = fresh.run(command, package)
        else:
            results[line] = fresh.run(command, package)
    return Walk(results, package / "run")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_scaffolded_installs_checks_and_trains_as_printed(
    kind: str, walks: dict[str, Future[Walk]]
) -> None:
    walk = walks[kind].result()
    name = f"my-{kind.replace('_', '-')}"
    assert "no issues found in 2 source files" in walk.said("ruff check && mypy")
    assert " passed" in walk.said("pytest")
    assert walk.said("guardcore plugins doctor").strip() == "1 plugin, 1 component: no finding"
    qualified = f"guardcore-{name}:{name}"
    if kind == "strategy":
        assert f"strategy: {qualified}\n" in (walk.run / "config.yaml").read_text()
    else:
        manifest = json.loads((walk.run / "manifest.json").read_text())
        used = {row["path"]: (row["name"], row["version"]) for row in manifest["components"]}
        assert used[PLACE.get(kind, kind)] == (qualified, "0.1.0")
    rows = [json.loads(line) for line in (walk.run / "metrics.jsonl").open()]
    assert [row["iteration"] for row in rows] == list(range(EXAMPLES[kind].iterations + 1))
    assert all(row["grad_norm"] > 0 for row in rows[1:])
    assert all(row["updates/skipped"] == 0 for row in rows[1:])


def test_what_a_published_package_would_hold(fresh: Fresh, walks: dict[str, Future[Walk]]) -> None:
    package = walks["reward"].result().run.parent
    fresh.run("pip wheel --quiet --wheel-dir dist .", package)
    listed = fresh.run("python -m zipfile --list dist/*.whl", package)
    info = "guardcore_my_reward-0.1.0.dist-info"
    held = {line.split()[0] for line in listed.splitlines()[1:]}
    assert held == {"guardcore_my_reward.py"} | {
        f"{info}/{name}"
        for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    }
    metadata = fresh.run(
        f"python -m zipfile --extract dist/*.whl out && cat out/{info}/METADATA", package
    )
    assert "Requires-Dist: guardcore<0.2,>=0.1\n" in metadata
    assert f"Summary: A GuardCore reward: {EXAMPLES['reward'].does}\n" in metadata
