import pytest

from guardcore import Strategy, create
from guardcore.binding import bind
from guardcore.layers import parse_config
from toy import toy_host, toy_tree


def clip(half_width):
    return {"use": "ppo-clip", "low": half_width, "high": half_width}


DESIGN = {
    "plain": ([clip(1e-4)], []),
    "temp-reweight": ([clip(1e-4)], ["noise-scale"]),
    "mean-revised": (["mean-revise", clip(1e-4)], []),
    "ratio-norm": (["ratio-norm", clip(2e-6)], []),
    "flat-norm": (["flat-norm", clip(2e-5)], []),
    "guard": (["ratio-norm", clip(2e-6)], ["inverse-dt"]),
    "guard-dance": (["ratio-norm", clip(2e-6)], ["dance"]),
    "dppo": (["dppo-mask"], []),
}


@pytest.mark.parametrize("name", DESIGN)
def test_a_strategy_is_designs_sentence_with_its_clip_range(name):
    strategy = create("strategy", name)
    assert isinstance(strategy, Strategy)
    ratio, weights = DESIGN[name]
    assert (list(strategy.ratio), list(strategy.gradient_weight)) == (ratio, weights)
    assert strategy.description


def test_there_are_no_others():
    built_in = [entry.name for entry in toy_host().registry.of_kind("strategy")]
    assert sorted(built_in) == sorted(DESIGN)


@pytest.mark.parametrize("name", DESIGN)
def test_every_word_of_a_strategy_can_be_bound(name):
    binding = bind(parse_config(toy_tree(strategy=name)), toy_host().registry)
    words = [bound.entry.name for bound in (*binding.ratio, *binding.gradient_weight)]
    ratio, weights = DESIGN[name]
    assert words == [w if isinstance(w, str) else w["use"] for w in (*ratio, *weights)]


@pytest.mark.parametrize(
    ("strategy", "sampler", "warned"),
    [
        ("guard", "flow-sde", False),
        ("guard", "dance-sde", True),
        ("guard", "guardcore:dance-sde", True),
        ("guard", "cps", True),
        ("guard-dance", "dance-sde", False),
        ("guard-dance", "flow-sde", True),
        ("plain", "dance-sde", False),
    ],
)
def test_a_gradient_weight_with_a_sampler_it_was_not_derived_for_is_warned_about(
    strategy, sampler, warned
):
    config = parse_config(toy_tree(strategy=strategy, sampler=sampler))
    warnings = bind(config, toy_host().registry).warnings
    assert [sampler.rpartition(":")[2] in warning for warning in warnings] == [True] * warned


def test_a_gradient_weight_of_ones_own_is_nobodys_business():
    tree = toy_tree(strategy="guard", sampler="dance-sde", gradient_weight=["dance"])
    assert bind(parse_config(tree), toy_host().registry).warnings == ()


@pytest.mark.parametrize("word", [{"low": 1e-4}, 7, ["ppo-clip"], "", {"use": 3}])
def test_a_word_that_names_nothing_is_refused_where_it_is_written(word):
    with pytest.raises(ValueError, match="1 validation error"):
        Strategy(ratio=[word])


@pytest.mark.parametrize("place", ["ratio", "gradient_weight"])
def test_one_word_instead_of_a_list_is_refused(place):
    with pytest.raises((TypeError, ValueError), match=place):
        Strategy(**{"ratio": [], place: "ppo-clip"})
