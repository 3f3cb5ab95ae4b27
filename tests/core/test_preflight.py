"""Before the first update every ratio is 1, or something is wrong, and it says what."""

import pytest
import torch

from guardcore.errors import PreflightError
from guardcore.figures import Terms
from guardcore.preflight import check_ratios_are_one


def terms(raw, low=0.0, high=torch.inf):
    log = torch.tensor(raw).double()
    bound = [torch.full_like(log, value) for value in (low, high)]
    none = torch.zeros_like(log)
    return Terms(log, *bound, none, none.bool(), log, none, none)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_in_full_precision_a_millionth_is_rounding_and_more_is_a_fault(dtype):
    check_ratios_are_one(terms([0.0, 1e-6, -1e-6]), dtype)
    for raw in ([0.0, 1.1e-6], [-1.1e-6]):
        with pytest.raises(PreflightError, match=r"1\.1e-06 where at most 1\.0e-06 .*dropout") as e:
            check_ratios_are_one(terms(raw), dtype)
        assert "steps_per_forward" in str(e.value)  # float16 comes as float32 (half_gradients.py)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("low", "high", "tolerance"),
    [
        (1 - 1e-4, 1 + 1e-3, 1e-5),
        (1 - 1e-3, 1 + 1e-4, 1e-5),
        (0.0, 1 + 1e-3, 1e-4),
        (0.0, torch.inf, 1e-6),
    ],
    ids=["low is narrower", "high is narrower", "only high", "none"],
)
def test_in_half_precision_a_tenth_of_the_narrowest_bound_is(dtype, low, high, tolerance):
    check_ratios_are_one(terms([0.9 * tolerance], low, high), dtype)
    with pytest.raises(PreflightError, match="half precision"):
        check_ratios_are_one(terms([1.1 * tolerance], low, high), dtype)


def test_a_ratio_that_is_no_number_is_a_fault():
    with pytest.raises(PreflightError, match="nan"):
        check_ratios_are_one(terms([0.0, torch.nan]), torch.float32)
