"""Who is imported by which command: nobody whom no name mentions, and never who is blocked."""

import inspect
import json

import pytest
import yaml

from stranger import IMPORTED, imported, install, plugin
from toy import toy_tree

NAMES = {
    "backbone": "toy:toy",
    "reward": ["toy:brightness"],
    "prompts": {"train": "toy:words", "eval": "toy:words"},
    "ratio": ["asked:asked"],
    "gradient_weight": [],
    "train": {"iterations": 1},
    "record": {"iterations": 1},
}

LEAVES_AS_IT_IS = """
    from guardcore import Options, hookimpl

    def asked(options: Options):
        '''Leave the terms as they are.'''
        return lambda terms, context: terms

    @hookimpl
    def guardcore_register_ratio_transforms(register):
        register("asked", asked)
"""


@pytest.fixture
def site(guardcore, tmp_path):
    """A folder that the command sees, with two strangers that leave a mark when imported."""
    folder = tmp_path / "site"
    guardcore.path += (folder,)
    install(folder, "asked", {"asked_words": IMPORTED + LEAVES_AS_IT_IS.replace("\n    ", "\n")})
    install(folder, "other", {"other_words": IMPORTED + plugin("other")})
    return folder


@pytest.fixture
def config(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(toy_tree(**NAMES)))


@pytest.fixture
def trained(guardcore, site, config):
    done = guardcore("train", "config.yaml", "--out", "run")
    assert done.code == 0, done.err
    assert imported(site) == {"asked_words"}


LOADING = {
    "train": ["config.yaml", "--out", "another"],
    "train --dry-run": ["config.yaml"],
    "plan": ["config.yaml"],
    "config show": ["config.yaml"],
    "config check": ["config.yaml"],
    "sample": ["run", "--out", "x.png"],
    "eval": ["run"],
    "replay": ["run"],
    "study": ["config.yaml", "--strategy", "plain", "--seed", "0", "--list"],
    "bench": ["config.yaml", "--pairs", "1", "--no-scaling", "--no-rewards"],
}


def test_every_command_that_loads_a_run_imports_only_whom_its_names_mention(
    guardcore, site, trained
):
    for command, arguments in LOADING.items():
        done = guardcore(*command.split(), *arguments)
        assert done.code == 0, (command, done.err)
        assert imported(site) <= {"asked_words"}, command


def test_a_run_goes_on_and_is_exported_without_importing_anybody_else(guardcore, site, trained):
    resumed = guardcore("train", "--resume", "--out", "run", "--set", "train.iterations=2")
    assert resumed.code == 0, resumed.err
    assert "has changed" not in resumed.err
    refused = guardcore("export", "run", "--to", "diffusers", "--out", "weights")
    assert "backbone toy:toy offers no export" in refused.err
    assert imported(site) == {"asked_words"}


def test_a_reward_is_served_and_a_component_inspected_without_anybody_else(guardcore, site):
    assert guardcore("serve-reward", "toy:no-such-reward").code == 2
    assert imported(site) == set()
    done = guardcore("plugins", "inspect", "ratio-transform", "asked:asked")
    assert done.code == 0, done.err
    assert "asked:asked" in done.out
    assert imported(site) == {"asked_words"}
    assert guardcore("plugins", "inspect", "sampler", "cps").code == 0
    assert imported(site) == set()


def test_a_flag_names_as_a_config_does(guardcore, site, config):
    done = guardcore("train", "config.yaml", "--dry-run", "--ratio", "other:other")
    assert done.code == 0, done.err
    assert imported(site) == {"other_words"}


def test_a_list_without_import_is_made_from_metadata_alone(guardcore, site):
    done = guardcore("plugins", "list", "--no-import")
    assert done.code == 0, done.err
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0] == ["distribution", "version", "plugin", "module"]
    assert ["other", "1.0", "other-words", "other_words"] in lines
    assert lines[1][0] == "guardcore"
    assert imported(site) == set()
    found = json.loads(guardcore("plugins", "list", "--no-import", "--json").out)
    assert set(found) == {"plugins", "blocked", "problems"}
    row = {"distribution": "other", "version": "1.0", "plugin": "other-words"}
    assert {**row, "module": "other_words"} in found["plugins"]
    assert imported(site) == set()


def test_a_list_without_import_knows_no_kinds(guardcore, site):
    done = guardcore("plugins", "list", "reward", "--no-import")
    assert done.code == 2
    assert done.err == "error: without an import no component is known; leave out 'reward'\n"


@pytest.mark.parametrize(
    ("argv", "env", "line"),
    [
        (
            ["--without", "Other"],
            {},
            "blocked by --without; drop --without other, or take it out of GUARDCORE_WITHOUT",
        ),
        (
            [],
            {"GUARDCORE_PLUGINS": "toy,asked"},
            "blocked by GUARDCORE_PLUGINS; add other to GUARDCORE_PLUGINS, or unset it",
        ),
    ],
)
def test_a_list_says_who_is_blocked_and_by_what(guardcore, site, argv, env, line):
    done = guardcore("plugins", "list", *argv, env=env)
    assert done.code == 0, done.err
    assert f"not imported: other/other-words (version 1.0) is {line}" in done.out.splitlines()
    assert "doctor" not in done.out
    found = json.loads(guardcore("plugins", "list", "--json", *argv, env=env).out)
    assert [row["distribution"] for row in found["blocked"]] == ["other"]
    assert found["problems"] == []
    assert imported(site) == {"asked_words"}


@pytest.mark.parametrize("place", ["before", "after"])
def test_without_keeps_out_wherever_it_is_said(guardcore, site, config, place):
    option, command = ["--without", "asked"], ["config", "check", "config.yaml"]
    done = guardcore(*(option + command if place == "before" else command + option))
    assert done.code == 2
    assert done.err == (
        "error: ratio.0: no ratio_transform is called 'asked:asked'; asked is blocked by "
        "--without: drop --without asked, or take it out of GUARDCORE_WITHOUT\n"
    )
    assert imported(site) == set()


def test_a_name_that_the_allow_list_does_not_hold_says_how_to_allow_it(guardcore, site, config):
    env = {"GUARDCORE_PLUGINS": "toy"}
    done = guardcore("train", "config.yaml", "--out", "run", env=env)
    assert done.code == 2
    assert "asked is blocked by GUARDCORE_PLUGINS: add asked to GUARDCORE_PLUGINS" in done.err
    assert imported(site) == set()
    assert (
        guardcore("config", "check", "config.yaml", env={"GUARDCORE_PLUGINS": "toy,asked"}).code
        == 0
    )


def test_who_is_left_out_must_be_somebody(guardcore, site):
    done = guardcore("train", "--without", "ohter")
    assert done.code == 2
    assert done.err == (
        "error: --without ohter: no such distribution has plugins; did you mean 'other'?\n"
    )


def test_every_command_that_imports_plugins_can_leave_somebody_out():
    from guardcore_cli.main import app

    groups = [app, *(group.typer_instance for group in app.registered_groups)]
    functions = [info.callback for group in groups for info in group.registered_commands]
    without = {f.__name__ for f in functions if "without" in inspect.signature(f).parameters}
    imports_nobody = {"report", "new"}
    assert {f.__name__ for f in functions} - without <= imports_nobody
