"""Every built-in word on the ratio keeps the laws, whatever its options, and in a chain."""

import pytest

from guardcore.testing import check_ratio_transform
from laws import build, builtin


@pytest.mark.parametrize("name", builtin("ratio_transform"))
def test_a_built_in_word_keeps_its_contract(name):
    check_ratio_transform(build("ratio_transform", name), name=name)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ppo-clip", {"low": 0, "high": 0}),
        ("ppo-clip", {"low": 0.999, "high": 1e9}),
        ("dppo-mask", {"threshold": 1e-12}),
    ],
    ids=str,
)
def test_so_it_does_at_the_ends_of_its_options(name, options):
    check_ratio_transform(build("ratio_transform", name, **options), name=name)


def test_a_chain_of_words_is_a_word():
    norm, clip = build("ratio_transform", "ratio-norm"), build("ratio_transform", "ppo-clip")
    check_ratio_transform(lambda terms, context: clip(norm(terms, context), context))
