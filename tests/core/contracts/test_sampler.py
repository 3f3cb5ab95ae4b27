"""Every built-in sampler keeps the laws, at every noise level that it accepts."""

import pytest

from guardcore.plugins import installed
from guardcore.testing import check_sampler
from laws import build, builtin


def at_noise_level(name):
    """Return what builds the sampler at a noise level, where it has one."""
    fields = installed().find("sampler", name).options.model_fields
    if "noise_level" not in fields:
        return None
    return lambda level: build("sampler", name, noise_level=level)


@pytest.mark.parametrize("name", builtin("sampler"))
def test_a_built_in_sampler_keeps_its_contract(name):
    check_sampler(build("sampler", name), at_noise_level=at_noise_level(name), name=name)


@pytest.mark.parametrize(
    ("name", "level"),
    [("flow-sde", 0.01), ("flow-sde", 5), ("dance-sde", 0.3), ("dance-sde", 5), ("cps", 1)],
)
def test_so_it_does_at_other_noise_levels(name, level):
    check_sampler(build("sampler", name, noise_level=level), name=name)
