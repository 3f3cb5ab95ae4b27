"""The ``guardcore`` command."""

from __future__ import annotations

import sys

import typer

from guardcore.errors import ConfigError, GuardcoreError, ToldByMainError
from guardcore_cli import (
    bench,
    config,
    export,
    inference,
    parameters,
    plan,
    plugins,
    replay,
    report,
    serve,
    study,
    train,
)
from guardcore_cli.leaving import ending

app = typer.Typer(
    name="guardcore",
    help="Fine-tune flow-matching image models with GRPO-Guard's regulated clipping, or yours.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def main(without: parameters.Without = None) -> None:
    """Take ``--without`` before the command too."""


app.command("train")(train.train)
app.command("plan")(plan.plan)
app.command("sample")(inference.sample)
app.command("eval")(inference.evaluate)
app.command("replay")(replay.replay)
app.command("study")(study.study)
app.command("report")(report.report)
app.command("export")(export.export)
app.command("bench")(bench.bench)
app.command("serve-reward")(serve.serve_reward)
app.add_typer(config.app, name="config")
app.add_typer(plugins.app, name="plugins")


def run() -> None:
    """Run the command line; a mistake that a user can fix is one line and exit code 2."""
    with ending():
        _run()


def _run() -> None:
    try:
        app()
    except ToldByMainError:
        raise SystemExit(2) from None
    except ConfigError as error:
        _fail(*([] if _told_beside() else error.problems))
    except GuardcoreError as error:
        _fail(str(error))
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        kind = type(error).__name__
        sys.stderr.write(f"internal error: {kind}: {error}; --debug prints where\n")
        raise SystemExit(1) from error


def _told_beside() -> bool:
    """Whether another process of this node says what is wrong with the config that all read."""
    from guardcore.launched import place_on_node

    return place_on_node() > 0


def _fail(*problems: str) -> None:
    for problem in problems:
        sys.stderr.write(f"error: {' '.join(problem.split())}\n")
    if "--debug" in sys.argv:
        import traceback

        traceback.print_exc()
    raise SystemExit(2)
