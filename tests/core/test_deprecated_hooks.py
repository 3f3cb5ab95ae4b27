"""A hook, or an argument of one, that is to go is announced, and works until it is gone."""

import warnings
from types import ModuleType

import pluggy
import pytest

from guardcore import Options, hookimpl, hookspecs
from guardcore.doctor import examine
from guardcore.plugins import PluginHost
from guardcore.registry import Origin

ORIGIN = Origin("old-words", "1.0", "words", "old_words")
HOOK = "guardcore_register_ratio_transforms"


def specifications(**marks):
    """The hooks as they are, but that of the ratio transforms marked."""
    module = ModuleType("hookspecs")
    vars(module).update(vars(hookspecs))

    def hook(register, context):
        """Add words."""

    hook.__name__ = HOOK
    setattr(module, HOOK, pluggy.HookspecMarker(hookspecs.PROJECT)(**marks)(hook))
    return module


def word(options: Options):
    """A word."""


class Plugin:
    @hookimpl
    def guardcore_register_ratio_transforms(self, register):
        register("word", word)


class Elsewhere:
    @hookimpl
    def guardcore_register_samplers(self, register):
        register("word", word)


class Context:
    @hookimpl
    def guardcore_alarm_raised(self, run, iteration):
        pass


def host_with(plugin, **marks):
    host = PluginHost(specifications=specifications(**marks))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pluggy's own warning reaches nobody
        host.add(plugin(), ORIGIN)
    return host


GOES = DeprecationWarning("transforms go in guardcore.v2; use guardcore_register_chains")


def test_a_plugin_with_a_deprecated_hook_loads_and_is_told_what_to_use():
    host = host_with(Plugin, warn_on_impl=GOES)
    assert host.registry.find("ratio_transform", "old-words:word")
    assert host.plugins == [ORIGIN]
    (problem,) = host.problems
    assert problem.check == "deprecated"
    assert str(problem) == (
        "old-words/words (version 1.0, old_words): transforms go in guardcore.v2; "
        "use guardcore_register_chains"
    )


@pytest.mark.parametrize(("argument", "warned"), [("iteration", True), ("alarm", False)])
def test_a_deprecated_argument_is_told_to_those_who_take_it(argument, warned):
    module = specifications()
    mark = pluggy.HookspecMarker(hookspecs.PROJECT)

    @mark(warn_on_impl_args={argument: DeprecationWarning("this argument goes; leave it out")})
    def guardcore_alarm_raised(run, iteration, alarm):
        """Observe."""

    module.guardcore_alarm_raised = guardcore_alarm_raised
    host = PluginHost(specifications=module)
    host.add(Context(), ORIGIN)
    expected = [("deprecated", "this argument goes", "leave it out")] if warned else []
    assert [(p.check, p.reason, p.remedy) for p in host.problems] == expected


def test_who_does_not_implement_the_hook_is_told_nothing():
    assert host_with(Elsewhere, warn_on_impl=GOES).problems == []


def test_the_doctor_warns_and_does_not_fail():
    report = examine(host=host_with(Plugin, warn_on_impl=GOES), checks=_only("deprecated"))
    (finding,) = report.findings
    assert (finding.check, finding.severity) == ("deprecated", "warning")
    assert finding.remedy == "use guardcore_register_chains"
    assert report.ok
    assert report.plugins[0].loaded


def _only(name):
    from guardcore.doctor import CHECKS

    return {name: CHECKS[name]}


def test_no_built_in_uses_a_deprecated_hook():
    assert [p for p in PluginHost.discover().problems if p.check == "deprecated"] == []
