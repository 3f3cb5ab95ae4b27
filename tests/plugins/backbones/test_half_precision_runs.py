"""``guardcore train`` of the embedded model in half precision, preflight and all."""

from __future__ import annotations

import json

import pytest

TINY = [
    "rollout.groups=2",
    "rollout.group_size=4",
    "rollout.batch_size=8",
    "train.iterations=2",
    "evaluate.num_images=4",
]
MEMORY = ["backbone.gradient_checkpointing=true", "backbone.text_encoders=cache"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_run_in_half_precision_starts_every_iteration_at_ratio_1(dtype, guardcore, tmp_path):
    """The preflight compares with 0 at a tenth of the clip bound; here it is 0 to the last bit."""
    settings = [*TINY, *MEMORY, f"backbone.dtype={dtype}", f"backbone.embedding_cache={tmp_path}/e"]
    options = [part for setting in settings for part in ("--set", setting)]
    done = guardcore("train", *options, "--out", "run")
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in (tmp_path / "run/steps.jsonl").read_text().splitlines()]
    first = [row for row in rows if row["update"] == 1]
    assert len(first) == 8
    assert {row["ratio_mean"] for row in first} == {1.0}
    assert {row["ratio_std"] for row in first} == {0.0}
    assert any(row["ratio_std"] > 0 for row in rows if row["update"] == 2)
    metrics = [
        json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    ]
    assert all(row["grad_norm"] > 0 for row in metrics[1:])
    assert list((tmp_path / "e").rglob("*.safetensors"))
