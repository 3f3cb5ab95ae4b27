"""SD3.5-Medium's own transformer shape on a CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("true_shape.py")


@pytest.mark.slow
def test_a_lora_step_of_the_true_shape_fits_20_gb_and_moves_only_adapters(tmp_path):
    """5 GB of disk, two minutes of one core; the loop's own preflight passes, or there is no output."""
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert 2.2e9 < seen["parameters"] < 2.5e9
    assert seen["frozen"]
    # A has no gradient while B is 0; the last block drops its text stream with that one's queries
    assert seen["moved"] == seen["adapters"] // 2 - 1
    assert seen["ratio"] == [1.0]
    assert seen["log_ratio"] == [0.0]
    assert seen["grad_norm"] > 0
    assert seen["peak_gb"] < 20
