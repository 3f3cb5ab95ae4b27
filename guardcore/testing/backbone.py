"""The laws of a backbone.

Each is tried on one small case: two prompts, two noise levels, one image size.
"""

from __future__ import annotations

from functools import partial

from guardcore.components import Backbone
from guardcore.testing import backbone_model, backbone_training
from guardcore.testing.law import label, once
from guardcore.testing.methods import has_methods
from guardcore.testing.probe import Probe

METHODS = (
    "encode",
    "schedule",
    "latent_shape",
    "velocity",
    "decode",
    "trainable",
    "reference",
    "save_adapter",
    "load_adapter",
)


def check_backbone(
    backbone: Backbone, *, height: int = 64, width: int = 64, name: str | None = None
) -> None:
    """Check a backbone against its contract, and leave its weights as they were.

    Args:
        backbone: As its factory builds it, untrained: its reference is itself.
        height: Of the images, in pixels.
        width: Of the images, in pixels.
        name: What errors call it.

    Raises:
        ContractError: It breaks a law, which the error names.
    """
    who = label("backbone", backbone, name)
    once("methods", who, lambda: has_methods(backbone, METHODS))
    probe = Probe(backbone, height, width)
    for law in (*backbone_model.LAWS, *backbone_training.LAWS):
        once(law.__name__.replace("_", "-"), who, partial(law, probe))
