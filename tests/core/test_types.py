"""Third parties are type-checked against us: ``tests/types`` says what must pass and what not.

mypy runs with the repository's own (strict) settings and cache: after `make lint` it takes seconds.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TYPES = ROOT / "tests" / "types"
ERROR = re.compile(r".*?(\w+\.py):(\d+): error: .*\[([\w-]+)\]$")


@pytest.fixture(scope="module")
def found():
    """What mypy says about the files: ``{(file, line): {codes}}``."""
    command = [sys.executable, "-m", "mypy", "--no-pretty", "--no-error-summary", str(TYPES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    errors = {}
    for line in done.stdout.splitlines():
        if match := ERROR.match(line):
            errors.setdefault((match[1], int(match[2])), set()).add(match[3])
    assert errors, done.stdout + done.stderr
    return errors


def test_what_a_third_party_would_write_passes(found):
    accepted = {place: codes for place, codes in found.items() if "refused" not in place[0]}
    assert accepted == {}


@pytest.mark.parametrize("file", ["refused.py", "refused_kinds.py"])
def test_what_a_third_party_may_get_wrong_is_refused_line_by_line(found, file):
    lines = (TYPES / file).read_text().splitlines()
    wanted = {
        (file, number): {line.partition("# refused: ")[2]}
        for number, line in enumerate(lines, 1)
        if "# refused: " in line and not line.startswith("``")
    }
    assert len(wanted) > 20
    assert {place: codes for place, codes in found.items() if place[0] == file} == wanted
