"""Low-rank adapters beside frozen weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import Linear, Parameter

from guardcore import GuardcoreError
from guardcore_plugins.backbones.lora_file import LoraFile
from guardcore_plugins.backbones.quiet import quiet
from guardcore_plugins.backbones.tuning import check_fit, copy_into

LORA_FILE = "pytorch_lora_weights.safetensors"
_ADAPTER = "default"


class LoraTuning:
    """Low-rank adapters by peft; the file is diffusers' LoRA format.

    Args:
        pipeline: A diffusers pipeline with a frozen ``transformer``.
        rank: Rank of each adapter.
        alpha: The adapter's output is scaled by ``alpha/rank``.
        targets: Ends of the names of the linear layers to adapt.
        start: A LoRA to start from, file or directory; the reference is then the model with it.

    Raises:
        GuardcoreError: A target that no layer's name ends in, or a start that does not fit.
    """

    def __init__(
        self,
        pipeline: Any,
        rank: int,
        alpha: float,
        targets: Sequence[str],
        start: Path | None = None,
    ) -> None:
        self.network = pipeline.transformer
        self._save_lora_weights = pipeline.save_lora_weights
        self._rank, self._alpha, self._targets = rank, alpha, list(targets)
        _check_targets(self.network, targets)
        self._add_adapter()
        self._parameters = {
            name.replace(f".{_ADAPTER}.", "."): parameter
            for name, parameter in self.network.named_parameters()
            if parameter.requires_grad
        }
        for parameter in self._parameters.values():
            # peft gives adapters the base's precision; in half, a step of 1e-4 would round away
            parameter.data = parameter.data.float()
        self._initial: dict[str, Tensor] | None = None
        if start is not None:
            self._copy_from(LoraFile.read(start))
            self._initial = {name: p.detach().clone() for name, p in self._parameters.items()}

    def _add_adapter(self) -> None:
        """Start as Flow-GRPO does: A gaussian from torch's global generator, B zero."""
        from peft import LoraConfig
        from peft.tuners.tuners_utils import BaseTunerLayer

        config = LoraConfig(
            r=self._rank,
            lora_alpha=self._alpha,
            init_lora_weights="gaussian",
            target_modules=self._targets,
        )
        with quiet():
            self.network.add_adapter(config, adapter_name=_ADAPTER)
        self.network.eval()  # new modules come in training mode
        self._layers = [m for m in self.network.modules() if isinstance(m, BaseTunerLayer)]

    def trainable(self) -> Mapping[str, Parameter]:
        """Return the adapters' factors, named as in the file (``….to_q.lora_A.weight``)."""
        return self._parameters

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Switch the adapters off inside; where they started from a LoRA, back to that."""
        trained = {name: parameter.data for name, parameter in self._parameters.items()}
        self._enter_reference()
        try:
            yield
        finally:
            if self._initial is None:
                self._switch(True)
            else:
                self._point(trained)

    def _enter_reference(self) -> None:
        if self._initial is None:
            self._switch(False)
        else:
            self._initial = {
                name: tensor.to(self._parameters[name].device)
                for name, tensor in self._initial.items()
            }
            self._point(self._initial)

    def _point(self, tensors: Mapping[str, Tensor]) -> None:
        """Exchange storages, not values: a graph that waits for its backward keeps its own."""
        for name, parameter in self._parameters.items():
            parameter.data = tensors[name]

    def _switch(self, on: bool) -> None:
        """As ``network.disable_adapters`` and ``enable_adapters``, without their search."""
        for layer in self._layers:
            layer.enable_adapters(on)

    def save(self, directory: Path) -> None:
        """Write the file that ``pipeline.load_lora_weights(directory)`` takes.

        alpha travels in the file's metadata: without it diffusers assumes ``alpha = rank``. Only
        what every peft knows is written there, because an older one refuses unknown keys.
        """
        layers = {name: p.detach().cpu().contiguous() for name, p in self._parameters.items()}
        self._save_lora_weights(
            directory,
            transformer_lora_layers=layers,
            transformer_lora_adapter_metadata={
                "r": self._rank,
                "lora_alpha": self._alpha,
                "target_modules": self._targets,
            },
        )

    def load(self, directory: Path) -> None:
        """Read a LoRA of the same layers, rank and alpha.

        Raises:
            GuardcoreError: There is none, or it doesn't fit.
        """
        self._copy_from(LoraFile.read(directory))

    def _copy_from(self, file: LoraFile) -> None:
        check_fit(file.path, file.factors, self._parameters)
        alpha = self._rank if file.alpha is None else file.alpha
        if alpha != self._alpha:
            raise GuardcoreError(
                f"{file.path} was trained with alpha {alpha:g}, the backbone has {self._alpha:g}; "
                f"set backbone.lora.alpha={alpha:g}"
            )
        copy_into(self._parameters, file.factors)


def _check_targets(network: Any, targets: Sequence[str]) -> None:
    names = [name for name, module in network.named_modules() if isinstance(module, Linear)]
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            raise GuardcoreError(
                f"backbone.lora.targets: no linear layer of {type(network).__name__} "
                f"ends in {target!r}"
            )
