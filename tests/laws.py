"""For the contract kit's own tests: built-in components by kind, and the law that one breaks."""

import pytest

from guardcore import create
from guardcore.plugins import installed
from guardcore.registry import BUILTIN
from guardcore.testing import ContractError


def builtin(kind):
    """Return the short names of a kind's built-ins."""
    return [e.name for e in installed().of_kind(kind) if e.origin.distribution == BUILTIN]


def build(kind, name, **options):
    """Build a component; a required option without a value takes the first of its examples."""
    fields = installed().find(kind, name).options.model_fields
    required = {n: f.examples[0] for n, f in fields.items() if f.is_required()}
    return create(kind, name, **{**required, **options})


def broken(check, component, **more):
    """Return the error of a component that breaks a law."""
    with pytest.raises(ContractError) as caught:
        check(component, **more)
    return caught.value
