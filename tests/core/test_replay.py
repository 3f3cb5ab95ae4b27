"""A replay under the run's own words is the update itself; under others, what they would do."""

import logging
import math

import pytest
import torch

import guardcore
from guardcore import GuardcoreError, Options, create
from guardcore.binding import bind
from guardcore.layers import parse_config
from guardcore.learner import Learner
from guardcore.ranks import Ranks
from guardcore.recording import find_recording
from guardcore.run import prepared
from guardcore.sampling import Sampled
from guardcore.update import update
from runs import rows, run, spying_host
from toy import Brightness, RewardOptions, toy_host, toy_tree

ALL = {"record": {"iterations": 99}, "prompts": {"eval": None}}
CLIP = "ppo-clip:low=2e-3,high=2e-3"
SHAPES = {
    "the default": {},
    "a random window": {"rollout": {"train_steps": {"size": 2, "choose": "random"}}},
    "shares": {"train": {"samples_per_update": "share", "updates_per_iteration": 3}},
    "a penalty": {"penalty": [{"use": "kl", "weight": 0.1}]},
    "half precision": {"backbone": {"use": "toy", "dtype": "bfloat16"}, "strategy": "plain"},
    "offloaded": {"rollout": {"offload_trajectories": True}, "strategy": "dppo"},
    "the sum": {"reduction": "sum", "strategy": "mean-revised"},
    "another sampler": {"sampler": "cps", "strategy": "plain"},
}


def again(directory, host=None, **options):
    return guardcore.replay(directory, registry=(host or toy_host()).registry, **options)


def real(directory, iteration, number):
    """The update's own rows of ``steps.jsonl``."""
    found = rows(directory, "steps")
    return [row for row in found if (row["iteration"], row["update"]) == (iteration, number)]


def assert_same(found, expected, gradient=True):
    """Figures equal to 1e-12, fractions of terms exactly."""
    assert len(found) == len(expected) > 0
    for now, then in zip(found, expected, strict=True):
        for name, value in then.items():
            if name == "grad_norm":
                assert not gradient or now[name] == pytest.approx(value, rel=1e-6)
            elif value is None or value != value:
                assert math.isnan(now[name])
            elif name.startswith("clip") or name == "blocked":
                assert now[name] == value, name
            else:
                assert now[name] == pytest.approx(value, rel=0, abs=1e-12), name


@pytest.mark.parametrize("shape", SHAPES)
def test_the_runs_own_words_give_the_figures_that_the_update_gave(tmp_path, shape):
    run(tmp_path, **{**ALL, **SHAPES[shape]})
    for iteration in (1, 3):
        for number in range(1, 1 + max(row["update"] for row in rows(tmp_path, "steps"))):
            for gradient in (True, False):
                done = again(tmp_path, iteration=iteration, update=number, gradient=gradient)
                assert_same(
                    done.candidates["run"].rows, real(tmp_path, iteration, number), gradient
                )


def test_the_last_update_of_the_last_recording_is_the_default(tmp_path):
    run(tmp_path, **ALL)
    done = again(tmp_path)
    assert (done.iteration, done.update) == (3, 2)
    assert list(done.candidates) == ["run"]


def test_what_would_have_been_clipped_is_what_a_real_run_clips(tmp_path):
    # Up to its first update every strategy's ratio is 1, and centring a ratio of 1 has no
    # gradient: the runs share their weights at the second update, which they see differently.
    sections = {**ALL, "train": {"iterations": 1, "learning_rate": 0.1, "ema_every": 1}}
    options = {
        name: {"ppo-clip": {"low": 0.05, "high": 0.05}} for name in ("plain", "mean-revised")
    }
    sections |= {"strategy_options": options, "reduction": "sum"}
    for name in options:
        run(tmp_path / name, strategy=name, **sections)
    done = again(tmp_path / "plain", strategies=["mean-revised"]).candidates
    assert_same(done["run"].rows, real(tmp_path / "plain", 1, 2))
    assert_same(done["mean-revised"].rows, real(tmp_path / "mean-revised", 1, 2), gradient=False)
    clips = [[row["clip_low"], row["clip_high"]] for row in done["mean-revised"].rows]
    assert clips != [[row["clip_low"], row["clip_high"]] for row in done["run"].rows]
    assert any(low > 0 for low, _ in clips)


@pytest.mark.parametrize("strategy", ["plain", "temp-reweight", "ratio-norm", "guard", "dppo"])
def test_a_candidate_agrees_with_a_real_update_under_it(tmp_path, strategy):
    run(tmp_path, **ALL, strategy="mean-revised")
    recording = find_recording(tmp_path / "recordings")
    config = parse_config(toy_tree(strategy=strategy, **ALL))
    with prepared(config, bind(config, toy_host().registry)) as made:
        learner = Learner(made.backbone.trainable(), config.train)
        made.backbone.target.data.copy_(recording.weights(2)["target"])
        batches = [recording.trajectory(n, torch.device("cpu")) for n in recording.updates[1]]
        pieces, counted = Ranks().deal([b.samples for b in batches]), recording.weighed.counted
        share = Sampled(batches[0].indices, pieces, batches, [], {}, torch.empty(0), counted)
        done = update(made, learner, share, recording.weighed, first=False, by_step=True)
    expected = done.figures.rows(3, 2)
    found = again(tmp_path, strategies=[strategy]).candidates[strategy].rows
    assert sum(row["clip_low"] + row["clip_high"] for row in found) > 0
    assert_same(found, expected)


def test_a_weight_scales_a_steps_gradient_by_itself(tmp_path):
    run(tmp_path, **ALL, strategy="plain")
    done = again(tmp_path, gradient_weight=["inverse-dt"]).candidates
    assert done["chain"].ratio == done["run"].ratio
    for plain, weighted in zip(done["run"].rows, done["chain"].rows, strict=True):
        # four steps of dt = 1/4; float32 gradients
        assert weighted["grad_norm"] == pytest.approx(4 * plain["grad_norm"], rel=1e-5)
        assert weighted["ratio_std"] == plain["ratio_std"]
    assert sum(done["run"].shares.values()) == pytest.approx(1)


def test_what_is_clipped_whole_has_no_gradient(tmp_path):
    run(tmp_path, **ALL, strategy="plain")

    def shut(terms, context):
        blocked = torch.where(context.advantage > 0, 0.5, 2.0).double()
        return guardcore.RatioTerms(terms.log_ratio, blocked, blocked)

    rows_ = again(tmp_path, ratio=[shut]).candidates["chain"].rows
    assert [row["blocked"] for row in rows_] == [1.0, 1.0, 1.0]
    assert [row["grad_norm"] for row in rows_] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_half_width_leaves_outside_what_it_says(tmp_path, reduction):
    run(tmp_path, **ALL, reduction=reduction, rollout={"groups": 8, "group_size": 6})
    own = again(tmp_path).candidates["run"]
    terms = 8 * 6 * len(own.rows)
    for fraction, width in own.half_widths.items():
        clip = f"ppo-clip:low={width!r},high={width!r}"
        found = again(tmp_path, ratio=["ratio-norm", clip], gradient=False).candidates["chain"]
        outside = [row["clip_low"] + row["clip_high"] for row in found.rows]
        assert sum(outside) / len(outside) == pytest.approx(fraction, abs=1.5 / terms)
        if fraction == 0.1:
            by_step = [sum(parts) for parts in own.outside.values()]
            assert by_step == pytest.approx(outside, abs=1.5 / 48)  # a term may lie on the bound


AUTO = {"use": "ppo-clip", "range": "auto", "outside_fraction": 0.2, "calibration_iterations": 2}


def test_a_range_that_the_run_found_is_as_it_was_at_each_iteration(tmp_path):
    run(tmp_path, **ALL, ratio=["ratio-norm", AUTO])
    for iteration in (1, 2, 3):
        done = again(tmp_path, iteration=iteration, update=2).candidates["run"]
        assert_same(done.rows, real(tmp_path, iteration, 2))
        assert (done.bounds == (0, math.inf)) == (iteration < 3)  # two iterations without
    low, high = done.bounds
    assert 1 - low == pytest.approx(high - 1) != 0


def test_a_candidate_cannot_wait_for_a_runs_iterations(tmp_path):
    run(tmp_path, **ALL)
    with pytest.raises(GuardcoreError, match=r"--ratio: ppo-clip waits .*; give it numbers"):
        again(tmp_path, ratio=["ppo-clip:range=auto"])


def test_a_half_width_is_the_range_that_the_run_would_find(tmp_path):
    from guardcore.calibration import quantile

    run(tmp_path, **ALL, strategy="plain")
    done = again(tmp_path).candidates["run"]
    widths = list(done.half_widths.values())
    assert widths == sorted(widths, reverse=True)
    assert done.bounds == (1 - 1e-4, 1 + 1e-4)
    excess = torch.tensor([q for row in done.rows for q in row["ratio_quantiles"]]) - 1
    assert quantile(excess.abs().double(), 1) == pytest.approx(widths[0], rel=1e-4)


def test_a_function_is_a_word(tmp_path):
    run(tmp_path, **ALL)

    def nothing(terms, context):
        return terms

    done = again(tmp_path, ratio=[nothing, CLIP, create("ratio_transform", "mean-revise")])
    chain = done.candidates["chain"]
    assert chain.ratio[:2] == ("nothing", "ppo-clip:low=0.002,high=0.002")
    assert chain.gradient_weight == done.candidates["run"].gradient_weight


def test_a_profiles_options_hold_for_a_candidate(tmp_path):
    own = {"plain": {"ppo-clip": {"low": 0.003, "high": 0.004}}}
    run(tmp_path, **ALL, strategy_options=own)
    done = again(tmp_path, strategies=["plain"], gradient=False)
    assert done.candidates["plain"].ratio == ("ppo-clip:low=0.003,high=0.004",)


def test_one_forward_serves_every_candidate_and_no_reward_or_tracker_is_built(tmp_path, caplog):
    built = []

    def judge(options: RewardOptions):
        built.append("reward")
        return Brightness(options)

    host, spies = spying_host(judge=("rewards", judge))
    run(tmp_path, host=host, backbone="spy", reward=["judge"], **ALL)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    built.clear()
    again(tmp_path, host, strategies=["plain", "dppo", "mean-revised"], ratio=[CLIP])
    assert len(spies[-1].seen) == 4 * 3  # micro-batches × steps
    assert len(spies) == 2
    assert built == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_without_gradients_no_graph_is_kept(tmp_path):
    host, spies = spying_host()
    run(tmp_path, host=host, backbone="spy", **ALL)
    done = again(tmp_path, host, gradient=False).candidates["run"]
    assert not any(call["grad"] for call in spies[-1].seen)
    assert done.shares == {}
    assert "grad_norm" not in done.rows[0]


def test_a_strategy_for_another_sampler_is_warned_about(tmp_path, caplog):
    run(tmp_path, **ALL, sampler="cps", strategy="plain")
    with caplog.at_level(logging.WARNING, "guardcore"):
        again(tmp_path, strategies=["guard"])
    assert "was derived for flow-sde" in caplog.text


WRONG = {
    "no strategy is called 'plian'; did you mean 'plain'": {"strategies": ["plian"]},
    "no ratio_transform is called 'ppo-clap'": {"ratio": ["ppo-clap"]},
    "--ratio ppo-clip:lo=1": {"ratio": ["ppo-clip:lo=1"]},
    "no gradient_weight is called 'inverse'": {"gradient_weight": ["inverse"]},
    "no recording of iteration 2; there are: 1, 3": {"iteration": 2},
    "iteration 3 has no update 3; it was recorded with updates 1 to 2": {"update": 3},
}


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_be_replayed_is_one_line_before_the_model_is_built(tmp_path, message):
    host, spies = spying_host()
    run(tmp_path, host=host, backbone="spy", record={"iterations": 2})
    with pytest.raises(GuardcoreError) as caught:
        again(tmp_path, host, **WRONG[message])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(spies) == 1


def test_a_directory_without_a_run_and_a_run_without_recordings(tmp_path):
    with pytest.raises(GuardcoreError, match="is no run directory"):
        again(tmp_path)
    run(tmp_path / "run")
    with pytest.raises(GuardcoreError, match="make some with: guardcore train --record"):
        again(tmp_path / "run")


def test_an_update_without_any_advantage_has_nothing_to_show(tmp_path):
    run(tmp_path, **ALL, reward=["constant"])
    with pytest.raises(GuardcoreError, match="every advantage of this update is 0"):
        again(tmp_path)


def test_a_plugins_word_that_keeps_no_graph_has_no_gradient(tmp_path):
    def cut(options: Options):
        def detach(terms, context):
            return guardcore.RatioTerms(terms.log_ratio.detach(), terms.low, terms.high)

        return detach

    run(tmp_path, **ALL, strategy="plain")
    done = again(tmp_path, toy_host(cut=("ratio_transforms", cut)), ratio=["cut"])
    assert [row["grad_norm"] for row in done.candidates["chain"].rows] == [0.0, 0.0, 0.0]
