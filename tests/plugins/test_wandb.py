"""The tracker ``wandb``, read back with its own ``wandb leet inspect``; no network anywhere."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from events import pixels, read
from guardcore import GuardcoreError, create
from runs import rows
from toy import toy_tree

pytest.importorskip("wandb")

OFFLINE = {"use": "wandb", "mode": "offline"}


def records(folder, kind):
    """What a run's log holds of a kind, in order."""
    (log,) = folder.glob("run-*.wandb")
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(log)],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [line[kind] for line in lines if line["type"] == kind]


def starts(run):
    """The folders of a run directory's starts, in order."""
    return sorted((run / "wandb").glob("offline-run-*"))


def history(folder):
    """Step → figures."""
    items = [record["item"] for record in records(folder, "history")]
    assert len({item["_step"] for item in items}) == len(items)
    return {item["_step"]: item for item in items}


def write(folder, **sections):
    tree = toy_tree(**{"tracker": [OFFLINE], **sections})
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))


def train(guardcore, *argv):
    return guardcore("train", "config.yaml", "--out", "run", *argv)


def test_a_run_and_its_resumption_are_one_run_whose_steps_go_on(guardcore, tmp_path):
    fails = {"use": "brightness", "fault": "raise", "calls": 14}  # in iteration 3, not in its own
    write(tmp_path, reward=[fails])
    assert train(guardcore).code == 2
    write(tmp_path, reward=[fails], tracker=[{**OFFLINE, "tags": ["toy"], "group": "mine"}])
    resumed = train(guardcore, "--resume")
    assert resumed.code == 0, resumed.err

    first, second = starts(tmp_path / "run")
    (begun,), (gone_on,) = records(first, "run"), records(second, "run")
    assert begun["run_id"] == gone_on["run_id"]
    assert gone_on["resume"]
    assert begun["display_name"] == "run"
    assert begun["config"]["update"]["sampler"]["use"] == "guardcore:flow-sde"
    called = gone_on["project"], gone_on["run_group"], gone_on["tags"]
    assert called == ("guardcore", "mine", ["toy"])
    assert [records(start, "exit")[0]["exit_code"] for start in (first, second)] == [1, 0]

    steps = [history(first), history(second)]
    assert [list(found) for found in steps] == [[0, 1, 2], [3]]
    logged = steps[0] | steps[1]
    for row in rows(tmp_path / "run", "metrics"):
        told = {name: v for name, v in row.items() if name != "iteration" and v is not None}
        assert told.items() <= logged[row["iteration"]].items()


def test_images_come_back_as_they_were_with_their_captions(guardcore, tmp_path):
    write(tmp_path, tracker=[OFFLINE, {"use": "tensorboard", "directory": "events"}])
    assert train(guardcore).code == 0
    (start,) = starts(tmp_path / "run")
    logged, shown = history(start), event_images(tmp_path / "events")
    for step in (0, 2, 3):
        item = logged[step]
        assert item["held-out.captions"] == ["w", "ww", "www", "wwww"]
        assert "loss" in item or step == 0  # the images belong to the step of the figures
        for place, path in enumerate(item["held-out.filenames"]):
            with Image.open(start / "files" / path) as image:
                assert np.array_equal(np.asarray(image), shown[step, place])
    assert "held-out.captions" not in logged[1]


def event_images(folder):
    """(step, place) → pixels: what the tracker ``tensorboard``, told the same, has written."""
    found = read(folder)
    return {
        (event.step, place): pixels(event)
        for place, name in enumerate(found.Tags()["images"])
        for event in found.Images(name)
    }


def test_a_run_goes_on_when_the_client_dies(guardcore, tmp_path):
    slow = {"use": "brightness", "seconds": 0.05}
    write(tmp_path, reward=[slow], train={"iterations": 5})
    running = guardcore.start("train", "config.yaml", "--out", "run")
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not (metrics.is_file() and metrics.read_text()):
        time.sleep(0.05)
    os.kill(service_of(running.pid), signal.SIGKILL)
    done = running.wait()
    assert done.code == 0, done.err
    (warning,) = [line for line in done.err.splitlines() if "the run goes on without it" in line]
    (start,) = starts(tmp_path / "run")
    assert warning.startswith("wandb: ")
    assert str(start.relative_to(tmp_path)) in warning
    assert [row["iteration"] for row in rows(tmp_path / "run", "metrics")] == [0, 1, 2, 3, 4, 5]


def service_of(pid):
    """The process through which a client writes and uploads."""
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            command = (status.parent / "cmdline").read_bytes()
            if b"wandb-core" in command and f"PPid:\t{pid}\n" in status.read_text():
                return int(status.parent.name)
    raise AssertionError(f"process {pid} has no wandb-core")


def guardcore_without_a_key(tmp_path, **variables):
    """Train on the embedded model, as somebody who has never logged in."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    env = {**ours, "HOME": str(tmp_path), "WANDB_ERROR_REPORTING": "false", **variables}
    command = ["-m", "guardcore_cli", "train", "--set", "tracker=[wandb]", "--out", "run"]
    return subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, "No API key configured"),
        pytest.param(
            {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"},
            "Failed to authenticate with http://127.0.0.1:9",
            marks=pytest.mark.slow,  # the client tries for ten seconds
        ),
    ],
)
def test_who_cannot_reach_the_server_reads_one_line_before_anything_is_made(
    tmp_path, variables, reason
):
    done = guardcore_without_a_key(tmp_path, **variables)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("wandb: ")]
    assert line.startswith(f"error: tracker.0: wandb: {reason}")
    assert line.endswith("mode=offline writes files, and `wandb sync` uploads them later")
    assert not (tmp_path / "run").exists()


def test_disabled_writes_nothing(guardcore, tmp_path):
    write(tmp_path, tracker=[{"use": "wandb", "mode": "disabled"}])
    assert train(guardcore).code == 0
    assert not (tmp_path / "run" / "wandb").exists()


def test_without_the_package_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(GuardcoreError) as caught:
        create("tracker", "wandb")
    assert str(caught.value).endswith("pip install 'guardcore[wandb]'")


def test_a_tag_that_the_server_would_refuse_is_refused_at_once():
    with pytest.raises(GuardcoreError, match=r"tags\.0: .*at most 64"):
        create("tracker", "wandb", tags=["x" * 65])
