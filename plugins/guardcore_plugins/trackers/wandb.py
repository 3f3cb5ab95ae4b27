"""Metrics and images to Weights & Biases, through its own client, with or without a network."""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from guardcore import GuardcoreError
from guardcore_plugins.rewards.inputs import as_bytes

if TYPE_CHECKING:
    from torch import Tensor
    from wandb import Run

    from guardcore_plugins.trackers.plugin import WandbOptions

_log = logging.getLogger("guardcore")
_FINISH = 300.0
"""Seconds that the end of a run waits for its upload; the files stay, and can be sent later."""
_REMEDY = "mode=offline writes files, and `wandb sync` uploads them later"


class Wandb:
    """Logs one run, and goes on with the same one when it is resumed.

    From the first iteration on the run doesn't depend on it: where the client fails, a line in
    the log says so, and nothing more is sent.

    Raises:
        GuardcoreError: The package is not installed, nobody is logged in, or the server can't be
            reached.
    """

    def __init__(self, options: WandbOptions) -> None:
        self._options = options
        self._client = _imported()
        self._run: Run | None = None
        self._failed = False
        self._mode = options.mode or self._client.setup().settings.mode
        if self._mode == "online":
            try:
                self._client.login()
            except self._client.Error as error:
                raise _refusal(error) from error

    def started(self, directory: Path, config: Mapping[str, Any], iteration: int) -> None:
        """Begin the run, or go on with it."""
        options, client = self._options, self._client
        folder = options.directory or directory
        folder.mkdir(parents=True, exist_ok=True)  # else the client takes another in silence
        try:
            self._run = client.init(
                project=options.project,
                name=options.name or directory.resolve().name,
                group=options.group,
                tags=options.tags,
                mode=self._mode,
                dir=str(folder),
                id=None if self._mode == "disabled" else _run_id(directory / "wandb" / "run-id"),
                resume="allow",
                config=dict(config),
                reinit="create_new",
                settings=client.Settings(console="off", quiet=True, finish_timeout=_FINISH),
            )
        except client.Error as error:
            raise _refusal(error) from error

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Log an iteration's figures, and with them its images; this ends the step."""
        figures = {name: value for name, value in values.items() if value is not None}
        self._tell(lambda run: run.log(figures, step=step, commit=True))

    def images(self, step: int, name: str, images: Tensor, captions: Sequence[str]) -> None:
        """Log images with their captions, to the step that the figures will end."""
        from PIL import Image

        pairs = zip(as_bytes(images), captions, strict=True)
        media = [
            self._client.Image(Image.fromarray(pixels), caption=caption)
            for pixels, caption in pairs
        ]
        self._tell(lambda run: run.log({name: media}, step=step, commit=False))

    def close(self) -> None:
        """Upload what is left, for five minutes at most; a run that fails is called failed."""
        failed = sys.exception() is not None  # what is on its way through whoever closes us
        if self._run is not None:
            self._tell(lambda run: run.finish(exit_code=int(failed)))

    def _tell(self, what: Callable[[Run], object]) -> None:
        if self._run is None:
            raise GuardcoreError("wandb: call started(directory, config, -1) first")
        if self._failed:
            return
        try:
            what(self._run)
        except (self._client.Error, OSError) as error:
            self._failed = True
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            _log.warning(
                "wandb: %s; the run goes on without it, and what it was told before is in "
                "%s, for `wandb sync`",
                reason,
                self._run.settings.sync_dir,
            )


def _imported() -> ModuleType:
    try:
        import wandb
    except ImportError as error:
        raise GuardcoreError(
            f"wandb: the package can't be imported ({error}); pip install 'guardcore[wandb]'"
        ) from error
    return wandb


def _refusal(error: Exception) -> GuardcoreError:
    reason = " ".join(str(error).split()).rstrip(".")
    return GuardcoreError(f"wandb: {reason}; {_REMEDY}")


def _run_id(path: Path) -> str:
    """Return the run's id at the server: that of an earlier start, else a new one."""
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        path.write_text(secrets.token_hex(4), encoding="utf-8")
    return path.read_text(encoding="utf-8")
