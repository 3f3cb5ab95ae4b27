"""What makes a component: a function or class of one argument, which says its options."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

from guardcore.options import Options

Factory = Callable[[Any], object]


class FactoryError(TypeError):
    """A factory does not take exactly one argument that is annotated with ``Options``."""


def options_of(factory: Factory) -> type[Options]:
    """Return the ``Options`` class that a factory's one argument is annotated with.

    Raises:
        FactoryError: Not exactly one argument, or another annotation.
    """
    label = getattr(factory, "__qualname__", repr(factory))
    if not callable(factory):
        raise FactoryError(f"{label} is no function or class that takes options")
    parameters = list(inspect.signature(factory).parameters.values())
    if len(parameters) != 1:
        raise FactoryError(f"{label} must take exactly one argument, its options")
    annotation: Any = parameters[0].annotation
    if isinstance(annotation, str):  # `from __future__ import annotations`
        module = sys.modules[inspect.unwrap(factory).__module__]
        with contextlib.suppress(NameError, AttributeError):
            annotation = eval(annotation, vars(module))  # as typing.get_type_hints does
    if not (isinstance(annotation, type) and issubclass(annotation, Options)):
        raise FactoryError(f"{label}: annotate its argument with a subclass of guardcore.Options")
    if annotation.model_config.get("extra") != "forbid" or not annotation.model_config["frozen"]:
        raise FactoryError(f"{label}: its options must stay frozen and refuse unknown keys")
    return annotation
