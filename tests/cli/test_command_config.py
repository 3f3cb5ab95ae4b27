"""``guardcore config show | check | schema``."""

import json

import yaml

from toy import toy_tree


def write(folder, **sections):
    (folder / "config.yaml").write_text(yaml.safe_dump(toy_tree(**sections)))


def test_show_prints_the_resolved_config_which_shows_itself(guardcore, tmp_path):
    write(tmp_path)
    shown = guardcore("config", "show", "config.yaml", "--strategy", "plain", "--set", "seed=5")
    assert shown.code == 0, shown.err
    tree = yaml.safe_load(shown.out)
    assert tree["seed"] == 5
    assert tree["strategy"] == "guardcore:plain"
    unused = {"range": None, "outside_fraction": 0.1, "calibration_iterations": 2}
    assert tree["ratio"] == [{"use": "guardcore:ppo-clip", "low": 1e-4, "high": 1e-4, **unused}]
    (tmp_path / "resolved.yaml").write_text(shown.out)
    assert guardcore("config", "show", "resolved.yaml").out == shown.out


def test_check_says_that_a_config_is_sound_and_warns(guardcore, tmp_path):
    write(tmp_path, train={"updates_per_iteration": 1})
    done = guardcore("config", "check", "config.yaml")
    assert done.code == 0
    assert "no clip can act" in done.out
    assert done.out.endswith("the config is sound\n")


def test_check_tells_every_problem_and_exits_2(guardcore, tmp_path):
    write(tmp_path, sampler="cps:1", advantage={"use": "group", "std": "x"}, tracker=["jsnol"])
    done = guardcore("config", "check", "config.yaml")
    assert done.code == 2
    assert sorted(line.split(":")[1] for line in done.err.splitlines()) == [
        " advantage.std",
        " sampler",
        " tracker.0",
    ]
    assert done.out == ""


def test_the_embedded_profile_is_sound(guardcore):
    done = guardcore("config", "check")
    assert done.code == 0, done.err
    for strategy in ("plain", "temp-reweight", "mean-revised", "ratio-norm", "guard", "dppo"):
        assert guardcore("config", "check", "--strategy", strategy).code == 0


def test_schema_prints_json_that_knows_the_strangers(guardcore):
    done = guardcore("config", "schema")
    assert done.code == 0, done.err
    assert "toy:toy" in json.dumps(json.loads(done.out)["$defs"]["backbone"])
