"""How a config names a component: ``name`` or ``{use: name, option: value}``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

SpecLike = str | Mapping[str, Any]


class Spec(BaseModel):
    """A component's name with its options, not yet looked up or validated."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="allow")

    use: str = Field(min_length=1, description="short name, or distribution:name")

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"use": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        """The options as they were given."""
        return dict(self.model_extra or {})


class WeightedSpec(Spec):
    """A reward or a penalty: a component with its coefficient."""

    weight: float = Field(
        1.0,
        allow_inf_nan=False,
        description="coefficient; of a reward, 0: evaluation only; below 0: less is better",
    )


@dataclass(frozen=True)
class Strategy:
    """A named sentence of words: ratio transforms and gradient weights, with their options.

    A strategy is data. Whoever wants another sentence writes another list::

        Strategy(ratio=["ratio-norm", {"use": "ppo-clip", "low": 2e-6, "high": 2e-6}],
                 gradient_weight=["inverse-dt"])

    Attributes:
        ratio: Chain of ratio transforms, left to right.
        gradient_weight: Gradient weights, multiplied.
        description: One line: what it does, and its source.
        samplers: Those that the gradient weight was derived for; with others a check warns.

    Raises:
        pydantic.ValidationError: A word is neither a name nor a mapping with ``use``.
    """

    ratio: Sequence[SpecLike]
    gradient_weight: Sequence[SpecLike] = ()
    description: str = ""
    samplers: Sequence[str] = ()

    def __post_init__(self) -> None:
        for place in ("ratio", "gradient_weight"):
            words = getattr(self, place)
            if isinstance(words, str):
                raise TypeError(f"a strategy's {place} is a list of words, received {words!r}")
            for word in words:
                Spec.model_validate(word)
