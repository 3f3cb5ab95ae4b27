"""Every built-in penalty keeps the laws."""

import pytest
import torch

from guardcore.testing import check_penalty
from laws import broken, build, builtin


@pytest.mark.parametrize("name", builtin("penalty"))
def test_a_built_in_penalty_keeps_its_contract(name):
    check_penalty(build("penalty", name), name=name)


def test_a_penalty_that_raises_is_told_with_what_it_raised():
    def unready(context):
        raise LookupError("no anchor")

    error = broken(check_penalty, unready, name="anchor")
    assert (error.law, error.who) == ("one-number-a-row", "penalty 'anchor'")
    assert error.reason == "raised LookupError: no anchor"


def test_a_penalty_that_draws_at_random_is_told_so():
    def random(context):
        kl = (context.new.mean - context.reference.mean).flatten(1).pow(2).mean(1)
        return kl * torch.rand(len(kl))

    error = broken(check_penalty, random)
    assert error.law == "pure"
    assert error.reason.endswith("it keeps state, or draws at random")
