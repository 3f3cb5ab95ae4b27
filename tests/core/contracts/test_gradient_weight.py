"""Every built-in gradient weight keeps the laws, and a product of two is one."""

import pytest

from guardcore.testing import check_gradient_weight
from laws import build, builtin


@pytest.mark.parametrize("name", builtin("gradient_weight"))
def test_a_built_in_weight_keeps_its_contract(name):
    check_gradient_weight(build("gradient_weight", name), name=name)


def test_a_product_of_weights_is_a_weight():
    dt, std = build("gradient_weight", "inverse-dt"), build("gradient_weight", "noise-scale")
    check_gradient_weight(lambda context: dt(context) * std(context))
