"""Settings of the suite. There is no global plugin host to reset: each test builds its own."""

import os
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import settings

from forge import Forge, Guardcore
from stranger import forget_modules_below, install

settings.register_profile("suite", deadline=None, max_examples=40, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder on ``sys.path`` into which ``stranger.install`` installs."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    forget_modules_below(folder)


@pytest.fixture(scope="session")
def forge(tmp_path_factory: pytest.TempPathFactory):
    """A warm interpreter that runs ``guardcore`` commands."""
    made = Forge(tmp_path_factory.mktemp("forge"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def toy_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy as an installed distribution."""
    folder = tmp_path_factory.mktemp("toy")
    install(folder, "toy", {}, {"toy": "toy"})
    return folder


@pytest.fixture
def guardcore(forge: Forge, toy_site: Path, tmp_path: Path) -> Guardcore:
    """The ``guardcore`` command: call it with arguments, or ``start`` it; runs end unreported."""
    return Guardcore(forge, tmp_path, toy_site)


@pytest.fixture
def reported(guardcore: Guardcore) -> None:
    """Have ``guardcore`` end runs with their report, which takes ten times as long as the run."""
    guardcore.report = True


@pytest.fixture(scope="session")
def faults_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The faults as an installed distribution."""
    folder = tmp_path_factory.mktemp("faults")
    install(folder, "faults", {}, {"faults": "faults"})
    return folder


@pytest.fixture
def faulty(guardcore: Guardcore, faults_site: Path) -> Guardcore:
    """The ``guardcore`` command with the faults installed too."""
    guardcore.path = (*guardcore.path, faults_site)
    return guardcore


@pytest.fixture
def undisturbed(guardcore: Guardcore, tmp_path: Path):
    """Write a config, run it; return what it leaves, and how many seconds it took."""

    def finish(tree: dict[str, object]) -> tuple[dict[str, object], float]:
        from runs import whole

        (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
        start = time.monotonic()
        done = guardcore("train", "config.yaml", "--out", "undisturbed")
        assert done.code == 0, done.err
        return whole(tmp_path / "undisturbed"), time.monotonic() - start

    return finish
