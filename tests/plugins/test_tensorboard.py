"""The tracker ``tensorboard``, read back with TensorBoard's own reader."""

import math
import sys

import numpy as np
import pytest
import torch

from events import pixels, read
from guardcore import GuardcoreError, create
from runs import falling, rows, run


def scalars(folder):
    """Step → value, by name; a step that is shown twice fails."""
    found, shown = read(folder), {}
    for name in found.Tags()["scalars"]:
        events = found.Scalars(name)
        shown[name] = {event.step: event.value for event in events}
        assert len(shown[name]) == len(events), name
    return shown


@pytest.fixture
def tracker(tmp_path):
    made = create("tracker", "tensorboard")
    made.started(tmp_path, {}, -1)
    yield made
    made.close()


def test_figures_keep_their_names_and_are_on_the_disk_when_an_iteration_is_over(tracker, tmp_path):
    told = {"eval/geneval:credit=strict": 0.5, "reward/mine:colour=[/red]": -2.0, "loss": 1e-7}
    tracker.metrics(0, told)
    tracker.metrics(1, {"loss": 0.25, "gold": None})  # gold: not this time
    assert scalars(tmp_path / "tensorboard") == {
        "eval/geneval:credit=strict": {0: 0.5},
        "reward/mine:colour=[/red]": {0: -2.0},
        "loss": {0: pytest.approx(1e-7), 1: 0.25},
    }


def test_what_is_not_finite_stays_so(tracker, tmp_path):
    tracker.metrics(1, {"loss": math.nan, "grad_norm": math.inf})
    shown = scalars(tmp_path / "tensorboard")
    assert math.isnan(shown["loss"][1])
    assert shown["grad_norm"][1] == math.inf


def test_images_come_back_as_they_were_each_under_its_caption(tracker, tmp_path):
    levels = torch.randint(256, (3, 3, 8, 12), generator=torch.Generator().manual_seed(0))
    captions = ["a red disc", 'a "square"\nand  绿色', ""]
    tracker.images(2, "held-out", levels / 255, captions)
    tracker.close()
    found = read(tmp_path / "tensorboard")
    names = ["held-out/00 a red disc", 'held-out/01 a "square" and 绿色', "held-out/02"]
    assert found.Tags()["images"] == names
    for name, expected in zip(names, levels, strict=True):
        (event,) = found.Images(name)
        assert event.step == 2
        assert np.array_equal(pixels(event), expected.permute(1, 2, 0).numpy())


def test_a_level_between_two_is_rounded_as_in_the_sample_grids(tracker, tmp_path):
    tracker.images(0, "held-out", torch.full((1, 3, 8, 8), 199.6 / 255), ["grey"])
    tracker.close()
    (event,) = read(tmp_path / "tensorboard").Images("held-out/00 grey")
    assert np.unique(pixels(event)).tolist() == [200]


def test_a_long_caption_is_cut(tracker, tmp_path):
    tracker.images(0, "held-out", torch.zeros(1, 3, 8, 8), ["word " * 100])
    tracker.close()
    (name,) = read(tmp_path / "tensorboard").Tags()["images"]
    assert name.endswith("word…")
    assert len(name) == len("held-out/00 ") + 100


def test_a_start_takes_back_what_came_after_the_iteration_it_goes_on_from(tmp_path):
    for iteration, told in ((-1, range(6)), (3, range(4, 8))):
        tracker = create("tracker", "tensorboard", directory=tmp_path / "events")
        tracker.started(tmp_path / "run", {}, iteration)
        for step in told:
            tracker.metrics(step, {"loss": step + 10.0 * iteration})
        tracker.close()
    expected = {step: step - 10.0 for step in range(4)} | {s: s + 30.0 for s in range(4, 8)}
    assert scalars(tmp_path / "events")["loss"] == expected
    assert not (tmp_path / "run").exists()


def test_a_run_and_its_resumption_show_every_iteration_once(tmp_path):
    settings = {
        "tracker": ["tensorboard"],
        "reward": ["test:brightness"],
        "train": {"iterations": 4},
        "checkpoint": {"every": 2},
    }
    host = falling(at=18)  # in iteration 4, of which there is no checkpoint, nor of the one before
    with pytest.raises(GuardcoreError, match="the power is gone"):
        run(tmp_path, host=host, **settings)
    assert list(scalars(tmp_path / "tensorboard")["loss"]) == [1, 2, 3]
    run(tmp_path, host=host, resume=True, **settings)
    shown, told = scalars(tmp_path / "tensorboard"), rows(tmp_path, "metrics")
    assert [row["iteration"] for row in told] == [0, 1, 2, 3, 4]
    for name in {name for row in told for name in row} - {"iteration"}:
        expected = {r["iteration"]: r[name] for r in told if r.get(name) is not None}
        assert shown[name] == pytest.approx(expected, rel=1e-6), name
    found = read(tmp_path / "tensorboard")
    assert len(found.Tags()["images"]) == 4  # evaluate.grid
    for name in found.Tags()["images"]:
        assert [event.step for event in found.Images(name)] == [0, 2, 4]


def test_without_the_package_the_run_directory_is_not_made(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(GuardcoreError) as caught:
        run(tmp_path / "run", tracker=["tensorboard"])
    assert str(caught.value).startswith("tracker.0: tensorboard: ")
    assert str(caught.value).endswith("pip install 'guardcore[tensorboard]'")
    assert not (tmp_path / "run").exists()


def test_outside_of_a_run_it_says_what_is_missing():
    tracker = create("tracker", "tensorboard")
    with pytest.raises(GuardcoreError, match="call started"):
        tracker.metrics(0, {"loss": 0.5})
    tracker.close()
