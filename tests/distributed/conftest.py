"""Several processes of one run."""

from functools import partial

import pytest

from launch import together as start_together


@pytest.fixture
def together(guardcore):
    """Start ``guardcore`` in so many processes: call it with their number and arguments."""
    return partial(start_together, guardcore)
