"""What a plan is asked about."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Request(BaseModel):
    """What is asked about the device and how many there are."""

    processes: int = Field(1, ge=1, description="each with a device of its own")
    memory: int | None = Field(None, gt=0, description="bytes of a device")
    flops: float | None = Field(None, gt=0, description="FLOP/s of a device, as its maker says")
    utilization: float = Field(0.2, gt=0, le=1, description="share of them that is reached")
