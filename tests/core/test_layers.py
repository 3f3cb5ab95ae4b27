"""A file, then the command line over it: config < --strategy < --ratio < --set."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from guardcore import GuardcoreError
from guardcore.binding import bind
from guardcore.layers import Overrides, assign, parse_component, parse_config, read_yaml
from toy import toy_host, toy_tree

REGISTRY = toy_host().registry  # read only


def words(tree, **overrides):
    binding = bind(parse_config(Overrides(**overrides).over(tree)), REGISTRY)
    return [b.entry.name for b in binding.ratio], [b.entry.name for b in binding.gradient_weight]


OWN = {"strategy": None, "ratio": ["mean-revise"], "gradient_weight": ["flat"]}


def test_a_strategy_replaces_the_configs_own_lists():
    assert words(toy_tree(**OWN)) == (["mean-revise"], ["flat"])
    over = words(toy_tree(**OWN), strategy="guard")
    assert over == (["ratio-norm", "ppo-clip"], ["inverse-dt"])


def test_ratio_and_gradient_weight_each_replace_one_list_whole():
    tree = toy_tree(strategy="guard")
    assert words(tree, ratio=["flat-norm"]) == (["flat-norm"], ["inverse-dt"])
    assert words(tree, gradient_weight=["flat", "noise-scale"]) == (
        ["ratio-norm", "ppo-clip"],
        ["flat", "noise-scale"],
    )


def test_ratio_comes_after_strategy_whatever_the_config_says():
    both = words(toy_tree(**OWN), strategy="plain", ratio=["ratio-norm", "dppo-mask"])
    assert both == (["ratio-norm", "dppo-mask"], [])


def test_set_comes_last():
    tree = toy_tree(strategy="guard")
    assert words(tree, ratio=["flat-norm"], assignments=["ratio=[mean-revise]"])[0] == [
        "mean-revise"
    ]
    assert words(tree, strategy="guard", assignments=["strategy=plain"]) == (["ppo-clip"], [])
    config = parse_config(
        Overrides(sampler="cps:noise_level=0.5", assignments=["sampler.noise_level=0.25"]).over(
            tree
        )
    )
    assert bind(config, REGISTRY).sampler.options.noise_level == 0.25


def test_of_two_assignments_the_later_counts():
    tree = Overrides(assignments=["seed=1", "seed=2"]).over(toy_tree())
    assert parse_config(tree).seed == 2


def test_overrides_leave_the_tree_that_they_are_laid_over_alone():
    tree = toy_tree(ratio=[{"use": "ppo-clip", "low": 0.5}])
    before = yaml.safe_dump(tree)
    Overrides(
        strategy="plain", reward=["colour"], assignments=["ratio.0.low=0.1", "rollout.groups=9"]
    ).over(toy_tree(**tree))
    assert yaml.safe_dump(tree) == before


def test_no_overrides_are_false_and_any_is_true():
    assert not Overrides()
    assert Overrides(assignments=["seed=1"])


def test_backbone_sampler_and_rewards_replace_the_configs():
    overrides = Overrides(
        backbone="toy:dtype=bfloat16",
        sampler="dance-sde:noise_level=0.25",
        reward=["brightness:weight=2", "toy:colour:weight=0,seconds=0"],
    )
    binding = bind(parse_config(overrides.over(toy_tree())), REGISTRY)
    assert binding.backbone.options.dtype == "bfloat16"
    assert binding.sampler.entry.name == "dance-sde"
    assert {label: b.weight for label, b in binding.rewards.items()} == {
        "brightness": 2,
        "colour": 0,
    }


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("ppo-clip", {"use": "ppo-clip"}),
        ("guardcore:ppo-clip", {"use": "guardcore:ppo-clip"}),
        ("ppo-clip:low=0.5", {"use": "ppo-clip", "low": 0.5}),
        ("guardcore:ppo-clip:low=0.5,high=2", {"use": "guardcore:ppo-clip", "low": 0.5, "high": 2}),
        ("sd3:model=/a:b/c", {"use": "sd3", "model": "/a:b/c"}),
        (
            r"mine:sd3:model=C:\m,dtype=float16",
            {"use": "mine:sd3", "model": r"C:\m", "dtype": "float16"},
        ),
        ("text:path=a=b.txt", {"use": "text", "path": "a=b.txt"}),
        ("ocr:weight=0.5", {"use": "ocr", "weight": 0.5}),
        (
            "toy:flag=true,none=null,word=a b",
            {"use": "toy", "flag": True, "none": None, "word": "a b"},
        ),
        ("toy:quoted='1'", {"use": "toy", "quoted": "1"}),
        ("toy:empty=", {"use": "toy", "empty": ""}),
        ("jsonl:path=http://host:80/x", {"use": "jsonl", "path": "http://host:80/x"}),
    ],
)
def test_a_component_on_the_command_line(text, spec):
    assert parse_component(text) == spec


@pytest.mark.parametrize(
    "text",
    ["a:b:c", "toy:size=1,", "toy:=3", "toy:a=1,b", "toy:a=[1,2]", "toy:a=1,a=2", "toy:use=x"],
)
def test_a_component_that_cannot_be_read_is_quoted(text):
    with pytest.raises(GuardcoreError) as caught:
        parse_component(text)
    assert repr(text) in str(caught.value)


def is_plain(text):
    """Whether YAML reads the text as itself."""
    try:
        return yaml.safe_load(text) == text
    except yaml.YAMLError:
        return False


OPTIONS = st.dictionaries(
    st.from_regex(r"[a-z_]{1,5}", fullmatch=True).filter(lambda key: key != "use"),
    st.text("xyz:./= ", min_size=1).filter(is_plain),
)


@given(st.text("abc-", min_size=1), st.none() | st.text("abc-", min_size=1), OPTIONS)
def test_a_component_written_out_is_read_back(name, distribution, options):
    use = f"{distribution}:{name}" if distribution else name
    text = use + (":" if options else "") + ",".join(f"{k}={v}" for k, v in options.items())
    assert parse_component(text) == {"use": use, **options}


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("seed=7", ("seed",), 7),
        ("rollout.groups=9", ("rollout", "groups"), 9),
        ("backbone.dropout=0.5", ("backbone",), {"use": "toy", "dropout": 0.5}),
        ("reward.0.weight=2", ("reward", 0), {"use": "brightness", "weight": 2}),
        ("reward=[colour, brightness]", ("reward",), ["colour", "brightness"]),
        ("prompts.eval=null", ("prompts", "eval"), None),
        (
            "strategy_options.guard.ppo-clip.low=1",
            ("strategy_options",),
            {"guard": {"ppo-clip": {"low": 1}}},
        ),
        ("rollout.train_steps={size: 2}", ("rollout", "train_steps"), {"size": 2}),
        ("prompts.train.path=a=b", ("prompts", "train"), {"use": "words", "path": "a=b"}),
    ],
)
def test_set_reaches_every_value(assignment, path, value):
    node = assign(toy_tree(), assignment)
    for key in path:
        node = node[key]
    assert node == value


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("sampler.noise_level=0.25", "sampler", 0.25),
        ("evaluate.sampler.noise_level=0.25", "evaluate.sampler", None),
        ("advantage.std=batch", "advantage", "batch"),
        ("tracker.0=jsonl", "tracker", "jsonl"),
        ("train.learning_rate=2e-6", "train", 2e-6),
    ],
)
def test_set_reaches_what_the_config_leaves_at_its_default(assignment, path, value):
    tree = {"backbone": "toy", "reward": ["brightness"], "prompts": {"train": "words"}}
    config = parse_config(assign(tree, assignment))
    if path == "sampler":
        assert bind(config, REGISTRY).sampler.options.noise_level == value
    elif path == "evaluate.sampler":  # the default is the ODE, which has none
        with pytest.raises(GuardcoreError, match=r"evaluate\.sampler\.noise_level: unknown"):
            bind(config, REGISTRY)
    elif path == "advantage":
        assert bind(config, REGISTRY).advantage.options.std == value
    elif path == "tracker":
        assert config.tracker[0].use == value
    else:
        assert config.train.learning_rate == value


@pytest.mark.parametrize(
    ("assignment", "complaint"),
    [
        ("seed", "expected path=value"),
        ("=3", "expected path=value"),
        ("seed=[1", "not a YAML value"),
        ("seed=2024-13-45", "not a YAML value"),
        ("seed=0x_", "not a YAML value"),
        ("seed=" + "[" * 3000, "not a YAML value"),
        ("seed=!!python/name:os.system", "not a YAML value"),
        ("reward.1.weight=1", "'1' is no position in a list of 1"),
        ("reward.first.weight=1", "'first' is no position in a list of 1"),
        ("reward.².weight=1", "'²' is no position in a list of 1"),
        ("reward.-1.weight=1", "'-1' is no position in a list of 1"),
        ("rollout.groups.x=1", "'x' is below a plain value, 3"),
    ],
)
def test_an_assignment_that_cannot_be_made_says_why(assignment, complaint):
    with pytest.raises(GuardcoreError, match=complaint.replace("[", r"\[")):
        parse_config(assign(toy_tree(), assignment))


@given(st.text(max_size=12), st.text(max_size=12))
def test_whatever_is_typed_a_mistake_is_an_error_for_a_user(path, value):
    for overrides in (
        Overrides(assignments=[f"{path}={value}"]),
        Overrides(assignments=[f"reward.{path}={value}", f"sampler.noise_level={value}"]),
        Overrides(ratio=[path, f"{path}:low={value}"], backbone=value, strategy=value),
    ):
        try:
            bind(parse_config(overrides.over(toy_tree())), REGISTRY)
        except GuardcoreError as error:
            assert str(error)


def test_a_file_is_read(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("seed: 3\nsampler: {use: cps}\n")
    assert read_yaml(path) == {"seed": 3, "sampler": {"use": "cps"}}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"seed: [1", "is not YAML"),
        (b"\xff\xfe\x00", "is not YAML"),
        (b"seed: 2024-13-45", "is not YAML"),
        (b"- 1\n- 2\n", "must hold a mapping, received list"),
        (b"", "must hold a mapping, received NoneType"),
        (b"just words", "must hold a mapping, received str"),
    ],
)
def test_a_file_that_holds_no_config_is_named(tmp_path, content, complaint):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(GuardcoreError, match=complaint) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(GuardcoreError, match=r"cannot read the config .*no\.yaml: No such file"):
        read_yaml(tmp_path / "no.yaml")
    with pytest.raises(GuardcoreError, match="Is a directory"):
        read_yaml(tmp_path)
