"""Advantages relative to the other images of the same prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from guardcore import Options, Registrar, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class GroupOptions(Options):
    """How rewards are centred and scaled."""

    std: Literal["group", "batch", "none"] = Field(
        "group", description="divide by the std within the group, over all samples, or not at all"
    )
    normalize: Literal["none", "group", "batch"] = Field(
        "none",
        description="before the weighted sum bring every reward to mean 0 and std 1, within the "
        "group or over all samples, so that weights compare rewards of different scales",
    )
    eps: float = Field(1e-4, ge=0, description="added to every std; unit of the reward")
    clip: float | None = Field(
        5.0, gt=0, description="bound on the advantage's absolute value in stds, or null"
    )


class GDPOOptions(Options):
    """The numbers of ``group`` that are left."""

    eps: float = Field(1e-4, ge=0, description="added to every std; unit of the reward")
    clip: float | None = Field(
        5.0, gt=0, description="bound on the advantage's absolute value in stds, or null"
    )


class ExtremesOptions(Options):
    """Which images of a group are kept, and what they are compared with."""

    best: int = Field(4, ge=0, description="images of each group kept from above")
    worst: int = Field(4, ge=0, description="images of each group kept from below")
    relative_to: Literal["kept", "group"] = Field(
        "kept",
        description="mean and std over the images that are kept (their advantages then sum to 0), "
        "or over the whole group",
    )
    eps: float = Field(1e-4, ge=0, description="added to the std; unit of the reward")
    clip: float | None = Field(
        5.0, gt=0, description="bound on the advantage's absolute value in stds, or null"
    )

    @model_validator(mode="after")
    def _some_are_kept(self) -> ExtremesOptions:
        if self.best + self.worst < 2:
            raise ValueError("best and worst must keep two images or more")
        return self


@dataclass(frozen=True)
class GroupAdvantage:
    """``(Σ w·R − group mean)/(std + eps)``, population std (GRPO; Flow-GRPO, Eq. 4).

    With ``normalize`` each R is first ``(R − mean)/(std + eps)`` over the group, or over all
    samples: there a reward that hardly differs within a group still says little about it. A
    negative weight asks for less of a reward. A group whose rewards are all equal gets exactly 0,
    whatever the rounding of its mean.
    """

    options: GroupOptions

    def __call__(
        self, rewards: Mapping[str, Tensor], groups: Tensor, weights: Mapping[str, float]
    ) -> Tensor:
        """Return ``[N]`` for rewards ``[N]`` each and group numbers ``[N]``.

        Raises:
            ValueError: No reward has a weight, or a shape differs from the groups'.
        """
        _check_shapes(rewards, groups)
        total = _weighted_sum(
            {name: self._normalized(values, groups) for name, values in rewards.items()}, weights
        )
        batch_std = total.std(correction=0)
        advantage = _by_group(total, groups, lambda v: (v - v.mean()) / self._scale(v, batch_std))
        return _bounded(advantage, self.options.clip)

    def _normalized(self, values: Tensor, groups: Tensor) -> Tensor:
        """Return a reward ``[N]`` as the option says; where it is constant, 0."""
        match self.options.normalize:
            case "none":
                return values
            case "batch":
                return self._standardized(values)
        return _by_group(values, groups, self._standardized)

    def _standardized(self, values: Tensor) -> Tensor:
        if values.max() == values.min():
            return values.new_zeros(values.shape)
        return (values - values.mean()) / (values.std(correction=0) + self.options.eps)

    def _scale(self, values: Tensor, batch_std: Tensor) -> Tensor:
        if self.options.std == "none":
            return values.new_ones(())
        std = values.std(correction=0) if self.options.std == "group" else batch_std
        return std + self.options.eps


@dataclass(frozen=True)
class Extremes:
    """The ``best`` and the ``worst`` images of each group; the others' advantage is 0.

    ``w·(Σ R − mean)/(std + eps)`` with ``w`` 1 for an image that is kept and 0 for one that isn't.
    So many best and worst are the choice of that size with the largest variance, for some split
    between the two (PODS, arXiv 2504.13818, max-variance down-sampling).

    Where more images share a reward than there are places left, they share the places: ``w``
    between 0 and 1, in mean and std too. A draw would be luck, and so would be the order.
    """

    options: ExtremesOptions

    def __call__(
        self, rewards: Mapping[str, Tensor], groups: Tensor, weights: Mapping[str, float]
    ) -> Tensor:
        """Return ``[N]`` for rewards ``[N]`` each and group numbers ``[N]``.

        Raises:
            ValueError: No reward has a weight, or a shape differs from the groups'.
        """
        _check_shapes(rewards, groups)
        advantage = _by_group(_weighted_sum(rewards, weights), groups, self._of_group)
        return _bounded(advantage, self.options.clip)

    def _of_group(self, values: Tensor) -> Tensor:
        kept = self.kept(values)
        over = kept if self.options.relative_to == "kept" else kept.new_ones(kept.shape)
        compared = values[over > 0]
        if compared.max() == compared.min():
            return values.new_zeros(values.shape)
        mean = (over * values).sum() / over.sum()
        std = ((over * (values - mean) ** 2).sum() / over.sum()).sqrt()
        return kept * (values - mean) / (std + self.options.eps)

    def kept(self, values: Tensor) -> Tensor:
        """Return the share ``[n]`` of a place that each image of a group has, from 0 to 1."""
        if self.options.best + self.options.worst >= len(values):
            return values.new_ones(values.shape)
        above = (values[None] > values[:, None]).to(values).sum(1)
        below = (values[None] < values[:, None]).to(values).sum(1)
        equals = len(values) - above - below
        best = ((self.options.best - above) / equals).clamp(0, 1)
        worst = ((self.options.worst - below) / equals).clamp(0, 1)
        return best + worst


def _by_group(values: Tensor, groups: Tensor, what: Callable[[Tensor], Tensor]) -> Tensor:
    """Return ``what`` of each group's values; exactly 0 where they are all equal."""
    result = values.new_zeros(values.shape)
    for number in set(groups.tolist()):
        rows = groups == number
        if values[rows].max() > values[rows].min():
            result[rows] = what(values[rows])
    return result


def _bounded(advantage: Tensor, clip: float | None) -> Tensor:
    return advantage if clip is None else advantage.clamp(-clip, clip)


def _check_shapes(rewards: Mapping[str, Tensor], groups: Tensor) -> None:
    for name, values in rewards.items():
        if values.shape != groups.shape:
            raise ValueError(
                f"reward {name!r} must be {list(groups.shape)} like groups, "
                f"received {list(values.shape)}"
            )


def _weighted_sum(rewards: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    terms = [weights[name] * values for name, values in rewards.items() if weights[name] != 0]
    if not terms:
        raise ValueError(f"no reward has a weight: received weights {dict(weights)}")
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def group(options: GroupOptions) -> GroupAdvantage:
    """GRPO's advantage: the reward relative to the group's mean, in stds."""
    return GroupAdvantage(options)


def gdpo(options: GDPOOptions) -> GroupAdvantage:
    """Each reward in stds of its group, then the weighted sum in stds of the batch (GDPO).

    arXiv 2601.05242. It is ``group`` with ``normalize: group, std: batch``: the sum's mean over
    the batch is 0 already, because it is over each group.
    """
    return GroupAdvantage(
        GroupOptions(std="batch", normalize="group", eps=options.eps, clip=options.clip)
    )


def leave_one_out(options: Options) -> Callable[..., Tensor]:
    """``R_i − mean of the others = n/(n − 1)·(R_i − group mean)`` (RLOO, arXiv 2402.14740).

    No std and no clip: an unbiased gradient of the reward, in the reward's own unit. A group of
    one has nothing to be compared with, and 0.
    """

    def advantage(
        rewards: Mapping[str, Tensor], groups: Tensor, weights: Mapping[str, float]
    ) -> Tensor:
        _check_shapes(rewards, groups)
        return _by_group(
            _weighted_sum(rewards, weights),
            groups,
            lambda values: (values - values.mean()) * (len(values) / (len(values) - 1)),
        )

    return advantage


def extremes(options: ExtremesOptions) -> Extremes:
    """The best and the worst of each group alone (PODS; best-of-N as in DanceGRPO's code).

    The latter compares with the whole group: ``relative_to: group``. All images are sampled and
    judged, and a micro-batch of which none is kept is not run in an update.
    """
    return Extremes(options)


@hookimpl
def guardcore_register_advantages(register: Registrar) -> None:
    """Register the advantages."""
    register("group", group)
    register("gdpo", gdpo)
    register("leave-one-out", leave_one_out)
    register("extremes", extremes)
