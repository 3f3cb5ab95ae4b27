"""The whole loop on the toy, whose optimum is known."""

import gc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guardcore import GuardcoreError, Options
from guardcore.errors import ComponentError, PreflightError
from runs import (
    ONE_UPDATE,
    checkpoints,
    gradient,
    metrics,
    rows,
    run,
    spying_host,
    state,
    target,
)
from toy import toy_host

# For the toy's 12 latent dimensions; the strategies' own ranges hold for 65,536.
WIDE = {
    "plain": {"ppo-clip": {"low": 0.05, "high": 0.05}},
    "guard": {"ppo-clip": {"low": 0.02, "high": 0.02}},
}
SAVE_LAST = {"every": 1000}


@pytest.mark.parametrize("strategy", ["guard", "plain", "dppo"])
def test_training_approaches_the_known_optimum(tmp_path, strategy):
    # The mean colour is target/2 + 1/2, liked best at (0.7, 0.5, 0.3): target (0.4, 0, -0.4), the
    # first and the last 0.03 further out because images are cut to [0, 1]. AdamW goes 0.02 an
    # update, 120 updates: 2.4 at most. 48 images an update leave a noise of a few hundredths.
    run(
        tmp_path,
        reward=[{"use": "colour", "colour": [0.7, 0.5, 0.3]}],
        strategy=strategy,
        strategy_options=WIDE,
        rollout={"groups": 4, "group_size": 12, "batch_size": 48},
        train={"iterations": 60, "learning_rate": 0.02},
        evaluate={"every": 1000, "num_images": 64},
        checkpoint=SAVE_LAST,
    )
    reached = target(tmp_path, "ema")
    assert float((reached - torch.tensor([0.43, 0.0, -0.43])).abs().max()) < 0.12
    first, last = (row["eval/colour"] for row in metrics(tmp_path) if "eval/colour" in row)
    assert last > first + 0.05  # 2·0.2² of it is to be had


LEFT = {
    "rollout": {
        "num_inference_steps": 6, "height": 64, "width": 64,
        "groups": 4, "group_size": 16, "batch_size": 64,
    },
    "train": {"iterations": 1, "learning_rate": 0.15, "updates_per_iteration": 3},
}  # fmt: skip
DIMENSIONS, TERMS = 3 * 8 * 8, 64


@pytest.fixture(scope="module")
def ladder(tmp_path_factory):
    """One iteration far from the old distribution, K from 0.1 to 5, by strategy."""
    found = {}
    for strategy in ("plain", "mean-revised", "guard"):
        directory = tmp_path_factory.mktemp(strategy)
        run(directory, strategy=strategy, **LEFT)
        found[strategy] = [row for row in rows(directory, "steps") if row["update"] > 1]
    return found


def test_under_plain_the_ratio_lies_left_of_one_by_k_and_hardly_meets_its_upper_clip(ladder):
    for row in ladder["plain"]:
        # E[log r] = −K/D with the mean convention; a mean of 64 terms: five standard errors
        error = 5 * row["ratio_std"] / TERMS**0.5
        assert abs(row["log_ratio_mean"] + row["k"] / DIMENSIONS) < error
    late = ladder["plain"][3]
    assert late["k"] > 2
    assert late["ratio_mean"] < 1 - 5 * late["ratio_std"] / TERMS**0.5
    assert late["clip_low"] > 3 * late["clip_high"]


@pytest.mark.parametrize("strategy", ["mean-revised", "guard"])
def test_centred_the_ratio_meets_both_sides_of_its_clip(ladder, strategy):
    for row in ladder[strategy]:
        assert abs(row["log_ratio_mean"]) < 5 * row["ratio_std"] / TERMS**0.5
    late = ladder[strategy][3]
    assert late["k"] > 2
    assert min(late["clip_low"], late["clip_high"]) > 0.25


def test_under_guard_the_spread_grows_far_less_over_the_steps(ladder):
    growth = {}
    for strategy in ("plain", "guard"):
        spreads = [row["ratio_std"] for row in ladder[strategy] if row["update"] == 2]
        growth[strategy] = max(spreads) / min(spreads)
    # one change of the velocity everywhere: 1/std grows ×2.9 over these five steps, β·dt ×1.3
    assert growth["plain"] > 2 * growth["guard"]


@settings(max_examples=12)
@given(batch_size=st.integers(1, 18), group_size=st.integers(2, 6), groups=st.integers(1, 3))
def test_no_batch_size_changes_the_gradient(tmp_path_factory, batch_size, group_size, groups):
    # Sums of at most 54 float32 terms in another order: 54·6e-8 of the terms' sizes.
    found = []
    for size in (batch_size, groups * group_size):
        directory = tmp_path_factory.mktemp("run")
        rollout = {"batch_size": size, "group_size": group_size, "groups": groups}
        run(directory, rollout=rollout, train=ONE_UPDATE, prompts={"eval": None})
        found.append((gradient(directory), metrics(directory)[0]))
    (one, one_row), (whole, whole_row) = found
    assert float((one - whole).norm()) < 1e-5 * float(whole.norm())
    assert one_row["reward/brightness"] == pytest.approx(whole_row["reward/brightness"], rel=1e-6)
    assert one_row["grad_norm"] == pytest.approx(float(one.norm()), rel=1e-5)


def picky(options: Options):
    """Brightness, but 0.1 for the prompt "www": one group of five without an advantage."""

    class Picky:
        def __call__(self, images, prompts):
            dull = torch.tensor([prompt.text == "www" for prompt in prompts])
            return torch.where(dull, 0.1, images.mean((1, 2, 3)))

        def close(self):
            pass

    return Picky()


@pytest.mark.parametrize("share", ["all", "share"])
def test_what_has_no_advantage_is_not_run_and_would_not_have_changed_a_bit(tmp_path, share):
    # A penalty with coefficient 0 makes every micro-batch run, and adds zeros to the gradient.
    grads, seen = {}, {}
    for name, penalty in (("skipped", []), ("run", [{"use": "kl", "weight": 0.0}])):
        host, spies = spying_host(picky=("rewards", picky))
        run(
            tmp_path / name,
            host=host,
            backbone="spy",
            reward=["picky"],
            penalty=penalty,
            rollout={"groups": 5, "group_size": 4, "batch_size": 4},
            train={"iterations": 1, "samples_per_update": share},
            prompts={"eval": None},
        )
        grads[name] = state(tmp_path / name)
        seen[name] = sum(call["grad"] for call in spies[-1].seen)
    updates = 2 if share == "all" else 1  # how often each of the micro-batches comes by
    assert seen == {"skipped": updates * 4 * 3, "run": updates * 5 * 3}
    for name, tensor in grads["skipped"].items():
        assert torch.equal(tensor, grads["run"][name]), name


def test_share_gives_each_update_its_own_part_of_the_samples(tmp_path):
    host, spies = spying_host()
    run(
        tmp_path,
        host=host,
        backbone="spy",
        rollout={"groups": 6, "group_size": 3, "batch_size": 4},
        train={"iterations": 1, "updates_per_iteration": 2, "samples_per_update": "share"},
        prompts={"eval": None},
    )
    calls = [call for call in spies[-1].seen if call["grad"]]
    weights = [tuple(call["target"].tolist()) for call in calls]
    first = [call for call, w in zip(calls, weights, strict=True) if w == weights[0]]
    second = [call for call, w in zip(calls, weights, strict=True) if w != weights[0]]
    rows_at = {  # start noise by row tells the samples apart
        name: sum(len(call["x"]) for call in part if float(call["sigma"][0]) == 1)
        for name, part in (("first", first), ("second", second))
    }
    # 18 samples in micro-batches of 4, 4, 4, 4, 2: two for the first update, three for the second
    assert rows_at == {"first": 8, "second": 10}


def starts(spies):
    """The start noise of the rollout, a row a sample."""
    at_one = [c for c in spies[-1].seen if float(c["sigma"][0]) == 1 and not c["grad"]]
    return torch.cat([call["x"] for call in at_one])


@pytest.mark.parametrize("same", [True, False])
def test_same_noise_starts_a_group_alike_and_groups_apart(tmp_path, same):
    host, spies = spying_host()
    rollout = {"groups": 3, "group_size": 5, "batch_size": 4, "same_noise": same}
    run(
        tmp_path,
        host=host,
        backbone="spy",
        rollout=rollout,
        train=ONE_UPDATE,
        prompts={"eval": None},
    )
    noise = starts(spies)
    assert len(noise) == 15
    assert len({tuple(row.flatten().tolist()) for row in noise}) == (3 if same else 15)
    if same:
        assert all(torch.equal(noise[s], noise[s // 5 * 5]) for s in range(15))
    # even so, the images of a group differ: only the start is shared
    assert metrics(tmp_path)[0]["advantage/zero"] == 0


def test_a_groups_samples_share_their_prompt_and_reach_the_reward_in_order(tmp_path):
    seen = []

    def listening(options: Options):
        class Listening:
            def __call__(self, images, prompts):
                seen.extend(len(prompt.text) for prompt in prompts)
                return images.mean((1, 2, 3))

            def close(self):
                pass

        return Listening()

    run(
        tmp_path,
        host=toy_host(listening=("rewards", listening)),
        reward=["listening"],
        rollout={"groups": 4, "group_size": 3, "batch_size": 5},
        prompts={"train": {"use": "words", "size": 4}, "eval": None},
        train=ONE_UPDATE,
    )
    groups = [seen[start : start + 3] for start in range(0, 12, 3)]
    assert all(len(set(group)) == 1 for group in groups)
    assert sorted(group[0] for group in groups) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("train_steps", "trained"),
    [("all", [0, 1, 2, 3, 4]), ([3, 1], [1, 3]), ({"size": 2, "from": 2}, [2, 3])],
)
def test_only_the_chosen_steps_are_stochastic_and_trained(tmp_path, train_steps, trained):
    host, spies = spying_host()
    rollout = {"num_inference_steps": 6, "train_steps": train_steps, "batch_size": 15}
    run(
        tmp_path,
        host=host,
        backbone="spy",
        rollout=rollout,
        train=ONE_UPDATE,
        prompts={"eval": None},
    )
    assert [row["step"] for row in rows(tmp_path, "steps")] == trained
    calls = spies[-1].seen
    asked = [round(6 * (1 - float(c["sigma"][0]))) for c in calls if c["grad"]]
    assert asked == trained
    # the others took the ODE's step: x_next = x − v·dt, with the velocity of the toy
    rollout_calls = [call for call in calls if not call["grad"]]
    for index, (now, then) in enumerate(zip(rollout_calls, rollout_calls[1:], strict=False)):
        x, level = now["x"], float(now["sigma"][0])
        away = x / ((1 - level) ** 2 * 0.25 + level**2)
        euler = x - (level * away - (1 - level) * 0.25 * away) / 6
        assert torch.allclose(then["x"], euler, atol=1e-5) == (index not in trained)


def test_steps_jsonl_has_one_row_an_update_and_step_with_designs_figures(tmp_path):
    run(tmp_path, train={"iterations": 2, "updates_per_iteration": 3})
    found = rows(tmp_path, "steps")
    assert [(row["iteration"], row["update"], row["step"]) for row in found] == [
        (iteration, update, step)
        for iteration in (1, 2)
        for update in (1, 2, 3)
        for step in range(3)
    ]
    names = "iteration update step sigma ratio_mean ratio_std log_ratio_mean k clip_high clip_low blocked"
    more = (
        "ratio_quantiles log_ratio_raw_mean log_ratio_raw_predicted clip_high_positive "
        "clip_high_negative clip_low_positive clip_low_negative"
    )
    for row in found:
        measured = {"grad_norm"} if row["iteration"] == 1 else set()
        assert set(row) == {*names.split(), *more.split()} | measured
        assert row["ratio_quantiles"] == sorted(row["ratio_quantiles"])
        assert row["ratio_quantiles"][0] <= row["ratio_mean"] <= row["ratio_quantiles"][-1]
        assert row["sigma"] == pytest.approx(1 - row["step"] / 4)
        assert 0 <= row["clip_high"] + row["clip_low"] <= 1
        if row["update"] == 1:  # nothing has changed yet
            assert (row["ratio_mean"], row["ratio_std"], row["k"], row["blocked"]) == (1, 0, 0, 0)
        else:
            assert row["ratio_std"] > 0
            assert row["k"] > 0


def test_metrics_jsonl_has_one_row_an_iteration_with_designs_names(tmp_path):
    run(tmp_path, train={"iterations": 3}, evaluate={"every": 2})
    found = rows(tmp_path, "metrics")
    assert [row["iteration"] for row in found] == [0, 1, 2, 3]
    assert [row["iteration"] for row in found if "eval/brightness" in row] == [0, 2, 3]
    for row in found[1:]:
        assert {"reward/brightness", "ratio/mean", "ratio/std", "clip/high", "clip/low"} <= set(row)
        assert {"loss", "grad_norm", "seconds/total", "seconds/rollout"} <= set(row)
        # the headline is of the updates after the first, where the ratio is 1 by construction
        assert row["ratio/std"] > 0


def test_one_update_an_iteration_reports_its_ratio_of_one(tmp_path):
    run(tmp_path, train={"updates_per_iteration": 1})
    for row in metrics(tmp_path)[1:]:
        assert (row["ratio/mean"], row["ratio/std"], row["clip/high"]) == (1, 0, 0)


def test_two_runs_of_one_seed_are_the_same_bit_for_bit_and_of_another_are_not(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(tmp_path / name, seed=seed)
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")
    assert torch.equal(target(tmp_path / "a"), target(tmp_path / "b"))
    assert metrics(tmp_path / "a") != metrics(tmp_path / "c")


def test_the_global_generator_has_no_say_in_a_run(tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        torch.manual_seed(seed)
        run(tmp_path / name)
    assert torch.equal(target(tmp_path / "a"), target(tmp_path / "b"))


def test_evaluation_has_fixed_noise_the_same_weights_score_the_same_every_time(tmp_path):
    # a constant reward leaves the weights alone; brightness, of weight 0, is evaluation only
    rewards = ["constant", {"use": "brightness", "weight": 0}]
    run(tmp_path, reward=rewards, train={"iterations": 4}, evaluate={"every": 1})
    found = metrics(tmp_path)
    assert len({row["eval/brightness"] for row in found}) == 1
    assert len(found) == 5
    assert not any("reward/brightness" in row for row in found)
    assert float(target(tmp_path).abs().max()) == 0


def test_a_constant_reward_trains_nothing_and_says_so(tmp_path):
    host, spies = spying_host()
    run(tmp_path, host=host, backbone="spy", reward=["constant"], prompts={"eval": None})
    assert not any(call["grad"] for call in spies[-1].seen)
    for row in metrics(tmp_path):
        assert (row["advantage/zero"], row["loss"], row["grad_norm"]) == (1.0, 0.0, 0.0)
    assert rows(tmp_path, "steps") == []
    assert checkpoints(tmp_path) == [1, 2, 3]


def test_evaluation_and_adapter_use_the_moving_average_and_training_the_weights(tmp_path):
    host, spies = spying_host()
    run(
        tmp_path,
        host=host,
        backbone="spy",
        train={"iterations": 2, "ema_decay": 0.9},
        evaluate={"every": 2, "num_images": 4},
        rollout={"batch_size": 15},
    )
    from safetensors.torch import load_file

    final = state(tmp_path)
    average, weights = final["ema.target"], final["weights.target"]
    assert not torch.equal(average, weights)
    last = spies[-1].seen[-1]["target"]  # the evaluation after the last iteration
    assert torch.equal(last, average)
    assert torch.equal(load_file(tmp_path / "adapter" / "toy.safetensors")["target"], average)


def test_without_a_moving_average_the_weights_themselves_are_evaluated(tmp_path):
    host, spies = spying_host()
    run(tmp_path, host=host, backbone="spy", train={"ema_decay": None})
    assert torch.equal(spies[-1].seen[-1]["target"], target(tmp_path))
    assert not any(name.startswith("ema") for name in state(tmp_path))


def test_evaluation_has_its_own_sampler_steps_number_and_guidance(tmp_path):
    host, spies = spying_host()
    run(
        tmp_path,
        host=host,
        backbone="spy",
        train={"iterations": 1},
        evaluate={"num_inference_steps": 7, "num_images": 6, "guidance_scale": 3.0},
    )
    calls = spies[-1].seen
    guided = [call for call in calls if call["scale"] == 3.0]
    assert len(guided) == 2 * 2 * 7  # before and after, micro-batches of 4 and 2, 7 steps
    assert [len(call["x"]) for call in guided[:14]] == [4] * 7 + [2] * 7
    # six images of five prompts: the first comes again
    lengths = [guided[0]["lengths"].tolist(), guided[7]["lengths"].tolist()]
    assert lengths == [[1, 2, 3, 4], [5, 1]]
    assert {call["scale"] for call in calls} == {1.0, 3.0}


def start_at_one(options: Options):
    from toy import ToyBackbone, ToyOptions

    backbone = ToyBackbone(ToyOptions())
    backbone.target.data.fill_(1.0)
    return backbone


def test_the_kl_penalty_pulls_back_to_the_reference(tmp_path):
    # No reward to speak of, a target away from the reference's 0: only the penalty moves it.
    host = toy_host(far=("backbones", start_at_one))
    common = {"backbone": "far", "reward": ["constant"], "prompts": {"eval": None}}
    train = {"iterations": 5, "learning_rate": 0.05, "ema_decay": None, "weight_decay": 0.0}
    run(tmp_path / "held", host=host, penalty=[{"use": "kl", "weight": 1.0}], train=train, **common)
    run(tmp_path / "free", host=host, train=train, **common)
    assert target(tmp_path / "free").tolist() == [1.0, 1.0, 1.0]
    # ten updates of AdamW at 0.05: half way back, less where the gradient shrinks
    assert float(target(tmp_path / "held").max()) < 0.6


def test_a_strong_penalty_keeps_a_reward_from_moving_the_model(tmp_path):
    for name, penalty in (("free", []), ("held", [{"use": "kl", "weight": 100.0}])):
        run(tmp_path / name, penalty=penalty, train={"iterations": 10}, prompts={"eval": None})
    assert float(target(tmp_path / "free").mean()) > 3 * float(
        target(tmp_path / "held").mean().abs()
    )


def weight_that_is_nan(at):
    """A gradient weight that is NaN at its calls ``at``."""
    calls = []

    def factory(options: Options):
        def weight(context):
            calls.append(1)
            bad = len(calls) in at
            return torch.full_like(context.step.sigma, torch.nan if bad else 1.0)

        return weight

    return factory


def test_a_non_finite_update_is_skipped_counted_and_forgotten(tmp_path):
    # One micro-batch of 15 and three steps: calls 1-3 are the first update, 4-6 the second, …
    common = {
        "rollout": {"batch_size": 15},
        "train": {"iterations": 2, "updates_per_iteration": 2, "ema_every": 1},
        "prompts": {"eval": None},
    }
    host = toy_host(sometimes=("gradient_weights", weight_that_is_nan({5})))
    run(tmp_path / "one", host=host, strategy="plain", gradient_weight=["sometimes"], **common)
    first, second = metrics(tmp_path / "one")
    assert (first["updates/skipped"], second["updates/skipped"]) == (1, 1)
    assert first["loss"] is None  # there is no NaN in JSON
    assert second["loss"] is not None
    assert target(tmp_path / "one").isfinite().all()
    # the skipped update left no trace: the same as an iteration of one update
    one_fewer = {
        **common,
        "train": {**common["train"], "iterations": 1, "updates_per_iteration": 1},
    }
    run(
        tmp_path / "fewer",
        host=toy_host(),
        strategy="plain",
        gradient_weight=["uniform"],
        **one_fewer,
    )
    for name, tensor in state(tmp_path / "fewer").items():
        assert torch.equal(tensor, state(tmp_path / "one", 1)[name]), name


def test_too_many_skipped_updates_in_a_row_stop_the_run_with_its_checkpoint(tmp_path):
    # Gradients are NaN from the fourth update's first term on: 3 steps × 1 micro-batch an update.
    with pytest.raises(GuardcoreError, match="3 updates in a row had a non-finite gradient"):
        run(
            tmp_path,
            backbone={"use": "toy", "nan_gradient_from": 10},
            rollout={"batch_size": 15},
            train={"iterations": 50, "updates_per_iteration": 2, "max_skipped_updates": 3},
            checkpoint={"every": 10},
        )
    # updates 4, 5 and 6: the third iteration's last
    assert checkpoints(tmp_path) == [3]
    assert metrics(tmp_path)[-1]["updates/skipped"] == 3
    assert target(tmp_path).isfinite().all()
    assert "non-finite gradient" in (tmp_path / "error.log").read_text()


@pytest.mark.parametrize("fault", ["nan", "inf", "shape", "type", "raise"])
@pytest.mark.parametrize("place", ["training", "evaluation"])
def test_a_reward_that_breaks_its_contract_is_named_with_a_prompt(tmp_path, fault, place):
    # The first evaluation asks twice (4 + 1 prompts); from the fifth call on, training is asked.
    calls = 0 if place == "evaluation" else 3
    with pytest.raises(ComponentError, match=r"reward 'brightness'.*prompt.*'w+'") as caught:
        run(tmp_path, reward=[{"use": "brightness", "fault": fault, "calls": calls}])
    log = (tmp_path / "error.log").read_text()
    assert "Traceback" in log
    assert str(caught.value) in log
    assert (tmp_path / "metrics.jsonl").exists() == (place == "training")


def breaking(result):
    def factory(options: Options):
        def component(*arguments):
            if isinstance(result, Exception):
                raise result
            return result(*arguments)

        return component

    return factory


BROKEN = {
    "ratio transform": (
        "ratio",
        "ratio_transforms",
        lambda terms, context: type(terms)(terms.log_ratio[:, None], 0.5, 1.5),
    ),
    "gradient weight": ("gradient_weight", "gradient_weights", lambda context: context.x_next),
    "penalty": ("penalty", "penalties", lambda context: torch.tensor(1.0)),
}


@pytest.mark.parametrize("who", BROKEN)
@pytest.mark.parametrize("how", ["shape", "nothing", "raises"])
def test_a_word_that_breaks_its_contract_is_named(tmp_path, who, how):
    place, kinds, wrong = BROKEN[who]
    outcome = {
        "shape": wrong,
        "nothing": lambda *arguments: None,
        "raises": RuntimeError("out of words"),
    }[how]
    host = toy_host(mine=(kinds, breaking(outcome)))
    with pytest.raises(ComponentError) as caught:
        run(tmp_path, host=host, strategy="plain", prompts={"eval": None}, **{place: ["mine"]})
    message = str(caught.value)
    assert message.startswith(who)
    assert "mine" in message
    assert ("RuntimeError: out of words" if how == "raises" else "received") in message


@pytest.mark.parametrize(
    "result",
    [
        lambda rewards, groups, weights: torch.ones(3),
        lambda rewards, groups, weights: torch.ones(15, 2),
        lambda rewards, groups, weights: torch.full((15,), torch.nan),
        lambda rewards, groups, weights: None,
        RuntimeError("no rank"),
    ],
    ids=["shape", "steps", "nan", "nothing", "raises"],
)
def test_an_advantage_that_breaks_its_contract_is_named(tmp_path, result):
    host = toy_host(mine=("advantages", breaking(result)))
    with pytest.raises(GuardcoreError, match=r"advantage.*(received|no rank|not finite)"):
        run(tmp_path, host=host, advantage="mine", prompts={"eval": None})


def test_an_advantage_a_step_weighs_each_step_by_itself(tmp_path):
    # only the second of three steps has an advantage: only it is run
    def per_step(rewards, groups, weights):
        values = torch.zeros(len(groups), 3)
        values[:, 1] = rewards["brightness"] - rewards["brightness"].mean()
        return values

    host = toy_host(mine=("advantages", breaking(per_step)))
    run(tmp_path, host=host, advantage="mine", prompts={"eval": None})
    assert {row["step"] for row in rows(tmp_path, "steps")} == {1}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("strategy", ["guard", "plain", "dppo"])
def test_a_sound_backbone_passes_the_preflight_in_every_precision(tmp_path, dtype, strategy):
    run(
        tmp_path,
        backbone={"use": "toy", "dtype": dtype},
        strategy=strategy,
        train={"iterations": 2},
        prompts={"eval": None},
    )
    first = [row for row in rows(tmp_path, "steps") if row["update"] == 1]
    assert {row["ratio_mean"] for row in first} == {1.0}


def test_a_backbone_with_dropout_fails_the_preflight_which_names_the_likely_cause(tmp_path):
    with pytest.raises(PreflightError, match=r"log-ratio reaches .*dropout"):
        run(tmp_path, backbone={"use": "toy", "dropout": 0.5}, prompts={"eval": None})


def test_a_reward_of_weight_two_counts_twice(tmp_path):
    # 2·brightness and brightness + brightness' rank alike; std "none" keeps the scale
    for name, reward in {
        "twice": [{"use": "brightness", "weight": 2}],
        "both": ["brightness", {"use": "brightness", "calls": 9}],
    }.items():
        run(
            tmp_path / name,
            reward=reward,
            advantage={"use": "group", "std": "none"},
            train=ONE_UPDATE,
            prompts={"eval": None},
        )
    assert torch.allclose(gradient(tmp_path / "twice"), gradient(tmp_path / "both"), rtol=1e-5)


class Recorder:
    """A tracker that keeps everything, and can fail."""

    def __init__(self, fail_at=None):
        self.calls, self.closed, self.fail_at = [], 0, fail_at

    def metrics(self, step, values):
        if step == self.fail_at:
            raise RuntimeError("the network is down")
        self.calls.append(("metrics", step, dict(values)))

    def images(self, step, name, images, captions):
        self.calls.append(("images", step, images, list(captions)))

    def progress(self, phase, done, total):
        self.calls.append(("progress", phase, done, total))

    def close(self):
        self.closed += 1


def recording_host(recorder, **more):
    def factory(options: Options):
        return recorder

    return toy_host(recorder=("trackers", factory), **more)


def test_a_tracker_is_told_what_the_files_hold_and_closed_once(tmp_path):
    recorder = Recorder()
    run(tmp_path, host=recording_host(recorder), tracker=["recorder"])
    told = [{"iteration": c[1], **c[2]} for c in recorder.calls if c[0] == "metrics"]
    assert told == rows(tmp_path, "metrics")
    shown = [(c[1], tuple(c[2].shape), c[3]) for c in recorder.calls if c[0] == "images"]
    captions = ["w", "ww", "www", "wwww"]
    assert shown == [(step, (4, 3, 16, 16), captions) for step in (0, 2, 3)]
    phases = {c[1] for c in recorder.calls if c[0] == "progress"}
    assert phases == {"train", "sample", "update", "evaluate"}
    assert all(0 < c[2] <= c[3] for c in recorder.calls if c[:2] == ("progress", "sample"))
    assert recorder.closed == 1
    assert len(list((tmp_path / "samples").glob("*.png"))) == 3


@pytest.mark.parametrize("failing", ["reward", "tracker"])
def test_rewards_and_trackers_are_closed_once_even_when_something_fails(tmp_path, failing):
    recorder = Recorder(fail_at=1 if failing == "tracker" else None)
    judges = []

    def judge(options: Options):
        from toy import Brightness, RewardOptions

        fault = "raise" if failing == "reward" else "none"
        judges.append(Brightness(RewardOptions(fault=fault, calls=5)))
        return judges[-1]

    host = recording_host(recorder, judge=("rewards", judge))
    with pytest.raises((ComponentError, RuntimeError)):
        run(tmp_path, host=host, reward=["judge"], tracker=["recorder"])
    assert recorder.closed == 1
    assert [judge.closed for judge in judges] == [1]


def test_memory_does_not_grow_with_iterations(tmp_path):
    counts = []

    class Counter(Recorder):
        def metrics(self, step, values):
            gc.collect()
            counts.append(sum(torch.is_tensor(o) for o in gc.get_objects()))

        def images(self, *arguments):
            pass

    host = recording_host(Counter())
    run(tmp_path, host=host, tracker=["recorder"], train={"iterations": 8}, evaluate={"every": 1})
    # what is alive after the second iteration (optimiser, averages) is alive after the last
    assert counts[2:] == [counts[2]] * len(counts[2:])


def test_an_outcome_says_where_and_how_far(tmp_path):
    outcome = run(tmp_path / "deep" / "run")
    assert (outcome.directory, outcome.iteration, outcome.finished, outcome.signal) == (
        tmp_path / "deep" / "run",
        3,
        True,
        None,
    )
