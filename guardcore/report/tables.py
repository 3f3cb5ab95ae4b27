"""The tables of a comparison: a few narrow ones, each on one question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guardcore.report import forms
from guardcore.report.comparison import Comparison, Contender
from guardcore.report.equal_proxy import Level
from guardcore.report.forms import Form
from guardcore.report.words import number, plural


@dataclass(frozen=True)
class Column:
    """A number of the table.

    Attributes:
        title: Its heading.
        key: The measure.
        form: How it is written.
        before: The measure of the base model, written before it: ``0.41 → 0.55``.
        paired: Its spread is the standard error of a paired difference.
        equal: It is of the moment at which P* was reached.
    """

    title: str
    key: str
    form: Form
    before: str = ""
    paired: bool = False
    equal: bool = False


@dataclass(frozen=True)
class Row:
    """One group's cells, in words."""

    label: str
    colour: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A question with its answers, in words.

    Attributes:
        title: What it answers.
        note: How to read it, in a sentence or two; may be empty.
        columns: Headings, that of the rows left out.
        rows: One a group.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


_GOLD = (
    Column("proxy", "proxy", forms.score, before="proxy_before"),
    Column("gold", "gold", forms.score, before="gold_before"),
    Column("gold at P*", "gold_equal", forms.score, equal=True),
    Column("vs plain", "gold_vs_plain", forms.change, paired=True, equal=True),
    Column("P* at iteration", "iteration_equal", forms.iteration, equal=True),
    Column("alarms", "alarms", lambda mean, spread: f"{mean:.1f}".removesuffix(".0")),
)
_CLIP = (
    Column("ratio − 1", "ratio", forms.small),
    Column("clip low", "clip_low", forms.percent),
    Column("clip high", "clip_high", forms.percent),
    Column("blocked", "blocked", forms.percent),
    Column("spread", "spread", forms.times),
    Column("gradient, first", "share_first", forms.times),
    Column("later", "share_later", forms.times),
)
_WAY = (
    Column("KL to the base", "kl", forms.nats),
    Column("diversity", "diversity", forms.score, before="diversity_before"),
    Column("time", "seconds", forms.time),
)
_CLIP_NOTE = (
    "Updates from the second of an iteration on, over the whole run: the ratio's mean minus 1, "
    "the fractions of terms below and above the clip's bounds, and without gradient; the largest "
    "over the smallest denoising step's spread of the ratio and share of the gradient's norm "
    "(of iterations' first updates, and of later ones)."
)
_WAY_NOTE = (
    "KL in nats over the trained steps, at the end; diversity: how far a group's images lie "
    "apart, in the first and the last iteration; time of a run."
)
_JUDGES_NOTE = "Held-out scores before → after, by every reward on its own."


def tables(comparison: Comparison) -> list[Table]:
    """Return the tables for which the runs have recorded anything."""
    labels = [key for c in comparison.contenders for key in c.measured if key.startswith("eval/")]
    names = dict.fromkeys(key.removesuffix("_before") for key in labels)
    judges = [Column(n.removeprefix("eval/"), n, forms.score, f"{n}_before") for n in names]
    made = (
        _table("Proxy and gold", _gold_note(comparison), _GOLD, comparison),
        _table("Ratio, clip and gradient", _CLIP_NOTE, _CLIP, comparison),
        _table("How far they went", _WAY_NOTE, _WAY, comparison),
        _table("Every judge", _JUDGES_NOTE, judges, comparison),
    )
    return [table for table in made if table.columns]


def _table(title: str, note: str, columns: Sequence[Column], comparison: Comparison) -> Table:
    contenders = comparison.contenders
    shown = [
        c for c in columns if any(c.before in o.measured or c.key in o.measured for o in contenders)
    ]
    rows = [
        Row(
            contender.label,
            contender.colour,
            (_seeds(contender), *(_cell(c, contender) for c in shown)),
        )
        for contender in contenders
    ]
    headings = ("seeds", *(column.title for column in shown)) if shown else ()
    return Table(title, note, headings, tuple(rows))


def _seeds(contender: Contender) -> str:
    counted = len(contender.seeds)
    if not contender.finished:
        return f"{counted} unfinished"
    return f"{counted} of {counted + contender.missing}" if contender.missing else str(counted)


def _cell(column: Column, contender: Contender) -> str:
    figure = contender.figure(column.key)
    before = contender.figure(column.before) if column.before else None
    if figure is None:
        if before is not None:
            return f"{column.form(before.mean, float('nan'))} →"
        reached = not column.equal or contender.figure("iteration_equal")
        return "–" if reached or column.paired else "not reached"
    spread = figure.error if column.paired else figure.deviation
    text = column.form(figure.mean, spread)
    if before is not None:
        text = f"{column.form(before.mean, float('nan'))} → {text}"
    few = column.equal and figure.number < len(contender.seeds)
    return f"{text} ({figure.number} of {len(contender.seeds)})" if few else text


def _gold_note(comparison: Comparison) -> str:
    return " ".join(_gold_sentences(comparison))


def _gold_sentences(comparison: Comparison) -> Iterator[str]:
    keys = {key for contender in comparison.contenders for key in contender.measured}
    yield "Held-out, before → after (± s.d. over seeds)."
    if "gold_before" in keys:
        yield "Gold: mean over the rewards with weight 0, each over the base model's score."
    if comparison.levels:
        scores = ", ".join(map(_level, comparison.levels.values()))
        yield (
            "P*: of each seed the highest proxy that every run reached; gold is read where the "
            f"proxy first crosses it, between two evaluations if need be. P* is {scores}."
        )
    if "gold_vs_plain" in keys:
        pairs = max(
            figure.number
            for contender in comparison.contenders
            if (figure := contender.figure("gold_vs_plain"))
        )
        yield f"vs plain: paired by seed, mean ± s.e. over {plural(pairs, 'pair')}."
    if "alarms" in keys:
        yield "Alarms: evaluations at which proxy rose while gold fell, mean over seeds."


def _level(level: Level) -> str:
    best = f"the best of {level.holder}"
    if level.iteration == 0:
        best = f"the base model's: {level.holder} never rose above it"
    return f"{number(level.proxy)} for seed {level.seed} ({best})"


def markdown(found: Sequence[Table]) -> str:
    """Return tables as Markdown."""
    return "\n".join(line for table in found for line in _markdown(table))


def _markdown(table: Table) -> Iterator[str]:
    yield f"## {table.title}\n"
    yield _line(["run", *table.columns])
    yield _line(["---", *("---:" for _ in table.columns)])
    for row in table.rows:
        yield _line([row.label, *row.cells])
    yield f"\n{table.note}\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
