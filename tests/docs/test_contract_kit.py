"""The page on the contract kit names every law and check that there is, and no other."""

import ast
import re
from pathlib import Path

import pytest

import guardcore.testing
from guardcore.kinds import KINDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "contract-kit.md").read_text(encoding="utf-8")
KIT = Path(guardcore.testing.__file__).parent
SHARED = {"methods", "built"}


def laws_in(module):
    """Laws by the names of their functions, and those named where they are tried once."""
    source = module.read_text(encoding="utf-8")
    functions = {
        node.name.replace("_", "-")
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith(("_", "check_"))
    }
    return functions | set(re.findall(r'(?:once|hold)\(\s*"([a-z-]+)"', source))


def laws_on_page(kind):
    heading = f"### {kind.replace('_', ' ').capitalize()}\n"
    section = PAGE.partition(heading)[2].partition("\n### ")[0]
    assert section, heading
    return set(re.findall(r"^\| `([a-z-]+)` \|", section, re.M))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if (KIT / f"{kind}.py").exists()])
def test_every_law_of_a_kind_is_explained(kind):
    named = [path for path in KIT.glob("*.py") if re.fullmatch(rf"{kind}(_\w+)?", path.stem)]
    modules = [path for path in named if not path.stem.endswith("_cases")]
    laws = {law for module in modules for law in laws_in(module)} - SHARED
    closing = {"close"} if kind in ("reward", "tracker") else set()  # methods.closed_after
    assert laws_on_page(kind) == laws | closing


@pytest.mark.parametrize("kind", KINDS)
def test_every_kinds_check_is_named(kind):
    assert f"`check_{kind}(" in PAGE
    assert f"check_{kind}" in guardcore.testing.__all__


@pytest.mark.parametrize("law", sorted(SHARED))
def test_laws_of_several_kinds_are_explained(law):
    assert f"`{law}`" in PAGE.partition("## The laws")[0]
