"""``guardcore bench``: what it prints, and what it refuses before measuring."""

import json
import subprocess
import sys

import pytest
import yaml

from toy import toy_tree


@pytest.fixture
def bench(guardcore, tmp_path):
    """The command on the toy, with two pairs."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(toy_tree()))
    return lambda *argv: guardcore("bench", "config.yaml", "--pairs", 2, *argv)


def test_json_is_alone_on_standard_output(bench):
    done = bench("--json", "--no-scaling")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["floor_ratio"] == pytest.approx(sum(found["floor_ratios"]) / 2)
    assert found["scaling"] == []
    assert {
        "phases", "images_per_second", "peak_memory_bytes", "machine", "config_digest",
    } <= set(found)  # fmt: skip


def test_the_tables_name_phases_settings_and_the_ratios_spread(bench):
    done = bench()
    assert done.code == 0, done.err
    words = "rollout", "backward", "rest", "batch_size", "group_size", "32x32", "peak memory"
    for word in words:
        assert word in done.out
    assert "in 2 pairs" in done.out
    assert "\x1b" not in done.out


def test_each_reward_and_each_config_beside_has_a_row(bench, tmp_path):
    tree = toy_tree(rollout={"group_size": 7})
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(tree))
    flags = "--no-scaling", "--judge", "colour", "--judge", "ocr", "--beside", "other.yaml"
    done = bench(*flags)
    assert done.code == 0, done.err
    found = json.loads(bench(*flags, "--json").out)
    assert [row["name"] for row in found["rewards"]] == ["brightness", "colour", "ocr"]
    assert {name: other["images"] for name, other in found["beside"].items()} == {"other.yaml": 21}
    rewards, _, models = done.out.partition("reward by itself")[2].partition("model ")
    for word in ("brightness", "colour", "ms an image", "images/s", "ocr not timed: "):
        assert word in rewards
    for word in ("config.yaml", "other.yaml", "s an iteration", "floor ratio"):
        assert word in models


def test_the_flags_reach_the_config_beside_but_for_its_backbone(bench, tmp_path):
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(toy_tree()))
    flags = "--json", "--no-scaling", "--no-rewards", "--beside", "other.yaml"
    sets = "--set", "rollout.group_size=7", "--set", "backbone.dtype=bfloat16"
    found = json.loads(bench(*flags, *sets).out)
    assert found["beside"]["other.yaml"]["images"] == 21
    assert found["beside"]["other.yaml"]["config_digest"] != found["config_digest"]
    assert found["rewards"] == []


@pytest.mark.parametrize(
    ("flags", "culprit"),
    [
        (["--judge", "brightnes"], "--judge: no reward"),
        (["--judge-prompts", "wards"], "--judge-prompts: no prompt_source"),
        (["--beside", "nothing.yaml"], "nothing.yaml"),
        (["--processes", "1,zwei"], "--processes '1,zwei': expected numbers of processes"),
        (["--processes", "0"], "--processes '0': expected numbers of processes"),
        (["--processes", ""], "--processes '': expected numbers of processes"),
    ],
)
def test_a_mistake_beside_is_one_line_before_anything_is_measured(bench, flags, culprit):
    done = bench(*flags)
    assert done.code == 2
    assert done.out == ""
    assert len(done.err.splitlines()) == 1
    assert culprit in done.err


@pytest.mark.slow
def test_with_nothing_else_both_embedded_models_and_five_rewards_have_rows(guardcore):
    sets = [f"rollout.{setting}" for setting in ("groups=2", "group_size=2", "batch_size=4")]
    flags = [word for setting in sets for word in ("--set", setting)]
    done = guardcore("bench", "--json", "--no-scaling", "--pairs", 1, *flags)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert list(found["beside"]) == ["tiny-flux"]
    reasons = {row["name"]: row["reason"] for row in found["rewards"]}
    assert list(reasons) == [
        "geneval", "geneval:credit=strict", "pickscore", "clip-score", "jpeg-size", "ocr",
    ]  # fmt: skip
    del reasons["ocr"]  # an extra
    assert set(reasons.values()) == {None}


def test_the_same_flags_as_train_reach_the_config(bench):
    plain, guard = (bench("--json", "--no-scaling", *f) for f in (["--strategy", "plain"], []))
    digests = [json.loads(done.out)["config_digest"] for done in (plain, guard)]
    assert digests[0] != digests[1]
    done = bench("--json", "--no-scaling", "--set", "rollout.group_size=7")
    assert json.loads(done.out)["images"] == 21


def test_against_an_earlier_measurement(bench, tmp_path):
    (tmp_path / "old.json").write_text(bench("--json").out)
    done = bench("--against", "old.json")
    assert done.code == 0, done.err
    table = done.out.partition("against")[2]
    for word in ("old", "new", "change", "floor ratio", "batch_size=8", "%"):
        assert word in table
    assert "another" not in table
    done = bench("--against", "old.json", "--set", "seed=1")
    assert "another config" in done.out


def test_beside_json_the_comparison_goes_to_standard_error(bench, tmp_path):
    (tmp_path / "old.json").write_text(bench("--json", "--no-scaling").out)
    done = bench("--json", "--no-scaling", "--against", "old.json")
    assert json.loads(done.out)
    assert "change" in done.err


@pytest.mark.parametrize("name", ["config.yaml", "none.json"])
def test_against_something_else_is_one_line_before_anything_is_measured(bench, name):
    done = bench("--against", name)
    assert done.code == 2
    assert done.out == ""
    assert len(done.err.splitlines()) == 1
    assert name in done.err


@pytest.mark.parametrize("argv", [["--help"], ["--against", "none.json"]], ids=" ".join)
def test_help_and_mistakes_import_no_torch(argv, tmp_path):
    script = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('torch' in sys.modules))\n"
        "from guardcore_cli.main import run\n"
        "run()\n"
    )
    command = [sys.executable, "-c", script, "bench", *argv]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "False"
    assert done.returncode == (0 if argv == ["--help"] else 2)


def test_it_leaves_nothing_behind(bench, tmp_path):
    assert bench("--no-scaling").code == 0
    assert [path.name for path in tmp_path.iterdir() if path.name != "site"] == ["config.yaml"]
