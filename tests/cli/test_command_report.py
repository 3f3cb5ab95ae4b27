"""``guardcore report``: where it writes, what it says, and what it refuses."""

import signal
import subprocess
import sys
import time

import pytest
import yaml

from toy import toy_tree

pytestmark = pytest.mark.usefixtures("reported")


@pytest.fixture
def trained(guardcore, tmp_path):
    """A finished run, and where it said its report is."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(toy_tree()))
    done = guardcore("train", "config.yaml", "--out", "run")
    assert done.code == 0, done.err
    assert "report:   run/report.html" in (done.out + done.err).splitlines()
    return tmp_path / "run"


def test_it_writes_into_the_run_and_says_where(guardcore, trained):
    (trained / "report.html").unlink()
    done = guardcore("report", "run")
    assert done.code == 0, done.err
    assert done.err == ""
    assert done.out.splitlines()[0].startswith("report:  run/report.html (0.")
    assert done.out.splitlines()[1] == "figures: run/figures/"
    assert (trained / "report.html").is_file()


def test_several_runs_have_a_page_of_their_own(guardcore, trained, tmp_path):
    assert guardcore("train", "config.yaml", "--out", "next", "--set", "seed=1").code == 0
    before = (trained / "report.html").read_bytes()
    done = guardcore("report", "run", "next", "--out", "pages/both.html")
    assert done.code == 0, done.err
    assert "2 seeds" in (tmp_path / "pages" / "both.html").read_text()
    assert (tmp_path / "pages" / "figures" / "held-out-brightness.png").is_file()
    assert (trained / "report.html").read_bytes() == before
    assert guardcore("report", "run", "next").out.startswith("report:  report.html")


def test_what_is_no_run_is_one_line(guardcore, trained):
    for argv in (["run", "nowhere"], ["config.yaml"], ["run", "--out", "run"]):
        done = guardcore("report", *argv)
        assert done.code == 2
        (line,) = done.err.splitlines()
        assert line.startswith("error: ")
        assert argv[-1] in line


def test_a_run_that_a_signal_stopped_has_its_report(guardcore, tmp_path):
    tree = toy_tree(reward=[{"use": "brightness", "seconds": 0.05}], train={"iterations": 50})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    process = guardcore.start("train", "config.yaml", "--out", "run")
    while not (tmp_path / "run" / "steps.jsonl").is_file():
        time.sleep(0.01)
    process.signal(signal.SIGTERM)
    assert process.wait().code == 75
    assert "not finished: " in (tmp_path / "run" / "report.html").read_text()


def test_reading_a_run_takes_no_torch(trained, tmp_path):
    code = (
        "import sys; from pathlib import Path; from guardcore.report import write_report; "
        f"write_report([Path({str(trained)!r})]); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path).returncode == 0
