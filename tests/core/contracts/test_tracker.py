"""Each law of a tracker, and a tracker that breaks it."""

import json

import pytest

from guardcore.testing import check_component, check_tracker
from laws import broken


class Tracker:
    """Sound: it keeps what it is told."""

    def __init__(self):
        self.told = []

    def metrics(self, step, values):
        self.told.append((step, dict(values)))

    def images(self, step, name, images, captions):
        self.told.append((step, name, len(images), list(captions)))

    def close(self):
        self.told.append("closed")


class Strict(Tracker):
    def metrics(self, step, values):
        json.dumps({"step": step, **values}, allow_nan=False)


class Formatting(Tracker):
    def metrics(self, step, values):
        self.told += [f"{name} {value:.3f}" for name, value in values.items()]


class Once(Tracker):
    def metrics(self, step, values):
        if any(step == told[0] for told in self.told):
            raise ValueError(f"iteration {step} is there already")
        super().metrics(step, values)


class Popping(Tracker):
    def metrics(self, step, values):
        self.loss = values.pop("loss")


class Darkening(Tracker):
    def images(self, step, name, images, captions):
        images.mul_(255)


class OneFile(Tracker):
    def images(self, step, name, images, captions):
        self.files = {caption: image for image, caption in zip(images, captions, strict=True)}
        for caption in captions:
            caption.encode("ascii")


class Leaking(Tracker):
    def close(self):
        raise OSError("no space left on device")


class Impatient(Tracker):
    def progress(self, phase):
        self.told.append(phase)


class Deaf:
    def metrics(self, step, values): ...


BROKEN = [
    (Strict, "odd-metrics", "ValueError"),
    (Formatting, "odd-metrics", "TypeError"),  # None
    (Once, "resumed", "iteration 1 is there already"),
    (Popping, "metrics", "changed the figures"),
    (Darkening, "images", "changed the images"),
    (OneFile, "images", "UnicodeEncodeError"),
    (Leaking, "close", "no space left on device"),
    (Impatient, "progress", "TypeError"),
    (Deaf, "methods", "Deaf has no method images, close"),
]


@pytest.mark.parametrize(("tracker", "law", "reason"), BROKEN)
def test_a_tracker_that_breaks_one_law_is_told_which(tracker, law, reason):
    error = broken(check_tracker, tracker())
    assert error.law == law
    assert reason in error.reason


def test_a_sound_tracker_passes_and_is_closed_once():
    tracker = Tracker()
    check_tracker(tracker)
    assert tracker.told.count("closed") == 1
    assert tracker.told[-1] == "closed"


def test_a_broken_tracker_is_closed_all_the_same():
    tracker = Once()
    broken(check_tracker, tracker)
    assert tracker.told[-1] == "closed"


def test_our_own_trackers_pass(tmp_path, capsys):
    check_component("tracker", "console", title="[b]run[/]")
    check_component("tracker", "jsonl", path=tmp_path / "metrics.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [0, 1, 2, 1]
