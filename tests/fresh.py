"""A fresh virtual environment with GuardCore as a wheel, for tests of packages as users install them.

Nothing is downloaded: what GuardCore and its tools need comes from the environment that runs the
tests, through a ``.pth`` file. GuardCore itself is built from the checkout and installed for real, and
so is every package under test.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
OFFLINE = {
    "PIP_NO_INDEX": "1",
    "PIP_NO_DEPS": "1",
    "PIP_NO_BUILD_ISOLATION": "0",  # pip reads 0 as: yes, without isolation
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "OMP_NUM_THREADS": "1",
    "COLUMNS": "200",
}
MODULES = ("pip", "mypy", "pytest")
"""Tools that are to run in the fresh environment, and not in the one they come from."""


class Fresh:
    """The environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder, symlinks=True)
        for tool in MODULES:
            self._write(tool, f'#!/bin/sh\nexec "{folder}/bin/python" -m {tool} "$@"\n')
        (folder / "bin" / "ruff").symlink_to(Path(sys.executable).parent / "ruff")
        site = Path(
            sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)})
        )
        (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        hidden = ("PYTHONPATH", "PYTHONHOME", "FORCE_COLOR", "GUARDCORE_PLUGINS")
        own = {name: value for name, value in os.environ.items() if name not in hidden}
        self.environment = {
            **own,
            **OFFLINE,
            "PATH": f"{folder / 'bin'}{os.pathsep}{own['PATH']}",
            "MYPY_CACHE_DIR": str(folder / "mypy"),
        }
        self.install_guardcore()

    def _write(self, tool: str, script: str) -> None:
        path = self.folder / "bin" / tool
        path.write_text(script)
        path.chmod(0o755)

    def install_guardcore(self) -> None:
        """Build the wheel and install it, whatever of it lies in the borrowed packages."""
        wheels = self.folder / "wheels"
        self.run(f"pip wheel --quiet --wheel-dir '{wheels}' '{ROOT}'", self.folder)
        self.run(f"pip install --quiet --ignore-installed '{wheels}'/*.whl", self.folder)

    def run(self, command: str, folder: Path) -> str:
        """Run a line of shell in ``folder`` and return what it printed; it has to succeed."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        said = f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{said}"
        return done.stdout
