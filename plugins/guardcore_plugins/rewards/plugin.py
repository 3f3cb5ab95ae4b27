"""The built-in rewards. Importing this loads none of what they judge with."""

from __future__ import annotations

from guardcore import Registrar, hookimpl
from guardcore_plugins.rewards.brisque import brisque
from guardcore_plugins.rewards.clip_score import clip_score
from guardcore_plugins.rewards.geneval import geneval
from guardcore_plugins.rewards.jpeg_size import jpeg_size
from guardcore_plugins.rewards.ocr import ocr
from guardcore_plugins.rewards.pickscore import pickscore
from guardcore_plugins.rewards.remote import remote


@hookimpl
def guardcore_register_rewards(register: Registrar) -> None:
    """Add the rewards under their short names."""
    register("geneval", geneval)
    register("ocr", ocr)
    register("pickscore", pickscore)
    register("clip-score", clip_score)
    register("jpeg-size", jpeg_size)
    register("brisque", brisque)
    register("remote", remote)
