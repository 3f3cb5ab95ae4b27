"""The same command under the field's own launchers."""

import json

import pytest

from launch import free_port, launch, write_config
from runs import metrics, target

pytestmark = pytest.mark.slow
WITH = {
    "torchrun": ["--nproc-per-node", "2", "--master-port"],
    "accelerate": ["launch", "--multi_gpu", "--num_processes", "2", "--main_process_port"],
}


@pytest.mark.parametrize("launcher", WITH)
def test_a_launcher_starts_the_same_command(launcher, toy_site, tmp_path):
    config = write_config(tmp_path, reward=["colour"], train={"iterations": 2})
    argv = [*WITH[launcher], free_port(), "-m", "guardcore_cli", "train", config]
    ended = launch(launcher, *argv, "--out", "run", path=toy_site, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert ended.err.count("finished: run") == 1
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["processes"] == 2
    assert len(metrics(tmp_path / "run")) == 3
    assert target(tmp_path / "run").any()
