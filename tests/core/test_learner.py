import math

import pytest
import torch
from diffusers.optimization import get_scheduler
from torch import nn

from guardcore import GuardcoreError
from guardcore.config import Train
from guardcore.learner import Learner, load_weights


def parameters(values=(1.0, -2.0)):
    return {"a.b": nn.Parameter(torch.tensor(values)), "c": nn.Parameter(torch.zeros(1))}


def learner(params, **config):
    return Learner(params, Train(**{"weight_decay": 0.0, "ema_every": 1, **config}))


def give(params, gradient):
    """Put a gradient where backward would."""
    params["a.b"].grad = torch.tensor(gradient)
    params["c"].grad = torch.zeros(1)


def test_the_first_update_of_adamw_is_the_learning_rate_against_the_sign():
    params = parameters()
    made = learner(params, learning_rate=0.1, max_grad_norm=1e9)
    give(params, [3.0, -4.0])
    assert made.step(0.5) == pytest.approx(5.0)
    # Adam's first step is lr·g/(|g| + eps)
    assert params["a.b"].tolist() == pytest.approx([0.9, -1.9], rel=1e-6)
    assert params["a.b"].grad is None


def test_the_gradients_norm_is_cut_and_the_uncut_one_reported():
    params = parameters()
    made = learner(params, max_grad_norm=1.0)
    give(params, [30.0, -40.0])
    assert made.step(0.0) == pytest.approx(50.0)
    state, _ = made.state()
    # AdamW's first moment is a tenth of what it was given: norm 1
    assert float(state["optimizer"]["a.b.exp_avg"].norm()) == pytest.approx(0.1, rel=1e-4)


def test_warm_up_is_linear_in_the_updates():
    params = parameters()
    made = learner(params, learning_rate=0.1, lr_warmup_steps=4)
    sizes = []
    for _ in range(6):
        before = params["a.b"].detach().clone()
        give(params, [1.0, 1.0])
        made.step(0.0)
        sizes.append(float((before - params["a.b"].detach())[0]))
    # of a constant gradient AdamW's step is the learning rate
    assert sizes == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1], rel=1e-4)


@pytest.mark.parametrize("scheduler", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warm_up", [0, 3])
def test_the_rates_are_those_of_diffusers_schedulers(scheduler, warm_up):
    params = parameters()
    made = learner(
        params,
        learning_rate=0.1,
        lr_scheduler=scheduler,
        lr_warmup_steps=warm_up,
        iterations=5,
        updates_per_iteration=2,
    )
    reference = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    name = f"{scheduler}_with_warmup" if scheduler == "constant" else scheduler
    judge = get_scheduler(name, reference, num_warmup_steps=warm_up, num_training_steps=10)
    found, expected = [], []
    for _ in range(12):  # more than the run has: a scheduler may not go below 0, or up again
        give(params, [1.0, 1.0])
        made.step(0.0)
        found.append(made.learning_rate)
        expected.append(judge.get_last_lr()[0])
        reference.step()
        judge.step()
    assert found[:warm_up] == pytest.approx([0.1 * (n + 1) / 3 for n in range(warm_up)])
    whole = slice(warm_up, 10 if scheduler == "cosine" else 12)  # diffusers' cosine goes up again
    assert found[whole] == pytest.approx(expected[whole], abs=1e-12)
    assert found[10:] == pytest.approx([0.1 if scheduler == "constant" else 0.0] * 2, abs=1e-12)


def test_weight_decay_is_decoupled_a_part_of_the_weight_a_step():
    params = parameters()
    made = learner(params, learning_rate=0.1, weight_decay=0.5)
    give(params, [0.0, 0.0])
    made.step(0.0)
    assert params["a.b"].tolist() == pytest.approx([0.95, -1.9], rel=1e-6)


@pytest.mark.parametrize(("decay", "every"), [(0.9, 1), (0.5, 2), (0.0, 1)])
def test_the_moving_average_is_its_recursion_every_so_many_updates(decay, every):
    params = parameters()
    made = learner(params, learning_rate=0.1, ema_decay=decay, ema_every=every)
    expected = params["a.b"].detach().clone()
    for update in range(1, 8):
        give(params, [1.0, (-1.0) ** update])
        made.step(0.0)
        if update % every == 0:
            expected = decay * expected + (1 - decay) * params["a.b"].detach()
    state, _ = made.state()
    torch.testing.assert_close(state["ema"]["a.b"], expected, rtol=1e-5, atol=1e-6)


def test_averaged_lends_the_averages_and_gives_the_weights_back_even_after_an_error():
    params = parameters()
    made = learner(params, learning_rate=0.1, ema_decay=0.9)
    give(params, [1.0, 1.0])
    made.step(0.0)
    weights = params["a.b"].detach().clone()
    with pytest.raises(RuntimeError), made.averaged():
        assert params["a.b"].tolist() == pytest.approx([0.99, -2.01], rel=1e-6)
        raise RuntimeError
    assert torch.equal(params["a.b"].detach(), weights)


def test_without_an_average_averaged_changes_nothing():
    params = parameters()
    with learner(params, ema_decay=None).averaged():
        assert params["a.b"].tolist() == [1.0, -2.0]


BAD = [
    (math.nan, [1.0, 1.0]),
    (math.inf, [1.0, 1.0]),
    (0.0, [math.nan, 1.0]),
    (0.0, [math.inf, 1.0]),
    (0.0, [3e38, 3e38]),  # finite, but its norm is not
]


@pytest.mark.parametrize(("loss", "gradient"), BAD)
def test_what_is_not_finite_is_skipped_without_a_trace(loss, gradient):
    params = parameters()
    made = learner(params)
    give(params, [1.0, 1.0])
    made.step(0.0)
    before, _ = made.state()
    before = {f"{k}.{n}": t.clone() for k, part in before.items() for n, t in part.items()}
    give(params, gradient)
    assert made.step(loss) is None
    after, _ = made.state()
    for name, tensor in before.items():
        file, _, key = name.partition(".")
        assert torch.equal(after[file][key], tensor), name
    assert params["a.b"].grad is None
    assert (made.updates, made.skipped, made.skipped_in_a_row) == (1, 1, 1)


def test_only_failures_in_a_row_exhaust():
    params = parameters()
    made = learner(params, max_skipped_updates=2)
    outcomes = []
    for loss in (math.nan, 0.0, math.nan, math.nan):
        give(params, [1.0, 1.0])
        made.step(loss)
        outcomes.append(made.exhausted)
    assert outcomes == [False, False, False, True]
    assert made.skipped == 3


def test_a_state_loaded_into_another_learner_goes_on_bit_for_bit():
    params, others = parameters(), parameters((7.0, 7.0))
    config = {"learning_rate": 0.01, "ema_decay": 0.9, "lr_warmup_steps": 5, "weight_decay": 0.1}
    one, two = learner(params, **config), learner(others, **config)

    def go(made, params, first, last):
        for update in range(first, last):
            give(params, [math.sin(update), math.cos(update)])
            made.step(math.nan if update == 3 else 0.0)

    go(one, params, 0, 4)
    state, counters = one.state()
    state = {file: {k: t.clone() for k, t in part.items()} for file, part in state.items()}
    go(one, params, 4, 9)
    two.load(state, counters)
    assert (two.updates, two.skipped, two.skipped_in_a_row) == (3, 1, 1)
    go(two, others, 4, 9)
    for file, part in one.state()[0].items():
        for name, tensor in part.items():
            assert torch.equal(two.state()[0][file][name], tensor), (file, name)


def test_names_with_dots_and_common_beginnings_keep_their_own_moments():
    params = {name: nn.Parameter(torch.ones(1)) for name in ("a", "a.b", "a.b.exp_avg")}
    made = learner(params)
    for size, parameter in enumerate(params.values(), 1):
        parameter.grad = torch.full((1,), float(size))
    made.step(0.0)
    state, counters = made.state()
    other = learner({name: nn.Parameter(torch.ones(1)) for name in params})
    other.load(state, counters)
    again, _ = other.state()
    assert set(again["optimizer"]) == set(state["optimizer"])
    for name, tensor in state["optimizer"].items():
        assert torch.equal(again["optimizer"][name], tensor), name


def test_a_model_with_nothing_to_train_is_refused():
    with pytest.raises(GuardcoreError, match="nothing to train"):
        learner({})


@pytest.mark.parametrize(
    ("weights", "name"),
    [
        ({"a.b": torch.zeros(2)}, "'c'"),
        ({"a.b": torch.zeros(2), "c": torch.zeros(1), "d": torch.zeros(1)}, "'d'"),
        ({"a.b": torch.zeros(3), "c": torch.zeros(1)}, "'a.b'"),
    ],
)
def test_another_models_weights_are_refused_and_the_difference_named(weights, name):
    params = parameters()
    with pytest.raises(GuardcoreError, match=f"another model: {name}"):
        load_weights(params, weights)
    assert params["a.b"].tolist() == [1.0, -2.0]


def test_weights_are_copied_into_the_models_own_parameters():
    params = parameters()
    weights = {"a.b": torch.tensor([5.0, 6.0]), "c": torch.tensor([7.0])}
    load_weights(params, weights)
    weights["c"].zero_()
    assert params["a.b"].tolist() == [5.0, 6.0]
    assert params["c"].tolist() == [7.0]


@pytest.mark.parametrize("updates_before", [0, 2])
def test_a_snapshot_takes_the_learner_back_again_and_again(updates_before):
    params = parameters()
    made = learner(params, learning_rate=0.1, lr_warmup_steps=5)

    def go_on():
        for update in range(3):
            give(params, [1.0, (-2.0) ** update])
            made.step(0.0)
        return {f"{k}.{n}": t.clone() for k, v in made.state()[0].items() for n, t in v.items()}

    for _ in range(updates_before):
        give(params, [3.0, 1.0])
        made.step(0.0)
    start = made.snapshot()
    once = go_on()
    for _ in range(2):
        give(params, [math.nan, 5.0])  # half an update's gradient
        made.load(*start)
        assert made.updates == updates_before
        assert params["a.b"].grad is None
        again = go_on()
        assert again.keys() == once.keys()
        assert all(torch.equal(again[name], once[name]) for name in once)
