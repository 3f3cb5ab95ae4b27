"""The machine that a measurement was taken on: its name, its clock, its memory."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import torch

from guardcore.bench.result import Machine


def describe(device: torch.device) -> Machine:
    """Return the device's name, torch's threads and version; no host name."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return Machine(
        device=name,
        processors=processors(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    """Return the processor's model, which Python knows on some systems only."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def wait(device: torch.device) -> None:
    """Return when the device has done what was asked of it."""
    torch.get_device_module(device).synchronize()


def forget_peak(device: torch.device) -> None:
    """Have the next ``peak_memory`` count from now; a process's peak can't be forgotten."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int | None:
    """Return the bytes that tensors took on CUDA at most, elsewhere the process's resident set.

    None on a system that does not say.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, KiB elsewhere
