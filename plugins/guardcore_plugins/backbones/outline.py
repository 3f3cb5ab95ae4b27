"""The backbones' outlines: the same classes as in a run, built on the ``meta`` device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from guardcore import Backbone, Condition, Outline, Part, Saving
from guardcore_plugins.backbones.checkpointing import enable_checkpointing
from guardcore_plugins.backbones.lora import LoraTuning
from guardcore_plugins.backbones.offloading import repeated_blocks
from guardcore_plugins.backbones.options import ModelOptions
from guardcore_plugins.backbones.outline_modules import meta_components
from guardcore_plugins.backbones.outline_weights import held_bytes, trained_elsewhere
from guardcore_plugins.backbones.shapes import shapes_of
from guardcore_plugins.backbones.tuning import Tuning
