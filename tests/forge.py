"""Runs ``guardcore`` commands in forked processes of a warm interpreter: 50 ms, not 3 s, each.

As a script it is the server: it imports torch once, and forks for every command it reads. The
forked process is a process like any other: it has its own standard output, can be sent signals
and killed, and exits with the command's own code.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent


@dataclass(frozen=True)
class Done:
    """A command that has ended; a negative code is the signal that killed it."""

    code: int
    out: str
    err: str


class Process:
    """A command that is running."""

    def __init__(self, forge: Forge, pid: int, out: Path, err: Path) -> None:
        self.forge, self.pid, self.out, self.err = forge, pid, out, err

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> Done:
        code = self.forge.ask({"wait": self.pid})
        return Done(code, self.out.read_text(), self.err.read_text())


class Forge:
    """The client: starts the server, and commands in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.started = folder, 0
        env = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        env.pop("FORCE_COLOR", None)
        self.server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        self._answer()  # ready

    def ask(self, request: dict[str, object]) -> int:
        assert self.server.stdin
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return self._answer()

    def _answer(self) -> int:
        assert self.server.stdout
        return int(self.server.stdout.readline())

    def start(
        self,
        *argv: object,
        cwd: Path,
        path: tuple[Path, ...] = (),
        crash: object = None,
        report: bool = True,
        env: dict[str, str] | None = None,
    ) -> Process:
        """Start ``guardcore`` with arguments; ``path`` goes before ``sys.path``.

        ``crash`` is ``(folder, n)``: the process dies before its n-th change of a file below
        ``folder``; with n = 0 it only counts them, and exits with their number. Without ``report``
        a run ends as if it had written one, which would take ten times as long as the run.
        """
        self.started += 1
        out, err = (self.folder / f"{self.started}.{name}" for name in ("out", "err"))
        pid = self.ask(
            {
                "argv": [str(part) for part in argv],
                "cwd": str(cwd),
                "path": [str(part) for part in (*path, TESTS)],
                "out": str(out),
                "err": str(err),
                "crash": crash,
                "report": report,
                "env": env or {},
            }
        )
        return Process(self, pid, out, err)

    def close(self) -> None:
        assert self.server.stdin
        self.server.stdin.close()
        self.server.wait(timeout=30)


class Guardcore:
    """The ``guardcore`` command in a folder, with what is installed at ``path`` besides."""

    def __init__(self, forge: Forge, cwd: Path, *path: Path) -> None:
        self.forge, self.cwd, self.path, self.report = forge, cwd, path, False

    def start(self, *argv: object, **more: object) -> Process:
        return self.forge.start(*argv, cwd=self.cwd, path=self.path, report=self.report, **more)

    def __call__(self, *argv: object, **more: object) -> Done:
        return self.start(*argv, **more).wait()


CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}


def _crash_at(folder: str, number: int) -> list[int]:
    """Die before the ``number``-th change below ``folder``; return the running count."""
    count = [0]

    def watch(event: str, arguments: tuple) -> None:
        writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
        if not (event in CHANGES or writing) or isinstance(arguments[0], int):
            return
        above = os.getcwd()
        if event in {"os.remove", "os.rmdir"} and arguments[1] != -1:  # rmtree's, by descriptor
            above = os.readlink(f"/proc/self/fd/{arguments[1]}")
        if os.path.join(above, os.fsdecode(arguments[0])).startswith(folder):
            count[0] += 1
            if count[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    return count


def _run(request: dict) -> int:
    """Be ``guardcore``; return the exit code."""
    os.setsid()
    os.chdir(request["cwd"])
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT), number)
    sys.path[:0] = request["path"]
    sys.argv = ["guardcore", *request["argv"]]
    os.environ.update(request["env"])
    if not request["report"]:
        import guardcore.loop

        guardcore.loop.report_run = lambda record: None
    count = _crash_at(*request["crash"]) if request["crash"] else None

    from guardcore_cli.main import run

    try:
        run()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    return count[0] if count and not request["crash"][1] and not code else code


def _wait(pid: int, seconds: float = 120) -> int:
    """Return the exit code, minus the signal; a process that hangs is killed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return 999


def serve() -> None:
    """Fork for every line of standard input; answer with a process id or an exit code."""
    import accelerate.state  # noqa: F401
    import jinja2  # noqa: F401
    import matplotlib.backends.backend_agg
    import matplotlib.backends.backend_svg
    import matplotlib.figure  # noqa: F401
    import PIL.ImageFont
    import PIL.PngImagePlugin  # noqa: F401
    import rich.live  # noqa: F401
    import safetensors.torch  # noqa: F401
    import scipy.special  # noqa: F401
    import torch._dynamo  # noqa: F401 - AdamW's first step imports it, a second's work

    import guardcore_cli.main
    import guardcore_cli.outlook  # noqa: F401
    from guardcore.plugins import PluginHost

    PluginHost.discover()

    print(0, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = _wait(request["wait"])
        else:
            answer = os.fork()
            if answer == 0:
                code = _run(request)
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        print(answer, flush=True)


if __name__ == "__main__":
    serve()
