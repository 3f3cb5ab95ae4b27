"""KL to the base on the toy, where every step's shift of the mean is known."""

import pytest

from runs import rows, run

SIZES = {"num_inference_steps": 4, "height": 16, "width": 16, "groups": 3, "group_size": 5}


def kl(directory, **sections):
    run(directory, evaluate={"every": 1, "kl_images": 6, "num_images": 6}, **sections)
    return [row["kl/base"] for row in rows(directory, "metrics")]


def test_the_base_is_nowhere_and_a_moved_policy_somewhere(tmp_path):
    found = kl(tmp_path, rollout=SIZES, train={"iterations": 3, "learning_rate": 0.02})
    assert found[0] == 0
    assert 0 < found[1] < found[2] < found[3]


def test_it_is_measured_only_where_it_is_asked_for(tmp_path):
    run(tmp_path)
    assert not any("kl/base" in row for row in rows(tmp_path, "metrics"))


def test_it_does_not_depend_on_the_micro_batches(tmp_path):
    found = [
        kl(tmp_path / str(size), rollout={**SIZES, "batch_size": size}, train={"iterations": 1})
        for size in (15, 4)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_the_toys_divergence_is_its_closed_form(tmp_path):
    """One update moves each channel of the target by the learning rate, exactly (AdamW).

    The toy's velocity at sigma is linear in the target m: ∂v/∂m = −sigma·(1 − sigma)·c − 1 +
    (1 − sigma)²·s²·c with c = 1/((1 − sigma)²·s² + sigma²), s its spread; flow-sde's mean moves by
    velocity_gain times that.
    """
    import torch

    from guardcore import create
    from guardcore.schedule import Schedule
    from toy import SPREAD

    rate = 0.01
    found = kl(
        tmp_path,
        rollout=SIZES,
        reward=["brightness"],
        train={
            "iterations": 1, "updates_per_iteration": 1, "learning_rate": rate,
            "weight_decay": 0.0, "ema_decay": None, "adam_epsilon": 1e-30,
        },
    )  # fmt: skip
    sampler, schedule = create("sampler", "flow-sde"), Schedule(torch.linspace(1, 0, 5).double())
    expected = 0.0
    for index in range(3):
        step = schedule.step(index, 1)
        sigma, x = float(step.sigma), torch.zeros(1, 1).double()
        c = 1 / ((1 - sigma) ** 2 * SPREAD**2 + sigma**2)
        slope = -sigma * (1 - sigma) * c - 1 + (1 - sigma) ** 2 * SPREAD**2 * c
        made = sampler.transition(x, x, step)
        shift = float(made.velocity_gain) * slope * rate
        expected += 12 * shift**2 / (2 * float(made.std) ** 2)  # 3 channels of 2 × 2
    assert found[1] == pytest.approx(expected, rel=1e-3)
