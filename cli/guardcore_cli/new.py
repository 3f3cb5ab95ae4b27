"""``guardcore plugins new``."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Annotated

import typer


def new(
    kind: Annotated[str, typer.Argument(help="E.g. reward, ratio-transform, sampler.")],
    name: Annotated[str, typer.Argument(help="The component's name, kebab-case: late-steps.")],
    out: Annotated[
        Path | None,
        typer.Option(help="A new or empty directory. Default: guardcore-NAME, here."),
    ] = None,
    author: Annotated[
        str | None,
        typer.Option(help="For licence and metadata. Default: git's user.name, if there is one."),
    ] = None,
) -> None:
    """Write a plugin package that works: one component, its test, metadata, README and CI."""
    from guardcore.scaffold import new as write
    from guardcore.scaffold import train_command

    author = _git_user() if author is None else author
    package = write(kind, name, out or Path(f"guardcore-{name}"), author=author)
    _show(kind.replace("_", "-"), name, package, train_command(kind, name))


def _git_user() -> str:
    """Return the name that git would write into a commit here; empty where there is none."""
    try:
        done = subprocess.run(
            ["git", "config", "user.name"], capture_output=True, text=True, check=False
        )
    except OSError:  # no git
        return ""
    return done.stdout.strip()


def _show(kind: str, name: str, package: Path, train: str) -> None:
    from rich.console import Console
    from rich.text import Text

    module = f"guardcore_{name.replace('-', '_')}.py"
    commands = [
        f"cd {shlex.quote(str(package))}",
        "pip install -e '.[dev]'",
        "ruff check && mypy",
        "pytest",
        f"guardcore plugins doctor guardcore-{name}",
        train,
    ]
    console = Console()
    article = "an" if kind[0] in "aeiou" else "a"
    said = f": {article} {kind} that works; try it with"
    console.print(Text.assemble((str(package), "bold"), said))
    for command in commands:
        console.print(Text(f"  {command}"), soft_wrap=True)
    closing = (
        f"then write your own formula into {module}, its test beside it, and what it does into "
        "pyproject.toml and README.md"
    )
    console.print(Text(closing), soft_wrap=True)
