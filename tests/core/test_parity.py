"""Reference vectors (``tests/parity``), through the names that DESIGN gives to strangers.

``tests/parity/README.md`` says what each file holds and which tolerances the maths supports.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from guardcore import (
    RatioTerms,
    Schedule,
    Step,
    StepContext,
    Transition,
    create,
    log_prob,
    log_ratio,
    surrogate,
)

PARITY = Path(__file__).parents[1] / "parity"
WORDS = {"ratio": "ratio_transform", "gradient_weight": "gradient_weight"}
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])


def cases(name):
    return json.loads((PARITY / f"{name}.json").read_text(encoding="utf-8"))


def each(name):
    return pytest.mark.parametrize("case", cases(name), ids=lambda case: case["id"])


@pytest.fixture(scope="module")
def tensors():
    return {
        name: load_file(PARITY / f"{name}.safetensors") for name in ("steps", "dance", "ladder")
    }


def fields(tensors, case, dtype):
    prefix = f"{case['id']}."
    found = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in found.items()}


def transition(kind, case, v):
    """The transition under the sampler that the vectors call ``kind``."""
    sigma_max = float(v.get("sigma_max", torch.tensor(1.0)))
    step = Step(torch.zeros(len(v["sigma"])).long(), v["sigma"], v["sigma_next"], sigma_max)
    sampler = create("sampler", kind.replace("_", "-"), noise_level=case["noise_level"])
    return sampler.transition(v["velocity"], v["sample"], step)


@DTYPES
@each("steps")
def test_flow_sde_and_cps_steps_are_the_published_ones(case, dtype, tensors):
    v = fields(tensors["steps"], case, dtype)
    result = transition(case["kind"], case, v)
    # Both kinds hold a std that was computed in float32 (cps: and a mean computed from it), so the
    # README's 2e-5 is the bound in both precisions; atol for means that happen to be near 0.
    tolerance = {"rtol": 2e-5, "atol": 2e-6}
    std = v["sigma_t"] * (v["sqrt_dt"] if case["kind"] == "flow_sde" else 1)
    torch.testing.assert_close(result.mean, v["next_mean"], **tolerance)
    torch.testing.assert_close(result.std, std, **tolerance)
    if case["kind"] == "flow_sde":
        scored = log_prob(v["next_sample"], result)
        torch.testing.assert_close(scored, v["log_prob"], rtol=0, atol=2e-4)


@each("steps")
def test_sigma_max_is_read_off_the_whole_schedule(case, tensors):
    v = fields(tensors["steps"], case, torch.float32)
    assert Schedule(v["sigmas"]).sigma_max == float(v["sigma_max"])


@DTYPES
@each("dance")
def test_dance_sde_steps_are_the_published_ones(case, dtype, tensors):
    v = fields(tensors["dance"], case, dtype)
    result = transition(case["kind"], case, v)
    tolerance = (
        {"rtol": 1e-9, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 2e-5, "atol": 2e-6}
    )
    torch.testing.assert_close(result.mean, v["next_mean"], **tolerance)
    torch.testing.assert_close(result.std, v["sigma_t"] * v["sqrt_dt"], **tolerance)
    scored = log_prob(v["next_sample"], result)
    torch.testing.assert_close(
        scored, v["log_prob"], rtol=0, atol=1e-9 if dtype == torch.float64 else 2e-4
    )


def build(strategy, place, clip_range):
    """Build a strategy's words; the vectors' clip range replaces the strategy's own."""
    built = []
    for word in getattr(strategy, place):
        spec = {"use": word} if isinstance(word, str) else dict(word)
        if spec["use"] == "ppo-clip":
            spec |= {"low": clip_range, "high": clip_range}
        built.append(create(WORDS[place], spec.pop("use"), **spec))
    return built


def ladder_context(v, reduction):
    dt, std = v["dt"], v["sigma_t"] * v["dt"].sqrt()
    step = Step(torch.zeros(len(dt)).long(), dt, torch.zeros_like(dt), 1.0)
    mean_new = v["mean_new"].clone().requires_grad_()
    gain = torch.full_like(std, torch.nan)  # none of these words may look at it
    return StepContext(
        step=step,
        old=Transition(v["mean_old"], std, gain),
        new=Transition(mean_new, std, gain),
        x_next=v["next_sample"],
        reduction=reduction,
    )


def rung(case, v, name):
    """One rung of the ladder: terms, weight, surrogate and the gradient of the mean loss."""
    strategy = create("strategy", name.replace("_", "-"))
    context = ladder_context(v, case["log_prob_reduction"])
    terms = RatioTerms(log_ratio(context))
    for transform in build(strategy, "ratio", case["clip_range"]):
        terms = transform(terms, context)
    weight = torch.ones_like(terms.log_ratio)
    for factor in build(strategy, "gradient_weight", case["clip_range"]):
        weight = weight * factor(context)
    result = surrogate(terms, v["advantage"].to(weight), weight)
    (gradient,) = torch.autograd.grad(result.loss.mean(), context.new.mean)
    return terms, weight, result, gradient


@each("ladder")
def test_every_rung_of_the_ladder_is_equations_6_to_12_in_float64(case, tensors):
    v = fields(tensors["ladder"], case, torch.float64)
    for name in case["strategies"]:
        terms, weight, result, gradient = rung(case, v, name)
        want = {k.removeprefix(f"{name}."): t for k, t in v.items() if k.startswith(f"{name}.")}
        close = {"rtol": 1e-9, "atol": 1e-15}
        # log r is the difference of two densities of order 1: 1e-9 of them, not of it.
        torch.testing.assert_close(terms.log_ratio, want["log_ratio"], rtol=1e-9, atol=1e-13)
        torch.testing.assert_close(weight, want["weight"], **close)
        torch.testing.assert_close(result.loss.mean(), want["loss"][0], **close)
        torch.testing.assert_close(gradient, want["grad_mean_new"], **close)
        assert result.clipped.tolist() == want["clipped"].bool().tolist()


@each("ladder")
def test_every_rung_of_the_ladder_holds_in_float32(case, tensors):
    v = fields(tensors["ladder"], case, torch.float32)
    for name in case["strategies"]:
        terms, weight, result, gradient = rung(case, v, name)
        want = {k.removeprefix(f"{name}."): t for k, t in v.items() if k.startswith(f"{name}.")}
        torch.testing.assert_close(terms.log_ratio, want["log_ratio"].double(), rtol=0, atol=2e-4)
        torch.testing.assert_close(weight, want["weight"].double(), rtol=2e-5, atol=0)
        # loss = −w·r·A with r within 2e-4: relative to the mean of |w·A|, which it is a sum of
        scale = float((weight * v["advantage"]).abs().mean())
        assert abs(float(result.loss.detach().mean() - want["loss"][0])) <= 2e-4 * scale
        # d loss/d mean carries x_next − mean of inputs rounded to 6e-8 of |x|, over std
        scale = float(want["grad_mean_new"].abs().max())
        assert float((gradient - want["grad_mean_new"]).abs().max()) <= 2e-4 * scale
        assert result.clipped.tolist() == want["clipped"].bool().tolist()


@DTYPES
@pytest.mark.parametrize("case", cases("advantages"))
def test_advantages_are_the_published_per_prompt_statistics(case, dtype):
    rewards = torch.tensor(case["rewards"], dtype=dtype)
    names = sorted(set(case["prompts"]))
    groups = torch.tensor([names.index(prompt) for prompt in case["prompts"]])
    std = "batch" if case["global_std"] else "group"
    advantage = create("advantage", "group", std=std, eps=case["eps"], clip=None)
    result = advantage({"score": rewards}, groups, {"score": 1.0})
    want = torch.tensor(case["advantages"], dtype=dtype)
    # float32: the difference to the group's mean loses up to 1e-7·|R|, over stds of order 0.1
    tolerance = 1e-9 if dtype == torch.float64 else 2e-5
    torch.testing.assert_close(result, want, rtol=tolerance, atol=tolerance)
