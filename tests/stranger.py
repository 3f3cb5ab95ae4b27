"""Third parties for the tests: real distributions, written into a folder on ``sys.path``."""

import sys
from pathlib import Path
from textwrap import dedent

PLUGIN = """
    from guardcore import Options, hookimpl

    def {function}(options: Options):
        '''{description}'''
        return {result}

    @hookimpl
    def guardcore_register_{kinds}(register):
        register("{name}", {function})
"""


SOUND = "lambda terms, context: terms"
"""A ratio transform that keeps its contract."""


def plugin(name, kinds="ratio_transforms", result=None, description="A stranger's word."):
    """Return the source of a module that registers one component: ``result``, or a sound word."""
    return dedent(PLUGIN).format(
        function=name.replace("-", "_"),
        kinds=kinds,
        name=name,
        result=SOUND if result is None else repr(result),
        description=description,
    )


def install(
    folder: Path,
    distribution: str,
    modules: dict[str, str],
    entry_points: dict[str, str] | str | None = None,
    version: str = "1.0",
    metadata: str = "",
) -> Path:
    """Write modules and a ``.dist-info``; every module is an entry point of ``guardcore.v1``.

    ``entry_points`` says otherwise: a mapping of names to modules, or the file's own text.
    ``metadata`` is what METADATA says beside name and version.
    """
    folder.mkdir(exist_ok=True, parents=True)
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(dedent(source), encoding="utf-8")
    if entry_points is None:
        entry_points = {module.replace("_", "-"): module for module in modules}
    if not isinstance(entry_points, str):
        lines = [f"{name} = {module}" for name, module in entry_points.items()]
        entry_points = "\n".join(["[guardcore.v1]", *lines, ""])
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
    (info / "METADATA").write_text(head + metadata, encoding="utf-8")
    (info / "entry_points.txt").write_text(entry_points, encoding="utf-8")
    return info


def forget_modules_below(folder: Path) -> None:
    """Take the modules that were imported from ``folder`` out of ``sys.modules`` again."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]
