"""How often an iteration calls the model, with how many rows, and that no step waits for it."""

from __future__ import annotations

import pytest
import torch

from guardcore.binding import bind
from guardcore.iteration import iterate
from guardcore.layers import parse_config
from guardcore.learner import Learner
from guardcore.run import prepared
from runs import ONE_UPDATE, gradient, rows, run, spying_host
from toy import toy_host, toy_tree
from waits import Waits

LATE = {"train_steps": [3, 4], "num_inference_steps": 6, "groups": 3, "group_size": 4}
LATE |= {"batch_size": 6}


def calls(tmp_path, grad=False, **sections):
    """The rows of each call of a run without evaluations, by the step's place in the schedule."""
    host, spies = spying_host()
    run(tmp_path, host=host, backbone="spy", prompts={"train": "words", "eval": None}, **sections)
    (spy,) = spies
    steps = sections["rollout"]["num_inference_steps"]
    return [
        ([round((1 - level) * steps) for level in call["sigma"].tolist()], call["x"])
        for call in spy.seen
        if call["grad"] == grad
    ]


def test_a_late_window_samples_what_a_group_shares_once(tmp_path):
    rollout = LATE | {"same_noise": True}
    seen = calls(tmp_path, rollout=rollout, train=ONE_UPDATE)
    # two micro-batches of 6: samples 0-3 are group 0's, 4-7 group 1's, 8-11 group 2's
    assert [places for places, _ in seen] == 2 * [
        [0] * 2,
        [1] * 2,
        [2] * 2,
        [3] * 6,
        [4] * 6,
        [5] * 6,
    ]
    for begin, where in ((3, [0, 0, 0, 0, 1, 1]), (9, [0, 0, 1, 1, 1, 1])):
        apart = seen[begin][1]
        assert torch.equal(apart, torch.stack([apart[where.index(w)] for w in where]))


def test_groups_with_noise_of_their_own_share_nothing(tmp_path):
    seen = calls(tmp_path, rollout=LATE, train=ONE_UPDATE)
    assert [len(places) for places, _ in seen] == [6] * 12


def test_a_window_at_the_beginning_shares_nothing(tmp_path):
    rollout = LATE | {"same_noise": True, "train_steps": "all"}
    seen = calls(tmp_path, rollout=rollout, train=ONE_UPDATE)
    assert [len(places) for places, _ in seen] == [6] * 12


@pytest.mark.parametrize("number", [2, 3, 9])
@pytest.mark.parametrize("penalty", [[], [{"use": "kl", "weight": 0.1}]], ids=["", "kl"])
def test_steps_that_share_a_forward_have_the_same_gradient(number, penalty, tmp_path):
    rollout = {"num_inference_steps": 6, "groups": 3, "group_size": 4, "batch_size": 6}
    ways = {"apart": 1, "together": number}
    train = ONE_UPDATE | {"step_gradients_every": 0}
    seen = {
        way: calls(
            tmp_path / way,
            grad=True,
            rollout=rollout,
            penalty=penalty,
            train=train | {"steps_per_forward": together},
        )
        for way, together in ways.items()
    }
    assert [places for places, _ in seen["apart"]] == 2 * [[place] * 6 for place in range(5)]
    expected = [
        [place for place in range(start, min(start + number, 5)) for _ in range(6)]
        for start in range(0, 5, number)
    ]
    assert [places for places, _ in seen["together"]] == 2 * expected
    apart, together = (gradient(tmp_path / way) for way in ways)
    assert (together - apart).norm() < 1e-6 * apart.norm()
    one, other = (rows(tmp_path / way, "steps") for way in ways)
    assert [row["step"] for row in other] == [row["step"] for row in one]
    for a, b in zip(one, other, strict=True):
        assert abs(a["log_ratio_mean"] - b["log_ratio_mean"]) < 1e-6


def test_an_iteration_that_measures_each_steps_gradient_takes_them_one_by_one(tmp_path):
    train = {"iterations": 2, "step_gradients_every": 2, "steps_per_forward": 3}
    rollout = {"num_inference_steps": 4, "groups": 3, "group_size": 4, "batch_size": 12}
    seen = calls(tmp_path, grad=True, rollout=rollout, train=train)
    assert [len(places) for places, _ in seen] == 2 * [12, 12, 12] + 2 * [36]


@pytest.mark.parametrize("strategy", ["guard", "guard-dance", "plain", "soft-clip", "cispo"])
@pytest.mark.parametrize("sampler", ["flow-sde", "dance-sde", "cps"])
def test_no_step_waits_for_what_the_device_has_computed(strategy, sampler):
    config = parse_config(toy_tree(strategy=strategy, sampler=sampler, train={"iterations": 1}))
    with prepared(config, bind(config, toy_host().registry)) as made, Waits() as waits:
        iterate(made, Learner(made.backbone.trainable(), config.train), 2)
    assert waits.within("denoise") == []
    assert waits.within("_backward") == []
    assert waits.within("step") != []  # the update's norm is read: what is looked for is seen
