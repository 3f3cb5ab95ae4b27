"""Options of a component: one frozen pydantic model, the source of every description of it.

From that one definition come validation, the JSON schema, ``guardcore plugins inspect``, the
documentation and the run's manifest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

RESERVED = frozenset({"use", "weight"})
"""Field names that belong to the component spec around the options."""


class Options(BaseModel):
    """Base class of a component's options: frozen, and unknown keys are refused.

    Every field carries a description with its unit::

        class FlowSDEOptions(Options):
            noise_level: float = Field(0.7, gt=0, le=5, description="eta, the noise's scale")

    Attributes:
        may_change: Names of fields that a resumed run may set anew, because they say where or how
            fast something is computed and not what: addresses, devices, threads.
    """

    may_change: ClassVar[frozenset[str]] = frozenset()

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse the reserved names where the author can still see it: at class creation."""
        super().__pydantic_init_subclass__(**kwargs)
        taken = RESERVED & set(cls.model_fields)
        if taken:
            raise TypeError(f"{cls.__name__}: {sorted(taken)[0]!r} is a reserved field name")


@dataclass(frozen=True)
class Calibration:
    """What options wait for.

    Attributes:
        iterations: How many to look at, without the word.
        fraction: Of the terms of updates from the second on, how many are to lie outside.
    """

    iterations: int
    fraction: float
