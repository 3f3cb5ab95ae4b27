"""A component by its name: how it is built, what it is given, and when nothing can be said."""

import os

import pytest
from pydantic import Field

from guardcore import Calibration, GuardcoreError, Options
from guardcore.kinds import KINDS
from guardcore.registry import Origin, Registered
from guardcore.testing import ContractError, NotBuildable, check_component, check_registered
from guardcore.testing.component import CHECKS, aside
from guardcore_plugins.samplers import FlowSDE
from laws import broken
from toy import RewardOptions, ToyBackbone, ToyOptions, brightness


def registered(kind, factory):
    return Registered(kind, "mine", Origin("test", "1", "mine", "mine"), factory)


def test_every_kind_has_its_check():
    assert set(CHECKS) == set(KINDS)
    for module, function in CHECKS.values():
        assert callable(getattr(__import__(module, fromlist=[function]), function))


class Needy(Options):
    words: int = Field(examples=[3, 4], description="how many")
    language: str = Field("en", examples=["fr"], description="which one")


def test_a_required_option_takes_its_first_example_and_others_their_defaults():
    seen = []

    def needy(options: Needy):
        seen.append((options.words, options.language))
        return brightness(RewardOptions())

    check_registered(registered("reward", needy))
    check_registered(registered("reward", needy), words=7)
    assert seen == [(3, "en"), (7, "en")]


class Bare(Options):
    words: int = Field(description="how many")


class Refusing(Options):
    words: int = Field(examples=[-1], ge=0, description="how many")


def build_nothing(error):
    def factory(options: Options):
        raise error

    return factory


def bare(options: Bare): ...


def refusing(options: Refusing): ...


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        (bare, r"its option 'words' is required and has no Field\(examples=\[…\]\)"),
        (refusing, "mine.words: input should be greater than or equal to 0"),
        (build_nothing(GuardcoreError("pip install 'mine[judge]'")), "pip install"),
        (build_nothing(ModuleNotFoundError("No module named 'judge'")), "No module named 'judge'"),
        (build_nothing(FileNotFoundError(2, "No such file", "model")), "No such file"),
    ],
)
def test_what_cannot_be_built_here_breaks_no_law(factory, reason):
    with pytest.raises(NotBuildable, match=reason):
        check_registered(registered("reward", factory))


def test_a_factory_with_a_fault_breaks_one():
    error = broken(check_registered, registered("reward", build_nothing(KeyError("x"))))
    assert error.law == "built"
    assert str(error).startswith(
        "reward 'test:mine' breaks the law 'built': its factory raised Key"
    )


def test_a_reward_that_asks_more_of_its_prompts_is_not_judged_by_the_kits():
    def factory(options: Options):
        class Strict:
            def __call__(self, images, prompts):
                raise GuardcoreError("metadata must hold 'song'")

            def close(self): ...

        return Strict()

    with pytest.raises(NotBuildable, match="does not judge the kit's prompts: metadata must hold"):
        check_registered(registered("reward", factory))


def test_a_sampler_is_tried_at_other_noise_levels():
    seen = []

    class NoiseOptions(Options):
        noise_level: float = Field(0.7, gt=0, le=5, description="eta")
        seed: int = Field(0, description="kept beside it")

    def factory(options: NoiseOptions):
        seen.append((options.noise_level, options.seed))
        return FlowSDE(options.noise_level)

    check_registered(registered("sampler", factory), seed=5)
    assert seen[0] == (0.7, 5)
    assert min(level for level, _ in seen) < 0.1
    assert {seed for _, seed in seen} == {5}


def test_a_word_that_waits_for_a_number_is_given_one():
    class Waiting(Options):
        width: float | None = Field(None, description="half-width")

        def calibration(self):
            return Calibration(1, 0.1) if self.width is None else None

        def calibrated(self, width):
            return Waiting(width=width)

    def factory(options: Waiting):
        assert options.width is not None
        return lambda terms, context: terms

    check_registered(registered("ratio_transform", factory))


def test_a_backbone_is_tried_at_the_first_size_that_it_can_draw():
    class Large(ToyBackbone):
        def latent_shape(self, height, width):
            if height < 256:
                raise ValueError("at least 256 pixels")
            return super().latent_shape(height, width)

    def factory(options: ToyOptions):
        return Large(options)

    check_registered(registered("backbone", factory))


def test_a_component_that_is_not_there_is_an_error_with_a_hint():
    with pytest.raises(GuardcoreError, match="did you mean 'jpeg-size'"):
        check_component("reward", "jpg-size")


def test_aside_nothing_is_printed_and_nothing_left_behind(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyError), aside():
        print("hello")
        with open("left-behind", "w") as file:
            file.write("x")
        raise KeyError
    assert capsys.readouterr() == ("", "")
    assert os.getcwd() == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_law_is_no_reason_not_to_check():
    assert not issubclass(NotBuildable, ContractError)
    assert issubclass(NotBuildable, GuardcoreError)
