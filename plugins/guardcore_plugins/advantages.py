"""Advantages relative to the other images of the same prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

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
        advantage = total.new_zeros(total.shape)
        batch_std = total.std(correction=0)
        for number in sorted(set(groups.tolist())):
            rows = groups == number
            values = total[rows]
            if values.max() > values.min():
                advantage[rows] = (values - values.mean()) / self._scale(values, batch_std)
        clip = self.options.clip
        return advantage if clip is None else advantage.clamp(-clip, clip)

    def _normalized(self, values: Tensor, groups: Tensor) -> Tensor:
        """Return a reward ``[N]`` as the option says; where it is constant, 0."""
        match self.options.normalize:
            case "none":
                return values
            case "batch":
                return self._standardized(values)
        result = values.clone()
        for number in set(groups.tolist()):
            rows = groups == number
            result[rows] = self._standardized(values[rows])
        return result

    def _standardized(self, values: Tensor) -> Tensor:
        if values.max() == values.min():
            return values.new_zeros(values.shape)
        return (values - values.mean()) / (values.std(correction=0) + self.options.eps)

    def _scale(self, values: Tensor, batch_std: Tensor) -> Tensor:
        if self.options.std == "none":
            return values.new_ones(())
        std = values.std(correction=0) if self.options.std == "group" else batch_std
        return std + self.options.eps


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


@hookimpl
def guardcore_register_advantages(register: Registrar) -> None:
    """Register the group advantage."""
    register("group", group)
