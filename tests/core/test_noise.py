import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guardcore.noise import draw


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**63 - 1))
def test_batching_does_not_change_the_noise(samples, batch_size, seed):
    whole = draw((2, 3), seed, 4, "start", range(samples))
    parts = [
        draw((2, 3), seed, 4, "start", range(start, min(start + batch_size, samples)))
        for start in range(0, samples, batch_size)
    ]
    assert torch.equal(torch.cat(parts), whole)


def test_what_was_drawn_before_does_not_change_the_noise():
    first = draw((4,), 0, 1, "step 3", [7])
    torch.manual_seed(1)
    torch.randn(100)
    draw((4,), 0, 2, "step 3", range(5))
    assert torch.equal(draw((4,), 0, 1, "step 3", [7]), first)


def test_drawing_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    draw((4,), 0, 1, "start", range(3))
    after = torch.randn(3)
    torch.manual_seed(0)
    assert torch.equal(torch.randn(3), after)


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"iteration": 2},
        {"purpose": "step 2"},
        {"samples": [8]},
        # the same digits in other places
        {"seed": 11, "iteration": 1, "samples": [7]},
        {"iteration": 11, "samples": [7]},
        {"purpose": "step 11"},
    ],
)
def test_another_seed_iteration_purpose_or_sample_has_other_noise(other):
    base = {"seed": 0, "iteration": 1, "purpose": "step 1", "samples": [7]}
    one, two = draw((64,), **base), draw((64,), **{**base, **other})
    # independent normals: the correlation of 64 pairs has standard deviation 1/8
    assert not torch.equal(one, two)
    assert abs(float(torch.corrcoef(torch.stack([one[0], two[0]]))[0, 1])) < 5 / 8


def test_one_sample_named_twice_has_the_same_noise_twice():
    both = draw((5,), 0, 1, "start", [3, 3])
    assert torch.equal(both[0], both[1])


def test_the_noise_is_standard_normal_float32_on_the_cpu():
    noise = draw((50,), 0, 1, "start", range(400))
    assert (noise.dtype, noise.device.type, tuple(noise.shape)) == (torch.float32, "cpu", (400, 50))
    n = noise.numel()
    assert abs(float(noise.mean())) < 5 / n**0.5
    assert abs(float(noise.std()) - 1) < 5 / (2 * n) ** 0.5
    # no two samples share their noise: 400 rows in 50 dimensions
    gram = torch.corrcoef(noise) - torch.eye(400)
    assert float(gram.abs().max()) < 0.9
