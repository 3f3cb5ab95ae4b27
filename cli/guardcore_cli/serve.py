"""``guardcore serve-reward``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guardcore_cli import parameters

if TYPE_CHECKING:
    from torch import Tensor

    from guardcore.bound import Bound
    from guardcore.components import Reward
    from guardcore.prompt import Prompt
    from guardcore_plugins.serving.worker import Scorer, State


def serve_reward(
    name: Annotated[str, typer.Argument(help="NAME[:option=value,…], as for --reward.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but loopback needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the bearer token. Default: GUARDCORE_REWARD_TOKEN, if set."),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Most images that the reward sees at once.")
    ] = 16,
    max_queue: Annotated[
        int, typer.Option(min=1, help="Requests under way at once; one more is answered 429.")
    ] = 16,
    max_body: Annotated[
        int, typer.Option(min=1, help="MiB of a request, and of its images as float32.")
    ] = 64,
    max_side: Annotated[int, typer.Option(min=1, help="Pixels of an image's longer side.")] = 2048,
    without: parameters.Without = None,
    debug: parameters.Debug = False,
) -> None:
    """Serve a reward over HTTP, for runs elsewhere that name the reward 'remote'."""
    bound = _bound(name)
    _check_extra()
    from guardcore_plugins.serving.app import Settings, make_app
    from guardcore_plugins.serving.formats import Limits
    from guardcore_plugins.serving.server import Server, address, listen, read_token
    from guardcore_plugins.serving.worker import Worker

    settings = Settings(
        reward=f"{bound.entry.qualified} {bound.entry.origin.version}",
        options=bound.options.model_dump(mode="json"),
        token=read_token(token_file, host),
        max_queue=max_queue,
        limits=Limits(body=max_body, side=max_side),
    )
    began = time.monotonic()

    def changed(state: State) -> None:
        if state == "failed":
            server.give_up()
        elif state == "ready":
            _say(f"ready after {time.monotonic() - began:.1f} s")

    worker = Worker(bound.build, _scorer(bound.entry.name), batch_size, changed)
    server = Server(make_app(worker, settings), worker)
    with listen(host, port) as listener:
        _say(f"serving {settings.reward} on {address(listener)}; loading")
        server.run(listener, stopping=lambda: _say("finished what was under way; closing"))


def _bound(name: str) -> Bound:
    """Find the reward and validate its options.

    Raises:
        GuardcoreError: No such reward, or options that it refuses.
    """
    from guardcore.bound import Bound, validate_options
    from guardcore.layers import parse_component
    from guardcore.plugins import PluginHost
    from guardcore.spec import Spec

    spec = Spec.model_validate(parse_component(name))
    entry = PluginHost.on_demand().registry.find("reward", spec.use)
    path = f"reward {spec.use}"
    return Bound(path, entry, validate_options(entry, spec.options, path))


def _check_extra() -> None:
    from importlib.util import find_spec

    from guardcore.errors import GuardcoreError

    missing = [package for package in ("fastapi", "uvicorn") if find_spec(package) is None]
    if missing:
        names = " and ".join(missing)
        raise GuardcoreError(f"serving needs {names}; pip install 'guardcore[serve]'")


def _scorer(name: str) -> Scorer:
    """Return what calls a reward and checks its numbers as a run does."""

    def scorer(reward: Reward, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        from guardcore.scoring import score

        return score(name, reward, images, prompts)

    return scorer


def _say(text: str) -> None:
    typer.echo(text, err=True)
