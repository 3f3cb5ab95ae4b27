"""Whatever a config holds: a sound one is resolved, any other refused by lines that say where."""

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardcore.binding import bind
from guardcore.bound import resolved
from guardcore.config import RunConfig
from guardcore.errors import ConfigError, GuardcoreError, printable
from guardcore.layers import Overrides, laid_over, parse_config, read_yaml
from guardcore.plugins import installed
from malformed import ASSIGNMENTS, COMPONENTS, SOUND, files, trees

SECTIONS = {*RunConfig.model_fields, "config"}
LONGEST = 1000
"""Characters of a line that somebody may still read."""

many = settings(
    max_examples=20 * settings().max_examples,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def check(make, known=SECTIONS):
    """Do what ``guardcore config check`` does; only lines that a user can read may come back."""
    try:
        config = make()
        binding = bind(config, installed())
    except GuardcoreError as error:
        for line in getattr(error, "problems", [str(error)]):
            assert line.isprintable(), ascii(line)
            assert len(line) < LONGEST
        if isinstance(error, ConfigError):
            assert error.problems
            for line in error.problems:
                assert line.startswith(tuple(known)), ascii(line)
        return None
    return yaml.safe_dump(resolved(config, binding), allow_unicode=True)


@many
@given(trees())
def test_a_tree_is_bound_or_refused_line_by_line(tree):
    check(lambda: parse_config(tree), SECTIONS | {printable(str(key)) for key in tree})


FOUND = {
    "backbone: !!bool maybe": "is not YAML: 'maybe'",
    "seed: 0x"
    + "f"
    * 5000: "seed: input should be less than 9223372036854775808, received int too long to print",
    f"backbone: {{model: ./{'x' * 300}}}": "backbone: [Errno 36] File name too long: 'xxx",
    "<all>: 1": "<all>: unknown key",
    "on: 1": "True: keys should be strings, received True",
    '"\\ufeffseed": 1': r"\ufeffseed: unknown key; did you mean 'seed'?",
    '"a\\nb": 1': r"a\nb: unknown key",
    f"seed: [{'x, ' * 5000}]": "seed: input should be a valid integer, received ['x', 'x'",
    'strategy_options: {guard: {ppo-clip: {"\\ud800": 1}}}': "strategy_options.guard.ppo-clip: input should",
    "strategy_options: {guard: {ppo-clip: {use: null}}}": "strategy_options.guard.ppo-clip.use: ",
}
"""What earlier searches found, with what is said of it now."""


@pytest.mark.parametrize("found", FOUND)
def test_what_was_found_once_is_told_in_a_line(tmp_path, found):
    path = tmp_path / "fuzz.yaml"
    path.write_text(found)
    with pytest.raises(GuardcoreError) as caught:
        config = parse_config(laid_over(SOUND[0], read_yaml(path)))
        bind(config, installed())
    assert FOUND[found] in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < LONGEST


@many
@given(text=files())
def test_a_file_is_read_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(text)
    try:
        tree = read_yaml(path)
    except GuardcoreError as error:
        assert str(path) in str(error)
        assert str(error).isprintable(), ascii(str(error))
        return
    check(lambda: parse_config(tree), SECTIONS | {printable(str(key)) for key in tree})


OVERRIDES = st.builds(
    Overrides,
    strategy=st.none() | COMPONENTS,
    backbone=st.none() | COMPONENTS,
    sampler=st.none() | COMPONENTS,
    ratio=st.lists(COMPONENTS, max_size=2),
    gradient_weight=st.lists(COMPONENTS, max_size=1),
    reward=st.lists(COMPONENTS, max_size=1),
    assignments=st.lists(ASSIGNMENTS, max_size=3),
)


@many
@given(st.sampled_from(SOUND), OVERRIDES)
def test_overrides_are_bound_or_refused_line_by_line(tree, overrides):
    def said(config=tree):
        return parse_config(overrides.over(config))

    given = {printable(said.partition("=")[0].partition(".")[0]) for said in overrides.assignments}
    check(said, SECTIONS | given)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=files(), assignments=st.lists(ASSIGNMENTS, max_size=2))
def test_the_command_says_what_is_wrong_and_nothing_else(guardcore, tmp_path, text, assignments):
    (tmp_path / "fuzz.yaml").write_bytes(text)
    sets = [part for said in assignments for part in ("--set", said.replace("\x00", ""))]
    done = guardcore("config", "check", "fuzz.yaml", *sets)
    assert done.code in (0, 2), done.err
    assert "Traceback" not in done.err
    assert "internal error" not in done.err
    if done.code == 2:
        assert all(line.startswith("error: ") for line in done.err.splitlines()), done.err


@pytest.mark.parametrize("place", range(len(SOUND)))
def test_what_the_others_change_is_sound_and_its_own_resolution(place):
    text = check(lambda: parse_config(SOUND[place]))
    assert check(lambda: parse_config(yaml.safe_load(text))) == text
