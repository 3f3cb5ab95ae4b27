import pytest
import torch

from guardcore import per_row, promote, reduce_latents


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_precision_is_promoted_and_the_rest_left_alone(given, kept):
    assert promote(torch.ones(2, dtype=given)).dtype == kept


def test_one_value_a_row_scales_its_row_and_no_other_dimension():
    like = torch.ones(3, 3, 3, 3)  # square on purpose: a plain product would broadcast over W
    scaled = like * per_row(torch.tensor([1.0, 2.0, 3.0]), like)
    for row, value in enumerate([1.0, 2.0, 3.0]):
        assert (scaled[row] == value).all()


def test_a_value_a_row_takes_the_dtype_of_the_rows():
    assert per_row(torch.ones(2), torch.ones(2, 4, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("shape", [(2,), (3, 1), (), (1,)])
def test_anything_but_one_value_a_row_is_refused(shape):
    with pytest.raises(ValueError, match=r"one value a row, \[3\], received"):
        per_row(torch.ones(shape), torch.ones(3, 4))


def test_latents_are_reduced_within_each_row():
    values = torch.arange(12.0).reshape(2, 3, 2)
    assert reduce_latents(values, "mean").tolist() == [2.5, 8.5]
    assert reduce_latents(values, "sum").tolist() == [15.0, 51.0]


def test_another_reduction_is_refused():
    with pytest.raises(ValueError, match="'mean' or 'sum', received 'max'"):
        reduce_latents(torch.ones(2, 2), "max")
