"""The run directory refuses what is not its own, and forgets what a resumed run does again."""

import json

import pytest
import yaml

from guardcore import GuardcoreError
from guardcore.run_directory import RunDirectory
from runs import run
from toy import toy_tree


def test_it_holds_what_design_lists(tmp_path):
    run(tmp_path / "run", report=True)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        ".lock",
        "config.yaml",
        "manifest.json",
        "metrics.jsonl",
        "steps.jsonl",
        "samples",
        "checkpoints",
        "adapter",
        "report.html",
        "figures",
    }
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    components = {entry["path"]: entry for entry in manifest["components"]}
    assert components["backbone"]["name"] == "toy:toy"
    assert components["backbone"]["version"] == "1.0"
    assert components["reward.0"]["name"] == "toy:brightness"
    assert components["evaluate.sampler"]["name"] == "guardcore:ode"
    assert manifest["seed"] == 0
    assert {"guardcore", "torch"} <= set(manifest["packages"])
    assert "git_commit" in manifest
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["backbone"]["use"] == "toy:toy"


def test_a_directory_that_holds_a_run_is_not_written_over(tmp_path):
    run(tmp_path / "run")
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    with pytest.raises(GuardcoreError, match="holds a run already; go on with --resume"):
        run(tmp_path / "run")
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


def test_a_directory_with_other_peoples_files_is_not_used(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for resume in (False, True):
        with pytest.raises(GuardcoreError, match="is not empty and holds no run"):
            run(tmp_path, resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", ["error.log", "error-rank-1.log"])
@pytest.mark.parametrize("resume", [False, True])
def test_one_that_was_killed_before_it_had_a_config_is_used_its_logs_too(tmp_path, name, resume):
    (tmp_path / name).write_text("waited in vain")
    with pytest.raises(GuardcoreError, match="is not empty and holds no run"):
        run(tmp_path, resume=resume)  # another program's
    assert (tmp_path / name).read_text() == "waited in vain"
    (tmp_path / ".lock").touch()
    assert run(tmp_path, resume=resume).finished
    assert not (tmp_path / name).exists()


def test_a_users_own_config_does_not_make_a_directory_a_run(tmp_path):
    (tmp_path / "config.yaml").write_text("backbone: sd3\n")
    for resume in (False, True):
        with pytest.raises(GuardcoreError, match="is not empty and holds no run"):
            run(tmp_path, resume=resume)
    assert (tmp_path / "config.yaml").read_text() == "backbone: sd3\n"


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(GuardcoreError, match="is a file; choose another --out"):
        run(tmp_path / "run")


@pytest.mark.parametrize("name", ["run/below", "nobody"])
def test_a_place_that_cannot_be_written_is_one_line(tmp_path, name, monkeypatch):
    (tmp_path / "run").write_text("")
    if name == "nobody":
        (tmp_path / "nobody").symlink_to("/proc/1/no-such-directory")
    with pytest.raises(GuardcoreError) as caught:
        run(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_an_empty_directory_and_hidden_files_are_welcome(tmp_path):
    (tmp_path / ".DS_Store").write_text("")
    assert run(tmp_path).finished


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"seed": 1}, "seed"),
        ({"backbone": {"use": "toy", "dtype": "bfloat16"}}, "backbone.dtype"),
        ({"strategy": "plain"}, "strategy"),
        ({"rollout": {"groups": 4}}, "rollout.groups"),
        ({"reward": [{"use": "brightness", "weight": 2}]}, "reward"),
        ({"rollout": {"train_steps": {"size": 2}}}, "rollout.train_steps"),
        ({"evaluate": {"every": 1}}, "evaluate.every"),
    ],
)
def test_another_config_does_not_go_on_with_a_run_and_what_differs_is_named(tmp_path, change, path):
    run(tmp_path / "run", train={"iterations": 1})
    before = (tmp_path / "run" / "config.yaml").read_bytes()
    with pytest.raises(GuardcoreError, match=rf"another config; these differ: .*{path}"):
        run(tmp_path / "run", resume=True, **{"train": {"iterations": 1}, **change})
    assert (tmp_path / "run" / "config.yaml").read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        {"train": {"iterations": 2}},
        {"train": {"iterations": 2, "learning_rate": 0.01}},
        {"checkpoint": {"every": 2, "keep": 1}, "train": {"iterations": 2}},
        {"tracker": ["jsonl"], "train": {"iterations": 2}},
    ],
)
def test_how_long_how_fast_and_who_is_told_may_change(tmp_path, change):
    run(tmp_path / "run", train={"iterations": 1})
    assert run(tmp_path / "run", resume=True, **change).iteration == 2


@pytest.mark.parametrize("free", [False, True])
def test_an_option_that_its_author_calls_free_may_change_too(tmp_path, free):
    outcome = run(tmp_path / "run", train={"iterations": 1})
    made = RunDirectory(outcome.directory)
    config = yaml.safe_load(made.config.read_text())
    config["reward"][0]["url"] = "http://127.0.0.1:8001"
    if free:
        made.check(config, {"reward.0.url"}, resume=True)
    else:
        with pytest.raises(GuardcoreError, match=r"these differ: reward\.0\.url$"):
            made.check(config, resume=True)


def record(tmp_path, lines):
    made = RunDirectory(tmp_path)
    for name in ("metrics", "steps"):
        (tmp_path / f"{name}.jsonl").write_text(lines)
    return made


def test_rows_after_an_iteration_are_cut_and_those_before_kept_as_they_are(tmp_path):
    lines = "".join(f'{{"iteration": {i}, "loss": {i / 7}, "x": null}}\n' for i in (0, 1, 1, 2, 3))
    made = record(tmp_path, lines)
    made.cut_back(1)
    kept = "".join(lines.splitlines(keepends=True)[:3])
    assert (tmp_path / "metrics.jsonl").read_text() == kept
    assert (tmp_path / "steps.jsonl").read_text() == kept
    made.cut_back(-1)
    assert made.rows("metrics") == []


@pytest.mark.parametrize("torn", ['{"iteration": 2, "lo', "{", "\x00\x00\x00", '{"iteration": 2}'])
def test_a_torn_last_line_is_left_out(tmp_path, torn):
    made = record(tmp_path, '{"iteration": 1}\n' + torn)
    assert made.rows("metrics") == [{"iteration": 1}]
    made.cut_back(5)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"iteration": 1}\n'


def test_without_files_there_are_no_rows_and_nothing_to_cut(tmp_path):
    made = RunDirectory(tmp_path)
    assert made.rows("metrics") == []
    made.cut_back(3)
    assert list(tmp_path.iterdir()) == []


def test_what_json_has_no_word_for_is_null(tmp_path):
    made = RunDirectory(tmp_path)
    row = {"iteration": 1, "a": float("nan"), "b": float("-inf"), "c": 0.5, "d": [float("nan"), 1]}
    made.append("metrics", [row])
    assert made.rows("metrics") == [
        {"iteration": 1, "a": None, "b": None, "c": 0.5, "d": [None, 1]}
    ]


CANNOT_RUN = {
    "a prompt file that is not there": {"prompts": {"train": {"use": "text", "path": "no.txt"}}},
    "an empty prompt file": {"prompts": {"train": {"use": "text", "path": "/dev/null"}}},
    "an empty file": {"prompts": {"train": {"use": "text", "path": "EMPTY"}}},
    "an empty held-out file": {"prompts": {"eval": {"use": "jsonl", "path": "EMPTY"}}},
    "a source without prompts": {"prompts": {"train": {"use": "words", "size": 0}}},
    "a held-out source without prompts": {"prompts": {"eval": {"use": "words", "size": 0}}},
    "an unknown backbone": {"backbone": "tyo"},
    "an unknown option": {"sampler": {"use": "cps", "nose_level": 1}},
    "the ODE to train with": {"sampler": "ode"},
    "a size that the model cannot draw": {"rollout": {"height": 20}},
    "a window that does not fit": {"rollout": {"train_steps": {"size": 9}}},
    "no reward with a weight": {"reward": [{"use": "brightness", "weight": 0}]},
    "a tracker without a place": {"tracker": [{"use": "jsonl", "path": "/no/such/folder/x"}]},
}


@pytest.mark.parametrize("case", CANNOT_RUN)
def test_a_config_that_cannot_run_leaves_no_directory(tmp_path, case):
    (tmp_path / "empty.txt").write_text("\n")
    tree = json.loads(json.dumps(CANNOT_RUN[case]).replace("EMPTY", str(tmp_path / "empty.txt")))
    with pytest.raises(GuardcoreError) as caught:
        run(tmp_path / "runs" / "run", **tree)
    assert not (tmp_path / "runs").exists()
    (section,) = tree
    assert section in str(caught.value)


def test_guidance_that_a_backbone_cannot_change_leaves_no_directory(tmp_path):
    from toy import ToyBackbone, ToyOptions, toy_host

    class Rigid(ToyBackbone):
        guidance = property()  # as if it had none

    def rigid(options: ToyOptions):
        return Rigid(options)

    host = toy_host(rigid=("backbones", rigid))
    with pytest.raises(GuardcoreError, match=r"evaluate\.guidance_scale"):
        run(tmp_path / "run", host=host, backbone="rigid", evaluate={"guidance_scale": 2.0})
    assert not (tmp_path / "run").exists()


def test_the_tree_of_the_tests_is_sound(tmp_path):
    # the cases above differ from it in one section each: that section is what cannot run
    assert run(tmp_path / "run", **{k: v for k, v in toy_tree().items() if k == "rollout"}).finished
