"""The steps' gradients told apart: their norms are autograd's, their sum is what it was."""

import pytest
import torch
from torch import nn

from guardcore.step_gradients import StepGradients
from runs import gradient, rows, run

SIZES = {"groups": 3, "group_size": 5}


def test_norms_and_sum_are_those_of_the_parts():
    a, b = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor(3.0))
    unused = nn.Parameter(torch.tensor(0.0))
    gradients = StepGradients([a, b, unused])
    (3 * a[0]).backward()
    (4 * b).backward()
    gradients.close(2)
    (-a.sum()).backward()
    gradients.close(5)
    gradients.close(7)  # nothing was to be learnt there
    gradients.restore()
    assert gradients.norms == {2: 5.0, 5: pytest.approx(2**0.5), 7: 0.0}
    assert a.grad.tolist() == [2.0, -1.0]
    assert b.grad == 4.0
    assert unused.grad is None


@pytest.mark.parametrize("batch_size", [15, 4])
def test_a_measured_run_is_the_same_run(tmp_path, batch_size):
    for every in (0, 1):
        run(
            tmp_path / str(every),
            rollout={**SIZES, "batch_size": batch_size},
            train={"iterations": 3, "step_gradients_every": every},
        )
    measured, plain = (gradient(tmp_path / str(every)) for every in (1, 0))
    # the same terms in another order: float32 rounding alone
    assert torch.allclose(measured, plain, rtol=1e-5, atol=1e-9)
    found = rows(tmp_path / "1", "steps")
    assert all(row["grad_norm"] > 0 for row in found)
    assert not any("grad_norm" in row for row in rows(tmp_path / "0", "steps"))


def test_the_first_iteration_is_measured_and_then_every_so_many(tmp_path):
    run(tmp_path, rollout=SIZES, train={"iterations": 5, "step_gradients_every": 2})
    found = {row["iteration"] for row in rows(tmp_path, "steps") if "grad_norm" in row}
    assert found == {1, 3, 5}


def test_no_step_exceeds_the_sum_of_all_and_all_together_make_the_gradient(tmp_path):
    run(tmp_path, rollout=SIZES, train={"iterations": 1, "updates_per_iteration": 1})
    norms = [row["grad_norm"] for row in rows(tmp_path, "steps")]
    (last,) = (row for row in rows(tmp_path, "metrics") if row["iteration"] == 1)
    assert max(norms) - (sum(norms) - max(norms)) <= last["grad_norm"] <= sum(norms) * (1 + 1e-6)
