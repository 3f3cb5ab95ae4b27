"""What an evaluation comes to: by task as benchmarks report it, and over all images.

Source: GenEval (arXiv 2310.11513), ``summary_scores.py``: its overall score is the mean over the
tasks, whatever their sizes, and a prompt counts as solved when any of its images is right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from guardcore.evaluation import Evaluation
from guardcore.inference import standard_error

Row = dict[str, Any]
"""``mean`` and ``standard_error``, and of how many what."""


def summarize(evaluation: Evaluation, prompts: int) -> dict[str, Row]:
    """Return, by reward, the mean over all images, and below it ``by_tag`` and two more.

    ``over_tasks`` stands where there are two tasks or more, ``best_of`` where every prompt has
    the same number of images, two or more.

    Args:
        evaluation: Its images took the held-out prompts in turn.
        prompts: How many held-out prompts there are.
    """
    return {
        name: _row(values) | _parts(evaluation, name, values, prompts)
        for name, values in evaluation.scores.items()
    }


def _parts(evaluation: Evaluation, name: str, values: Tensor, prompts: int) -> Row:
    by_tag = {tag: _row(scores[name]) for tag, scores in evaluation.by_tag().items()}
    parts: Row = {"by_tag": by_tag}
    if len(by_tag) > 1:
        parts["over_tasks"] = over_tasks(by_tag)
    if len(values) > prompts and len(values) % prompts == 0:
        parts["best_of"] = best_of(values, prompts)
    return parts


def over_tasks(by_tag: Mapping[str, Row]) -> Row:
    """Return the mean of the tasks' means, and ``sqrt(sum of their errors²)/tasks``."""
    rows = list(by_tag.values())
    error = math.sqrt(sum(row["standard_error"] ** 2 for row in rows)) / len(rows)
    mean = sum(row["mean"] for row in rows) / len(rows)
    return {"mean": mean, "standard_error": error, "tasks": len(rows)}


def best_of(values: Tensor, prompts: int) -> Row:
    """Return the mean over prompts of their best image, of ``values [n · prompts]`` in turns."""
    best = values.reshape(-1, prompts).amax(0)
    row = {"mean": float(best.mean()), "standard_error": standard_error(best)}
    return row | {"images_a_prompt": len(values) // prompts, "prompts": prompts}


def _row(values: Tensor) -> Row:
    return {
        "mean": float(values.mean()),
        "standard_error": standard_error(values),
        "images": len(values),
    }
