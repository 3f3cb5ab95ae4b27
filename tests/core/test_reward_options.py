"""A profile's options for a reward: laid under what names it, checked whether it is named or not."""

import pytest

from guardcore.binding import bind
from guardcore.bound import resolved
from guardcore.errors import ConfigError
from guardcore.layers import Overrides, parse_config
from toy import toy_host, toy_tree

REGISTRY = toy_host().registry
OWN = {"toy:brightness": {"seconds": 0.25}}


def bound(tree, **overrides):
    config = parse_config(Overrides(**overrides).over(tree))
    return config, bind(config, REGISTRY)


def test_a_reward_gets_the_profiles_options_wherever_it_is_named():
    for overrides in ({}, {"reward": ["brightness"]}, {"assignments": ["reward=[brightness]"]}):
        _, binding = bound(toy_tree(reward=["brightness"], reward_options=OWN), **overrides)
        assert binding.rewards["brightness"].options.seconds == 0.25


def test_its_own_options_and_weight_come_first():
    tree = toy_tree(reward_options=OWN)
    _, binding = bound(tree, reward=["brightness:seconds=0.5,weight=3", "colour"])
    assert binding.rewards["brightness"].options.seconds == 0.5
    assert binding.rewards["brightness"].weight == 3
    assert binding.rewards["colour"].options.seconds == 0


def test_the_resolved_config_says_it_all_and_gives_the_same_again():
    config, binding = bound(
        toy_tree(reward=["brightness"], reward_options={"brightness": {"seconds": 0.25}})
    )
    tree = resolved(config, binding)
    assert tree["reward"][0]["seconds"] == 0.25
    assert tree["reward_options"] == OWN
    again = parse_config(tree)
    assert resolved(again, bind(again, REGISTRY)) == tree


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"brightnes": {}}, "reward_options.brightnes: no reward is called 'brightnes'"),
        ({"colour": {"secnds": 1}}, "reward_options.colour.secnds: unknown key"),
        ({"brightness": {"seconds": "x"}}, "reward_options.brightness.seconds: "),
        ({"colour": {"weight": 1}}, "reward_options.colour.weight: unknown key"),
    ],
)
def test_a_mistake_is_told_once_named_or_not(options, problem):
    with pytest.raises(ConfigError) as caught:
        bound(toy_tree(reward=["brightness"], reward_options=options))
    (found,) = caught.value.problems
    assert found.startswith(problem)
