"""A reward that is judged by a server: for judges that are heavy, or whose packages conflict.

``guardcore serve-reward`` is such a server, and ``docs/serve-a-reward.md`` says what another must
answer. Scores are asked for by id and refused unless every image has its own finite number.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from guardcore import GuardcoreError, Options, Prompt
from guardcore_plugins.rewards.inputs import check_images

if TYPE_CHECKING:
    from multiprocessing.pool import ThreadPool

    from torch import Tensor

    from guardcore_plugins.serving.exchange import Exchange
    from guardcore_plugins.serving.protocol import Question
    from guardcore_plugins.serving.rotation import Deadline

_READY_SECONDS = 10.0
_log = logging.getLogger("guardcore")


class RemoteOptions(Options):
    """Options of ``remote``."""

    may_change: ClassVar[frozenset[str]] = frozenset(
        {"urls", "token_env", "batch_size", "timeout", "deadline", "retries"}
    )

    urls: tuple[str, ...] = Field(
        min_length=1, description="servers of one and the same reward, e.g. http://127.0.0.1:8000"
    )
    format: Literal["safetensors", "png"] = Field(
        "safetensors",
        description="how images travel; safetensors: float32, exact; png: 8 bits a channel in "
        "JSON, a third of the size or less, which any server can read",
    )
    token_env: str = Field(
        "GUARDCORE_REWARD_TOKEN",
        min_length=1,
        description="environment variable with the bearer token; none is sent where it is not set",
    )
    batch_size: int = Field(16, ge=1, description="most images a request")
    timeout: float = Field(120.0, gt=0, description="seconds that one request may take")
    deadline: float = Field(
        600.0,
        gt=0,
        description="seconds that one scoring call may take with all that is tried again; a server "
        "that cannot be reached or is busy is tried until then",
    )
    retries: int = Field(
        10,
        ge=0,
        description="how often a request is sent again after an unusable answer (500, or scores "
        "that are missing, not finite or of other images)",
    )

    @field_validator("urls", mode="before")
    @classmethod
    def _one_alone(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("urls")
    @classmethod
    def _addresses(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"expected http://HOST:PORT, received {url!r}")
            if parts.username or parts.query or parts.fragment:
                raise ValueError(f"{parts.hostname}: no user, ?query or #fragment; see token_env")
        plain = tuple(url.rstrip("/") for url in urls)
        if len(set(plain)) < len(plain):
            raise ValueError("a server is listed twice")
        return plain


class Remote:
    """The reward: asks its servers, each one request at a time.

    Raises:
        GuardcoreError: No server is ready, one refuses us, or they serve different rewards.
    """

    def __init__(self, options: RemoteOptions, exchange: Exchange) -> None:
        from guardcore_plugins.serving.rotation import Rotation

        self._options, self._exchange = options, exchange
        self._reward = find_ready(options, exchange)
        self._rotation = Rotation(options.urls)
        self._threads: ThreadPool | None = None

    def __call__(self, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """Return one score an image, float64 on the CPU ``[B]``, exactly as the server had it."""
        check_images(images, prompts)
        import torch

        from guardcore_plugins.serving.protocol import ask
        from guardcore_plugins.serving.rotation import Deadline

        images = images.detach().float().cpu()
        size = min(self._options.batch_size, -(-len(images) // len(self._options.urls)))
        questions = [
            ask(images[start : start + size], prompts[start : start + size])
            for start in range(0, len(images), size)
        ]
        call = partial(self._answer, deadline=Deadline.after(self._options.deadline))
        answers = self._in_parallel(call, questions)
        return torch.tensor([score for answer in answers for score in answer], dtype=torch.float64)

    def close(self) -> None:
        """Stop asking, and close the connections."""
        self._rotation.close()
        if self._threads is not None:
            self._threads.terminate()
        self._exchange.close()

    def _in_parallel(self, call: Any, questions: Sequence[Question]) -> list[list[float]]:
        """Ask all servers at once; with one there is nothing to be won by a thread."""
        if len(questions) == 1 or len(self._options.urls) == 1:
            return [call(question) for question in questions]
        if self._threads is None:
            from multiprocessing.pool import ThreadPool  # daemons: Ctrl-C does not wait for them

            self._threads = ThreadPool(len(self._options.urls))
        return self._threads.map(call, questions, chunksize=1)

    def _answer(self, question: Question, deadline: Deadline) -> list[float]:
        """Ask one server after another until one answers."""
        from guardcore_plugins.serving.exchange import UnavailableError
        from guardcore_plugins.serving.formats import encode
        from guardcore_plugins.serving.protocol import UntrustedReplyError

        body, refused = encode(question, self._options.format), 0
        while refused <= self._options.retries:
            url = self._rotation.borrow(deadline)
            if url is None:
                waited = f"no answer within the deadline of {self._options.deadline:g} s"
                raise GuardcoreError(f"{waited}; {self._rotation.reasons()}")
            seconds = min(self._options.timeout, max(deadline.left, 0.001))
            try:
                scores = self._exchange.score(url, body, question, seconds, self._reward)
            except UnavailableError as failure:
                self._rotation.give_back_failed(url, str(failure), failure.rest)
            except UntrustedReplyError as failure:
                refused += 1
                self._rotation.give_back_failed(url, str(failure))
            except BaseException:
                deadline.end()
                self._rotation.release(url)
                raise
            else:
                self._rotation.give_back(url)
                return scores
        deadline.end()
        raise GuardcoreError(f"{refused} unusable answers in a row; {self._rotation.reasons()}")


def find_ready(options: RemoteOptions, exchange: Exchange) -> str:
    """Ask every server whether it is ready; return the name of the reward that they serve.

    Raises:
        GuardcoreError: None is, or they serve different rewards.
    """
    from guardcore_plugins.serving.exchange import UnavailableError

    found, silent = {}, {}
    for url in options.urls:
        try:
            found[url] = exchange.ready(url, min(_READY_SECONDS, options.timeout))
        except UnavailableError as reason:
            silent[url] = str(reason)
    told = "; ".join(f"{url}: {reason}" for url, reason in silent.items())
    if not found:
        raise GuardcoreError(f"no server is ready ({told}); start it, or correct urls")
    if silent:
        _log.warning("reward remote: going on without %s", told)
    rewards = {identity.reward for identity in found.values() if identity.reward}
    if len(rewards) > 1:
        names = ", ".join(f"{url}: {identity.reward}" for url, identity in found.items())
        raise GuardcoreError(f"the servers have different rewards ({names})")
    options_of = {url: identity.options for url, identity in found.items()}
    if len(set(options_of.values())) > 1:
        told = "; ".join(f"{url}: {given}" for url, given in options_of.items())
        _log.warning("reward remote: the servers' rewards have different options (%s)", told)
    return rewards.pop() if rewards else ""


def remote(options: RemoteOptions) -> Remote:
    """Have the images judged by a server, e.g. one that 'guardcore serve-reward' runs."""
    from guardcore_plugins.serving.exchange import Exchange
    from guardcore_plugins.serving.protocol import is_loopback

    token = os.environ.get(options.token_env, "").strip() or None
    parts = {url: urlsplit(url) for url in options.urls}
    open_to_all = [
        url for url, p in parts.items() if p.scheme == "http" and not is_loopback(p.hostname or "")
    ]
    if token and open_to_all:
        _log.warning("reward remote: the token travels unencrypted to %s", ", ".join(open_to_all))
    return Remote(options, Exchange(token, options.token_env, options.format))
