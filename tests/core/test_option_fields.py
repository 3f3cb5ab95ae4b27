"""Options as a user reads them."""

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import Field

from guardcore import Options
from guardcore.option_fields import as_yaml, option_fields


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Inner(Options):
    rank: int = Field(8, ge=1, description="a rank")


def field(annotation, default=..., **constraints):
    """The one option of a component with one."""
    fields = {"__annotations__": {"x": annotation}, "x": Field(default, **constraints)}
    return option_fields(type("Mine", (Options,), fields))[0]


@pytest.mark.parametrize(
    ("annotation", "shown"),
    [
        (float, "float"),
        (int, "int"),
        (bool, "bool"),
        (str, "str"),
        (Path, "path"),
        (Path | None, "path | null"),
        (Literal["group", "batch", "none"], '"group" | "batch" | "none"'),
        (Literal[1, 2], "1 | 2"),
        (Colour, '"red" | "blue"'),
        (list[str], "list of str"),
        (tuple[float, ...], "list of float"),
        (tuple[int, str], "list of int, str"),
        (list[int | str], "list of (int | str)"),
        (list[Literal["a", "b"]] | None, 'list of ("a" | "b") | null'),
        (Literal["all"] | tuple[int, ...], '"all" | list of int'),
        (dict[str, int], "mapping"),
        (Inner | None, "mapping | null"),
        (Annotated[int, Field(ge=1)] | Annotated[int, Field(le=-1)], "int"),
        (Any, "any"),
    ],
)
def test_a_type_is_shown_as_a_user_would_say_it(annotation, shown):
    assert field(annotation).type == shown


@pytest.mark.parametrize(
    ("annotation", "constraints", "shown"),
    [
        (float, {"gt": 0, "le": 5}, "0 < x ≤ 5"),
        (float, {"ge": 0, "lt": 1}, "0 ≤ x < 1"),
        (float, {"gt": 1e-8}, "x > 1e-08"),
        (int, {"ge": 1}, "x ≥ 1"),
        (int, {"le": 1_000_000}, "x ≤ 1000000"),
        (int, {"lt": 7, "multiple_of": 2}, "x < 7, multiple of 2"),
        (float | None, {"gt": 0}, "x > 0"),
        (str, {"min_length": 1, "pattern": "^a"}, "length ≥ 1, matches ^a"),
        (list[str], {"min_length": 1, "max_length": 3}, "length ≥ 1, length ≤ 3"),
        (tuple[int, int], {}, ""),
        (float, {}, ""),
    ],
)
def test_constraints_are_shown_as_an_interval(annotation, constraints, shown):
    assert field(annotation, **constraints).constraints == shown


@pytest.mark.parametrize(
    ("default", "shown"),
    [(0.7, "0.7"), (None, "null"), ("", "''"), ("all", "all"), ((1, 2), "[1, 2]"), (True, "true")],
)
def test_a_default_is_shown_as_yaml_says_it(default, shown):
    found = field(Any, default)
    assert (found.default, found.required) == (shown, False)
    assert yaml.safe_load(shown) == (list(default) if isinstance(default, tuple) else default)


def test_a_required_option_and_a_computed_one_have_no_default():
    class Mine(Options):
        given: int = Field(description="required")
        computed: list[int] = Field(default_factory=list, description="computed")

    given, computed = option_fields(Mine)
    assert (given.required, given.default) == (True, "")
    assert (computed.required, computed.default) == (False, "")


def test_options_in_options_follow_the_one_they_are_in():
    class Mine(Options):
        inner: Inner | None = Field(Inner(), description="adapters")
        last: int = Field(0, description="last")

    assert [option.name for option in option_fields(Mine)] == ["inner", "inner.rank", "last"]
    assert option_fields(Mine)[0].default == "{rank: 8}"
    assert option_fields(Mine)[1].description == "a rank"


def test_a_default_that_json_cannot_say_is_left_out_in_silence(recwarn):
    class Mine(Options, validate_default=False):
        thing: int = Field(object(), description="a thing")

    (option,) = option_fields(Mine)
    assert (option.type, option.default) == ("int", "")
    assert not recwarn.list


@pytest.mark.parametrize("value", [1e-5, "a: b", "null", [1, {"a": None}], {"b": 1, "a": 2}])
def test_one_line_yaml_reads_back_as_it_was(value):
    text = as_yaml(value)
    assert "\n" not in text
    assert yaml.safe_load(text) == value
