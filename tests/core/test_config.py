"""The tree: every mistake at once, each with its config path."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from guardcore import GuardcoreError, Options, RunConfig
from guardcore.binding import bind
from guardcore.bound import resolved
from guardcore.errors import ConfigError
from guardcore.layers import Overrides, laid_over, parse_config
from guardcore.registry import Origin
from guardcore.trained_steps import built_window
from toy import toy_host, toy_tree

REGISTRY = toy_host().registry  # read only


def problems(tree):
    with pytest.raises(ConfigError) as caught:
        bind(parse_config(tree), REGISTRY)
    return list(caught.value.problems)


def test_three_sections_are_enough():
    config = parse_config(
        {"backbone": "toy", "reward": ["brightness"], "prompts": {"train": "words"}}
    )
    binding = bind(config, REGISTRY)
    assert binding.backbone.entry.qualified == "toy:toy"
    assert binding.sampler.entry.qualified == "guardcore:flow-sde"
    assert [word.entry.name for word in binding.ratio] == ["ratio-norm", "ppo-clip"]
    assert binding.eval_prompts is None


def test_the_defaults_are_the_papers():
    config = RunConfig.model_validate(
        {"backbone": "sd3", "reward": ["ocr"], "prompts": {"train": "text"}}
    )
    rollout, train = config.rollout, config.train
    assert (rollout.num_inference_steps, rollout.groups, rollout.group_size) == (10, 48, 24)
    assert (rollout.height, rollout.width, rollout.batch_size) == (512, 512, 9)
    assert (train.learning_rate, train.weight_decay, train.max_grad_norm) == (1e-4, 1e-4, 1.0)
    assert (train.updates_per_iteration, train.ema_decay, train.ema_every) == (2, 0.9, 8)
    assert (config.evaluate.num_inference_steps, config.strategy) == (40, "guard")


def test_the_three_sections_without_a_default_are_required():
    assert problems({}) == [
        f"{key}: required, and not given" for key in ("backbone", "reward", "prompts")
    ]


def test_all_problems_of_the_tree_are_told_at_once_with_their_paths():
    tree = toy_tree(
        rollout={"groups": 0, "group_size": 1, "heigth": 64},
        train={"learning_rate": -1, "ema_decay": 1.0, "iterations": "many"},
        sampler=None,
        seed=-1,
        sede=3,
    )
    found = {problem.partition(":")[0] for problem in problems(tree)}
    assert found == {
        "rollout.groups",
        "rollout.group_size",
        "rollout.heigth",
        "train.learning_rate",
        "train.ema_decay",
        "train.iterations",
        "sampler",
        "seed",
        "sede",
    }


def test_all_problems_of_the_components_are_told_at_once_with_their_paths():
    tree = toy_tree(
        backbone={"use": "toy", "dytpe": "float32"},
        sampler={"use": "flow-sde", "noise_level": 9},
        reward=["brightnes", {"use": "brightness", "weight": 0}],
        penalty=[{"use": "ratio-norm"}],
        advantage={"use": "group", "std": "sample"},
        prompts={"train": {"use": "text", "path": "/no/such/file"}, "eval": "wrods"},
        evaluate={"sampler": "odee"},
        tracker=["console", "consol"],
        strategy="gaurd",
        rollout={"train_steps": [3]},
    )
    found = problems(tree)
    for path, part in {
        "backbone.dytpe": "did you mean 'dtype'",
        "sampler.noise_level": "received 9",
        "reward.0": "did you mean 'brightness'",
        "penalty.0": "there is a ratio_transform of that name",
        "advantage.std": "received 'sample'",
        "prompts.train.path": "no such file: /no/such/file",
        "prompts.eval": "did you mean 'words'",
        "evaluate.sampler": "did you mean 'ode'",
        "tracker.1": "did you mean 'console'",
        "strategy": "did you mean 'guard'",
        "rollout.train_steps": "from 0 to 2",
    }.items():
        assert any(p.startswith(f"{path}: ") and part in p for p in found), (path, found)


@pytest.mark.parametrize(
    ("tree", "problem"),
    [
        ({"trian": {}}, "trian: unknown key; did you mean 'train'?"),
        (
            {"rollout": {"group_sise": 4}},
            "rollout.group_sise: unknown key; did you mean 'group_size'?",
        ),
        (
            {"prompts": {"train": "words", "evla": "words"}},
            "prompts.evla: unknown key; did you mean 'eval'?",
        ),
        (
            {"rollout": {"train_steps": {"size": 1, "form": 1}}},
            "rollout.train_steps.form: unknown key; did you mean 'from'?",
        ),
        ({"train": {"xyzzy": 1}}, "train.xyzzy: unknown key; known: adam_beta1"),
        ({"sampler": {"use": "ode", "noise_level": 1}}, "sampler.noise_level: unknown key"),
    ],
)
def test_an_unknown_key_gets_the_nearest_one_of_its_own_section(tree, problem):
    (found,) = problems(toy_tree(**tree))
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("rollout.num_inference_steps", 1),
        ("rollout.height", 4),
        ("rollout.batch_size", 0),
        ("rollout.groups", 2.5),
        ("rollout.same_noise", "perhaps"),
        ("train.iterations", 0),
        ("train.updates_per_iteration", 0),
        ("train.samples_per_update", "half"),
        ("train.learning_rate", 0),
        ("train.learning_rate", float("nan")),
        ("train.learning_rate", "fast"),
        ("train.max_grad_norm", float("inf")),
        ("train.ema_decay", 1.0),
        ("train.ema_every", 0),
        ("train.max_skipped_updates", 0),
        ("evaluate.every", 0),
        ("evaluate.guidance_scale", -1),
        ("evaluate.grid", -1),
        ("checkpoint.keep", 0),
        ("reduction", "max"),
        ("seed", 2**63),
        ("rollout.train_steps", "some"),
        ("rollout.train_steps", 3),
        ("rollout.train_steps", None),
        ("rollout.train_steps.size", 0),
        ("rollout.train_steps.choose", "chance"),
        ("reward", []),
        ("reward", "brightness"),
        ("tracker", "console"),
        ("ratio", [5]),
        ("strategy_options", {"guard": {"ppo-clip": 3}}),
        ("reward.0.weight", float("inf")),
        ("reward.0.weight", "heavy"),
    ],
)
def test_a_value_out_of_range_or_type_is_named_by_its_path(path, value):
    tree = toy_tree(rollout={"train_steps": {"size": 1}}, reward=[{"use": "brightness"}])
    node = tree
    *above, last = path.split(".")
    for key in above:
        node = node[int(key) if key.isdigit() else key]
    node[last] = value
    found = problems(tree)
    assert any(problem.startswith(path) for problem in found), found
    assert not any("<" in problem for problem in found)


def test_an_item_of_a_list_of_steps_is_named_by_its_place():
    found = problems(toy_tree(rollout={"train_steps": [0, "x", -1]}))
    assert [problem.partition(":")[0] for problem in found] == [
        "rollout.train_steps.1",
        "rollout.train_steps.2",
    ]


@pytest.mark.parametrize(
    "steps",
    [
        [3],
        [0, 0],
        [],
        {"size": 4},
        {"size": 2, "from": 2},
        {"size": 1, "to": 4},
        {"size": 2, "from": 1, "to": 2},
        {"size": 1, "from": 3, "to": 2, "choose": "random"},
    ],
)
def test_steps_that_do_not_fit_before_the_last_one_are_refused(steps):
    (found,) = problems(toy_tree(rollout={"train_steps": steps}))
    assert found.startswith("rollout.train_steps: ")
    assert "never trained" in found


@pytest.mark.parametrize(
    ("steps", "trained"),
    [
        ("all", [0, 1, 2]),
        ([0], [0]),
        ([2, 0], [0, 2]),
        ({"size": 3}, [0, 1, 2]),
        ({"size": 1, "from": 2}, [2]),
        ({"size": 2, "to": 3}, [0, 1]),
    ],
)
def test_steps_that_fit_are_accepted(steps, trained):
    config = parse_config(toy_tree(rollout={"train_steps": steps}))
    window = bind(config, REGISTRY).window
    assert built_window(window, config.rollout.num_inference_steps).at(0, 1) == trained


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [
        ({"size": 2}, {"choose": "random"}, ("block", {"size": 2, "choose": "random"})),
        ({"use": "block", "size": 1}, {"size": 2}, ("block", {"size": 2})),
        ({"size": 3, "from": 0}, {"use": "sliding", "size": 2}, ("sliding", {"size": 2})),
        ({"size": 3}, "sliding", ("sliding", {})),
        ({"size": 3}, [0, 1], ("steps", {"steps": [0, 1]})),
    ],
)
def test_windows_in_layers_of_configs(below, above, expected):
    base = toy_tree(rollout={"train_steps": below})
    config = parse_config(laid_over(base, {"rollout": {"train_steps": above}}))
    assert (config.rollout.train_steps.use, config.rollout.train_steps.options) == expected


def test_rewards_that_are_all_for_evaluation_only_train_nothing():
    (found,) = problems(toy_tree(reward=[{"use": "brightness", "weight": 0}]))
    assert found == "reward: at least one needs a weight other than 0"


def test_updates_cannot_share_fewer_micro_batches_than_they_are():
    tree = toy_tree(
        rollout={"batch_size": 8}, train={"samples_per_update": "share", "updates_per_iteration": 3}
    )
    (found,) = problems(tree)
    assert found.startswith("train.updates_per_iteration: 3 updates cannot share 2 micro-batches")


def test_strings_that_yaml_leaves_of_small_numbers_are_numbers():
    # YAML 1.1 reads 2e-6 as a string: there is no point in it
    tree = toy_tree(
        train={"learning_rate": "2e-6"},
        ratio=[{"use": "ppo-clip", "low": "2e-6", "high": "1e-3"}],
        reward=[{"use": "brightness", "weight": "5e-1"}],
    )
    config = parse_config(tree)
    binding = bind(config, REGISTRY)
    assert config.train.learning_rate == 2e-6
    assert (binding.ratio[0].options.low, binding.ratio[0].options.high) == (2e-6, 1e-3)
    assert binding.rewards["brightness"].weight == 0.5


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"gaurd": {}},
            "strategy_options.gaurd: no strategy is called 'gaurd'; did you mean 'guard'?",
        ),
        (
            {"guard": {"ppo-clp": {"low": 0.1}}},
            "strategy_options.guard.ppo-clp: the strategy has no such word; did you mean 'ppo-clip'?",
        ),
        (
            {"guard": {"ppo-clip": {"lwo": 0.1}}},
            "strategy_options.guard.ppo-clip.lwo: unknown key; did you mean 'low'?",
        ),
        ({"guard": {"ppo-clip": {"low": 7}}}, "strategy_options.guard.ppo-clip.low: "),
        ({"plain": {"ppo-clip": {"lwo": 0.1}}}, "strategy_options.plain.ppo-clip.lwo: unknown key"),
        (
            {"guard": {"dppo-mask": {"threshold": 1}}},
            "strategy_options.guard.dppo-mask: the strategy",
        ),
    ],
)
def test_a_typo_in_a_profiles_strategy_options_is_found_chosen_or_not(options, problem):
    (found,) = problems(toy_tree(strategy="guard", strategy_options=options))
    assert found.startswith(problem)


def test_a_profiles_options_hold_for_the_strategys_words_alone():
    options = {"guard": {"ppo-clip": {"low": 0.25}}, "plain": {"ppo-clip": {"high": 0.5}}}
    ranges = {}
    for strategy in ("guard", "plain", "ratio-norm"):
        config = parse_config(toy_tree(strategy=strategy, strategy_options=options))
        clip = bind(config, REGISTRY).ratio[-1].options
        ranges[strategy] = (clip.low, clip.high)
    assert ranges == {"guard": (0.25, 2e-6), "plain": (1e-4, 0.5), "ratio-norm": (2e-6, 2e-6)}


def test_lists_of_ones_own_replace_the_strategys():
    tree = toy_tree(strategy="guard", ratio=["mean-revise"], gradient_weight=[])
    binding = bind(parse_config(tree), REGISTRY)
    assert [word.entry.name for word in binding.ratio] == ["mean-revise"]
    assert binding.gradient_weight == ()
    partly = bind(parse_config(toy_tree(strategy="guard", ratio=["mean-revise"])), REGISTRY)
    assert [word.entry.name for word in partly.gradient_weight] == ["inverse-dt"]


def test_one_update_an_iteration_is_warned_about_as_no_clip_can_act():
    config = parse_config(toy_tree(train={"updates_per_iteration": 1}))
    (warning,) = bind(config, REGISTRY).warnings
    assert "every ratio is 1, so no clip can act" in warning


def test_two_rewards_of_one_name_are_labelled_by_what_differs():
    second = {"use": "toy:colour", "weight": 0, "colour": [1, 0, 0], "seconds": 0.5}
    tree = toy_tree(reward=[{"use": "colour", "weight": 2}, second])
    binding = bind(parse_config(tree), REGISTRY)
    assert {label: bound.weight for label, bound in binding.rewards.items()} == {
        "colour": 2.0,
        "colour:seconds=0.5,colour=[1.0, 0.0, 0.0]": 0.0,
    }


def test_the_same_reward_twice_is_refused():
    (found,) = problems(toy_tree(reward=["brightness", {"use": "toy:brightness", "weight": 0}]))
    assert found == "reward.1: the same reward is listed already"


def test_two_strangers_rewards_of_one_short_name_go_together():
    def factory(options: Options): ...

    host = toy_host()
    for name in ("one", "two"):
        register = host.registry.registrar("reward", Origin(name, "1", "x", "x"))
        register("score", factory)
    config = parse_config(toy_tree(reward=["one:score", "two:score"]))
    labels = list(bind(config, host.registry).rewards)
    assert len(set(labels)) == 2


RESOLVABLE = {
    "plain names": {},
    "a window": {"rollout": {"train_steps": {"size": 1, "from": 1, "to": 3, "choose": "random"}}},
    "a list of steps": {"rollout": {"train_steps": [2, 0]}},
    "a sliding window": {"rollout": {"train_steps": {"use": "sliding", "size": 2, "from": 1}}},
    "strategy options": {"strategy_options": {"guard": {"ppo-clip": {"low": "1e-3"}}, "dppo": {}}},
    "lists": {
        "strategy": None,
        "ratio": ["mean-revise", {"use": "ppo-clip", "low": 0.5}],
        "gradient_weight": ["flat", "noise-scale"],
    },
    "two of each": {
        "reward": [{"use": "brightness", "weight": 0.25}, {"use": "brightness", "calls": 3}],
        "penalty": [{"use": "kl", "weight": 0.01}],
        "tracker": ["console", {"use": "jsonl", "path": "x.jsonl"}],
    },
    "no held-out prompts": {"prompts": {"train": {"use": "words", "size": 2}, "eval": None}},
    "the other samplers": {
        "sampler": {"use": "cps", "noise_level": 0.25},
        "evaluate": {"sampler": {"use": "dance-sde", "noise_level": 0.1}},
    },
}


@pytest.mark.parametrize("case", RESOLVABLE)
def test_a_resolved_config_written_and_read_again_resolves_to_itself(case):
    config = parse_config(toy_tree(**RESOLVABLE[case]))
    binding = bind(config, REGISTRY)
    plain = resolved(config, binding)
    again = parse_config(yaml.safe_load(yaml.safe_dump(plain)))
    rebound = bind(again, REGISTRY)
    assert resolved(again, rebound) == plain
    for one, two in zip(binding.all(), rebound.all(), strict=True):
        assert (one.entry, one.options, one.weight) == (two.entry, two.options, two.weight)


def names_in(node):
    if isinstance(node, dict):
        if "use" in node:
            yield node["use"]
        for value in node.values():
            yield from names_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from names_in(value)


@pytest.mark.parametrize("case", RESOLVABLE)
def test_a_resolved_config_is_written_with_qualified_names_and_every_option(case):
    config = parse_config(toy_tree(**RESOLVABLE[case]))
    plain = resolved(config, bind(config, REGISTRY))
    names = [*names_in(plain), *plain["strategy_options"], *([plain["strategy"] or "none:none"])]
    assert [name for name in names if ":" not in name] == []
    assert "noise_level" in plain["sampler"]
    assert set(plain["rollout"]) == set(type(config.rollout).model_fields)


def test_a_strategy_on_top_of_a_resolved_config_takes_its_profiles_options_again():
    options = {"plain": {"ppo-clip": {"low": 0.25}}}
    config = parse_config(toy_tree(strategy="guard", strategy_options=options))
    stored = resolved(config, bind(config, REGISTRY))
    other = parse_config(Overrides(strategy="plain").over(stored))
    (clip,) = bind(other, REGISTRY).ratio
    assert clip.options.low == 0.25


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["guard", "toy", "use", "all", "ppo-clip", "1e-4", "", ":", "guardcore:ode"])
    | st.dates()
    | st.binary(max_size=4)
)
KEYS = st.sampled_from(
    [*RunConfig.model_fields, "use", "weight", "size", "from", "train", "eval"]
) | (st.text(max_size=5) | st.integers(-3, 3) | st.none() | st.floats(allow_nan=False))
TREES = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=4),
    max_leaves=12,
)


@given(
    base=st.booleans(),
    changes=st.dictionaries(st.sampled_from(list(RunConfig.model_fields)), TREES, max_size=4),
    more=st.dictionaries(KEYS, TREES, max_size=2),
)
def test_whatever_tree_a_file_holds_a_mistake_is_an_error_for_a_user(base, changes, more):
    tree = {**(toy_tree() if base else {}), **changes, **more}
    try:
        config = parse_config(tree)
        binding = bind(config, REGISTRY)
    except GuardcoreError as error:
        assert str(error)
    else:
        assert resolved(config, binding)["backbone"]["use"]


@given(
    section=st.sampled_from(["rollout", "train", "evaluate", "checkpoint", "prompts"]), tree=TREES
)
def test_whatever_stands_in_a_section_a_mistake_is_an_error_for_a_user(section, tree):
    try:
        bind(parse_config({**toy_tree(), section: tree}), REGISTRY)
    except GuardcoreError as error:
        assert section in str(error)
