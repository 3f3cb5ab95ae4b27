"""``guardcore train --record`` and ``guardcore replay``: what an idea does to real data."""

import json

import pytest
import yaml

from runs import rows
from toy import toy_tree


@pytest.fixture
def config(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(toy_tree(train={"iterations": 4})))
    return tmp_path / "config.yaml"


@pytest.fixture
def recorded(guardcore, tmp_path, config):
    """A run of four iterations, three of them recorded."""
    done = guardcore("train", config, "--record", "--out", "run")
    assert done.code == 0, done.err
    return tmp_path / "run"


def replayed(guardcore, *argv):
    done = guardcore("replay", "run", *argv, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def recordings(run):
    return sorted(path.name for path in (run / "recordings").iterdir())


def test_record_keeps_three_iterations_or_as_many_as_the_config_says(guardcore, recorded, tmp_path):
    assert recordings(recorded) == [f"iteration-00000{n}" for n in (1, 2, 4)]
    more = ("--set", "record.iterations=2", "--record", "--out", "two")
    assert guardcore("train", "config.yaml", *more).code == 0
    assert recordings(tmp_path / "two") == ["iteration-000002", "iteration-000004"]


def test_a_run_can_be_begun_without_and_go_on_with_it(guardcore, config, tmp_path):
    short = ("train", "config.yaml", "--out", "run", "--set", "train.iterations=2")
    assert guardcore(*short).code == 0
    done = guardcore("train", "config.yaml", "--record", "--resume", "--out", "run")
    assert done.code == 0, done.err
    assert recordings(tmp_path / "run") == ["iteration-000004"]


def test_json_holds_the_updates_own_figures_and_what_others_would_do(guardcore, recorded):
    own = [row for row in rows(recorded, "steps") if (row["iteration"], row["update"]) == (4, 2)]
    found = replayed(
        guardcore, "--strategy", "plain", "--strategy", "dppo",
        "--ratio", "flat-norm", "--ratio", "ppo-clip:low=2e-3,high=3e-3", "--gradient-weight", "flat",
    )  # fmt: skip
    assert (found["iteration"], found["update"]) == (4, 2)
    assert list(found["candidates"]) == ["run", "plain", "dppo", "chain"]
    assert [{k: step[k] for k in own[0]} for step in found["candidates"]["run"]["steps"]] == own
    chain = found["candidates"]["chain"]
    assert chain["ratio"] == ["flat-norm", "ppo-clip:low=0.002,high=0.003"]
    assert chain["gradient_weight"] == ["flat"]
    assert chain["bounds"] == [0.998, 1.003]
    assert found["candidates"]["dppo"]["bounds"] is None
    for each in found["candidates"].values():
        assert sum(step["grad_share"] for step in each["steps"]) == pytest.approx(1)
        assert list(each["half_widths"]) == ["0.01", "0.05", "0.1", "0.2", "0.3"]


def test_an_iteration_and_an_update_are_picked(guardcore, recorded):
    found = replayed(guardcore, "--iteration", 2, "--update", 1, "--no-gradient")
    assert (found["iteration"], found["update"]) == (2, 1)
    for step in found["candidates"]["run"]["steps"]:
        assert step["ratio_mean"] == pytest.approx(1, abs=1e-6)
        assert "grad_share" not in step


def test_a_table_a_candidate_and_nothing_in_the_run_changes(guardcore, recorded):
    before = {path: path.stat().st_mtime_ns for path in recorded.rglob("*")}
    done = guardcore("replay", "run", "--strategy", "plain")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("iteration 4, update 2: 2 candidates in ")
    titles = [line for line in lines if "; weight: " in line]
    assert titles == [
        "run: ratio-norm, ppo-clip:low=2e-06,high=2e-06; weight: inverse-dt; bounds 1 − 2e-6, 1 + 2e-6",
        "plain: ppo-clip; weight: none; bounds 1 − 0.0001, 1 + 0.0001",
    ]
    steps = [line.split() for line in lines if line.strip()[:1].isdigit() and "half" not in line]
    assert [row[:2] for row in steps] == [["0", "1.000"], ["1", "0.750"], ["2", "0.500"]] * 2
    assert {len(row) for row in steps} == {15}
    assert sum("largest step over smallest: spread ×" in line for line in lines) == 2
    assert sum("half-widths that leave 1, 5, 10, 20, 30 %" in line for line in lines) == 2
    assert not any("…" in line for line in lines)
    assert {path: path.stat().st_mtime_ns for path in recorded.rglob("*")} == before


WRONG = {
    "--iteration 3": "no recording of iteration 3; there are: 1, 2, 4",
    "--update 3": "no update 3",
    "--strategy gaurd": "did you mean 'guard'",
    "--ratio ppo-clip:lo=1": "--ratio ppo-clip:lo=1",
    "--gradient-weight inverse": "no gradient_weight is called 'inverse'",
}


@pytest.mark.parametrize("argv", WRONG)
def test_a_mistake_is_one_line(guardcore, recorded, argv):
    done = guardcore("replay", "run", *argv.split())
    assert done.code == 2
    [line] = done.err.splitlines()
    assert WRONG[argv] in line


def test_what_holds_no_recording_says_how_to_make_one(guardcore, config, tmp_path):
    assert guardcore("train", "config.yaml", "--out", "run").code == 0
    done = guardcore("replay", "run")
    assert done.code == 2
    assert done.err.rstrip().endswith("make some with: guardcore train --record")
    (tmp_path / "empty").mkdir()
    done = guardcore("replay", "empty")
    assert done.code == 2
    assert done.err == "error: empty is no run directory: it has no config.yaml\n"


def test_the_embedded_model_gives_the_same_figures_again(guardcore, tmp_path):
    small = [
        "rollout.groups=2",
        "rollout.group_size=4",
        "rollout.batch_size=4",
        "prompts.eval=null",
    ]
    small += ["train.iterations=1", "record.iterations=1", "tracker=[]"]
    settings = [part for setting in small for part in ("--set", setting)]
    done = guardcore("train", *settings, "--out", "run")
    assert done.code == 0, done.err
    own = [row for row in rows(tmp_path / "run", "steps") if row["update"] == 2]
    found = replayed(guardcore, "--strategy", "plain")["candidates"]
    for now, then in zip(found["run"]["steps"], own, strict=True):
        for name, value in then.items():
            exact = name.startswith("clip") or value is None
            assert now[name] == (value if exact else pytest.approx(value, rel=1e-12, abs=1e-12))
    assert found["plain"]["bounds"] == [0.999, 1.001]  # the profile's
