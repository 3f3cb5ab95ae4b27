"""What ``bench`` measures: the bare loop does our loop's work, and the figures add up."""

import json
from contextlib import contextmanager

import pytest
import torch

from guardcore import GuardcoreError
from guardcore.bench.comparison import changes, differences
from guardcore.bench.loops import Loops, WaitingClock, resized
from guardcore.bench.measure import iterations, measure
from guardcore.bench.result import Result
from guardcore.bench.scaling import variants
from guardcore.binding import bind
from guardcore.layers import parse_config
from guardcore.run import prepared
from runs import Spy
from toy import Brightness, RewardOptions, ToyOptions, toy_host, toy_tree


class Recording(Spy):
    """Also remembers what it was to encode and decode."""

    def __init__(self, options: ToyOptions) -> None:
        super().__init__(options)
        self.encoded: list[list[str]] = []
        self.decoded: list[int] = []

    def encode(self, prompts, height, width):
        self.encoded.append([prompt.text for prompt in prompts])
        return super().encode(prompts, height, width)

    def decode(self, x, condition):
        self.decoded.append(len(x))
        return super().decode(x, condition)

    def asked(self) -> dict[str, object]:
        """What was asked for since the last time, without what noise decides."""
        found = {
            "encoded": self.encoded,
            "decoded": self.decoded,
            "velocities": [
                (len(s["x"]), s["sigma"].tolist(), s["lengths"].tolist(), s["grad"], s["trained"])
                for s in self.seen
            ],
        }
        self.seen, self.encoded, self.decoded = [], [], []
        return found


def recording(options: ToyOptions) -> Recording:
    return Recording(options)


class Judge(Brightness):
    """Remembers the prompts of each call; all of one prompt's images score the same."""

    def __init__(self, options: RewardOptions) -> None:
        super().__init__(options)
        self.judged: list[list[str]] = []

    def __call__(self, images, prompts):
        self.judged.append([prompt.text for prompt in prompts])
        return torch.tensor([float(len(prompt.text)) for prompt in prompts])


def judge(options: RewardOptions) -> Judge:
    return Judge(options)


HOST = {"recording": ("backbones", recording), "judge": ("rewards", judge)}


@contextmanager
def loops(**sections):
    """Both loops over a toy that remembers what it was asked for."""
    config = parse_config(toy_tree(**{"backbone": "recording", "reward": ["judge"], **sections}))
    with prepared(config, bind(config, toy_host(**HOST).registry)) as run:
        yield Loops(run), run


CASES = {
    "every step": {},
    "a window": {"rollout": {"train_steps": {"size": 2, "from": 1}}},
    "a random window": {"rollout": {"train_steps": {"size": 1, "choose": "random"}}},
    "each its share": {"train": {"samples_per_update": "share"}},
    "three updates": {"train": {"updates_per_iteration": 3}},
    "a penalty": {"penalty": [{"use": "kl", "weight": 0.1}]},
}


@pytest.mark.parametrize("sections", CASES.values(), ids=CASES)
def test_the_bare_loop_asks_for_the_same_work_in_the_same_order(sections):
    with loops(**sections) as (both, run):
        both.ours()
        ours, judged = run.backbone.asked(), list(run.rewards["judge"].judged)
        both.floor()
        assert run.backbone.asked() == ours
        assert run.rewards["judge"].judged == judged * 2
    assert len(ours["decoded"]) == len(judged) == 4  # 15 images in batches of 4
    with_gradient = [grad for _, _, _, grad, _ in ours["velocities"]]
    assert with_gradient.count(False) >= 16
    assert with_gradient.count(True) >= 4


def test_groups_without_advantage_are_work_for_both_loops():
    # the judge gives every image of a group the same: update() would leave all of them out
    with loops() as (both, run):
        both.ours()
        updating = [v for v in run.backbone.asked()["velocities"] if v[3]]
    assert len(updating) == 2 * 4 * 3  # updates, micro-batches, trained steps


def test_both_loops_move_the_weights_and_start_from_the_same_ones():
    with loops(reward=["brightness"], backbone="recording") as (both, run):
        target = run.backbone.target
        for loop in (both.ours, both.floor, both.ours, both.floor):
            loop()
            assert float(target.detach().abs().max()) > 1e-3
            started_from = [seen["target"] for seen in run.backbone.seen][:16]
            assert all(float(start.abs().max()) == 0 for start in started_from)
            run.backbone.asked()


def test_the_bare_loop_learns_what_the_reward_likes():
    # brighter images score higher: the first AdamW updates go up by the learning rate, in all
    # three channels or nearly; noise of 120 images leaves the sign of their sum alone
    big = {"groups": 4, "group_size": 30, "batch_size": 40}
    with loops(reward=["brightness"], rollout=big) as (both, run):
        both.floor()
        assert float(run.backbone.target.detach().sum()) > 0.02


def result(**more) -> Result:
    config = parse_config(toy_tree(**more))
    return measure(config, pairs=3, registry=toy_host().registry)


@pytest.fixture(scope="module")
def measured() -> Result:
    return result()


def test_the_figures_belong_together(measured):
    ratios = measured.floor_ratios
    assert len(ratios) == 3
    assert measured.floor_ratio == sorted(ratios)[1]
    assert measured.images == 15
    assert measured.images_per_second == measured.images / measured.seconds
    assert list(measured.phases) == [
        "encode", "rollout", "decode", "waiting", "forward", "backward", "optimizer", "rest",
    ]  # fmt: skip
    assert all(seconds > 0 for seconds in measured.phases.values())
    assert 0 < measured.waiting_share < 1
    assert list(measured.reward_seconds) == ["brightness"]
    assert measured.peak_memory_bytes > 2**20  # Python alone takes more
    assert measured.machine.torch == torch.__version__


def test_the_scaling_has_three_rows_a_setting_with_the_config_in_the_middle(measured):
    rows = [(row.setting, row.value) for row in measured.scaling]
    assert rows == [
        ("batch_size", 2), ("batch_size", 4), ("batch_size", 8),
        ("num_inference_steps", 2), ("num_inference_steps", 4), ("num_inference_steps", 8),
        ("group_size", 2), ("group_size", 5), ("group_size", 10),
        ("resolution", "8x8"), ("resolution", "16x16"), ("resolution", "32x32"),
    ]  # fmt: skip
    images = [row.images_per_second * row.seconds for row in measured.scaling]
    assert images == pytest.approx([15] * 6 + [6, 15, 30] + [15] * 3)
    assert all(row.seconds == measured.seconds for row in measured.scaling[1::3])


def test_a_variant_keeps_as_many_trained_steps_as_its_schedule_has():
    with loops(rollout={"num_inference_steps": 8, "train_steps": [1, 2, 5, 6]}) as (_, run):
        steps = next(v for v in variants(run.config.rollout) if v[0].setting.endswith("_steps"))
        found = {v.value: resized(run.steps, v.value - 1, 0).at(0, 1) for v in steps}
    assert found == {4: [0, 1, 2], 8: [1, 2, 5, 6], 16: [0, 1, 2, 3]}


def test_a_variant_of_a_run_that_trains_every_step_trains_every_step():
    with loops(rollout={"num_inference_steps": 8}) as (_, run):
        assert [resized(run.steps, steps, 0).at(0, 1) for steps in (3, 15)] == [
            list(range(3)),
            list(range(15)),
        ]


def test_what_cannot_be_smaller_has_no_smaller_variant():
    least = {"batch_size": 1, "num_inference_steps": 2, "group_size": 2}
    rollout = parse_config(toy_tree(rollout={**least, "height": 8, "width": 24})).rollout
    values = {some[0].setting: [v.value for v in some] for some in variants(rollout)}
    assert values == {
        "batch_size": [1, 2],
        "num_inference_steps": [2, 4],
        "group_size": [2, 4],
        "resolution": ["8x24", "16x48"],
    }


def test_a_resolution_that_the_model_cannot_draw_has_no_row():
    found = result(rollout={"height": 24, "width": 16})  # 12 is no multiple of 8
    values = [row.value for row in found.scaling if row.setting == "resolution"]
    assert values == ["24x16", "48x32"]


class Fastidious(Brightness):
    """Looks at pictures of one size only, and not at many of them."""

    def score(self, images):
        if images.shape[2] != 16:
            raise ValueError("I look at 16 pixels,\nnot at others")
        return super().score(images)


def fastidious(options: RewardOptions) -> Fastidious:
    return Fastidious(options)


def test_a_variant_that_fails_has_its_reason_and_ends_nothing():
    host = toy_host(fastidious=("rewards", fastidious))
    config = parse_config(toy_tree(reward=["fastidious"]))
    found = measure(config, pairs=1, registry=host.registry)
    rows = {(row.setting, row.value): row for row in found.scaling}
    assert len(rows) == 12
    for value in ("8x8", "32x32"):
        row = rows.pop(("resolution", value))
        assert row.seconds is None
        assert row.images_per_second is None
        assert "fastidious" in row.reason
        assert "I look at 16 pixels, not at others" in row.reason
    assert all(row.seconds > 0 and row.reason is None for row in rows.values())
    assert not any("resolution=8x8" in change.name for change in changes(found, found))


def test_what_a_failed_iteration_has_accumulated_is_dropped():
    with loops() as (both, run):
        run.backbone.target.grad = torch.ones(3)
        both.go_back()
        assert run.backbone.target.grad is None


def test_every_iteration_is_told_of():
    told = []
    config = parse_config(toy_tree())
    measure(config, pairs=2, rewards=False, registry=toy_host().registry, tell=told.append)
    assert len(told) == iterations(config, 2, scaling=True)
    assert told[:6] == ["warming up"] * 2 + ["our loop", "bare loop"] * 2
    assert told[-1] == "resolution=32x32"


def test_the_digest_is_the_configs_and_trackers_do_not_count(measured):
    assert result(tracker=["jsonl"]).config_digest == measured.config_digest
    assert result(train={"learning_rate": 0.01}).config_digest != measured.config_digest


def test_a_result_survives_its_file(measured, tmp_path):
    path = tmp_path / "bench.json"
    path.write_text(measured.model_dump_json())
    assert Result.read(path) == measured
    assert json.loads(path.read_text())["floor_ratio"] == measured.floor_ratio


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"floor_ratio": "fast"}', "\x00\xff"])
def test_another_file_is_refused_by_name(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(GuardcoreError, match="other.json is not what this version's"):
        Result.read(path)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(GuardcoreError, match=r"cannot read .*none.json: No such file"):
        Result.read(tmp_path / "none.json")


def test_a_comparison_holds_what_both_hold(measured):
    slower = measured.model_copy(update={"seconds": 2 * measured.seconds, "scaling": ()})
    found = {change.name: change for change in changes(measured, slower)}
    assert found["iteration"].relative == 1.0
    assert found["floor ratio"].relative == 0.0
    assert not any(name.startswith("batch_size") for name in found)
    assert any(change.name == "batch_size=8" for change in changes(measured, measured))
    assert differences(measured, slower) == []


def test_another_config_or_machine_is_said_in_a_line_each(measured):
    machine = measured.machine.model_copy(update={"threads": 64})
    other = measured.model_copy(update={"config_digest": "0123", "machine": machine})
    config, device = differences(measured, other)
    assert config == f"another config: {measured.config_digest} then, 0123 now"
    assert "64 threads" in device
    assert device.endswith("ratios compare, seconds don't")


def test_the_waiting_clock_waits_before_a_phase_begins_and_before_it_ends():
    order = []
    clock = WaitingClock(lambda: order.append("wait"))
    with clock("rollout"):
        order.append("work")
    assert order == ["wait", "work", "wait"]
    assert "seconds/rollout" in clock.lap()
