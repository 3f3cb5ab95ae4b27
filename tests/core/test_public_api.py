"""What third parties build on is written down, so that no change of it goes unnoticed."""

import dataclasses
import importlib
import sys
from types import ModuleType

import pluggy
import pytest

import public_api
from guardcore.hookspecs import PROJECT
from stranger import forget_modules_below


def test_the_public_names_and_signatures_are_those_on_record():
    before = public_api.RECORD.read_text(encoding="utf-8").splitlines()
    found = public_api.differences(before, public_api.lines())
    assert not found, (
        "the public API has changed; what is gone breaks plugins (docs/compatibility.md). "
        "Accept it with `python tests/public_api.py`, and tell it in CHANGELOG.md:\n"
        + "\n".join(found)
    )


SOURCE = """
from __future__ import annotations
from dataclasses import dataclass
from typing import Protocol

@dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0

    @property
    def norm(self) -> float:
        return self.x

    def moved(self, by: float, /) -> Point:
        return self

class Shape(Protocol):
    def area(self, unit: str = "px") -> float: ...

def draw(shape: Shape, *, fill: bool = False) -> None: ...

def _private() -> None: ...
"""


@pytest.fixture
def described(site):
    """Return the lines of a module with some source."""

    def lines(source=SOURCE):
        forget_modules_below(site)
        (site / "drawing.py").write_text(source)
        importlib.invalidate_caches()
        # two sources of one second and one size would share their bytecode
        sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
        try:
            module = importlib.import_module("drawing")
        finally:
            sys.dont_write_bytecode = before
        names = ("Point", "Shape", "draw")
        return [line for name in names for line in public_api.described(name, vars(module)[name])]

    return lines


def test_a_line_is_what_a_caller_may_write(described):
    assert described() == [
        "Point: dataclass",
        "Point.x: float  # argument 1",
        "Point.y: float = 0.0  # argument 2",
        "Point.norm: float",
        "Point.moved(by: float, /) -> Point",
        "Shape: class(Protocol)",
        "Shape.area(unit: str = 'px') -> float",
        "draw(shape: Shape, *, fill: bool = False) -> None",
    ]


@pytest.mark.parametrize(
    ("old", "new", "gone"),
    [
        ("y: float = 0.0", "y: float = 1.0", "gone: Point.y: float = 0.0  # argument 2"),
        ("x: float\n", "z: float\n    x: float\n", "gone: Point.x: float  # argument 1"),
        ("by: float, /", "by: float", "gone: Point.moved(by: float, /) -> Point"),
        ("def norm", "def length", "gone: Point.norm: float"),
        ('unit: str = "px"', "unit: str", "gone: Shape.area(unit: str = 'px') -> float"),
        ("fill: bool", "filled: bool", "gone: draw(shape: Shape, *, fill: bool = False) -> None"),
    ],
)
def test_what_would_break_a_caller_is_gone_from_the_record(described, old, new, gone):
    assert old in SOURCE
    assert gone in public_api.differences(described(), described(SOURCE.replace(old, new)))


def test_what_is_added_is_new_and_nothing_is_gone(described):
    more = SOURCE.replace("y: float = 0.0", "y: float = 0.0\n    z: float = 0.0")
    found = public_api.differences(described(), described(more))
    assert found == ["new:  Point.z: float = 0.0  # argument 3"]


def test_a_hook_is_recorded_with_its_arguments_and_whether_it_is_deprecated():
    module = ModuleType("specs")
    mark = pluggy.HookspecMarker(PROJECT)

    def one(register: int) -> None: ...

    def two(run: int) -> None: ...

    def helper() -> None: ...

    module.one, module.helper = mark(one), helper
    module.two = mark(warn_on_impl=DeprecationWarning("goes"))(two)
    assert list(public_api.hooks(module)) == [
        "one(register: int) -> None",
        "two(run: int) -> None (deprecated)",
    ]


def test_dataclasses_and_their_fields_are_on_record_for_every_result():
    lines = public_api.RECORD.read_text(encoding="utf-8").splitlines()
    from guardcore import RatioTerms, StepContext, Surrogate, Transition

    for owner in (RatioTerms, StepContext, Surrogate, Transition):
        for field in dataclasses.fields(owner):
            assert any(
                line.startswith(f"guardcore.{owner.__name__}.{field.name}: ") for line in lines
            )
