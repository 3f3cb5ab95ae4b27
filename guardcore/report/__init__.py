"""One self-contained page on one run or several: did it help, and what did the clip see.

Left out: scripts and anything that is fetched, because the page is to open anywhere, also in ten
years; and any figure that ``metrics.jsonl``, ``steps.jsonl`` and ``samples/`` do not hold.
"""

from guardcore.report.write import write_report as write_report
