import subprocess
import sys

import pytest

import guardcore

DESIGN = [
    "Prompt",
    "Condition",
    "Schedule",
    "Step",
    "Transition",
    "log_prob",
    "StepContext",
    "RatioTerms",
    "surrogate",
    "Surrogate",
    "create",
    "Options",
    "hookimpl",
    "Registrar",
]


@pytest.mark.parametrize("name", DESIGN)
def test_designs_names_are_importable_from_guardcore(name):
    assert getattr(guardcore, name) is not None
    assert name in dir(guardcore)


@pytest.mark.parametrize("name", guardcore.__all__)
def test_every_exported_name_leads_somewhere(name):
    assert getattr(guardcore, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'guardcore' has no attribute 'no_such_name'"):
        _ = guardcore.no_such_name


def test_importing_guardcore_and_registering_costs_no_torch():
    # what a plugin module does on import, and what `plugins list` does with all of them
    script = (
        "import sys\n"
        "from guardcore import Options, Prompt, Registrar, RatioTerms, StepContext, hookimpl\n"
        "from guardcore.plugins import PluginHost\n"
        "assert len(list(PluginHost.discover().registry)) > 20\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'numpy', 'PIL', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
