"""The results' tables: what they call predicted is what a real run does."""

import math

import pytest

from guardcore import train
from guardcore.layers import Overrides
from guardcore.report.groups import group_runs
from guardcore.report.read import RecordedRun, read_run
from guardcore_cli.loading import load_config

SIZES = (
    "rollout.groups=8", "rollout.group_size=4", "rollout.batch_size=8", "train.iterations=2",
    "rollout.train_steps=[0,3,6]", "evaluate.num_images=4", "evaluate.grid=0", "tracker=[]",
    "train.updates_per_iteration=2", "train.samples_per_update=share",
)  # fmt: skip
NAMES = ("plain", "guard")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    for name in NAMES:
        config = load_config((), Overrides(strategy=name, assignments=SIZES))
        train(config, folder / "runs" / f"{name}-seed0", report=False)
    return folder


@pytest.fixture
def results():
    import results

    return results


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("name", NAMES)
def test_the_spread_is_what_k_predicts_at_every_step(study, results, name):
    (group,) = group_runs([read_run(study / "runs" / f"{name}-seed0")])
    table = [cells(line) for line in results.by_step(group).splitlines()[2:]]
    assert [row[0] for row in table] == ["0", "3", "6"]
    for row in table:
        measured, predicted = (float(cell.replace("−", "-")) for cell in row[7:9])
        # 2 updates of 16 terms each: a standard deviation of 32 is off by 1/sqrt(64) of itself,
        # and by as much again because K differs from image to image
        assert abs(measured / predicted - 1) < 4 * 2 / math.sqrt(64)


def test_the_factors_are_those_of_the_steps(study, results):
    groups = group_runs([read_run(study / "runs" / f"{name}-seed0") for name in NAMES])
    plain, guard = (cells(line) for line in results.factors(groups).splitlines()[2:])
    assert (plain[0], guard[0]) == NAMES
    spreads = [float(row[2].strip("×")) for row in (plain, guard)]
    assert spreads[1] < spreads[0] / 3


def test_the_latents_are_counted_by_the_two_ways_of_reducing_k(study, results):
    run = read_run(study / "runs" / "plain-seed0")
    assert results.dimensions([row for row in run.steps if row["update"] == 2]) == 16 * 8 * 8


def test_the_sum_conventions_table_by_hand(results):
    config = {
        "rollout": {"groups": 4, "group_size": 8},
        "train": {"updates_per_iteration": 2},
    }
    rows = [
        {"update": update, "step": 1, "sigma": 0.5, "k": k, "ratio_mean": mean, "ratio_std": 0.8}
        for update, k, mean in ((1, 0.0, 1.0), (2, 0.1, 1.2), (2, 0.3, 0.9), (2, 2.0, 0.4))
    ]
    run = RecordedRun(None, config, {}, [], rows, {}, None)
    below, above = (cells(line) for line in results.sum_convention(run).splitlines()[2:])
    # two updates of 16 terms: ± 0.8/sqrt(32)
    assert below == ["1", "0.50", "2 with K < 0.5", "0.2", "+0.050", "0.141"]
    assert above == ["1", "0.50", "1 with K ≥ 0.5", "2", "-0.600", "0.200"]
