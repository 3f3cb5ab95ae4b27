"""A run's weights in the form that other tools load."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from guardcore.bound import Bound, validate_options
from guardcore.components import Backbone
from guardcore.config import RunConfig
from guardcore.errors import GuardcoreError
from guardcore.learner import load_weights
from guardcore.plugins import PluginHost
from guardcore.registry import Registry
from guardcore.run_directory import RunDirectory

Weights = Literal["ema", "raw"]


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        directory: Where it lies.
        iteration: Whose weights these are.
        weights: ``ema``, the moving averages, or ``raw``.
        usage: How the directory is loaded, in the backbone's words.
    """

    directory: Path
    iteration: int
    weights: Weights
    usage: str


def export(
    config: RunConfig,
    run: Path,
    to: str,
    out: Path,
    *,
    iteration: int | None = None,
    weights: Weights = "ema",
    registry: Registry | None = None,
) -> Exported:
    """Write a checkpoint's weights into ``out`` in a format that the backbone knows.

    Only the backbone is built: a run can be exported where its rewards can't run.

    Args:
        config: The run's.
        run: The run directory.
        to: A format's name, which the backbone's ``export`` takes.
        out: A directory that isn't there yet, or is empty; it is written whole or not at all.
        iteration: The checkpoint; the newest by default.
        weights: ``ema`` where the run kept moving averages, as its evaluation; or ``raw``.
        registry: The components; the installed plugins' by default.

    Raises:
        GuardcoreError: No such checkpoint, a backbone without export, or an ``out`` in use.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise GuardcoreError(f"{out} is not an empty directory; choose another --out")
    found = RunDirectory(run).checkpoint(iteration)
    backbone = _build(config, registry or PluginHost.on_demand().registry)
    state, _ = found.load()
    kind: Weights = "ema" if weights == "ema" and "ema" in state else "raw"
    load_weights(backbone.trainable(), state["ema" if kind == "ema" else "weights"])
    return Exported(out, found.iteration, kind, _write(backbone, out.resolve(), to))


def _build(config: RunConfig, registry: Registry) -> Backbone:
    entry = registry.find("backbone", config.backbone.use)
    options = validate_options(entry, config.backbone.options, "backbone")
    backbone: Backbone = Bound("backbone", entry, options).build()
    if not hasattr(backbone, "export"):
        raise GuardcoreError(
            f"backbone {entry.qualified} offers no export; what its save_adapter writes is in the "
            "run's adapter/"
        )
    return backbone


def _write(backbone: Backbone, out: Path, to: str) -> str:
    """Have the backbone write aside, then rename; return how it is loaded."""
    aside = out.with_name(f".{out.name}.writing")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        usage: str = backbone.export(aside, to)  # type: ignore[attr-defined]  # optional
        aside.replace(out)
    except OSError as error:
        raise GuardcoreError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return usage
