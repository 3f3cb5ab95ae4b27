"""The planner on models whose cost is known by hand, or measured."""

import gc

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from guardcore import Condition, GuardcoreError, Options, Outline, Part, Saving
from guardcore.layers import parse_config
from guardcore.planning.costs import Costs
from guardcore.planning.geometry import geometry
from guardcore.planning.live_bytes import LiveBytes, fused_attention
from guardcore.planning.plan import make_plan
from guardcore.planning.request import Request
from guardcore.planning.trace import MicroBatch
from guardcore.registry import Origin, Registry

WIDTH, HEADS, BLOCKS, TOKENS = 32, 4, 3, 16


class Block(nn.Module):
    """Attention and a feed-forward of twice the width."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x):
        heads = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*heads)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(functional.gelu(self.up(x)))


class Transformer:
    """A backbone of blocks over ``[B, TOKENS, WIDTH]``; ``kept`` are its inputs' blocks."""

    def __init__(self, device="meta", checkpointing=False):
        self.blocks_ = nn.ModuleList(Block() for _ in range(BLOCKS)).to(device)
        self.checkpointing = checkpointing

    def latent_shape(self, height, width):
        return TOKENS, WIDTH

    def velocity(self, x, sigma, condition):
        for block in self.blocks_:
            x = checkpoint(block, x, use_reentrant=False) if self.checkpointing else block(x)
        return x

    def decode(self, x, condition):
        return x.unflatten(1, (4, 4))[..., :3].movedim(-1, 1)

    def trainable(self):
        return dict(self.blocks_.named_parameters())


def outline(checkpointing=False, held=1000, savings=()):
    backbone = Transformer(checkpointing=checkpointing)
    return Outline(
        backbone=backbone,
        parts={"network": Part(backbone.blocks_, held, "trained")},
        condition=lambda rows, h, w: Condition({"c": torch.empty(rows, 5, device="meta")}, h, w),
        savings=savings,
    )


def batch(rows=2, **options):
    return MicroBatch(outline(**options), rows, 16, 16)


def by_hand(rows):
    """A product of ``[n, a]`` and ``[a, b]`` is 2·n·a·b; attention is two of them a head."""
    linear = 2 * rows * TOKENS * WIDTH * WIDTH * (3 + 1 + 2 + 2)
    attention = 2 * 2 * rows * TOKENS * TOKENS * WIDTH
    return BLOCKS * linear, BLOCKS * attention


def test_a_forward_has_the_flops_that_the_formula_says():
    assert batch(rows=3).forward().flops == sum(by_hand(3))


def test_a_backward_costs_twice_the_linear_layers_and_five_halves_of_attention():
    # the first block's input needs no gradient: its qkv layer has only half a backward
    linear, attention = by_hand(2)
    spared = 2 * 2 * TOKENS * WIDTH * 3 * WIDTH
    assert batch().update().flops == 3 * linear - spared + attention + attention * 5 // 2


def test_checkpointing_runs_every_blocks_forward_once_more():
    # but for its last product, whose result nothing waits for: torch stops before it
    linear, attention = by_hand(2)
    plain, again = batch().update().flops, batch(checkpointing=True).update().flops
    assert again - plain == linear * 6 // 8 + attention


def saved_bytes(rows):
    """What a real forward saves for its backward: distinct storages, weights and input aside."""
    torch.manual_seed(0)
    backbone = Transformer(device="cpu")
    x = torch.randn(rows, TOKENS, WIDTH)
    given = {t.untyped_storage().data_ptr() for t in (x, *backbone.trainable().values())}
    sizes = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in given:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = backbone.velocity(x, None, None).square().mean()
        del loss
    return sum(sizes.values())


def test_saved_activations_are_those_of_a_real_forward():
    # within what no saved tensor is: the result of the last block's sum, and the loss
    ours, real = batch(rows=8).update().saved, saved_bytes(8)
    assert ours == pytest.approx(real, rel=0.05)


def test_checkpointing_keeps_a_block_and_the_blocks_inputs():
    state = 4 * 8 * TOKENS * WIDTH  # bytes of one [8, TOKENS, WIDTH] in float32
    plain, less = batch(rows=8).update(), batch(rows=8, checkpointing=True).update()
    assert (BLOCKS - 1) * state <= less.saved <= (BLOCKS + 2) * state
    assert less.peak < plain.peak / 2


@pytest.mark.parametrize("mask", [None, torch.zeros(1, 1, 256, 256, device="meta")])
def test_attention_holds_no_scores(mask):
    query = torch.empty(1, 1, 256, 8, device="meta")
    scores = 4 * 256 * 256

    def attend():
        with LiveBytes([query]) as live:
            functional.scaled_dot_product_attention(query, query, query, mask)
        return live

    assert attend().peak >= scores  # torch's own choice on this device
    with fused_attention():
        assert attend().peak < scores / 4
        assert attend().flops == 2 * 2 * 256 * 256 * 8


def test_gradients_are_put_back_and_memory_is_freed():
    drawn = outline()
    MicroBatch(drawn, 2, 16, 16).update()
    assert all(p.grad is None for p in drawn.backbone.trainable().values())
    gc.collect()
    again = MicroBatch(drawn, 2, 16, 16).update()
    assert again == MicroBatch(drawn, 2, 16, 16).update()


def test_between_two_traces_a_cost_is_on_a_line_above_the_truth():
    costs = Costs(outline(), (16, 16), rows=8)
    for piece in ("forward", "update"):
        true = getattr(batch(rows=4), piece)()
        assert costs.of(piece, 4).flops == true.flops
        assert true.peak <= costs.of(piece, 4).peak <= 1.2 * true.peak


def config(**over):
    tree = {
        "backbone": "drawn",
        "rollout": {"groups": 5, "group_size": 7, "batch_size": 4, "num_inference_steps": 3},
        "prompts": {"train": "any"},
        "reward": ["judge"],
    }
    return parse_config({**tree, **over})


def test_micro_batches_are_dealt_in_turn_whatever_divides_what(registry):
    dealt = geometry(config(), registry, processes=4)
    assert (dealt.images, dealt.micro_batches, dealt.last_batch) == (35, 9, 3)
    assert (dealt.largest_share, dealt.smallest_share) == (3, 2)
    assert dealt.images_a_process == 11  # two of 4, and the last of 3
    assert dealt.idle == pytest.approx(1 - 35 / 44)
    assert dealt.terms_an_update == [70, 70]  # 35 images, 2 trained steps of 3


def test_more_processes_than_micro_batches_leave_some_without(registry):
    dealt = geometry(config(), registry, processes=16)
    assert (dealt.largest_share, dealt.smallest_share) == (1, 0)
    assert dealt.images_a_process == 4


def test_shares_are_counted_for_each_update(registry):
    train = {"updates_per_iteration": 2, "samples_per_update": "share"}
    dealt = geometry(config(train=train), registry)
    assert dealt.samples_an_update == [16, 19]
    assert sum(dealt.terms_an_update) == 70


class BareOptions(Options):
    gradient_checkpointing: bool = False
    small: bool = False


class DrawnOptions(BareOptions):
    def outline(self) -> Outline:
        return outline(
            checkpointing=self.gradient_checkpointing,
            held=0 if self.small else 10**9,
            savings=[
                Saving({"backbone.gradient_checkpointing": True}, "time", "update"),
                Saving({"backbone.small": True}, "quality", "weights", last_resort=True),
            ],
        )


def drawn(options: DrawnOptions) -> object:
    raise AssertionError("a plan builds nothing")


def bare(options: BareOptions) -> object:
    raise AssertionError("a plan builds nothing")


def every_step(options: Options):
    return lambda iteration, steps, generator: range(steps)


def growing(options: Options):
    """One step more each iteration, and one again in the last."""
    return lambda iteration, steps, generator: range(min(iteration, steps) if iteration < 9 else 1)


@pytest.fixture
def registry():
    found = Registry()
    register = found.registrar("backbone", Origin("drawn", "1", "drawn", "drawn"))
    register("drawn", drawn)
    register("bare", bare)
    window = found.registrar("window", Origin("guardcore", "1", "windows", "windows"))
    window("all", every_step)
    window("growing", growing)
    return found


def test_an_iterations_work_is_its_steps_times_one_image(registry):
    made = make_plan(config(), registry, Request(flops=1e9, utilization=0.5))
    work, one = made.estimate.work, sum(by_hand(1))
    assert work.rollout == 35 * 3 * one
    assert work.update == 2 * 70 * (batch(rows=4).update().flops // 4)
    assert made.estimate.seconds == pytest.approx(work.iteration / 0.5e9)


def late(options: Options):
    return lambda iteration, steps, generator: range(2, steps)


def test_what_a_groups_images_share_is_computed_once(registry):
    registry.registrar("window", Origin("late", "1", "late", "late"))("late", late)
    rollout = {"groups": 5, "group_size": 7, "batch_size": 4, "num_inference_steps": 5}
    rollout |= {"train_steps": "late"}
    apart, shared = (
        make_plan(config(rollout=rollout | {"same_noise": same}), registry, Request())
        for same in (False, True)
    )
    one = sum(by_hand(1))
    assert apart.estimate.work.rollout == 35 * 5 * one
    # nine micro-batches of 4 over groups of 7: 0-3 and 8-11 lie in one group, 4-7 in two, …
    pieces = [range(start, min(start + 4, 35)) for start in range(0, 35, 4)]
    groups = sum(len({sample // 7 for sample in piece}) for piece in pieces)
    assert shared.estimate.work.rollout == (groups * 2 + 35 * 3) * one


def test_steps_that_share_a_forward_need_a_larger_micro_batchs_memory(registry):
    def update(**more):
        made = make_plan(config(train=more), registry, Request())
        return {item.name: item for item in made.estimate.memory.items}["forward and backward"]

    apart, together = update(), update(steps_per_forward=9)  # of 2 trained steps
    assert (apart.bytes, together.bytes) == (batch(4).update().peak, batch(8).update().peak)
    assert "4 images at 2 steps" in together.note


def test_a_penalty_adds_the_references_forward(registry):
    plain = make_plan(config(), registry, Request()).estimate.work.update
    judged = make_plan(config(penalty=["kl"]), registry, Request()).estimate.work.update
    assert judged - plain == 2 * 70 * sum(by_hand(1))


def test_processes_divide_time_and_trajectories(registry):
    one = make_plan(config(), registry, Request(flops=1e9)).estimate
    four = make_plan(config(), registry, Request(flops=1e9, processes=4)).estimate
    assert four.seconds == pytest.approx(one.seconds * 11 / 35)
    sizes = [{i.name: i.bytes for i in e.memory.items}["trajectories"] for e in (one, four)]
    assert sizes == [4 * TOKENS * WIDTH * 5 * n for n in (35, 11)]  # 2 steps: 3 latents, 2 means


def test_what_is_trained_is_held_with_gradients_moments_and_average(registry):
    held = {i.name: i.bytes for i in make_plan(config(), registry, Request()).estimate.memory.items}
    size = 4 * sum(p.numel() for p in Transformer().trainable().values())
    names = ("trained weights", "gradients", "Adam's moments", "EMA")
    assert [held[name] for name in names] == [size, size, 2 * size, size]


def test_a_run_that_fits_needs_no_change(registry):
    made = make_plan(config(), registry, Request(memory=4 * 10**9))
    assert (made.fits, made.remedies, made.fits_then) == (True, [], True)


def test_changes_are_named_until_it_fits_and_each_lowers_the_peak(registry):
    made = make_plan(config(), registry, Request(memory=10**9))
    assert (made.fits, made.fits_then) == (False, True)
    assert made.remedies[-1].settings == {"backbone.small": True}
    peaks = [made.estimate.memory.peak, *(change.peak for change in made.remedies)]
    assert peaks == sorted(peaks, reverse=True)


def test_what_no_change_can_mend_is_said(registry):
    made = make_plan(config(), registry, Request(memory=10**6))
    assert (made.fits, made.fits_then) == (False, False)


def test_a_backbone_without_an_outline_still_has_a_geometry(registry):
    made = make_plan(config(backbone="bare"), registry, Request(memory=10**9))
    assert made.estimate is None
    assert made.geometry.images == 35


def test_a_broken_outline_is_one_line(registry, monkeypatch):
    def fails(self, x, sigma, condition):
        raise RuntimeError("no such kernel\nand a long tale")

    monkeypatch.setattr(Transformer, "velocity", fails)
    with pytest.raises(GuardcoreError, match="its outline raised RuntimeError: no such kernel$"):
        make_plan(config(), registry, Request())


def test_a_window_counts_with_the_iteration_that_trains_most(registry):
    rollout = {"groups": 5, "group_size": 7, "batch_size": 4, "num_inference_steps": 6}
    for iterations, most in ((3, 3), (9, 5)):
        changed = config(
            rollout=rollout | {"train_steps": "growing"}, train={"iterations": iterations}
        )
        dealt = geometry(changed, registry)
        assert dealt.trained_steps == dealt.reached_steps == list(range(most))
        assert dealt.terms_an_update == [35 * most] * 2


def test_refilling_is_named_and_holds_more_where_groups_share_micro_batches(registry):
    rollout = {"groups": 5, "group_size": 7, "num_inference_steps": 3, "refill": 2}

    def trajectories(**more):
        made = make_plan(config(rollout=rollout | more), registry, Request())
        held = {item.name: item for item in made.estimate.memory.items}["trajectories"]
        return made.geometry.rounds, held.bytes, held.note

    whole, shared = trajectories(batch_size=7), trajectories(batch_size=4)
    assert (whole[0], shared[0]) == (3, 3)
    assert shared[1] == 3 * whole[1]
    assert "up to 105 images" in shared[2]
    assert "35 images" in whole[2]
