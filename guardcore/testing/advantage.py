"""The laws of a group-relative advantage.

An advantage may leave images out (exactly 0) and may clip: where it does, a group's mean need not
be 0. It may be ``[N]`` or ``[N, S]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from hypothesis import strategies as st
from torch import Tensor

from guardcore.components import Advantage
from guardcore.testing.law import BrokenError, hold_each, label
from guardcore.testing.shared_laws import expect_finite, expect_pure, shown

ROUNDING = 1e-4
"""Of the largest advantage: float32 at a reward of 20 that differs by 0.1."""
MANY = 11
"""Times that each image stands in a constant group: the mean of 22 equal numbers is rarely one."""
SECOND = 0.31415
"""Weight of a second reward: no two sums of the cases are equal."""


@dataclass(frozen=True, repr=False)
class RewardsCase:
    """Rewards, groups and weights; within a group no two images are alike, but where all are."""

    groups: tuple[int, ...]
    seed: int
    offset: float
    second: float | None

    def rewards(self) -> dict[str, Tensor]:
        """Return ``[N]`` a reward, in float64 as a run has them."""
        names = ["first"] if self.second is None else ["first", "second"]
        return {name: self._drawn(place) for place, name in enumerate(names)}

    def weights(self) -> dict[str, float]:
        """Return a weight a reward."""
        return {"first": 1.0} if self.second is None else {"first": 1.0, "second": self.second}

    def numbers(self) -> Tensor:
        """Return the group of each image, ``[N]``."""
        return torch.tensor(self.groups)

    def _drawn(self, place: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed + 1000 * place)
        order = torch.randperm(len(self.groups), generator=generator).double()
        return self.offset + order**2 / 10  # squares: no group is symmetric

    def __repr__(self) -> str:
        """Return the arguments as one would write them."""
        rewards = {name: _short(values) for name, values in self.rewards().items()}
        return f"advantage({rewards}, {list(self.groups)}, {self.weights()})"


def check_advantage(advantage: Advantage, *, name: str | None = None) -> None:
    """Check that a group-relative advantage keeps to its contract.

    Raises:
        ContractError: The first law that is broken, with the smallest case found.
    """
    laws = (
        one_number_an_image,
        finite,
        pure,
        constant_group_gets_zero,
        zero_mean_per_group,
        order_of_images_does_not_matter,
        group_numbers_are_labels,
        higher_is_better,
        weight_zero_counts_for_nothing,
    )
    hold_each(label("advantage", advantage, name), laws, advantage, _cases())


def one_number_an_image(advantage: Advantage, case: RewardsCase) -> None:
    """It returns ``[N]``, or ``[N, S]``, in float32 or float64."""
    result: object = advantage(case.rewards(), case.numbers(), case.weights())
    images = len(case.groups)
    if not isinstance(result, Tensor):
        raise BrokenError(f"must return a tensor [{images}], received {type(result).__name__}")
    if result.ndim not in (1, 2) or len(result) != images:
        wanted = f"[N] = [{images}] or [N, S]"
        raise BrokenError(f"must return {wanted}, received {list(result.shape)}")
    if not result.is_floating_point() or result.element_size() < 4:
        raise BrokenError(f"must return float32 or float64, received {result.dtype}")


def finite(advantage: Advantage, case: RewardsCase) -> None:
    """It is finite, also where images or whole groups are all alike."""
    for rewards in (case.rewards(), _constant(case), _binary(case)):
        expect_finite(advantage(rewards, case.numbers(), case.weights()), "the advantage")


def pure(advantage: Advantage, case: RewardsCase) -> None:
    """Rewards and groups are left alone, and the same call gives the same."""
    arguments = {"rewards": case.rewards(), "groups": case.numbers()}
    reverse = range(len(case.groups))[::-1]
    expect_pure(lambda r, groups: advantage(r, groups, case.weights()), arguments, reverse)


def constant_group_gets_zero(advantage: Advantage, case: RewardsCase) -> None:
    """A group whose images are all alike gets exactly 0, whatever the others have."""
    groups = case.numbers().repeat(MANY)
    alike = groups == groups[0]
    rewards = {
        name: values.repeat(MANY).masked_fill(alike, values[0] / 3)
        for name, values in case.rewards().items()
    }
    received = advantage(rewards, groups, case.weights())[alike]
    if (received != 0).any():
        worst = received.flatten()[received.abs().argmax()]
        raise BrokenError(
            f"{len(received)} images of a group, each with the rewards {_first(rewards, alike)}, "
            f"must get exactly 0, received {shown(worst)}"
        )


def zero_mean_per_group(advantage: Advantage, case: RewardsCase) -> None:
    """The advantages of a group have mean 0, unless some are left out (0) or clipped."""
    result = _columns(advantage(case.rewards(), case.numbers(), case.weights()))
    bound, chooses = _bound(advantage), _chooses(advantage)
    for number in set(case.groups):
        own = result[case.numbers() == number]
        largest = float(own.abs().max())
        if (chooses and (own == 0).any()) or largest >= bound * (1 - 1e-6):
            continue
        mean = float(own.mean(0).abs().max())
        if mean > ROUNDING * largest:
            raise BrokenError(f"group {number} must have mean 0, has {mean:.3g}: {shown(own)}")


def order_of_images_does_not_matter(advantage: Advantage, case: RewardsCase) -> None:
    """Images in another order, with their groups, have the same advantages in that order."""
    order = torch.arange(len(case.groups)).flip(0)
    rewards = {name: values[order] for name, values in case.rewards().items()}
    received = advantage(rewards, case.numbers()[order], case.weights())
    expected = advantage(case.rewards(), case.numbers(), case.weights())[order]
    _expect_same(expected, received, "in the reverse order")


def group_numbers_are_labels(advantage: Advantage, case: RewardsCase) -> None:
    """Which number a group has says nothing."""
    expected = advantage(case.rewards(), case.numbers(), case.weights())
    received = advantage(case.rewards(), 1000 - 7 * case.numbers(), case.weights())
    _expect_same(expected, received, "with the groups 1000 − 7·number")


def higher_is_better(advantage: Advantage, case: RewardsCase) -> None:
    """With one reward, of two images of a group the better has no lower advantage.

    Images that are left out (0) don't count.
    """
    one = replace(case, second=None)
    reward, result = one.rewards()["first"], advantage(one.rewards(), one.numbers(), one.weights())
    for column in _columns(result).T:
        for number in set(case.groups):
            own = (one.numbers() == number) & (column != 0)
            rising = column[own][reward[own].argsort()]
            if (rising.diff() < -ROUNDING * float(column.abs().max())).any():
                raise BrokenError(
                    f"group {number}: from the lowest reward to the highest the advantages "
                    f"must not fall, received {shown(rising)}"
                )


def weight_zero_counts_for_nothing(advantage: Advantage, case: RewardsCase) -> None:
    """A reward of weight 0 is for evaluation only: with or without it, all is the same."""
    gold = replace(case, seed=case.seed + 1, second=None).rewards()["first"]
    rewards, weights = {**case.rewards(), "gold": gold}, {**case.weights(), "gold": 0.0}
    expected = advantage(case.rewards(), case.numbers(), case.weights())
    received = advantage(rewards, case.numbers(), weights)
    _expect_same(expected, received, "beside a reward of weight 0")


def _cases() -> st.SearchStrategy[RewardsCase]:
    """One to three groups of two to five images, mixed."""
    sizes = st.lists(st.integers(2, 5), min_size=1, max_size=3)
    groups = sizes.flatmap(
        lambda sizes: st.permutations([g for g, size in enumerate(sizes) for _ in range(size)])
    )
    return st.builds(
        RewardsCase,
        groups=groups.map(tuple),
        seed=st.integers(0, 99),
        offset=st.sampled_from((0.0, 20.0, -1.0)),
        second=st.sampled_from((None, SECOND, -SECOND)),
    )


def _constant(case: RewardsCase) -> dict[str, Tensor]:
    return {name: torch.full_like(values, 1 / 3) for name, values in case.rewards().items()}


def _binary(case: RewardsCase) -> dict[str, Tensor]:
    return {name: (v > v.median()).double() for name, v in case.rewards().items()}


def _bound(advantage: Advantage) -> float:
    """Return where it clips: what an outlier gets among 50 images and among 200 alike."""
    few, many = (float(_beside_an_outlier(advantage, n).abs().max()) for n in (50, 200))
    return few if abs(few - many) <= 1e-9 * many else float("inf")


def _chooses(advantage: Advantage) -> bool:
    """Return whether it leaves images out: a baseline is met by one image, not by two."""
    return int((_columns(_beside_an_outlier(advantage, 200)) == 0).all(1).sum()) > 1


def _beside_an_outlier(advantage: Advantage, images: int) -> Tensor:
    rewards = torch.arange(images).double() / images
    rewards[-1] = 1e6
    return advantage({"first": rewards}, torch.zeros(images).long(), {"first": 1.0})


def _columns(result: Tensor) -> Tensor:
    """Return ``[N, S]``, one column for ``[N]``."""
    return result.reshape(len(result), -1)


def _expect_same(expected: Tensor, received: Tensor, how: str) -> None:
    if expected.shape != received.shape or (
        (expected - received).abs().max() > ROUNDING * expected.abs().max()
    ):
        raise BrokenError(f"gave {shown(expected)}, and {how} {shown(received)}")


def _short(values: Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]


def _first(rewards: Mapping[str, Tensor], rows: Tensor) -> list[float]:
    return [float(values[rows][0]) for values in rewards.values()]
