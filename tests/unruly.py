"""Unruly plugins for the tests: what is wrong with each, and how it comes to be so."""

from stranger import plugin

Unruly = dict[str, tuple[str, dict[str, str], dict[str, str | dict[str, str]]]]
"""Distribution → the doctor's check, its modules, and what else ``stranger.install`` is told."""


def word(name, code):
    """A ratio transform ``name`` whose body is ``code``."""
    return f"""
from dataclasses import replace
from guardcore import Options, hookimpl

def word(options: Options):
    "A stranger's word."
    calls = []
    def transform(terms, context):
        {code}
    return transform

@hookimpl
def guardcore_register_ratio_transforms(register):
    register("{name}", word)
"""


LAWLESS = {
    "impure": (
        "pure",
        "calls.append(1); return replace(terms, log_ratio=terms.log_ratio * len(calls))",
    ),
    "coupled": (
        "rows-independent",
        "return replace(terms, log_ratio=terms.log_ratio + context.bias.mean())",
    ),
    "misshapen": ("one-number-a-row", "return replace(terms, log_ratio=terms.log_ratio[:, None])"),
    "undefined": ("finite", "return replace(terms, log_ratio=terms.log_ratio / 0)"),
}
"""Words that load, and break a law: its name, and how."""

TWELVE: Unruly = {
    "broken": ("import", {"broken_words": "import no_such_module"}, {}),
    "misspelt": ("hooks", {"misspelt_words": plugin("word", kinds="ratio_transform")}, {}),
    "older": ("api", {"older_words": ""}, {"entry_points": "[guardcore.v0]\nw = older_words\n"}),
    "first": ("clash", {"first_words": plugin("taken")}, {}),
    "second": ("clash", {"second_words": plugin("taken")}, {}),
    "usurper": ("reserved-name", {"usurper_words": plugin("ppo-clip")}, {}),
    "careless": ("options", {"careless_words": plugin("word").replace(": Options", ": dict")}, {}),
    **{
        name: ("contract", {f"{name}_words": word(name, code)}, {})
        for name, (_, code) in LAWLESS.items()
    },
    "slow": (
        "slow-import",
        {"slow_words": plugin("slow") + "\nimport time; time.sleep(0.7)\n"},
        {},
    ),
    "needy": (
        "dependencies",
        {"needy_words": plugin("needy")},
        {"metadata": "Requires-Dist: rich<1\n"},
    ),
}
"""Twelve faults in thirteen distributions: a clash takes two."""

MORE: Unruly = {
    "panicking": ("import", {"panicking_words": "raise SystemExit('no licence')"}, {}),
    "gone": ("stale", {}, {"entry_points": {"words": "gone_words"}}),
    "silent": ("hooks", {"silent_words": plugin("word").replace("@hookimpl\n", "")}, {}),
    "halting": ("registration", {"halting_words": plugin("w") + "    raise OSError('half')\n"}, {}),
    "nameless": ("docstring", {"nameless_words": plugin("nameless", description="")}, {}),
}

WARNINGS = {"reserved-name", "clash", "docstring", "slow-import"}
"""Checks that find what a user can live with."""
