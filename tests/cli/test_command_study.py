"""``guardcore study`` as a user meets it: what it runs, prints and leaves, and how it ends."""

import json
import signal
import time

import pytest
import yaml

from guardcore_plugins.profiles import profiles
from runs import checkpoints, metrics, rows
from toy import toy_tree

JUDGED = ["brightness", {"use": "constant", "weight": 0}]


@pytest.fixture
def config(tmp_path):
    """Write a config file of a short toy; sections as in ``toy_tree``."""

    def write(**sections):
        tree = toy_tree(**{"train": {"iterations": 2}, "reward": JUDGED, **sections})
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))

    write()
    return write


def names(folder):
    return sorted(path.name for path in (folder / "runs").iterdir())


def checkpointed(run):
    return (run / "checkpoints").is_dir() and 1 in checkpoints(run)


def lines(done):
    """What stands on standard error besides the tables."""
    return [
        line for line in done.err.splitlines() if line.startswith(("run ", "stopped", "failed"))
    ]


@pytest.mark.usefixtures("reported")
def test_it_runs_the_grid_and_prints_and_writes_its_tables(guardcore, tmp_path, config):
    done = guardcore(
        *("study", "config.yaml", "--strategy", "plain", "--strategy", "guard", "--seed", "1"),
        *("--out", "S"),
    )
    assert done.code == 0, done.err
    assert done.out == ""
    assert names(tmp_path / "S") == ["guard-seed1", "plain-seed1"]
    assert done.err.splitlines()[0] == "2 runs in S"
    said = lines(done)
    assert [line.partition(":")[0] for line in said] == [
        "run 1 of 2, plain-seed1",
        "run 2 of 2, guard-seed1",
    ]
    last = metrics(tmp_path / "S" / "runs" / "plain-seed1")[-1]
    assert f"→ {last['proxy']:.3f}" in said[0]
    for title in ("Proxy and gold", "Ratio, clip and gradient", "Every judge"):
        assert title in done.err
        assert f"## {title}" in (tmp_path / "S" / "table.md").read_text()
    assert max(map(len, done.err.splitlines())) <= 120
    plain = json.loads((tmp_path / "S" / "table.json").read_text())["rows"][0]
    assert plain["runs"]["1"]["proxy"] == pytest.approx(last["proxy"])
    assert "Side by side" in (tmp_path / "S" / "report.html").read_text()
    assert "Side by side" not in (tmp_path / "S/runs/plain-seed1/report.html").read_text()
    assert (tmp_path / "S" / "figures" / "held-out-brightness.png").is_file()
    assert "report: S/report.html" in done.err.splitlines()


def test_a_study_grows_without_being_told_again_what_it_is(guardcore, tmp_path, config):
    first = guardcore("study", "config.yaml", "--strategy", "plain", "--seed", "0", "--out", "S")
    assert first.code == 0, first.err
    before = (tmp_path / "S/runs/plain-seed0/metrics.jsonl").read_bytes()
    listed = guardcore("study", "--out", "S", "--seed", "0", "--seed", "1", "--dry-run")
    assert [line.split()[-1] for line in listed.out.splitlines()[1:3]] == ["finished", "begun"]
    assert listed.out.splitlines()[-1].startswith("1 run to do, about ")
    grown = guardcore(
        "study", "--out", "S", "--strategy", "guard", "--vary", "train.learning_rate=2e-2"
    )
    assert grown.code == 0, grown.err
    assert len(lines(grown)) == 1
    assert names(tmp_path / "S") == ["guard-train.learning_rate=2e-2-seed0", "plain-seed0"]
    assert (tmp_path / "S/runs/plain-seed0/metrics.jsonl").read_bytes() == before
    again = guardcore("study", "--out", "S")
    assert again.code == 0, again.err
    assert again.err.splitlines()[0] == "2 runs in S, 2 of them finished"
    assert lines(again) == []
    config(rollout={"groups": 2})
    for argv in ((), ("--list",)):
        other = guardcore("study", "config.yaml", "--out", "S", *argv)
        assert other.code == 2
        assert other.err == (
            "error: S has another base; these differ: rollout.groups; choose another --out\n"
        )


def test_a_list_says_what_there_is_to_do_and_runs_nothing(guardcore, tmp_path, config):
    done = guardcore("study", "config.yaml", "--strategy", "plain", "--out", "S", "--list")
    assert done.code == 0, done.err
    assert not (tmp_path / "S").exists()
    assert done.out.splitlines()[1].split() == ["plain-seed0", "0", "of", "2", "not", "begun"]
    assert done.out.splitlines()[-1] == "3 runs to do"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--strategy", "gard"], "did you mean 'guard'"),
        (["--vary", "train.lerning_rate=1,2"], "train.lerning_rate: unknown key; did you mean"),
        (["--vary", "train.learning_rate"], "expected PATH=VALUE,VALUE"),
        (["--vary", "seed=1,2"], "use --seed"),
        (["--set", "strategy=plain"], "use --strategy"),
        (["--reward", "brigthness"], "did you mean 'brightness'"),
        (["--set", "rollout.groups=0"], "rollout.groups"),
        (["--out", "config.yaml"], "config.yaml is not empty and holds no study"),
    ],
)
def test_a_mistake_is_one_line_before_anything_runs(guardcore, tmp_path, config, argv, words):
    own = [] if "--strategy" in argv else ["--strategy", "plain"]
    out = [] if "--out" in argv else ["--out", "S"]
    done = guardcore("study", "config.yaml", *own, *argv, *out)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert not (tmp_path / "S").exists()


def test_a_failing_run_is_reported_at_the_end_and_stops_no_other(guardcore, tmp_path, config):
    done = guardcore(
        *("study", "config.yaml", "--strategy", "plain", "--seed", "0", "--out", "S"),
        *("--vary", "reward.0.fault=raise,none"),
    )
    assert done.code == 1
    *_, reason, remedy = done.err.splitlines()
    assert reason.startswith("failed: plain-reward.0.fault=raise-seed0: ")
    assert "the judge has left the room" in reason
    assert reason.endswith("(S/runs/plain-reward.0.fault=raise-seed0/error.log)")
    assert remedy == "try them again with: guardcore study --out S"
    assert (tmp_path / "S" / "runs" / "plain-reward.0.fault=none-seed0" / "adapter").is_dir()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_after_the_iteration_and_the_command_goes_on(
    guardcore, tmp_path, config, number
):
    config(reward=[{"use": "brightness", "seconds": 0.02}], train={"iterations": 40})
    process = guardcore.start("study", "config.yaml", "--strategy", "plain", "--out", "S")
    begun = tmp_path / "S" / "runs" / "plain-seed0" / "steps.jsonl"
    while not begun.is_file():
        time.sleep(0.01)
    process.signal(number)
    done = process.wait()
    assert done.code == (75 if number == signal.SIGTERM else 130)
    last = done.err.splitlines()[-1]
    assert last.startswith(f"stopped by {number.name} after iteration ")
    assert last.endswith(" of plain-seed0; go on with: guardcore study --out S")
    assert names(tmp_path / "S") == ["plain-seed0"]
    kept = [row["iteration"] for row in metrics(tmp_path / "S/runs/plain-seed0")]
    assert f"after iteration {kept[-1]} " in last
    assert kept[-1] < 40
    assert "Proxy and gold" in done.err
    assert not (tmp_path / "S" / "report.html").exists()  # for `study --out S` to write


def test_killed_in_the_midst_it_goes_on_where_it_was(guardcore, tmp_path, config):
    config(reward=[{"use": "brightness", "seconds": 0.02}], train={"iterations": 6})
    argv = ("study", "config.yaml", "--strategy", "plain", "--strategy", "guard", "--seed", "0")
    process = guardcore.start(*argv, "--out", "S")
    while not checkpointed(tmp_path / "S/runs/guard-seed0"):
        time.sleep(0.01)
    process.signal(signal.SIGKILL)
    assert process.wait().code == -signal.SIGKILL
    begun = rows(tmp_path / "S/runs/guard-seed0", "metrics")[1]
    done = guardcore("study", "--out", "S")
    assert done.code == 0, done.err
    assert [line.partition(":")[0] for line in lines(done)] == ["run 2 of 2, guard-seed0"]
    found = rows(tmp_path / "S/runs/guard-seed0", "metrics")
    assert found[1] == begun  # its seconds, too
    assert [row["iteration"] for row in found] == list(range(7))


def test_two_processes_share_the_runs_of_one_study(guardcore, tmp_path, config):
    config(reward=[{"use": "brightness", "seconds": 0.05}])
    argv = ("study", "config.yaml", "--strategy", "plain", "--out", "S")
    first = guardcore.start(*argv, "--seed", "0", "--seed", "1")
    second = guardcore.start(*argv, "--seed", "1", "--seed", "0")
    done = [first.wait(), second.wait()]
    assert [one.code for one in done] == [0, 0], [one.err for one in done]
    table = json.loads((tmp_path / "S" / "table.json").read_text())
    assert [(row["label"], row["seeds"], row["finished"]) for row in table["rows"]] == [
        ("plain", [0, 1], True)
    ]
    assert guardcore("study", "--out", "S", "--list").out.endswith("0 runs to do\n")


def test_with_nothing_else_it_is_the_ladder_in_the_tiny_world(guardcore):
    done = guardcore("study", "--list")
    assert done.code == 0, done.err
    rows = [line.split() for line in done.out.splitlines()[1:-1]]
    ladder = ("plain", "temp-reweight", "mean-revised", "ratio-norm", "guard", "dppo", "flat-norm")
    assert [row[0] for row in rows] == [
        f"{name}-seed{seed}" for seed in range(3) for name in ladder
    ]
    planned = yaml.safe_load(profiles()["tiny-study"].read_text())["train"]["iterations"]
    assert {row[3] for row in rows} == {str(planned)}
