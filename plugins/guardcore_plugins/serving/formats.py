"""The two bodies of a request: safetensors, and JSON with PNG images. Never pickle.

Safetensors hold the images as they are, float32, and the request's JSON in the file's metadata
under ``request``. A PNG has 8 bits a channel: an image changes by up to 1/510.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from guardcore import GuardcoreError, Prompt
from guardcore_plugins.serving.protocol import Entry, Question, Request, first_problem

if TYPE_CHECKING:
    from torch import Tensor

Format = Literal["safetensors", "png"]
CONTENT_TYPES: dict[Format, str] = {
    "safetensors": "application/vnd.safetensors",
    "png": "application/json",
}
MEBIBYTE = 2**20


class RefusedRequestError(Exception):
    """A request that is not served, with its HTTP status."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}


@dataclass(frozen=True)
class Limits:
    """What a server takes: MiB a request, also of its images as float32; pixels of a side."""

    body: int = 64
    side: int = 2048

    @property
    def bytes(self) -> int:
        """The largest body."""
        return self.body * MEBIBYTE


def encode(question: Question, form: Format) -> bytes:
    """Return a question as a request's body.

    Raises:
        GuardcoreError: A prompt's metadata has no form in JSON.
    """
    pictures = _pngs(question.images) if form == "png" else [""] * len(question.ids)
    entries = [
        {"id": name, "prompt": prompt.text, "metadata": dict(prompt.metadata)}
        | ({"png": png} if png else {})
        for name, prompt, png in zip(question.ids, question.prompts, pictures, strict=True)
    ]
    text = _as_json({"request": question.request, "images": entries})
    if form == "png":
        return text.encode()
    from safetensors.torch import save

    return save({"images": question.images.contiguous()}, metadata={"request": text})


def decode(content_type: str, body: bytes, limits: Limits) -> Question:
    """Return the question in a request's body.

    Raises:
        RefusedRequestError: 413 too large, 415 neither format, 422 anything else that is wrong.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == CONTENT_TYPES["png"]:
        request = _read_request(body)
        images = _from_pngs(request.images, limits)
    elif kind == CONTENT_TYPES["safetensors"]:
        request, images = _from_safetensors(body, limits)
    else:
        known = " or ".join(CONTENT_TYPES.values())
        raise RefusedRequestError(415, f"the content type must be {known}, received {kind[:60]!r}")
    ids = tuple(entry.id for entry in request.images)
    if len(set(ids)) < len(ids):
        raise RefusedRequestError(422, "images: two have the same id")
    prompts = tuple(Prompt(entry.prompt, entry.metadata) for entry in request.images)
    return Question(request.request, ids, prompts, images)


def _as_json(tree: dict[str, Any]) -> str:
    try:
        return json.dumps(tree, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise GuardcoreError(
            f"the metadata of a prompt, the first of which is {tree['images'][0]['prompt']!r}, "
            f"cannot be sent as JSON: {error}"
        ) from error


def _read_request(text: bytes | str) -> Request:
    try:
        return Request.model_validate_json(text)
    except ValidationError as error:
        raise RefusedRequestError(422, first_problem(error)) from error


def _pngs(images: Tensor) -> list[str]:
    from PIL import Image

    from guardcore_plugins.rewards.inputs import as_bytes

    pictures = []
    for picture in as_bytes(images):
        file = BytesIO()
        Image.fromarray(picture).save(file, format="PNG", compress_level=1)
        pictures.append(base64.b64encode(file.getvalue()).decode())
    return pictures


def _from_pngs(entries: list[Entry], limits: Limits) -> Tensor:
    """Return ``[B, 3, H, W]``; no pixel is decoded before the sizes are known to be allowed."""
    import numpy as np
    import torch

    opened = [_open_png(entry, place) for place, entry in enumerate(entries)]
    width, height = opened[0].size
    for place, picture in enumerate(opened):
        if picture.size != (width, height):
            raise RefusedRequestError(422, f"images.{place}: all images must have one size")
    check_size(len(opened), height, width, limits)
    try:
        pixels = np.stack([np.asarray(picture.convert("RGB")) for picture in opened])
    except (OSError, ValueError, SyntaxError) as error:  # what PIL calls a broken file
        raise RefusedRequestError(422, f"images: a PNG is broken: {error}") from error
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float() / 255


def _open_png(entry: Entry, place: int) -> Any:
    """Read a PNG's header."""
    from PIL import Image

    try:
        file = BytesIO(base64.b64decode(entry.png, validate=True))
        return Image.open(file, formats=["PNG"])
    except Image.DecompressionBombError as error:
        raise RefusedRequestError(413, f"images.{place}: {error}") from error
    except (OSError, ValueError, SyntaxError) as error:  # binascii's is a ValueError
        raise RefusedRequestError(422, f"images.{place}.png is no PNG in base64") from error


def _from_safetensors(body: bytes, limits: Limits) -> tuple[Request, Tensor]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(body)  # checks the header's lengths and offsets
        header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
        request, images = _read_request(header["__metadata__"]["request"]), tensors["images"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        what = "no safetensors with a tensor 'images' and metadata 'request'"
        raise RefusedRequestError(422, f"the body is {what}") from error
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.float32:
        found = f"{images.dtype} {list(images.shape)}"
        raise RefusedRequestError(422, f"images must be float32 [B, 3, H, W], received {found}")
    if len(images) != len(request.images):
        raise RefusedRequestError(422, f"{len(request.images)} entries for {len(images)} images")
    check_size(len(images), images.shape[2], images.shape[3], limits)
    if not images.isfinite().all():
        raise RefusedRequestError(422, "images hold a number that is not finite")
    return request, images


def check_size(number: int, height: int, width: int, limits: Limits) -> None:
    """Refuse images that are empty, or larger than the limits as float32.

    Raises:
        RefusedRequestError: 413 or 422.
    """
    if not height or not width:
        raise RefusedRequestError(422, f"images of {height}x{width} pixels are empty")
    if max(height, width) > limits.side:
        raise RefusedRequestError(
            413, f"images of {height}x{width} pixels; the limit is {limits.side} a side"
        )
    size = number * 3 * height * width * 4
    if size > limits.bytes:
        raise RefusedRequestError(
            413, f"images of {size / MEBIBYTE:.0f} MiB as float32; the limit is {limits.body} MiB"
        )
