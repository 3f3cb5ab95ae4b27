"""The reference pages are what the code says, and whatever lacks a description is named."""

import inspect
from types import SimpleNamespace
from typing import Annotated

import pytest
import typer
from pydantic import BaseModel, Field

import guardcore
from guardcore import Options, hookspecs
from guardcore.kinds import KINDS, OBSERVATION_HOOKS, registration_hook
from guardcore.plugins import PluginHost
from guardcore.registry import Origin, Registry


@pytest.fixture
def writer():
    from reference_pages import Pages

    return Pages()


def test_the_committed_pages_are_what_the_code_says():
    from generate import differences

    found = differences()
    assert found == [], "\n".join(found)


def test_a_stale_page_is_named_with_the_line_that_is_missing(tmp_path):
    from generate import differences, pages

    for name, text in pages().items():
        (tmp_path / name).write_text(text.replace("| `train.learning_rate` |", "| `gone` |"))
    found = differences(tmp_path)
    assert any(line.startswith("config.md lacks: | `train.learning_rate`") for line in found)
    assert any(line.startswith("config.md is stale: | `gone`") for line in found)
    assert {line.split()[0] for line in found} == {"config.md"}


def test_every_hook_component_and_public_name_has_its_heading():
    from generate import pages

    written = pages()
    for kind in KINDS:
        assert f"## `{registration_hook(kind)}(register)`" in written["hooks.md"]
    for name in OBSERVATION_HOOKS:
        assert f"## `{name}(" in written["hooks.md"]
    for entry in PluginHost.discover().registry:
        if entry.origin.distribution == "guardcore":
            assert f"{{#{entry.kind}-{entry.name}}}" in written["components.md"]
            for name, field in entry.options.model_fields.items():
                assert f"| `{field.alias or name}` |" in written["components.md"]
    reference = written["hooks.md"] + written["names.md"]
    for name in guardcore.__all__:
        assert name in ("RunConfig", "hookimpl") or f"# `{name}`" in reference, name


def test_a_hook_without_a_docstring_is_named(writer):
    kept = {
        name: getattr(hookspecs, name) for name in vars(hookspecs) if name.startswith("guardcore_")
    }

    def guardcore_register_samplers(register): ...

    kept["guardcore_register_samplers"] = guardcore_register_samplers
    writer.hooks(SimpleNamespace(**kept, __doc__=hookspecs.__doc__))
    assert writer.missing == ["hook guardcore_register_samplers"]


def test_a_method_of_a_contract_without_a_docstring_is_named(writer):
    class Judge:
        """A contract."""

        def close(self) -> None: ...

    writer.contract(Judge)
    assert writer.missing == ["Judge.close"]


class Silent(Options):
    """Options."""

    width: float = 1.0
    height: float = Field(1.0, description="pixels")


def undescribed(options: Silent):
    return options


def test_a_component_and_an_option_without_a_description_are_named(writer):
    registry = Registry()
    register = registry.registrar("sampler", Origin("guardcore", "1", "planted", "planted"))
    register("planted", undescribed)
    writer.components(registry)
    assert writer.missing == ["sampler planted", "sampler planted: option width"]


def test_a_config_key_without_a_description_is_named_by_its_path(writer):
    class Train(BaseModel):
        rate: float = 1.0

    class Config(BaseModel):
        train: Train = Field(Train(), description="the updates")

    writer.config(Config)
    assert writer.missing == ["config key train.rate"]


def test_a_command_and_a_parameter_without_help_are_named(writer):
    app, inner = typer.Typer(help="An app."), typer.Typer()

    @app.command("go")
    def go(out: Annotated[str, typer.Option("--to")] = "", debug: bool = False): ...

    app.add_typer(inner, name="more")
    writer.cli(app)
    assert writer.missing == [
        "command guardcore go",
        "guardcore go: --to",
        "guardcore go: --debug",
        "command guardcore more",
    ]


def test_a_missing_description_stops_the_generator(monkeypatch, capsys):
    import generate

    monkeypatch.setattr(hookspecs.guardcore_register_rewards, "__doc__", None)
    assert generate.main(check=False) == 2
    assert "hook guardcore_register_rewards" in capsys.readouterr().err


def test_typed_text_of_the_command_line_is_the_app_s_own():
    from command_line import commands

    from guardcore_cli.main import app

    found = {command.path: command for command in commands(app, "guardcore")}
    labels = [parameter.label for parameter in found["guardcore train"].parameters]
    assert {"CONFIG", "--strategy", "--set", "--resume"} <= set(labels)
    assert (
        found["guardcore plugins inspect"].usage == "guardcore plugins inspect [OPTIONS] KIND NAME"
    )
    assert found["guardcore plan"].usage == "guardcore plan [OPTIONS] [CONFIG]..."
    [weights] = [p for p in found["guardcore export"].parameters if p.label == "--weights"]
    assert weights.kind == "`ema` or `raw`"
    assert inspect.getdoc(app.registered_commands[0].callback) == found["guardcore train"].help
