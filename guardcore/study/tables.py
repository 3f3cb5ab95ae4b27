"""A study's results, made anew from its runs: ``table.json``, ``table.md``, ``report.html``."""

from __future__ import annotations

import json

from guardcore.report.comparison import compare
from guardcore.report.groups import group_runs
from guardcore.report.tables import Table, markdown, tables
from guardcore.report.write import write_report
from guardcore.study.directory import StudyDirectory, replace


def write_tables(study: StudyDirectory) -> list[Table]:
    """Write ``table.json`` and ``table.md``, and return the tables; none where nothing has run."""
    with study.alone("results"):
        runs = study.recorded()
        if not runs:
            return []
        comparison = compare(group_runs(runs))
        made = tables(comparison)
        plain = json.dumps(comparison.plain(), indent=1, ensure_ascii=False, allow_nan=False)
        replace(study.table, plain + "\n")
        replace(study.markdown, markdown(made))
        return made


def write_page(study: StudyDirectory) -> bool:
    """Write ``report.html`` and ``figures/``; return whether there was anything to write on."""
    with study.alone("results"):
        directories = [run.directory.path for run in study.recorded()]
        if directories:
            write_report(directories, study.report)
        return bool(directories)
