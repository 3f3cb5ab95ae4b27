"""The process of a served reward: where it listens, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from guardcore import GuardcoreError
from guardcore_plugins.serving.protocol import TOKEN, is_loopback
from guardcore_plugins.serving.worker import Worker

GRACE = 60
"""Seconds that requests under way get after SIGTERM."""


def read_token(
    file: Path | None, host: str, environment: Mapping[str, str] = os.environ
) -> str | None:
    """Return the bearer token of a file or of the environment; only loopback does without.

    Raises:
        GuardcoreError: There is none where one is needed, or it holds what a header cannot.
    """
    try:
        token = file.read_text("utf-8").strip() if file else environment.get(TOKEN, "").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise GuardcoreError(f"--token-file {file} cannot be read: {error}") from error
    where = f"--token-file {file}" if file else TOKEN
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise GuardcoreError(f"{where}: a token is printable ASCII without spaces")
    if token:
        return token
    if file is not None:
        raise GuardcoreError(f"{where} is empty")
    if not is_loopback(host):
        raise GuardcoreError(
            f"--host {host} can be reached from elsewhere: put a secret into {TOKEN} or a "
            "--token-file first, or listen on 127.0.0.1"
        )
    return None


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Raises:
        GuardcoreError: The address cannot be used.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise GuardcoreError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}; "
            "choose another --host or --port"
        ) from error


def address(listener: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server:
    """A worker behind HTTP until SIGTERM or Ctrl-C: what is under way is finished first."""

    def __init__(self, app: FastAPI, worker: Worker) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=GRACE,
        )
        self._worker, self._uvicorn = worker, uvicorn.Server(config)

    def run(self, listener: socket.socket, stopping: Callable[[], None] = lambda: None) -> None:
        """Serve until asked to stop.

        Raises:
            Exception: What building the reward raised.
        """
        with _signals_to(self.give_up):
            self._worker.start()
            self._uvicorn.run(sockets=[listener])
        if self._worker.error is not None:
            raise self._worker.error
        stopping()
        self._worker.stop(GRACE)

    def give_up(self) -> None:
        """Stop serving; may be called by another thread."""
        self._uvicorn.should_exit = True


@contextmanager
def _signals_to(stop: Callable[[], None]) -> Iterator[None]:
    """Take the signals before uvicorn does, and when it raises them again after a graceful end."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stop()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
