"""The HTTP side of a served reward: who may ask, how much, and what comes back."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from guardcore import GuardcoreError
from guardcore_plugins.serving.formats import Limits, RefusedRequestError, decode
from guardcore_plugins.serving.protocol import HEALTH, READY, SCORE, Question, write_reply
from guardcore_plugins.serving.worker import Job, Worker

UPLOAD_SECONDS = 120.0
"""How long a body may take to arrive: a client that stalls gives its place in the queue back."""


@dataclass(frozen=True)
class Settings:
    """What the server says of itself, and what it takes.

    Attributes:
        reward: Qualified name and version of the reward.
        options: The reward's options, for a client to compare.
        token: The bearer token that every request needs; None asks for none.
        max_queue: Requests under way at once; one more is answered 429.
        limits: Sizes of a request.
    """

    reward: str
    options: dict[str, Any] = field(default_factory=dict)
    token: str | None = field(default=None, repr=False)
    max_queue: int = 16
    limits: Limits = field(default_factory=Limits)


class Door:
    """Decides whether a request may enter, before any of its body is read."""

    def __init__(self, settings: Settings, worker: Worker) -> None:
        self._settings, self._worker = settings, worker
        self._inside = 0

    def authorise(self, request: Request) -> None:
        """Compare the token, in a time that does not depend on it.

        Raises:
            RefusedRequestError: 401.
        """
        if self._settings.token is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        same = secrets.compare_digest(given.strip().encode(), self._settings.token.encode())
        if scheme.lower() != "bearer" or not same:
            message = "the bearer token is missing or wrong"
            raise RefusedRequestError(401, message, {"WWW-Authenticate": "Bearer"})

    def check_ready(self) -> None:
        """Refuse until the reward has been built.

        Raises:
            RefusedRequestError: 503.
        """
        if self._worker.state != "ready":
            raise RefusedRequestError(
                503, f"the reward is {self._worker.state}", {"Retry-After": "2"}
            )

    @contextmanager
    def enter(self, request: Request) -> Iterator[None]:
        """Let a request in for as long as it lasts.

        Raises:
            RefusedRequestError: 401, 503, or 429 when the queue is full.
        """
        self.authorise(request)
        self.check_ready()
        if self._inside >= self._settings.max_queue:
            message = f"{self._inside} requests are under way; the limit is {self._inside}"
            raise RefusedRequestError(429, message, {"Retry-After": "1"})
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1


class Upload:
    """A request's body, read at most once, and never more of it than the limit."""

    def __init__(self, request: Request, limits: Limits) -> None:
        self._chunks: AsyncIterator[bytes] = request.stream()
        self._limits = limits
        self._announced = int(request.headers.get("content-length") or 0)

    async def read(self) -> bytes:
        """Return the body.

        Raises:
            RefusedRequestError: 413 too large, 408 too slow.
        """
        body = bytearray()
        if self._announced <= self._limits.bytes:
            try:
                async with asyncio.timeout(UPLOAD_SECONDS):
                    async for chunk in self._chunks:
                        body += chunk
                        if len(body) > self._limits.bytes:
                            break
                    else:
                        return bytes(body)
            except TimeoutError:
                raise RefusedRequestError(408, f"no body within {UPLOAD_SECONDS:g} s") from None
        raise RefusedRequestError(413, f"a body of more than {self._limits.body} MiB")

    async def discard(self) -> None:
        """Read on without keeping: who is answered while still sending may not see the answer."""
        left = 2 * self._limits.bytes
        try:
            async with asyncio.timeout(UPLOAD_SECONDS):
                async for chunk in self._chunks:
                    left -= len(chunk)
                    if left < 0:
                        return
        except (TimeoutError, ClientDisconnect):
            return


def make_app(worker: Worker, settings: Settings) -> FastAPI:
    """Return the application; its own pages of documentation are left out: they load scripts."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    door = Door(settings, worker)

    @app.get(HEALTH)
    async def health() -> JSONResponse:
        return JSONResponse({"alive": True})

    @app.get(READY)
    async def ready(request: Request) -> JSONResponse:
        try:
            door.authorise(request)
            door.check_ready()
        except RefusedRequestError as refused:
            return _refusal(refused)
        return JSONResponse({"ready": True, "reward": settings.reward, "options": settings.options})

    @app.post(SCORE)
    async def score(request: Request) -> JSONResponse:
        upload = Upload(request, settings.limits)
        try:
            with door.enter(request):
                kind, body = request.headers.get("content-type", ""), await upload.read()
                question = await run_in_threadpool(decode, kind, body, settings.limits)
                del body
                scores = await _scored(worker, question, request)
                return JSONResponse(write_reply(question, scores, settings.reward))
        except RefusedRequestError as refused:
            await upload.discard()
            return _refusal(refused)
        except ClientDisconnect:
            return JSONResponse({"error": "the client has left"}, 499)  # which nobody reads

    return app


def _refusal(refused: RefusedRequestError) -> JSONResponse:
    return JSONResponse({"error": str(refused)}, refused.status, refused.headers)


async def _scored(worker: Worker, question: Question, request: Request) -> list[float]:
    """Wait for the scores; a question whose client has left is taken back.

    Raises:
        RefusedRequestError: 422 when the prompt is to blame, 500 when the reward is.
        ClientDisconnect: Nobody waits any more.
    """
    job = Job(question.images, question.prompts)
    worker.submit(job)
    answer = asyncio.wrap_future(job.answer)
    gone = asyncio.ensure_future(_disconnected(request))
    either: set[asyncio.Future[Any]] = {answer, gone}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return await answer
    except GuardcoreError as error:
        # scoring names the reward around what it raised: a mistake in the prompt, or anything else
        status = 422 if isinstance(error.__cause__, GuardcoreError) else 500
        raise RefusedRequestError(status, " ".join(str(error).split())) from error
    finally:
        gone.cancel()
        answer.cancel()


async def _disconnected(request: Request) -> None:
    """Return when the client has left; its body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
