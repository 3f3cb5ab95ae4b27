"""The check of a component by its name: built as a run builds it, then tried on its kind's laws.

Heavy modules are imported when there is something to check.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

from guardcore.bound import validate_options
from guardcore.errors import GuardcoreError
from guardcore.kinds import KINDS
from guardcore.options import Options
from guardcore.registry import Registered

CHECKS: Mapping[str, tuple[str, str]] = {
    kind: (f"guardcore.testing.{kind}", f"check_{kind}") for kind in KINDS
}
"""Module and function that check each kind."""

SIZES = (64, 128, 256, 512, 1024)
"""Pixels: a backbone is tried at the first of these that it can draw."""

WIDTH = 1e-4
"""What a word is given that waits for a number of the run's."""


class NotBuildable(GuardcoreError):  # noqa: N818  # no error of the component's
    """A component cannot be built here, so nothing is known about it."""


def check_component(kind: str, name: str, **options: Any) -> None:
    """Check an installed component by its name.

    >>> check_component("ratio_transform", "ppo-clip", low=1e-4, high=1e-4)

    Args:
        kind: As in ``guardcore plugins list``.
        name: Short, or ``distribution:name``.
        options: Of the component; a required one that is left out is the first of its
            ``Field(examples=[…])``.

    Raises:
        ContractError: It breaks a law, which the error names.
        NotBuildable: It cannot be built here.
        GuardcoreError: There is no such component.
    """
    from guardcore.plugins import installed

    check_registered(installed().find(kind, name), **options)


def check_registered(entry: Registered, **options: Any) -> None:
    """Check what a plugin has registered; ``options`` as for ``check_component``.

    Raises:
        ContractError: It breaks a law, which the error names.
        NotBuildable: It cannot be built here.
    """
    from guardcore.testing.law import ContractError

    component = _built(entry, options)
    module, function = CHECKS[entry.kind]
    check = getattr(import_module(module), function)
    try:
        check(component, name=entry.qualified, **_particulars(entry, component, options))
    except ContractError as error:
        if entry.kind == "reward" and _is_about_prompts(error):
            raise NotBuildable(f"it does not judge the kit's prompts: {error.__cause__}") from error
        raise


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Inside, what a component prints is dropped, and its relative paths lead to an empty folder.

    So nothing of it is seen or left behind where a whole installation is checked: nor at a
    tracker's server, unless WANDB_MODE says so.
    """
    here = Path.cwd()
    os.environ.setdefault("WANDB_MODE", "offline")
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        contextlib.redirect_stdout(StringIO()),
        contextlib.redirect_stderr(StringIO()),
    ):
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(here)


def _built(entry: Registered, options: Mapping[str, Any]) -> object:
    """Build with examples where options are required; a factory's own fault breaks a law.

    Raises:
        ContractError: The factory raised something else than ``GuardcoreError``.
        NotBuildable: An option is refused, a package or a file is missing.
    """
    try:
        return entry.build(_settled(_validated(entry, options)))
    except (GuardcoreError, ImportError, OSError) as error:
        raise NotBuildable(" ".join(str(error).split())) from error
    except Exception as error:
        from guardcore.testing.law import ContractError, label

        reason = f"its factory raised {type(error).__name__}: {error}"
        raise ContractError(
            "built", label(entry.kind.replace("_", " "), None, entry.qualified), reason
        ) from error


def _validated(entry: Registered, options: Mapping[str, Any]) -> Options:
    return validate_options(entry, {**_examples(entry, options), **options}, entry.name)


def _examples(entry: Registered, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first example of each required option that is not given."""
    examples = {}
    for name, field in entry.options.model_fields.items():
        key = field.alias or name
        if field.is_required() and key not in given:
            if not field.examples:
                raise NotBuildable(f"its option {key!r} is required and has no Field(examples=[…])")
            examples[key] = field.examples[0]
    return examples


def _settled(options: Options) -> Options:
    """Return options that wait for no number."""
    from guardcore.calibration import Calibrating

    if isinstance(options, Calibrating) and options.calibration() is not None:
        return options.calibrated(WIDTH)
    return options


def _particulars(entry: Registered, component: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a kind's check takes beside the component."""
    if entry.kind == "sampler" and "noise_level" in entry.options.model_fields:
        return {"at_noise_level": _at_noise_level(entry, options)}
    if entry.kind == "penalty":
        return {"non_negative": False}  # nobody has claimed it
    if entry.kind == "backbone":
        size = _size(component)
        return {"height": size, "width": size}
    return {}


def _at_noise_level(entry: Registered, options: Mapping[str, Any]) -> Callable[[float], Any]:
    return lambda level: entry.build(_validated(entry, {**options, "noise_level": level}))


def _size(backbone: Any) -> int:
    """Return the first size that a backbone can draw, in pixels."""
    for size in SIZES:
        with contextlib.suppress(Exception):
            backbone.latent_shape(size, size)
            return size
    return SIZES[0]


def _is_about_prompts(error: Any) -> bool:
    """Whether a reward has refused the first images and prompts with a line for its user."""
    return error.law == "one-number-an-image" and isinstance(error.__cause__, GuardcoreError)
