"""The laws of what of a backbone is trained: parameters, gradient, reference, adapter file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Parameter

from guardcore.errors import GuardcoreError
from guardcore.testing.law import BrokenError
from guardcore.testing.probe import Probe


def stable_parameters(probe: Probe) -> None:
    """What is trained has stable names and is float32, so that small steps count."""
    first, second = (dict(probe.backbone.trainable()) for _ in range(2))
    if not first:
        raise BrokenError("it has nothing to train")
    if list(first) != list(second) or any(first[name] is not second[name] for name in first):
        raise BrokenError("asked twice, it returned other names or other parameters")
    for name, parameter in first.items():
        _parameter(name, parameter)


def _parameter(name: object, parameter: object) -> None:
    if not isinstance(name, str) or not isinstance(parameter, Parameter):
        raise BrokenError(
            f"expected a name and a torch Parameter, received {name!r} and a "
            f"{type(parameter).__name__}"
        )
    if not parameter.requires_grad:
        raise BrokenError(f"{name} asks for no gradient")
    if parameter.element_size() < 4:
        raise BrokenError(f"{name} is {parameter.dtype}, in which a small step rounds away")


def gradient_flows(probe: Probe) -> None:
    """Training reaches what is trained; not all at once: a LoRA's A has none while its B is 0."""
    parameters = probe.backbone.trainable()
    kept = {name: parameter.grad for name, parameter in parameters.items()}
    try:
        gradients = _gradients(probe, parameters)
    finally:
        for name, parameter in parameters.items():
            parameter.grad = kept[name]
    odd = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
    if odd:
        raise BrokenError(f"the gradient of {odd[0]} is not finite")
    if not any(gradient.abs().max() > 0 for gradient in gradients.values()):
        raise BrokenError(f"none of {len(parameters)} parameters gets a gradient other than 0")


def _gradients(probe: Probe, parameters: Mapping[str, Parameter]) -> dict[str, Tensor]:
    for parameter in parameters.values():
        parameter.grad = None
    with torch.enable_grad():
        velocity = probe.backbone.velocity(probe.x, probe.sigma, probe.condition)
        if not velocity.requires_grad:
            raise BrokenError("the velocity does not depend on what is trained: detached")
        torch.autograd.backward(velocity.float().square().mean())
    return {name: p.grad for name, p in parameters.items() if p.grad is not None}


def reference_is_the_base(probe: Probe) -> None:
    """Inside ``reference()`` the velocity is that before any training, and only there."""
    base = probe.velocity()
    with probe.backbone.reference():
        probe.alike(base, probe.velocity(), "the reference of an untrained backbone")
    probe.same(base, probe.velocity(), "the velocity after reference() was left")
    with probe.moved() as trained:
        with probe.backbone.reference():
            probe.alike(base, probe.velocity(), "the reference after some training")
        probe.same(trained, probe.velocity(), "the trained velocity after reference() was left")
        _leave_by_error(probe)
        probe.same(trained, probe.velocity(), "the trained velocity after an error in reference()")


class _StopError(Exception):
    pass


def _leave_by_error(probe: Probe) -> None:
    try:
        with probe.backbone.reference():
            raise _StopError
    except _StopError:
        pass


def adapter_round_trip(probe: Probe) -> None:
    """``load_adapter`` gives back, in place, what ``save_adapter`` wrote."""
    base = probe.velocity()
    with probe.moved() as trained, tempfile.TemporaryDirectory() as folder:
        before = dict(probe.backbone.trainable())
        probe.backbone.save_adapter(Path(folder))
        probe.shift(0.1, "after saving")
        probe.backbone.load_adapter(Path(folder))
        probe.alike(trained, probe.velocity(), "the velocity after save_adapter and load_adapter")
        with probe.backbone.reference():
            probe.alike(base, probe.velocity(), "the reference after load_adapter")
        after = probe.backbone.trainable()
        if any(after.get(name) is not parameter for name, parameter in before.items()):
            raise BrokenError("load_adapter made new parameters: the optimiser holds the old ones")


def export_refuses(probe: Probe) -> None:
    """Optional: a format that it does not know is a one-line error."""
    export = getattr(probe.backbone, "export", None)
    if export is None:
        return
    try:
        with tempfile.TemporaryDirectory() as folder:
            export(Path(folder), "no-such-format")
    except GuardcoreError:
        return
    raise BrokenError("export(directory, 'no-such-format') must raise a GuardcoreError")


LAWS: Sequence[Callable[[Probe], None]] = (
    stable_parameters,
    gradient_flows,
    reference_is_the_base,
    adapter_round_trip,
    export_refuses,
)
