"""``guardcore train`` as a user meets it: exit codes, one-line errors, what is printed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from runs import checkpoints, metrics
from stranger import install, plugin
from toy import toy_tree


@pytest.fixture
def config(tmp_path):
    """Write a config file; sections as in ``toy_tree``."""

    def write(**sections):
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(toy_tree(**sections)))
        return path

    return write


def errors(done):
    """The error lines of a command that a user can mend; nothing else may be on standard error."""
    assert done.code == 2, (done.code, done.err)
    lines = done.err.splitlines()
    assert lines, "it said nothing"
    assert all(line.startswith("error: ") for line in lines), done.err
    return [line.removeprefix("error: ") for line in lines]


def test_the_installed_command_trains_a_strangers_model(tmp_path, toy_site, config):
    # The one test through the console script and a new interpreter; the others are forked.
    script = Path(sys.executable).with_name("guardcore")
    tests = Path(__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": f"{toy_site}:{tests}", "OMP_NUM_THREADS": "1"}
    command = [script, "train", config(tracker=["console"]), "--out", "run"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert [line.partition(":")[0] for line in lines[:4]] == [f"iteration {n}" for n in range(4)]
    assert lines[5].split()[0] == "brightness"
    assert "finished: run" in lines
    assert checkpoints(tmp_path / "run") == [1, 2, 3]


def test_a_finished_run_prints_before_after_and_where_everything_is(guardcore, config):
    config()
    done = guardcore("train", "config.yaml", "--out", "run")
    assert done.code == 0
    assert done.out == ""
    header, row, *places = done.err.splitlines()
    for word in ("held-out", "before", "after", "change", "s.e.", "images"):
        assert word in header
    name, before, after, change, sign, _, images = row.split()
    assert (name, sign, images) == ("brightness", "±", "5")
    assert float(after) - float(before) == pytest.approx(float(change), abs=2e-3)  # three decimals
    assert places[-2:] == ["finished: run", "adapter:  run/adapter"]


def test_a_finished_run_resumed_says_so_and_exits_0(guardcore, config):
    config(train={"iterations": 1})
    guardcore("train", "config.yaml", "--out", "run")
    done = guardcore("train", "--out", "run", "--resume")
    assert done.code == 0
    assert done.out == ""
    assert "finished: run" in done.err


def test_without_out_a_run_gets_a_directory_and_resume_finds_the_newest(
    guardcore, tmp_path, config
):
    config(train={"iterations": 1})
    assert guardcore("train", "config.yaml").code == 0
    (made,) = (tmp_path / "runs").iterdir()
    done = guardcore("train", "--resume", "--set", "train.iterations=2")
    assert done.code == 0, done.err
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [made.name]
    assert checkpoints(made) == [1, 2]


def test_flags_are_laid_over_the_file(guardcore, tmp_path, config):
    config(strategy="plain")
    done = guardcore(
        *("train", "config.yaml", "--out", "run", "--strategy", "guard"),
        *("--backbone", "toy:dtype=bfloat16", "--sampler", "dance-sde:noise_level=0.5"),
        *("--ratio", "mean-revise", "--ratio", "guardcore:ppo-clip:low=1e-3,high=1e-2"),
        *("--reward", "brightness:weight=2", "--reward", "toy:colour:weight=0"),
        *("--set", "train.iterations=1", "--set", "seed=7"),
    )
    assert done.code == 0, done.err
    stored = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert stored["backbone"]["dtype"] == "bfloat16"
    assert stored["sampler"] == {"use": "guardcore:dance-sde", "noise_level": 0.5}
    unused = {"range": None, "outside_fraction": 0.1, "calibration_iterations": 2}
    assert stored["ratio"] == [
        {"use": "guardcore:mean-revise"},
        {"use": "guardcore:ppo-clip", "low": 1e-3, "high": 1e-2, **unused},
    ]
    assert stored["gradient_weight"] == [{"use": "guardcore:inverse-dt"}]
    assert [(r["use"], r["weight"]) for r in stored["reward"]] == [
        ("toy:brightness", 2.0),
        ("toy:colour", 0.0),
    ]
    assert stored["seed"] == 7
    assert "guard" in done.err  # its weight was not derived for dance-sde: said, not forbidden
    assert "dance-sde" in done.err


def test_a_resolved_config_trains_the_same_run_again(guardcore, tmp_path, config):
    config()
    guardcore("train", "config.yaml", "--out", "one")
    done = guardcore("train", "one/config.yaml", "--out", "two")
    assert done.code == 0, done.err
    assert metrics(tmp_path / "one") == metrics(tmp_path / "two")
    assert (tmp_path / "one/config.yaml").read_bytes() == (
        tmp_path / "two/config.yaml"
    ).read_bytes()


def test_all_mistakes_are_told_at_once_a_line_each_and_nothing_is_left_behind(
    guardcore, tmp_path, config
):
    config(strategy="gaurd", train={"iterations": 0, "learning_rte": 1})
    found = errors(guardcore("train", "config.yaml", "--out", "run", "--reward", "brightnes"))
    # the tree's own mistakes come first: without them the names can't be looked up
    assert sorted(line.partition(":")[0] for line in found) == [
        "train.iterations",
        "train.learning_rte",
    ]
    config(strategy="gaurd", backbone={"use": "toy", "dtyp": 1})
    found = errors(guardcore("train", "config.yaml", "--out", "run", "--reward", "brightnes"))
    assert sorted(line.partition(":")[0] for line in found) == [
        "backbone.dtyp",
        "reward.0",
        "strategy",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


MISTAKES = {
    "no such config": (["train", "no.yaml"], "cannot read the config no.yaml"),
    "no such prompt file": (
        ["train", "config.yaml", "--set", "prompts.train={use: text, path: no.txt}"],
        "prompts.train.path: no such file: no.txt",
    ),
    "an empty prompt file": (
        ["train", "config.yaml", "--set", "prompts.train={use: text, path: /dev/null}"],
        "prompts.train",
    ),
    "a broken component": (["train", "config.yaml", "--ratio", "a:b:c"], "'a:b:c'"),
    "a broken assignment": (["train", "config.yaml", "--set", "seed"], "expected path=value"),
    "the ODE to train with": (
        ["train", "config.yaml", "--strategy", "plain", "--sampler", "ode"],
        "deterministic",
    ),
    "an --out below a file": (["train", "config.yaml", "--out", "config.yaml/run"], "config.yaml"),
    "an --out that is a file": (["train", "config.yaml", "--out", "config.yaml"], "is a file"),
    "an --out of another": (["train", "config.yaml", "--out", ".."], "is not empty"),
    "a judge that fails": (
        ["train", "config.yaml", "--out", "x", "--reward", "brightness:fault=raise"],
        "reward 'brightness' raised RuntimeError: the judge has left the room",
    ),
    "dropout": (["train", "config.yaml", "--backbone", "toy:dropout=0.5", "--out", "x"], "dropout"),
    "an unknown kind": (["plugins", "list", "rewrd"], "did you mean 'reward'"),
    "an unknown name": (["plugins", "inspect", "reward", "brightnes"], "did you mean 'brightness'"),
    "no such run": (["eval", "nowhere"], "nowhere"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(guardcore, config, case):
    config()
    argv, part = MISTAKES[case]
    (line,) = errors(guardcore(*argv))
    assert part in line


@pytest.mark.parametrize("argv", [["train", "--no-such-flag"], ["tarin"], ["sample", "a", "b"]])
def test_a_misused_command_exits_2_with_its_usage(guardcore, argv):
    done = guardcore(*argv)
    assert done.code == 2
    assert "Usage: guardcore" in done.err


def test_of_several_configs_the_first_that_is_none_is_named(guardcore, config):
    config()
    (line,) = errors(guardcore("train", "config.yaml", "tiny-flix"))
    assert "no file, run or profile is called 'tiny-flix'" in line
    assert "tiny-flux" in line


def test_debug_prints_the_traceback_too(guardcore, config):
    config()
    plain = guardcore("train", "config.yaml", "--reward", "brightness:fault=raise", "--out", "a")
    debug = guardcore(
        "train", "config.yaml", "--reward", "brightness:fault=raise", "--out", "b", "--debug"
    )
    assert debug.code == plain.code == 2
    assert "Traceback" not in plain.err
    assert "Traceback" in debug.err
    assert "the judge has left the room" in debug.err


def test_a_bug_is_one_line_and_exit_code_1_and_the_traceback_is_kept(guardcore, tmp_path, config):
    folder = tmp_path / "site"
    source = plugin("buggy", kinds="trackers").replace("return ", "return BuggyTracker()  # ")
    source += """
class BuggyTracker:
    def metrics(self, step, values): raise ZeroDivisionError("a bug")
    def images(self, *arguments): pass
    def close(self): pass
"""
    install(folder, "buggy", {"buggy_tracker": source})
    guardcore.path += (folder,)
    config(tracker=["buggy"])
    done = guardcore("train", "config.yaml", "--out", "run")
    assert done.code == 1
    assert done.err.startswith("internal error: ZeroDivisionError: a bug")
    assert len(done.err.splitlines()) == 1
    assert "ZeroDivisionError: a bug" in (tmp_path / "run" / "error.log").read_text()
    assert "Traceback" in guardcore("train", "config.yaml", "--out", "other", "--debug").err


def test_a_broken_neighbour_does_not_keep_a_run_from_training(guardcore, tmp_path, config):
    folder = tmp_path / "site"
    install(folder, "broken", {"broken_words": "import no_such_module"})
    guardcore.path += (folder,)
    config(train={"iterations": 1})
    assert guardcore("train", "config.yaml", "--out", "run").code == 0


def test_a_strangers_word_and_reward_are_used_and_noted_with_their_versions(
    guardcore, tmp_path, config
):
    folder = tmp_path / "site"
    word = """
        from dataclasses import replace
        from pydantic import Field
        from guardcore import Options, hookimpl

        class HalveOptions(Options):
            by: float = Field(2.0, gt=0, description="the log-ratio is divided by this")

        def halve(options: HalveOptions):
            return lambda terms, context: replace(terms, log_ratio=terms.log_ratio / options.by)

        @hookimpl
        def guardcore_register_ratio_transforms(register):
            register("halve", halve)
    """
    reward = """
        from guardcore import Options, hookimpl

        class Redness:
            def __call__(self, images, prompts):
                return images[:, 0].mean((1, 2)) - images[:, 1:].mean((1, 2, 3))
            def close(self):
                pass

        def redness(options: Options):
            return Redness()

        @hookimpl
        def guardcore_register_rewards(register):
            register("redness", redness)
    """
    install(folder, "Stranger_Words", {"st_word": word, "st_reward": reward}, version="3.1")
    guardcore.path += (folder,)
    config()
    listed = json.loads(guardcore("plugins", "list", "--json").out)["components"]
    ours = {row["qualified"]: row for row in listed if row["distribution"] == "stranger-words"}
    assert {name: row["version"] for name, row in ours.items()} == {
        "stranger-words:halve": "3.1",
        "stranger-words:redness": "3.1",
    }
    done = guardcore(
        *("train", "config.yaml", "--out", "run", "--reward", "redness"),
        *("--ratio", "ratio-norm", "--ratio", "halve:by=4", "--ratio", "ppo-clip"),
    )
    assert done.code == 0, done.err
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    used = {(row["name"], row["version"]) for row in manifest["components"]}
    assert {("stranger-words:halve", "3.1"), ("stranger-words:redness", "3.1")} <= used
    assert "reward/redness" in metrics(tmp_path / "run")[1]


def test_an_installed_plugin_changes_no_run(guardcore, tmp_path, config):
    config()
    guardcore("train", "config.yaml", "--out", "alone")
    folder = tmp_path / "site"
    for name, kinds in (("flow-sde", "samplers"), ("group", "advantages"), ("guard-x", "rewards")):
        install(folder, f"usurper-{name}", {f"u_{name.replace('-', '_')}": plugin(name, kinds)})
    guardcore.path = (folder, *guardcore.path)
    done = guardcore("train", "config.yaml", "--out", "beside")
    assert done.code == 0, done.err
    assert metrics(tmp_path / "alone") == metrics(tmp_path / "beside")
    for name in ("config.yaml", "steps.jsonl"):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "beside" / name).read_bytes()


def test_jsonl_goes_to_standard_output_an_object_an_iteration(guardcore, tmp_path, config):
    config(tracker=["jsonl"], prompts={"eval": None})
    done = guardcore("train", "config.yaml", "--out", "run")
    told = [json.loads(line) for line in done.out.splitlines()]
    assert [row["iteration"] for row in told] == [1, 2, 3]
    assert told[0]["loss"] == metrics(tmp_path / "run")[0]["loss"]
    assert set(told[0]) > {"reward/brightness", "seconds/total", "clip/high"}


def test_with_jsonl_standard_output_is_for_machines_alone(guardcore, config):
    config(tracker=["jsonl"])
    done = guardcore("train", "config.yaml", "--out", "run")
    assert [json.loads(line)["iteration"] for line in done.out.splitlines()] == [0, 1, 2, 3]
    assert "finished: run" in done.err


def test_a_deterministic_run_on_the_cpu_is_the_same_run(guardcore, tmp_path, config):
    config()
    for name, deterministic in (("plain", "false"), ("deterministic", "true")):
        argv = ("--out", name, "--set", f"deterministic={deterministic}")
        assert guardcore("train", "config.yaml", *argv).code == 0
    assert metrics(tmp_path / "plain") == metrics(tmp_path / "deterministic")


def test_a_dry_run_says_what_would_run_and_leaves_nothing(guardcore, tmp_path, config):
    config(rollout={"train_steps": {"size": 2}})
    done = guardcore("train", "config.yaml", "--out", "run", "--dry-run")
    assert done.code == 0, done.err
    assert "toy:toy" in done.out
    assert "guardcore:ratio-norm" in done.out
    said = " ".join(done.out.split())
    assert "3 prompts × 5 images = 15, in 4 micro-batches, the last of 3" in said
    assert "of them trained: [0, 1]" in said
    assert not (tmp_path / "run").exists()


def test_a_dry_run_finds_the_mistakes_too(guardcore, config):
    config(strategy="gaurd")
    (line,) = errors(guardcore("train", "config.yaml", "--dry-run"))
    assert "did you mean 'guard'" in line


def test_the_printed_resume_command_survives_a_blank_in_the_path(guardcore, tmp_path, config):
    import shlex
    import signal
    import time

    config(reward=[{"use": "brightness", "seconds": 0.05}])
    process = guardcore.start("train", "config.yaml", "--out", "my run")
    while not (tmp_path / "my run" / "checkpoints").is_dir():
        time.sleep(0.01)
    process.signal(signal.SIGTERM)
    printed = shlex.split(process.wait().err.partition("go on with: ")[2])
    assert printed[-2:] == ["--out", "my run"]
