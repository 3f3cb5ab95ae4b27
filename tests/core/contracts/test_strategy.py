"""Every built-in strategy keeps the laws; one whose words don't is told which law it breaks."""

import pytest

from guardcore import Strategy
from guardcore.testing import check_strategy
from laws import broken, build, builtin
from stranger import install

SHIFT = """
    from dataclasses import replace

    from guardcore import Options, hookimpl

    def shift(options: Options):
        '''Adds 1 % to every ratio.'''
        return lambda terms, context: replace(terms, log_ratio=terms.log_ratio + 0.01)

    def dead(options: Options):
        '''Lets no gradient through.'''
        return lambda terms, context: replace(terms, log_ratio=terms.log_ratio.detach())

    @hookimpl
    def guardcore_register_ratio_transforms(register):
        register("shift", shift)
        register("dead", dead)
"""


@pytest.mark.parametrize("name", builtin("strategy"))
def test_a_built_in_strategy_keeps_its_contract(name):
    check_strategy(build("strategy", name), name=name)


@pytest.mark.parametrize(
    ("strategy", "law", "reason"),
    [
        (Strategy(["ppo-clip"]), "described", "description must be one line, received ''"),
        (Strategy([], description="Nothing."), "words-exist", "it has no word"),
        (
            Strategy(["ppo-clp"], description="Misspelt."),
            "words-exist",
            "no ratio_transform is called 'ppo-clp'; did you mean 'ppo-clip'?",
        ),
        (
            Strategy([{"use": "ppo-clip", "width": 1}], description="Of another version."),
            "words-exist",
            "ratio_transform ppo-clip.width: unknown",
        ),
        (
            Strategy(["ratio-norm"], ["ppo-clip"], description="In the wrong place."),
            "words-exist",
            "no gradient_weight is called 'ppo-clip'; there is a ratio_transform of that name",
        ),
        (
            Strategy(["ppo-clip"], description="For nobody.", samplers=["flow_sde"]),
            "samplers-exist",
            "no sampler is called 'flow_sde'; did you mean 'flow-sde'?",
        ),
    ],
)
def test_a_strategy_that_cannot_be_run_breaks_a_law(strategy, law, reason):
    error = broken(check_strategy, strategy)
    assert error.law == law
    assert error.reason.startswith(reason)


@pytest.mark.parametrize(
    ("word", "law"), [("shift", "ratio-starts-at-one"), ("dead", "every-row-learns")]
)
def test_a_strategy_is_as_good_as_its_words(site, word, law):
    install(site, "strangers", {"strangers_words": SHIFT})
    strategy = Strategy([word, "ppo-clip"], description="A stranger's.")
    assert broken(check_strategy, strategy, name="odd").law == law
