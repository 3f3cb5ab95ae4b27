"""A new plugin package, complete: it installs, type-checks, passes its own test and runs.

Its module is an example of its kind that works, to be replaced by what its author has in mind. The
examples are real files under ``templates/``, one folder a kind, with ``your-name`` for the name.
"""

from __future__ import annotations

from guardcore.scaffold.package import new as new
from guardcore.scaffold.usage import train_command as train_command
