"""Drawing without a display: the style of every figure, and its bytes as SVG and PNG."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = 4.4, 2.9
"""Inches. A figure fills a phone's width at its own size, so its text stays readable there."""
_STYLE: Any = {  # matplotlib types the keys as 400 literals
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "axes.titlesize": 9.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "text.parse_math": False,  # a run may be called a$b$c
    "svg.hashsalt": "guardcore",  # the same figure, the same bytes
}


@dataclass(frozen=True)
class Plot:
    """A figure with what the page says about it.

    Attributes:
        name: Its file's name without ending.
        title: What it shows.
        reading: How to read it, in a sentence or two.
        figure: The drawing.
    """

    name: str
    title: str
    reading: str
    figure: Figure


@contextmanager
def style() -> Iterator[None]:
    """Inside, figures are drawn in our style, and matplotlib keeps its remarks to itself."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        import matplotlib

        with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a glyph that the font lacks
            yield
    finally:
        log.setLevel(level)


def canvas(x_label: str, y_label: str, height: float = 1.0) -> tuple[Figure, Axes]:
    """Return an empty figure with labelled axes."""
    figure, (axes,) = panels(1, 1, height)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return figure, axes


def panels(rows: int, columns: int, height: float = 1.0) -> tuple[Figure, list[Axes]]:
    """Return an empty figure with axes that share x in a column and y in a row.

    Never through pyplot, which keeps state.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_SIZE[0], _SIZE[1] * height), layout="constrained")
    axes = figure.subplots(rows, columns, sharex="col", sharey="row", squeeze=False)
    return figure, list(axes.flat)


def svg(figure: Figure) -> bytes:
    """Return the figure as SVG on a transparent ground, its text as outlines."""
    _lay_out(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()


def png(figure: Figure) -> bytes:
    """Return the figure as PNG on white, 200 dots an inch."""
    _lay_out(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=200)
    return buffer.getvalue()


def _lay_out(figure: Figure) -> None:
    """Place axes and labels once, and not again for every format."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        figure.draw_without_rendering()
        figure.set_layout_engine(None)  # not "none", before which savefig draws a second time
