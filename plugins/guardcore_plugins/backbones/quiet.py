"""Keeping diffusers, transformers and peft quiet, and their errors to one line."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import shorten
from typing import Any


@contextmanager
def quiet(bars: bool = False) -> Iterator[None]:
    """Silence the libraries' warnings and, unless ``bars``, their progress bars.

    Nothing they say here asks a user to act: a prompt cut for CLIP is whole for T5, and the bars
    are of local files.
    """
    from diffusers.utils import logging as diffusers_log
    from transformers.utils import logging as transformers_log

    # where it is installed, its import warns of a kernel that nothing here uses
    bitsandbytes = logging.getLogger("bitsandbytes")
    level = bitsandbytes.level
    logs: tuple[Any, ...] = (diffusers_log, transformers_log)
    before = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    try:
        bitsandbytes.setLevel(logging.ERROR)
        for log in logs:
            log.set_verbosity_error()
            if not bars:
                log.disable_progress_bar()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        bitsandbytes.setLevel(level)
        for log, verbosity, had_bars in before:
            log.set_verbosity(verbosity)
            if had_bars:
                log.enable_progress_bar()


def first_line(error: BaseException) -> str:
    """Return the first line of an error that says something, at most 200 characters of it."""
    lines = (line.strip() for line in str(error).splitlines())
    line = next((line for line in lines if line), type(error).__name__)
    return shorten(line, 200, placeholder=" …").rstrip(".")
