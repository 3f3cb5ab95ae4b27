"""``guardcore plugins list`` and ``inspect``."""

import json
import re

import pytest
import yaml

from guardcore.kinds import KINDS
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
    assert lines[0].split() == ["name", "from", "description"]
    assert any(line.split()[:3] == ["toy", "toy", "1.0"] for line in lines)
    assert any(line.split()[:3] == ["ppo-clip", "guardcore", "0.1.0"] for line in lines)
    assert any("A solvable backbone." in line for line in lines)


def test_list_has_a_heading_for_each_kind_with_its_components_below(guardcore):
    lines = guardcore("plugins", "list").out.splitlines()[1:]
    headings = [line.strip() for line in lines if not line.startswith(" ")]
    assert headings == [kind.replace("_", "-") for kind in KINDS]
    sampler = lines.index(next(line for line in lines if line.startswith("sampler")))
    assert lines[sampler + 1].split()[0] == "cps"


def test_list_of_one_kind_has_no_other(guardcore):
    rows = json.loads(guardcore("plugins", "list", "ratio-transform", "--json").out)["components"]
    assert {row["kind"] for row in rows} == {"ratio_transform"}
    names = [row["name"] for row in rows]
    assert names == [
        *("cispo", "dppo-mask", "dual-clip", "flat-norm"),
        *("mean-revise", "ppo-clip", "ratio-norm", "soft-clip"),
    ]


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
    assert "guardcore:ppo-clip 0.1.0 · ratio-transform" in done.out
    assert "Bound the ratio to [1 − low, 1 + high]" in done.out
    assert re.search(r"^low +float, 0 ≤ x < 1 +0.0001 +below 1", done.out, re.MULTILINE)
    assert re.search(r"^high +float, x ≥ 0 +0.0001 +above 1", done.out, re.MULTILINE)
    assert re.search(r"ratio_transforms\.py:\d+$", done.out.strip())
    assert "--ratio ppo-clip:low=0.0001,high=0.0001,range=null,outside_fraction=0.1" in done.out


def test_inspect_shows_a_block_that_can_be_copied(guardcore):
    out = guardcore("plugins", "inspect", "backbone", "sd3").out
    block = out.partition("in a config\n")[2].partition("\n\n")[0]
    assert yaml.safe_load(block)["backbone"]["lora"]["rank"] == 32


def test_inspect_shows_a_strategys_words(guardcore):
    out = guardcore("plugins", "inspect", "strategy", "guard").out
    assert "strategy: guard\n" in out
    words = yaml.safe_load(out.partition("or in its own words\n")[2].partition("\n\n")[0])
    assert [word["use"] for word in words["ratio"]] == ["ratio-norm", "ppo-clip"]
    assert words["ratio"][1]["high"] == 2e-6
    assert words["gradient_weight"] == [{"use": "inverse-dt"}]


def test_inspect_shows_where_a_strangers_component_comes_from(guardcore, strange):
    about = "Summary: Words [b]for[/b] all.\nProject-URL: Homepage, https://words.example\n"
    strange("wordy", {"wordy_words": plugin("wordy")}, metadata=about)
    lines = guardcore("plugins", "inspect", "ratio-transform", "wordy").out.splitlines()
    place = lines.index("from")
    assert lines[place + 1 : place + 3] == [
        "wordy 1.0: Words [b]for[/b] all.",
        "https://words.example",
    ]
    assert lines[place + 3].endswith("wordy_words.py:4")


def test_inspect_as_json_holds_everything(guardcore):
    found = json.loads(guardcore("plugins", "inspect", "sampler", "cps", "--json").out)
    assert set(found) == {
        *("kind", "name", "qualified", "distribution", "version", "plugin", "module", "summary"),
        *("homepage", "file", "line", "docstring", "options", "config", "spelled_out"),
        "command_line",
    }
    assert found["qualified"] == "guardcore:cps"
    (option,) = found["options"]
    assert option == {
        "name": "noise_level",
        "type": "float",
        "required": False,
        "default": "0.7",
        "constraints": "0 < x ≤ 1",
        "description": "eta, share of a quarter turn from prediction to noise",
    }
    assert found["command_line"] == "--sampler cps:noise_level=0.7"


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
