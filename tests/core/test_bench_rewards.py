"""What ``bench`` says of rewards, waited for and by themselves, and of other configs beside."""

import time

import pytest
import torch

from guardcore import GuardcoreError, Prompt
from guardcore.bench.beside import measure_beside
from guardcore.bench.cases import Further, cases
from guardcore.bench.comparison import changes
from guardcore.bench.measure import measure
from guardcore.bench.result import Judged, Result
from guardcore.binding import bind
from guardcore.layers import parse_config
from guardcore.spec import Spec, WeightedSpec
from toy import Brightness, RewardOptions, ToyBackbone, ToyOptions, WordsOptions, toy_host, toy_tree

MADE = []


class Witness(Brightness):
    """Remembers what it was asked; its first call takes half a second, and it loves no letter x."""

    def __init__(self, options: RewardOptions) -> None:
        super().__init__(options)
        self.asked = []
        MADE.append(self)

    def __call__(self, images, prompts):
        if any("x" in prompt.text for prompt in prompts):
            raise GuardcoreError("no x,\nplease")
        self.asked.append((images.clone(), [prompt.text for prompt in prompts]))
        self.options = RewardOptions(seconds=0.5 if len(self.asked) == 1 else 0.01)
        return super().__call__(images, prompts)


def witness(options: RewardOptions) -> Witness:
    return Witness(options)


def absent(options: RewardOptions) -> Brightness:
    raise GuardcoreError("pip install 'nowhere[extra]'")


def letters(options: WordsOptions):
    return [Prompt("x" * (place + 1)) for place in range(options.size)]


HOST = {
    "witness": ("rewards", witness),
    "absent": ("rewards", absent),
    "letters": ("prompt_sources", letters),
}


@pytest.fixture
def registry():
    MADE.clear()
    return toy_host(**HOST).registry


def further(*rewards, prompts=None):
    specs = [WeightedSpec.model_validate(reward) for reward in rewards]
    return Further(specs, prompts and Spec(use=prompts))


def rows(registry, more=None, **sections) -> dict[str, Judged]:
    config = parse_config(toy_tree(**sections))
    found = measure(config, pairs=1, scaling=False, further=more, registry=registry)
    return {row.name: row for row in found.rewards}


def named(registry, more=None, **sections) -> list[str]:
    config = parse_config(toy_tree(**sections))
    return [case.name for case in cases(config, bind(config, registry), registry, more)]


class Steady(ToyBackbone):
    """A velocity takes 3 ms: a device at work, the processor free."""

    def velocity(self, x, sigma, condition):
        time.sleep(0.003)
        return super().velocity(x, sigma, condition)


def steady(options: ToyOptions) -> Steady:
    return Steady(options)


def test_a_reward_that_only_waits_costs_less_than_a_twentieth_of_an_iteration():
    # 10 ms a micro-batch of two images, 20 of them; sampling one takes longer, 4 steps of 3 ms, and
    # an update of 20·3 steps of 3 ms follows: of 200 ms of waiting 10 ms show, of 420 ms or more
    tree = toy_tree(
        rollout={"groups": 4, "group_size": 10, "batch_size": 2},
        reward=[{"use": "brightness", "seconds": 0.01}],
        train={"updates_per_iteration": 1},
        backbone="steady",
    )
    found = measure(
        parse_config(tree),
        pairs=3,
        scaling=False,
        rewards=False,
        registry=toy_host(steady=("backbones", steady)).registry,
    )
    assert found.waiting_share < 0.05
    in_turn = found.reward_seconds["brightness"] / found.seconds
    assert in_turn > 2 * 0.05  # what it would be if nothing were sampled meanwhile


def test_every_reward_of_the_config_has_a_row_whatever_its_weight(registry):
    own = ["brightness", {"use": "constant", "weight": 0}]
    assert named(registry, reward=own) == ["brightness", "constant"]
    found = rows(registry, reward=own)
    assert [row.images for row in found.values()] == [4, 4]
    for row in found.values():
        assert row.images_per_second == row.images / row.seconds


def test_so_has_every_reward_that_the_profile_describes_in_full(registry):
    options = {"constant": {"seconds": 0.0}, "remote": {"timeout": 3}}  # that one lacks its urls
    assert named(registry, reward_options=options) == ["brightness", "constant"]


def test_no_reward_comes_twice_with_the_same_options(registry):
    more = further("brightness", "constant", {"use": "constant", "seconds": 0.02}, "toy:constant")
    assert named(registry, more, reward_options={"constant": {"seconds": 0.01}}) == [
        "brightness", "constant", "constant:seconds=0.02",
    ]  # fmt: skip


def test_installing_a_reward_does_not_have_it_called(registry):
    assert "witness" not in rows(registry)
    assert MADE == []


def test_one_micro_batch_is_judged_by_the_reward_that_the_run_has(registry):
    row = rows(registry, reward=["witness"])["witness"]
    (judge,) = MADE
    assert judge.closed == 1
    images = [images for images, _ in judge.asked[-4:]]  # the first is not counted
    assert all(torch.equal(images[0], other) for other in images)
    assert images[0].shape == (4, 3, 16, 16)
    assert judge.asked[-1][1] == ["w", "ww", "www", "wwww"]
    assert row.seconds >= 0.01


def test_a_slow_first_call_is_not_counted(registry):
    row = rows(registry, further("witness"))["witness"]
    (judge,) = MADE
    assert len(judge.asked) == 4
    assert judge.closed == 1
    assert 0.01 <= row.seconds < 0.5


def test_a_small_iteration_has_no_more_images_to_judge_than_it_draws(registry):
    assert rows(registry, rollout={"batch_size": 64})["brightness"].images == 15


def test_further_rewards_judge_images_of_their_own_prompts(registry):
    found = rows(registry, further("witness", "constant", prompts="letters"))
    assert found["witness"].reason == "reward 'witness': no x, please"
    assert found["witness"].seconds is None
    assert found["constant"].reason is None


def test_a_missing_extra_is_a_reason_and_no_failure(registry):
    found = rows(registry, further("absent", "constant"))
    assert found["absent"].reason == "pip install 'nowhere[extra]'"
    assert found["constant"].seconds > 0


@pytest.mark.parametrize(
    ("more", "culprit"),
    [
        (further("brightnes"), r"--judge: no reward .* did you mean 'brightness'"),
        (further({"use": "constant", "second": 1}), "--judge constant.second"),
        (further(prompts="letter"), "--judge-prompts: no prompt_source"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_measured(registry, more, culprit):
    with pytest.raises(GuardcoreError, match=culprit):
        named(registry, more)


def test_other_configs_are_measured_beside_and_a_broken_one_is_named(registry, caplog):
    others = {
        "larger": parse_config(toy_tree(rollout={"group_size": 7})),
        "broken": parse_config(toy_tree(reward=["absent"])),
    }
    told = []
    found = measure_beside(others, 2, told.append, registry)
    assert list(found) == ["larger"]
    assert found["larger"].images == 21
    assert len(found["larger"].floor_ratios) == 2
    assert told == [
        f"larger: {what}" for what in ["warming up"] * 2 + ["our loop", "bare loop"] * 2
    ]
    assert "broken is not measured: reward.0: pip install 'nowhere[extra]'" in caplog.text


def test_a_comparison_holds_rewards_and_other_configs(registry, tmp_path):
    config = parse_config(toy_tree())
    plain = measure(config, pairs=1, scaling=False, registry=registry)
    old = plain.model_copy(update={"beside": {"other": plain}})
    fast = Judged(name="brightness", images=4, seconds=0.004, images_per_second=1000.0)
    new = old.model_copy(update={"rewards": (fast,)})
    found = {(change.name, change.unit): change for change in changes(old, new)}
    assert found["reward brightness alone", "images/s"].new == 1000.0
    assert found["other: floor ratio", ""].old == plain.floor_ratio
    path = tmp_path / "new.json"
    path.write_text(new.model_dump_json())
    assert Result.read(path) == new


def test_an_older_file_still_reads(registry, tmp_path):
    now = measure(parse_config(toy_tree()), pairs=1, scaling=False, registry=registry)
    path = tmp_path / "old.json"
    path.write_text(now.model_dump_json(exclude={"rewards", "beside"}))
    old = Result.read(path)
    assert (old.rewards, old.beside) == ((), {})
    names = [change.name for change in changes(old, now)]
    assert "floor ratio" in names
    assert "reward brightness alone" not in names
