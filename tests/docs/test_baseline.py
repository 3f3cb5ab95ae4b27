"""The committed measurement: ``guardcore bench --against docs/baseline.json`` has to work."""

from guardcore.bench.comparison import changes
from guardcore.bench.result import Result
from launch import ROOT

BASELINE = ROOT / "docs" / "baseline.json"
BOUND = 1.10
"""Of the floor ratio, at the demo's sizes."""


def test_this_version_reads_the_committed_baseline():
    found = Result.read(BASELINE)
    models = found, found.beside["tiny-flux"]
    assert changes(found, found)
    assert found.machine.threads == 1
    for model in models:
        assert model.images == 192
        assert model.cpu_ratio <= BOUND  # seconds of the wall are other processes' too
        assert [row.processes for row in model.processes] == [1, 2]
        assert all(row.seconds for row in model.processes)
