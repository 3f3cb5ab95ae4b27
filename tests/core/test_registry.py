import pytest

from guardcore import GuardcoreError, Options, create
from guardcore.kinds import KINDS, check_kind, registration_hook
from guardcore.plugins import PluginHost
from guardcore.registry import Origin, Registry
from toy import toy_host


@pytest.fixture
def registry():
    return toy_host().registry


def test_there_are_eleven_kinds_and_each_has_a_hook():
    from guardcore import hookspecs

    assert len(set(KINDS)) == 11
    hooks = {name for name in vars(hookspecs) if name.startswith("guardcore_register_")}
    assert {registration_hook(kind) for kind in KINDS} == hooks


def test_every_kind_has_a_built_in():
    assert {entry.kind for entry in PluginHost.discover().registry} == set(KINDS)


def test_components_are_listed_in_the_order_of_a_run_then_by_name(registry):
    listed = [(KINDS.index(entry.kind), entry.name) for entry in registry]
    assert listed == sorted(listed)


@pytest.mark.parametrize("name", ["ratio-norm", "guardcore:ratio-norm"])
def test_a_component_is_found_by_its_short_and_its_qualified_name(registry, name):
    assert registry.find("ratio_transform", name).qualified == "guardcore:ratio-norm"
    assert registry.find("ratio-transform", name).kind == "ratio_transform"


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("sampler", "flow-sd", "no sampler is called 'flow-sd'; did you mean 'flow-sde'?"),
        ("sampler", "guardcor:flow-sde", "did you mean 'guardcore:flow-sde'?"),
        ("ratio_transform", "guard", "there is a strategy of that name"),
        ("ratio_transform", "guardcore:guard", "there is a strategy of that name"),
        ("penalty", "ppo-clip", "there is a ratio_transform of that name"),
        ("reward", "entirely-elsewhere", "see 'guardcore plugins list'"),
        ("reward", "", "no reward is called ''"),
    ],
)
def test_an_unknown_name_gets_the_nearest_one_or_its_right_kind(registry, kind, name, hint):
    with pytest.raises(GuardcoreError) as caught:
        registry.find(kind, name)
    assert hint in str(caught.value)


def test_an_unknown_kind_gets_the_nearest_one():
    with pytest.raises(GuardcoreError, match="did you mean 'ratio_transform'"):
        check_kind("ratio-transfrom")
    with pytest.raises(GuardcoreError, match="the kinds are prompt_source, backbone, sampler"):
        check_kind("x")


def test_create_validates_options_all_at_once():
    with pytest.raises(GuardcoreError) as caught:
        create("ratio_transform", "ppo-clip", low=2, hgih=1)
    message = str(caught.value)
    assert "ratio_transform ppo-clip.low: input should be less than 1, received 2" in message
    assert "ratio_transform ppo-clip.hgih: unknown key; did you mean 'high'?" in message


def test_create_coerces_what_a_yaml_file_would_give():
    assert create("sampler", "cps", noise_level="7e-1") == create("sampler", "cps", noise_level=0.7)


@pytest.mark.parametrize(("kind", "name"), [("sampler", "no"), ("nothing", "cps")])
def test_create_refuses_what_is_not_there(kind, name):
    with pytest.raises(GuardcoreError):
        create(kind, name)


@pytest.mark.parametrize("field", ["use", "weight"])
def test_the_specs_own_keys_are_no_option_names(field):
    with pytest.raises(TypeError, match=f"Mine: '{field}' is a reserved field name"):
        type("Mine", (Options,), {"__annotations__": {field: float}, field: 1.0})


def test_options_are_frozen_and_refuse_unknown_keys_and_infinities():
    class Mine(Options):
        scale: float = 1.0

    with pytest.raises(ValueError, match="frozen"):
        Mine().scale = 2.0
    for wrong in ({"sclae": 1.0}, {"scale": float("inf")}, {"scale": float("nan")}):
        with pytest.raises(ValueError, match="validation error"):
            Mine(**wrong)


def test_what_a_plugin_registered_can_be_taken_back():
    def word(options: Options) -> None: ...

    registry = Registry()
    one, two = Origin("one", "1", "a", "a"), Origin("two", "1", "a", "a")
    registry.registrar("reward", one)("word", word)
    registry.registrar("reward", two)("word", word)
    registry.forget(one)
    assert [entry.qualified for entry in registry] == ["two:word"]


def test_every_option_of_every_built_in_is_described(registry):
    missing = [
        f"{entry.kind} {entry.name}.{name}"
        for entry in registry
        for name, field in entry.options.model_fields.items()
        if entry.origin.distribution == "guardcore" and not field.description
    ]
    assert missing == []


def test_every_built_in_says_in_one_line_what_it_is(registry):
    assert [entry.qualified for entry in registry if not entry.description] == []
