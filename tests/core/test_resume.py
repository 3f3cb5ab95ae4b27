"""A run that was stopped, however rudely, and resumed is the run that never was."""

import json
from pathlib import Path

import pytest

from guardcore import GuardcoreError, Options
from runs import checkpoints, falling, left_over, rows, run, whole
from toy import Brightness, ToyBackbone, ToyOptions, toy_host

SHAPES = {
    "the default": {},
    "a random window and a shared start": {
        "rollout": {
            "train_steps": {"size": 1, "choose": "random"},
            "same_noise": True,
            "groups": 2,
        }
    },
    "shares, warm-up and a rare average": {
        "train": {"samples_per_update": "share", "lr_warmup_steps": 7, "ema_every": 3}
    },
    "a penalty, no average": {
        "penalty": [{"use": "kl", "weight": 0.1}],
        "train": {"ema_decay": None},
    },
    "half precision": {"backbone": {"use": "toy", "dtype": "bfloat16"}, "strategy": "plain"},
    "a reward without an advantage": {"reward": ["constant"]},
    "no held-out prompts": {"prompts": {"eval": None}},
}
LONG = {"iterations": 6, "learning_rate": 0.02, "ema_every": 1}


def test_a_host_may_let_a_test_stand_in_for_the_toys_own_reward():
    entry = falling(1).registry.find("reward", "test:brightness")
    assert isinstance(entry.build(Options()), Brightness)


def sections(shape, **more):
    found = {"evaluate": {"every": 2, "num_images": 3}, "checkpoint": {"every": 1, "keep": 9}}
    for part in (SHAPES[shape], {"train": {**LONG, **SHAPES[shape].get("train", {})}}, more):
        for name, section in part.items():
            both = isinstance(section, dict) and isinstance(found.get(name), dict)
            found[name] = {**found[name], **section} if both else section
    return found


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The directory of the undisturbed run of some settings, made once."""
    made = {}

    def find(settings, host=None):
        key = json.dumps(settings, sort_keys=True)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("undisturbed")
            run(made[key], host=host, **settings)
        return made[key]

    return find


@pytest.mark.parametrize("shape", SHAPES)
def test_a_run_that_fell_over_and_was_resumed_is_the_undisturbed_one_bit_for_bit(
    tmp_path, reference, shape
):
    # Stopped after two iterations by its length, which alone may change, then taken to the end.
    settings = sections(shape)
    if "eval" not in str(settings.get("prompts")):
        settings["evaluate"]["every"] = 1  # the last iteration is evaluated, whichever it is
    short = {**settings, "train": {**settings["train"], "iterations": 2}}
    run(tmp_path / "resumed", **short)
    outcome = run(tmp_path / "resumed", resume=True, **settings)
    assert outcome.finished
    assert whole(tmp_path / "resumed") == whole(reference(settings))


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("at", [1, 4, 17, 26, 31])
def test_wherever_a_reward_falls_over_the_run_goes_on_from_its_checkpoint(
    tmp_path, reference, every, at
):
    # 34 calls: one an evaluation (0, 2, 4, 6: four), five micro-batches an iteration
    settings = sections("the default", reward=["test:brightness"])
    settings |= {"checkpoint": {"every": every, "keep": 9}, "rollout": {"batch_size": 3}}
    host = falling(at)
    with pytest.raises(GuardcoreError, match="the power is gone"):
        run(tmp_path / "resumed", host=host, **settings)
    assert "the power is gone" in (tmp_path / "resumed" / "error.log").read_text()
    assert run(tmp_path / "resumed", host=host, resume=True, **settings).finished
    assert whole(tmp_path / "resumed") == whole(reference(settings, falling(0)))
    assert not (tmp_path / "resumed" / "error.log").exists()


def test_with_resume_and_no_checkpoint_the_run_begins_at_the_beginning(tmp_path, reference):
    settings = sections("the default")
    run(tmp_path / "new", resume=True, **settings)
    assert whole(tmp_path / "new") == whole(reference(settings))


def test_a_finished_run_says_so_and_touches_nothing(reference):
    settings = sections("the default")
    directory = reference(settings)
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    outcome = run(directory, resume=True, **settings)
    assert (outcome.finished, outcome.iteration) == (True, 6)
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*")} == before


@pytest.mark.parametrize("torn", ['{"iteration": 3, "lo', "\x00" * 20, '{"iteration": 99}'])
def test_torn_lines_of_the_jsonl_files_are_cut(tmp_path, reference, torn):
    settings = sections("the default")
    run(tmp_path / "resumed", **{**settings, "train": {**LONG, "iterations": 2}})
    for name in ("metrics", "steps"):
        with (tmp_path / "resumed" / f"{name}.jsonl").open("a") as file:
            file.write(torn)
    run(tmp_path / "resumed", resume=True, **settings)
    assert whole(tmp_path / "resumed") == whole(reference(settings))


def test_a_run_goes_on_longer_than_it_was_meant_to(tmp_path, reference):
    settings = sections("the default", evaluate={"every": 1})
    for iterations in (1, 2, 4, 6):
        longer = {**settings, "train": {**LONG, "iterations": iterations}}
        assert run(tmp_path / "resumed", resume=True, **longer).iteration == iterations
    assert whole(tmp_path / "resumed") == whole(reference(settings))


def clumsy(failures):
    """A toy whose ``save_adapter`` fails half way, so many times."""
    left = [failures]

    class Clumsy(ToyBackbone):
        def save_adapter(self, directory: Path) -> None:
            super().save_adapter(directory)
            if left[0]:
                left[0] -= 1
                raise RuntimeError("half way")

    def factory(options: ToyOptions):
        return Clumsy(options)

    return toy_host(clumsy=("backbones", factory))


def test_an_adapter_is_whole_or_not_there_and_a_run_without_one_is_not_finished(
    tmp_path, reference
):
    settings = sections("the default", backbone="clumsy")
    host = clumsy(1)
    with pytest.raises(RuntimeError, match="half way"):
        run(tmp_path / "resumed", host=host, **settings)
    assert not (tmp_path / "resumed" / "adapter").exists()
    assert run(tmp_path / "resumed", host=host, resume=True, **settings).finished
    assert whole(tmp_path / "resumed") == whole(reference(settings, clumsy(0)))
    assert left_over(tmp_path / "resumed") == []


def test_the_adapter_of_a_shorter_run_is_not_taken_for_a_longer_ones(tmp_path, reference):
    settings = sections("the default", backbone="clumsy")
    run(tmp_path, host=clumsy(0), **{**settings, "train": {**LONG, "iterations": 2}})
    host = clumsy(1)
    with pytest.raises(RuntimeError, match="half way"):
        run(tmp_path, host=host, resume=True, **settings)
    before = checkpoints(tmp_path)
    assert before[-1] == 6
    run(tmp_path, host=host, resume=True, **settings)
    want = whole(reference(settings, clumsy(0)))
    assert whole(tmp_path)["adapter/toy.safetensors"] == want["adapter/toy.safetensors"]


def test_a_model_of_other_parameters_is_not_loaded_into(tmp_path):
    class Wider(ToyBackbone):
        def trainable(self):
            return {"aim": self.target}

    def renamed(options: ToyOptions):
        return Wider(options)

    def plain(options: ToyOptions):
        return ToyBackbone(options)

    settings = sections("the default", backbone="model")
    run(
        tmp_path,
        host=toy_host(model=("backbones", plain)),
        **{**settings, "train": {"iterations": 1}},
    )
    with pytest.raises(GuardcoreError, match="another model: 'aim'"):
        run(tmp_path, host=toy_host(model=("backbones", renamed)), resume=True, **settings)
    assert checkpoints(tmp_path) == [1]


def test_what_a_killed_run_left_half_done_is_cleared_away(tmp_path):
    settings = sections("the default")
    run(tmp_path, **{**settings, "train": {**LONG, "iterations": 5}})
    for name in (".writing", ".removing", ".adapter.writing"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("")
    run(tmp_path, resume=True, **{**settings, "checkpoint": {"every": 9, "keep": 9}})
    assert left_over(tmp_path) == []


def test_rows_are_strict_json_whatever_happened(tmp_path):
    settings = sections("the default")
    run(tmp_path, **settings)
    assert [row["iteration"] for row in rows(tmp_path, "metrics")] == list(range(7))
