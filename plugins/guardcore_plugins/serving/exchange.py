"""One HTTP exchange with a reward's server, and what its failure means.

urllib3 is the client, without its own retries and redirects: a retry may go to another server,
and a redirect would carry the token elsewhere.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import urllib3

from guardcore import GuardcoreError
from guardcore_plugins.serving.formats import CONTENT_TYPES, Format
from guardcore_plugins.serving.protocol import (
    READY,
    SCORE,
    Question,
    UntrustedReplyError,
    read_reply,
)

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

CONNECT_SECONDS = 10.0
BUSY = {408, 425, 429, 502, 503, 504}
"""Statuses of a server that may do better later; other 5xx are a reward that failed."""


class UnavailableError(Exception):
    """The server cannot be reached or has no time; ``rest``: the seconds it wants to be left."""

    def __init__(self, reason: str, rest: float = 0.0) -> None:
        super().__init__(reason)
        self.rest = rest


@dataclass(frozen=True)
class Identity:
    """What a server says of its reward; empty where it says nothing."""

    reward: str = ""
    options: str = ""


class Exchange:
    """Talks to servers.

    Args:
        token: The bearer token, or None.
        token_env: Where the token comes from, for errors.
        form: How images travel.
    """

    def __init__(self, token: str | None, token_env: str, form: Format) -> None:
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._token_env, self._content_type = token_env, CONTENT_TYPES[form]
        self._pool = urllib3.PoolManager(retries=False, num_pools=64)

    def ready(self, url: str, seconds: float) -> Identity:
        """Ask whether a server is ready.

        Raises:
            UnavailableError: It is not.
            GuardcoreError: It refuses us.
        """
        try:
            body = self._send("GET", url + READY, None, seconds, 2**16)
        except UntrustedReplyError as error:
            raise UnavailableError(str(error)) from error
        told = _json(body)
        if not isinstance(told, dict):
            return Identity()
        return Identity(str(told.get("reward", "")), json.dumps(told.get("options", {})))

    def score(
        self, url: str, body: bytes, question: Question, seconds: float, reward: str
    ) -> list[float]:
        """Have a question's images scored.

        Raises:
            UnavailableError: No answer this time.
            UntrustedReplyError: An answer that is not one.
            GuardcoreError: The server refuses, and would again.
        """
        limit = 2**16 + 2**10 * len(question.ids)
        return read_reply(self._send("POST", url + SCORE, body, seconds, limit), question, reward)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _send(self, method: str, url: str, body: bytes | None, seconds: float, limit: int) -> bytes:
        """Return the body of a 200, at most ``limit`` bytes of it, within ``seconds``."""
        until = time.monotonic() + seconds
        headers = self._headers | ({"Content-Type": self._content_type} if body else {})
        timeout = urllib3.Timeout(connect=min(CONNECT_SECONDS, seconds), read=seconds)
        try:
            response = self._pool.request(
                method,
                url,
                body=body,
                headers=headers,
                timeout=timeout,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                reply = _read(response, until, limit)
            finally:
                response.close()  # not for reuse, where some of it has not been read
        except urllib3.exceptions.NewConnectionError as error:  # which is a timeout to urllib3
            raise UnavailableError(_plain(error)) from error
        except urllib3.exceptions.TimeoutError as error:
            raise UnavailableError(f"no answer within {seconds:.3g} s") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnavailableError(_plain(error)) from error
        if response.status == 200:
            return reply
        raise self._failure(url, response, reply)

    def _failure(self, url: str, response: BaseHTTPResponse, body: bytes) -> Exception:
        """Return what a status other than 200 means."""
        status, said = response.status, _said(body)
        told = f"answered {status}" + (f" ({said})" if said else "")
        if status in BUSY:
            return UnavailableError(told, _seconds(response.headers.get("Retry-After")))
        if status >= 500:
            return UntrustedReplyError(told)
        remedies = {
            401: f"put the server's token into {self._token_env}",
            403: f"put the server's token into {self._token_env}",
            413: "lower the reward's batch_size, or raise --max-body or --max-side of the server",
            422: "the server cannot judge this request",
        }
        remedy = remedies.get(status, "is that the address of a reward server?")
        return GuardcoreError(f"{url} {told}: {remedy}")


def _read(response: BaseHTTPResponse, until: float, limit: int) -> bytes:
    body = bytearray()
    while chunk := response.read1(2**16):
        body += chunk
        if len(body) > limit:
            raise UntrustedReplyError(f"the reply is longer than {limit} bytes")
        if time.monotonic() > until:
            raise UnavailableError("the reply did not end in time")
    return bytes(body)


def _said(body: bytes) -> str:
    """Return what an error's body says, on one line."""
    told = _json(body)
    if isinstance(told, dict):
        told = told.get("error") or told.get("detail") or ""
    line = " ".join(str(told).split())
    return "".join(c for c in line if c.isprintable())[:300]


def _json(body: bytes) -> Any:
    """Return what a body holds; where that is no JSON, its text."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")


def _seconds(header: str | None) -> float:
    """Return ``Retry-After`` in seconds; its form as a date is left out: clocks differ."""
    return float(header) if header and header.isascii() and header.isdecimal() else 0.0


def _plain(error: Exception) -> str:
    """Return the cause that says something: urllib3 wraps it in where it happened."""
    cause: BaseException = error
    while not isinstance(cause, OSError) and (below := cause.__cause__ or cause.__context__):
        cause = below
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return " ".join(f"{text or type(cause).__name__}".split())[:200]
