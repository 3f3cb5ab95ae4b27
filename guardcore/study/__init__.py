"""A grid of runs from one base: strategies × seeds × anything settable, compared in one table.

Left out: a scheduler over machines, because a cell is a run like any other, and processes that
share a study's directory share its cells; and a search over settings, because a study answers a
question that was asked before it ran.
"""

from guardcore.study.directory import StudyDirectory as StudyDirectory
from guardcore.study.grid import Cell as Cell
from guardcore.study.grid import Grid as Grid
from guardcore.study.grid import cells as cells
from guardcore.study.running import run_cells as run_cells
