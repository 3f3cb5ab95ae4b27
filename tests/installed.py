"""Every built-in component of a kind, as the installed registry has it."""

from guardcore import create
from guardcore.plugins import installed
from guardcore.registry import BUILTIN


def builtin(kind):
    """Return the short names of a kind's built-ins."""
    return [e.name for e in installed().of_kind(kind) if e.origin.distribution == BUILTIN]


def build(kind, name, **options):
    """Build a component; a required option without a value takes the first of its examples."""
    fields = installed().find(kind, name).options.model_fields
    required = {n: f.examples[0] for n, f in fields.items() if f.is_required()}
    return create(kind, name, **{**required, **options})
