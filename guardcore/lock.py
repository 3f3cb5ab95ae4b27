"""One writer a run directory: a lock that the system drops with the process that holds it.

Left out: a lock of our own making over file systems that have none, because nothing there could
tell a process that died from one that works.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from guardcore.errors import GuardcoreError, WriteError
from guardcore.writing import refused

_log = logging.getLogger("guardcore")
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What a file system says that has none, as some network mounts do."""


class RunLock:
    """The lock of a directory: ``.lock``, and ``.holder`` with who has it.

    ``.lock`` stays when it is given back: to remove it would let two processes hold two files of
    one name.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._holder = directory / ".holder"
        self._lock: Any = None

    @property
    def held(self) -> bool:
        """Whether this object has it."""
        return self._lock is not None

    def take(self) -> None:
        """Take it, unless it is held already; the directory must be there.

        Raises:
            GuardcoreError: Another process has it, or the lock cannot be written.
        """
        if self.held:
            return
        from filelock import FileLock, Timeout

        lock = FileLock(self._directory / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise GuardcoreError(
                f"{self._directory} is being written by {self._who()}; wait for it, stop it, or "
                "choose another --out"
            ) from None
        except (NotImplementedError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                raise WriteError(refused(self._directory / ".lock", error)) from error
            _log.warning(
                "%s: the file system has no locks (%s); see that no other process writes here",
                self._directory,
                error,
            )
            return
        self._lock = lock
        me = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}
        with contextlib.suppress(OSError):  # a full disk: the lock holds without it
            self._holder.write_text(json.dumps(me), encoding="utf-8")

    def give_back(self) -> None:
        """Let others have it."""
        if self._lock is None:
            return
        with contextlib.suppress(OSError):
            self._holder.unlink(missing_ok=True)
        self._lock.release()
        self._lock = None

    def _who(self) -> str:
        """Name the process that has it, as far as it has said so."""
        try:
            me = json.loads(self._holder.read_text(encoding="utf-8"))
            return f"process {me['pid']} on {me['host']} since {me['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"


def _now() -> str:
    return datetime.now(UTC).astimezone().isoformat(" ", "seconds")
