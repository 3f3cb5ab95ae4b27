"""The contract, guided and not, and an export that computes what the adapters did."""

from pathlib import Path

import pytest
import torch

from guardcore import Prompt, create
from guardcore.testing import check_backbone


@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_it_keeps_the_contract(guidance_scale: float) -> None:
    check_backbone(create("backbone", "small-flow", guidance_scale=guidance_scale))


@torch.no_grad()
def test_what_is_exported_has_the_trained_velocity(tmp_path: Path) -> None:
    trained = create("backbone", "small-flow")
    for parameter in trained.trainable().values():
        parameter.add_(0.1)
    condition = trained.encode([Prompt("a red circle")], 64, 64)
    x, sigma = torch.ones(1, *trained.latent_shape(64, 64)), torch.tensor([0.5])
    before = trained.velocity(x, sigma, condition)
    trained.export(tmp_path, "merged")
    again = create("backbone", "small-flow", weights=tmp_path / "network.safetensors")
    torch.testing.assert_close(again.velocity(x, sigma, condition), before)
    torch.testing.assert_close(trained.velocity(x, sigma, condition), before)
