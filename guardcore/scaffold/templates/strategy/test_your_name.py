"""The contract, and the gradient that the sentence is for."""

import torch
from guardcore import RatioTerms, create, log_ratio, per_row, surrogate
from guardcore.testing import check_strategy, step_context

from guardcore_your_name import YOUR_NAME


def test_it_keeps_the_contract() -> None:
    check_strategy(YOUR_NAME)


def test_at_ratio_1_the_gradient_is_advantage_times_noise_over_dimensions_at_every_step() -> None:
    context = step_context(rows=4, change=0.0)
    assert context.velocity is not None
    assert context.advantage is not None
    terms, weight = RatioTerms(log_ratio(context)), torch.ones(4)
    for word in YOUR_NAME.ratio:
        options = {"use": word} if isinstance(word, str) else dict(word)
        terms = create("ratio_transform", options.pop("use"), **options)(terms, context)
    for word in YOUR_NAME.gradient_weight:
        weight = weight * create("gradient_weight", str(word))(context)
    loss = surrogate(terms, context.advantage, weight).loss.sum()
    (gradient,) = torch.autograd.grad(loss, context.velocity)
    noise = (context.x_next - context.old.mean) / per_row(context.old.std, context.x_next)
    wanted = per_row(context.advantage, noise) * noise / noise[0].numel()
    torch.testing.assert_close(gradient, wanted, atol=1e-7, rtol=1e-4)
