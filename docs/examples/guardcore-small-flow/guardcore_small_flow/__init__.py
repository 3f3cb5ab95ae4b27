"""A small network of one's own as a backbone: what registering needs, and no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from guardcore import Backbone, Options, Registrar, hookimpl

if TYPE_CHECKING:
    from guardcore import Outline


class SmallFlowOptions(Options):
    """Which weights, and what of them is trained."""

    weights: Path | None = Field(
        None, description="safetensors file of the network; by default random weights"
    )
    rank: int = Field(4, ge=1, description="of the adapter beside each linear layer")
    guidance_scale: float = Field(
        1.0, ge=1, description="classifier-free guidance; 1: one forward pass, without guidance"
    )
    device: str = Field("cpu", description="where the network computes, such as cuda")

    def outline(self) -> Outline:
        """Return the backbone without weights, for ``guardcore plan``."""
        from guardcore_small_flow.model import outline

        return outline(self)


def small_flow_backbone(options: SmallFlowOptions) -> Backbone:
    """A small network, frozen, with low-rank adapters that are trained."""
    from guardcore_small_flow.model import SmallFlow

    return SmallFlow(options)


@hookimpl
def guardcore_register_backbones(register: Registrar) -> None:
    """Register the one backbone."""
    register("small-flow", small_flow_backbone)
