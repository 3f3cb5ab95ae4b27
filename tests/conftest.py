"""Settings of the suite. There is no global plugin host to reset: each test builds its own."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from stranger import forget_modules_below

settings.register_profile("suite", deadline=None, max_examples=40, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


@pytest.fixture()
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder on ``sys.path`` into which ``stranger.install`` installs."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    forget_modules_below(folder)
