"""``pytest --guardcore-contracts`` in a project of somebody's own, in a process of its own."""

import os
import re
import subprocess
import sys

import pytest

from stranger import install, plugin

BAD_JUDGE = """
from guardcore import Options, hookimpl
from pydantic import Field

class Judge:
    def __call__(self, images, prompts):
        print("looking")
        return images.mean((2, 3))
    def close(self): ...

class Needy(Options):
    words: int = Field(description="n")

def bad(options: Options): return Judge()
def needy(options: Needy): return Judge()

@hookimpl
def guardcore_register_rewards(register):
    register("bad", bad)
    register("needy", needy)
"""


@pytest.fixture
def project(tmp_path):
    """An empty folder, in which ``pytest`` runs with a site of strangers."""
    folder, site = tmp_path / "project", tmp_path / "site"
    folder.mkdir()
    install(site, "court", {"court_judges": BAD_JUDGE})
    install(site, "sound", {"sound_words": plugin("sound")})
    install(site, "gone", {"gone_words": "import no_such_module"})

    def run(*arguments, code="import sys, pytest; sys.exit(pytest.main())"):
        path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
        env = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}
        given = ["-p", "no:cacheprovider", *arguments]
        return subprocess.run(
            [sys.executable, "-c", code, *given],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
        )

    run.folder = folder
    return run


def test_third_parties_components_are_tests_that_pass_fail_or_are_skipped(project):
    done = project("--guardcore-contracts", "-k", "court or sound", "-v", "-rs")
    assert done.returncode == 1, done.stderr
    verdicts = dict(re.findall(r"guardcore-contracts::(\S+) (PASSED|FAILED|SKIPPED)", done.stdout))
    assert verdicts == {
        "court:bad[reward]": "FAILED",
        "court:needy[reward]": "SKIPPED",
        "sound:sound[ratio_transform]": "PASSED",
    }
    assert "its option 'words' is required" in done.stdout
    assert (
        "reward 'court:bad' breaks the law 'one-number-an-image': expected one number an image, "
        "[1], received [1, 3]; smallest case: disc at 64×64"
    ) in done.stdout
    assert "Traceback" not in done.stdout
    assert "raise ContractError" not in done.stdout
    assert "gone/gone-words" in done.stdout  # a plugin that did not load is warned about


def test_every_component_is_collected_beside_the_projects_own_tests(project):
    (project.folder / "test_mine.py").write_text("def test_mine(): pass\n")
    done = project("--guardcore-contracts", "--collect-only", "-q")
    assert "test_mine.py::test_mine" in done.stdout
    assert "guardcore-contracts::guardcore:ppo-clip[ratio_transform]" in done.stdout
    assert "guardcore-contracts::court:bad[reward]" in done.stdout


def test_without_the_option_nothing_is_collected_and_nothing_imported(project):
    (project.folder / "test_mine.py").write_text("def test_mine(): pass\n")
    code = (
        "import sys, pytest\n"
        "code = pytest.main()\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'guardcore.plugins', 'court_judges'}\n"
        "print('imported', sorted(heavy & set(sys.modules)))\n"
        "sys.exit(code)\n"
    )
    done = project(code=code)
    assert "1 passed" in done.stdout
    assert "imported []" in done.stdout
