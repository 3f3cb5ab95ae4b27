"""The committed measurement: ``guardcore bench --against docs/baseline.json`` has to work."""

from guardcore.bench.comparison import changes
from guardcore.bench.result import Result
from launch import ROOT

BASELINE = ROOT / "docs" / "baseline.json"
BOUND = 1.10
"""Of the floor ratio, at the demo's sizes."""

SETTINGS = {"batch_size", "num_inference_steps", "group_size", "resolution"}


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
        assert {row.setting for row in model.scaling} == SETTINGS
    assert any(row.value == "128x128" for row in found.beside["tiny-flux"].scaling)
    assert {row.name for row in found.rewards} >= {"geneval", "pickscore", "clip-score", "ocr"}
