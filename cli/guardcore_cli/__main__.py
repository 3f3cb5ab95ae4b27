"""``python -m guardcore_cli``: the ``guardcore`` command."""

from guardcore_cli.main import run

run()
