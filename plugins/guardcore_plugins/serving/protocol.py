"""What a reward's client and its server say to each other; ``docs/serve-a-reward.md`` shows it.

The client posts images to ``/v1/score``, each with an id, its prompt and the prompt's metadata; the
answer gives a number for every id. An answer counts only when it is for this request and these
very ids, so no number can reach another image.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints, ValidationError

from guardcore import Prompt

if TYPE_CHECKING:
    from torch import Tensor

SCORE, READY, HEALTH = "/v1/score", "/ready", "/health"
TOKEN = "GUARDCORE_REWARD_TOKEN"
"""The environment variable that holds the bearer token, on both sides."""

Id = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Entry(BaseModel):
    """What is said of one image; in JSON the image itself is there, too, as a base64 PNG."""

    model_config = ConfigDict(strict=True, extra="ignore")

    id: Id
    prompt: str
    metadata: dict[str, Any] = {}
    png: str = Field("", repr=False)


class Request(BaseModel):
    """A request's JSON, the whole body or the header of a safetensors one."""

    model_config = ConfigDict(strict=True, extra="ignore")

    request: Id
    images: list[Entry] = Field(min_length=1)


class Reply(BaseModel):
    """An answer's JSON: a finite number for each id; ``reward`` says which one judged."""

    model_config = ConfigDict(strict=True, extra="ignore")

    request: str
    scores: dict[str, FiniteFloat]
    reward: str = ""


@dataclass(frozen=True)
class Question:
    """Images ``[B, 3, H, W]``, float32 in [0, 1] on the CPU, and what is said of them."""

    request: str
    ids: tuple[str, ...]
    prompts: tuple[Prompt, ...]
    images: Tensor


class UntrustedReplyError(Exception):
    """An answer that is not a number for each image of the question."""


def ask(images: Tensor, prompts: Sequence[Prompt]) -> Question:
    """Return a question with a new request id; an image's id is its place and its content."""
    ids = (
        f"{place}-{hashlib.sha256(image.numpy().tobytes()).hexdigest()[:16]}"
        for place, image in enumerate(images.contiguous())
    )
    return Question(uuid4().hex, tuple(ids), tuple(prompts), images)


def write_reply(question: Question, scores: Sequence[float], reward: str) -> dict[str, Any]:
    """Return the answer's JSON."""
    numbers = dict(zip(question.ids, scores, strict=True))
    return {"request": question.request, "reward": reward, "scores": numbers}


def read_reply(body: bytes, question: Question, reward: str = "") -> list[float]:
    """Return the scores in the order of the question's images.

    Raises:
        UntrustedReplyError: It is no answer, or one to another question, or of another ``reward``.
    """
    try:
        reply = Reply.model_validate_json(body)
    except ValidationError as error:
        raise UntrustedReplyError(f"the reply is not valid: {first_problem(error)}") from error
    if reply.request != question.request:
        raise UntrustedReplyError(f"the reply is for another request ({reply.request[:40]!r})")
    if reward and reply.reward and reply.reward != reward:
        raise UntrustedReplyError(f"the server has {reply.reward!r} now, where it had {reward!r}")
    missing = [name for name in question.ids if name not in reply.scores]
    if missing or len(reply.scores) != len(question.ids):
        found = len(question.ids) - len(missing)
        raise UntrustedReplyError(
            f"the reply scores {found} of the {len(question.ids)} images that were sent, "
            f"and {len(reply.scores) - found} others"
        )
    return [reply.scores[name] for name in question.ids]


def first_problem(error: ValidationError) -> str:
    """Return the first thing that is wrong, with its place."""
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part)[:40] for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else problem["msg"]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``; any name but ``localhost`` counts as public."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
