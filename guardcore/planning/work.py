"""An iteration's arithmetic."""

from __future__ import annotations

from pydantic import BaseModel, Field, computed_field

from guardcore.config import RunConfig
from guardcore.plan import micro_batches
from guardcore.planning.geometry import Geometry


class Work(BaseModel):
    """FLOPs; a multiply-add is 2."""

    rollout: int = Field(description="velocities while sampling, in one round")
    decode: int = Field(description="latents to images, likewise")
    update: int = Field(description="velocities and gradients, recomputation and reference too")
    evaluation_an_image: int = Field(description="one image of an evaluation")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def iteration(self) -> int:
        """Everything that an iteration computes; encoders and rewards are left out."""
        return self.rollout + self.decode + self.update


def work(config: RunConfig, geometry: Geometry, forward: int, update: int, decode: int) -> Work:
    """Return the FLOPs of all processes, from those of one image.

    Args:
        config: Steps, updates and penalties; with a penalty the reference runs, too.
        geometry: Images and terms.
        forward: Of one image's velocity.
        update: Of one image's velocity and gradient.
        decode: Of one image.
    """
    a_term = update + (forward if config.penalty else 0)
    return Work(
        rollout=_sampled_rows(config, geometry) * forward,
        decode=geometry.images * decode,
        update=sum(geometry.terms_an_update) * a_term,
        evaluation_an_image=config.evaluate.num_inference_steps * forward + decode,
    )


def _sampled_rows(config: RunConfig, geometry: Geometry) -> int:
    """Return the rows of all forwards of a round: what a group's images share is one row."""
    rollout = config.rollout
    shared = geometry.trained_steps[0] if rollout.same_noise else 0
    batches = micro_batches(geometry.images, rollout.batch_size)
    groups = sum(len({sample // rollout.group_size for sample in batch}) for batch in batches)
    return groups * shared + geometry.images * (rollout.num_inference_steps - shared)
