"""Every built-in advantage keeps the laws, whatever its options."""

import pytest

from guardcore.testing import check_advantage
from laws import build, builtin


@pytest.mark.parametrize("name", builtin("advantage"))
def test_a_built_in_advantage_keeps_its_contract(name):
    check_advantage(build("advantage", name), name=name)


@pytest.mark.parametrize(
    "options",
    [
        {"clip": None},
        {"clip": 0.5},
        {"std": "batch"},
        {"std": "none", "eps": 0},
        {"normalize": "group"},
        {"normalize": "batch"},
        {"normalize": "group", "std": "batch", "clip": None, "eps": 0},
    ],
    ids=str,
)
def test_so_does_group_with_other_options(options):
    check_advantage(build("advantage", "group", **options), name="group")
