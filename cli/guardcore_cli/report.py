"""``guardcore report``: a page on one run, or on several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from guardcore_cli import parameters


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.", metavar="RUN...")],
    out: Annotated[
        Path | None,
        typer.Option(help="The page; default report.html in RUN, or here for several runs."),
    ] = None,
    debug: parameters.Debug = False,
) -> None:
    """Write one self-contained page: did it help, and what did the clip see."""
    from guardcore.report import write_report

    page = write_report(runs, out)
    typer.echo(f"report:  {page} ({page.stat().st_size / 1e6:.1f} MB)")
    typer.echo(f"figures: {page.parent / 'figures'}/")
