"""The contract, and the flow's known end."""

import torch
from guardcore import Prompt, ode_step
from guardcore.testing import check_backbone

from guardcore_your_name import YourNameOptions, your_name_backbone


def test_it_keeps_the_contract() -> None:
    check_backbone(your_name_backbone(YourNameOptions()))


@torch.no_grad()
def test_denoising_takes_noise_to_the_words_colour_plus_spread_times_noise() -> None:
    backbone = your_name_backbone(YourNameOptions(spread=0.25))
    colour = torch.tensor([0.5, 0.0, -0.5])
    backbone.table.copy_(colour)  # of every word
    condition = backbone.encode([Prompt("sunset"), Prompt("a red sunset")], 64, 64)
    noise = torch.randn(2, *backbone.latent_shape(64, 64), generator=torch.manual_seed(0))
    x, schedule = noise, backbone.schedule(1000, 64, 64)
    for index in range(len(schedule)):
        step = schedule.step(index, 2)
        x = ode_step(backbone.velocity(x, step.sigma, condition), x, step).mean
    # Euler's error is of first order: 1000 steps leave a few thousandths
    torch.testing.assert_close(x, colour[:, None, None] + 0.25 * noise, atol=1e-2, rtol=0)
