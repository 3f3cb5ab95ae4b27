"""What the tests of the contract kit ask of a check: which law it names, and why."""

import pytest

from guardcore.testing import ContractError


def broken_law(check, component, **more):
    """The law that ``check`` finds broken, with its reason on one line."""
    with pytest.raises(ContractError) as caught:
        check(component, **more)
    error = caught.value
    assert "\n" not in str(error)
    assert f"breaks the law '{error.law}': {error.reason}" in str(error)
    return error
