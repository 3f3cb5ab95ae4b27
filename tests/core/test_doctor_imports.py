"""A slow import is found, and the right module blamed."""

from guardcore.doctor import examine
from guardcore.doctor.slow_imports import import_times
from stranger import install, plugin


def test_a_slow_import_names_the_module_that_is_slow_and_blames_it_once(site):
    (site / "heavy_thing.py").write_text("import heavier_thing")
    (site / "heavier_thing.py").write_text("import time; time.sleep(0.7)")
    heavy = plugin("one") + "\nimport heavy_thing\n"
    install(site, "heavy", {"a_words": heavy, "b_words": heavy.replace("one", "two")})
    (finding,) = examine(["heavy"]).findings
    assert (finding.check, finding.severity) == ("slow-import", "warning")
    assert finding.plugin == "a-words"
    assert "heavy_thing alone 0." in finding.reason
    assert finding.remedy == "import heavy_thing inside the factory"


def test_a_plugin_that_is_slow_by_itself_is_told_so(site):
    install(site, "sleepy", {"sleepy_words": plugin("word") + "\nimport time; time.sleep(0.7)\n"})
    (finding,) = examine(["sleepy"]).findings
    assert finding.check == "slow-import"
    assert finding.remedy == "do inside the factory what the module does on import"


def test_import_times_outlive_what_an_import_does_to_its_interpreter(site):
    (site / "leaves.py").write_text("import os; os._exit(3)")
    (site / "raises.py").write_text("import time; time.sleep(0.05); raise SystemExit")
    raised, left, never = import_times(["raises", "leaves", "json"])
    assert raised.seconds > 0.05
    assert left.seconds == never.seconds == 0
