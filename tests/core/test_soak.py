"""Thousands of iterations hold no more memory, files or threads than a few hundred.

``SOAK_SECONDS`` says how long to go on; the default is what twenty minutes of a small model do in
iterations, in a fraction of the time.
"""

import os
import signal
import time

import numpy as np
import pytest
import yaml

from toy import toy_tree

SECONDS = float(os.environ.get("SOAK_SECONDS", "120"))
WARM_UP = 500
"""Iterations; allocators have by then seen an evaluation, a grid and a recording several times."""

GROWTH = 1024
"""Bytes an iteration that may be gained: 100 MB in a hundred thousand, beyond any run's length."""


def soak_tree(path):
    """All that a run does again and again, evaluations with images and recordings included."""
    return toy_tree(
        reward=[{"use": "faulty", "levels": 6}, {"use": "brightness", "weight": 0}],
        rollout={
            "groups": 2,
            "group_size": 3,
            "refill": 1,
            "train_steps": {"size": 2, "choose": "random"},
        },
        train={"iterations": 1_000_000, "ema_every": 2, "step_gradients_every": 10},
        evaluate={"every": 25, "num_images": 3, "grid": 3, "kl_images": 2},
        watch={"keep_best": True},
        checkpoint={"every": 5, "keep": 2},
        tracker=[{"use": "gauge", "path": str(path)}],
    )


@pytest.mark.slow
def test_memory_files_and_threads_stay_flat_over_thousands_of_iterations(faulty, tmp_path):
    gauge = tmp_path / "gauge.txt"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(soak_tree(gauge)))
    process = faulty.start("train", "config.yaml", "--out", "run")
    time.sleep(SECONDS)
    process.signal(signal.SIGKILL)  # a report of so many iterations is another matter
    process.wait()
    iterations, resident, files, threads = np.loadtxt(gauge.read_text().splitlines()[WARM_UP:-1]).T
    assert len(iterations) > 2 * WARM_UP, "too slow a machine: set SOAK_SECONDS"
    slope = np.polyfit(iterations, resident, 1)[0]
    print(
        f"\n{len(iterations)} iterations after {WARM_UP}: {resident[0] / 1e6:.1f} MB at first, "
        f"{resident[-1] / 1e6:.1f} MB at last, {slope:+.1f} bytes an iteration; "
        f"{files.min():.0f} to {files.max():.0f} files, {threads.min():.0f} to {threads.max():.0f} threads"
    )
    assert slope < GROWTH
    assert files.max() == files[0]
    assert threads.max() == threads[0]
