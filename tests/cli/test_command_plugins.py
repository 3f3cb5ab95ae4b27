"""``guardcore plugins list | inspect``."""

import json

import pytest

from stranger import install, plugin


@pytest.fixture
def strange(guardcore, tmp_path):
    """Install into a folder that the command sees."""
    folder = tmp_path / "site"
    folder.mkdir()
    guardcore.path += (folder,)
    return lambda *arguments, **more: install(folder, *arguments, **more)


def test_list_shows_every_component_with_origin_version_and_description(guardcore):
    done = guardcore("plugins", "list")
    assert done.code == 0
    assert done.err == ""
    lines = done.out.splitlines()
    assert lines[0].split() == ["kind", "name", "from", "version", "description"]
    assert any(line.split()[:3] == ["toy", "toy", "1.0"] for line in lines)
    assert any(line.split()[:3] == ["ppo-clip", "guardcore", "0.1.0"] for line in lines)
    assert any("A solvable backbone." in line for line in lines)


def test_list_of_one_kind_has_no_other(guardcore):
    rows = json.loads(guardcore("plugins", "list", "ratio-transform", "--json").out)["components"]
    assert {row["kind"] for row in rows} == {"ratio_transform"}
    names = [row["name"] for row in rows]
    assert names == ["dppo-mask", "flat-norm", "mean-revise", "ppo-clip", "ratio-norm"]


def test_list_shows_what_did_not_load_and_why_on_a_line_each(guardcore, strange):
    strange("broken", {"broken_words": "import no_such_module"})
    strange("usurper", {"usurper_words": plugin("ppo-clip")})
    strange("older", {"older_words": ""}, "[guardcore.v0]\nwords = older_words\n")
    done = guardcore("plugins", "list")
    assert done.code == 0
    problems = sorted(line for line in done.out.splitlines() if line.startswith("problem: "))
    assert [line.split()[1].split("/")[0] for line in problems] == ["broken", "older", "usurper"]
    assert "No module named 'no_such_module'" in problems[0]
    assert "guardcore.v0" in problems[1]
    assert "usurper:ppo-clip" in problems[2]
    assert len(json.loads(guardcore("plugins", "list", "--json").out)["problems"]) == 3


def test_a_description_with_brackets_is_shown_as_it_is(guardcore, strange):
    strange("marked", {"marked_words": plugin("marked", description="In [0, 1], [b]old[/red].")})
    for argv in (["list"], ["inspect", "ratio-transform", "marked"]):
        done = guardcore("plugins", *argv)
        assert done.code == 0, done.err
        assert "In [0, 1], [b]old[/red]." in done.out


def test_inspect_shows_what_a_component_does_and_its_options(guardcore):
    done = guardcore("plugins", "inspect", "ratio-transform", "ppo-clip")
    assert done.code == 0, done.err
    assert "guardcore:ppo-clip 0.1.0" in done.out
    assert "defined in guardcore_plugins.ratio_transforms" in done.out
    for option in ("low", "high"):
        (line,) = [line for line in done.out.splitlines() if line.startswith(option)]
        assert "float" in line
        assert "0.0001" in line


def test_inspect_shows_a_strategys_words(guardcore):
    done = guardcore("plugins", "inspect", "strategy", "guard")
    assert done.code == 0, done.err
    assert "ratio-norm" in done.out
    assert "2e-06" in done.out
    assert "inverse-dt" in done.out


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["inspect", "sampler", "guard"], "there is a strategy of that name"),
        (["inspect", "sampler", "flow-sd"], "did you mean 'flow-sde'"),
        (["inspect", "smapler", "ode"], "did you mean 'sampler'"),
        (["list", "smapler"], "did you mean 'sampler'"),
    ],
)
def test_what_is_not_there_gets_the_nearest(guardcore, argv, hint):
    done = guardcore("plugins", *argv)
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert hint in done.err


def test_a_name_that_two_claim_lists_both(guardcore, strange):
    for name in ("one", "two"):
        strange(name, {f"{name}_words": plugin("taken")})
    done = guardcore("plugins", "inspect", "ratio-transform", "taken")
    assert done.code == 2
    assert "one:taken or two:taken" in done.err
    assert guardcore("plugins", "inspect", "ratio-transform", "two:taken").code == 0
