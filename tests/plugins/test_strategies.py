import pytest

from guardcore import Strategy, create
from guardcore.binding import bind
from guardcore.layers import parse_config, read_yaml
from guardcore_plugins.profiles import profiles
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
    "clip-higher": (
        ["ratio-norm", {"use": "ppo-clip", "low": 2e-6, "high": 2.8e-6}],
        ["inverse-dt"],
    ),
    "soft-clip": (
        ["ratio-norm", {"use": "soft-clip", "low": 1.9e-6, "high": 2e-6}],
        ["inverse-dt"],
    ),
    "dual-clip": (
        ["ratio-norm", clip(2e-6), {"use": "dual-clip", "c": 1.00002}],
        ["inverse-dt"],
    ),
    "cispo": (["ratio-norm", {"use": "cispo", "high": 2e-6}], ["inverse-dt"]),
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


@pytest.mark.parametrize("profile", ["tiny-sd3", "tiny-flux"])
def test_the_tiny_profiles_ranges_are_a_hundred_times_as_wide(profile):
    ranges = read_yaml(profiles()[profile])["strategy_options"]
    for name in ("guard", "clip-higher", "soft-clip", "dual-clip", "cispo"):
        (_, *words), _ = DESIGN[name]
        own = {word["use"]: {k: v for k, v in word.items() if k != "use"} for word in words}
        assert ranges[name].keys() == own.keys()
        for word, options in own.items():
            for option, value in options.items():
                wide = 1 + 100 * (value - 1) if option == "c" else 100 * value
                assert float(ranges[name][word][option]) == pytest.approx(wide, rel=1e-9)


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
        ("soft-clip", "flow-sde", False),
        ("soft-clip", "dance-sde", True),
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
