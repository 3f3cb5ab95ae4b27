"""A new package: its files, its names, and that every example is sound before anybody installs it.

``tests/docs/test_scaffold.py`` installs and runs what is written here.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest
from packaging.version import Version

from guardcore.binding import bind
from guardcore.errors import GuardcoreError
from guardcore.kinds import KINDS
from guardcore.layers import Overrides, parse_config
from guardcore.plugins import PluginHost
from guardcore.registry import Origin
from guardcore.scaffold import new, train_command
from guardcore.scaffold.package import compatible, package_files
from guardcore_cli.loading import embedded_profile

ROOT = Path(__file__).parents[2]
every_kind = pytest.mark.parametrize("kind", KINDS)

CHANGES = {
    "prompt_source": ("start=2", "start=3"),
    "backbone": ("clean * self.spread**2 * away", "clean * self.spread * away"),
    "sampler": ("self.eta**2", "self.eta"),
    "window": ("order[: options.size]", "order.sort().values[: options.size]"),
    "reward": ("0.7152 * green", "0.7 * green"),
    "advantage": ("* together\n", "\n"),
    "ratio_transform": (".tanh()", ".sin()"),
    "gradient_weight": ("**options.power", "*options.power"),
    "penalty": ("- options.slack", ""),
    "strategy": ('gradient_weight=["flat"]', 'gradient_weight=["inverse-dt"]'),
    "tracker": ("value > ", "value >= "),
}
"""A mistake in each example's formula."""


def named(kind: str) -> str:
    return f"my-{kind.replace('_', '-')}"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package of every kind."""
    folder = tmp_path_factory.mktemp("packages")
    for kind in KINDS:
        new(kind, named(kind), folder / kind)
    return folder


def tried(folder: Path) -> dict[str, int]:
    """How many of each package's own tests fail there; the contract kit's are left out."""
    command = [sys.executable, "-m", "pytest", "-q", "-rf", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-c", os.devnull, "--rootdir", str(folder), "-k", "not contract", str(folder)],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert " passed" in done.stdout, done.stdout + done.stderr
    failed = re.findall(r"^FAILED (\w+)/", done.stdout, re.MULTILINE)
    return {kind: failed.count(kind) for kind in KINDS}


@pytest.fixture
def loaded(monkeypatch):
    """Let a host load a new package's module."""

    def load(host: PluginHost, kind: str, name: str) -> None:
        source = package_files(kind, name, "me")[f"guardcore_{name.replace('-', '_')}.py"]
        module = ModuleType(f"new_{name}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(source, name, "exec"), vars(module))
        host.add(module, Origin(f"guardcore-{name}", "0.1.0", name, module.__name__))

    return load


@every_kind
def test_a_package_has_these_files_and_no_placeholder(kind, packages):
    package, snake = packages / kind, named(kind).replace("-", "_")
    files = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()}
    assert files == {
        f"guardcore_{snake}.py",
        f"test_{snake}.py",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        ".gitignore",
        ".github/workflows/ci.yml",
    }
    for path in files:
        assert not re.search(
            r"your.?name|\{%|(?<!\$)\{\{", (package / path).read_text(), re.IGNORECASE
        )
        assert (package / path).read_text().endswith("\n")


@pytest.mark.parametrize(
    ("running", "asked_for"),
    [("0.1.3", ">=0.1,<0.2"), ("1.4.0", ">=1.4,<2"), ("2.0rc1", ">=2.0,<3")],
)
def test_it_asks_for_the_releases_in_which_no_public_name_goes(running, asked_for):
    """docs/compatibility.md: before 1.0 a minor release may take one away."""
    assert compatible(Version(running)) == asked_for


@every_kind
def test_its_metadata_name_the_entry_point_the_author_and_what_it_needs(kind, tmp_path):
    name = named(kind)
    author = 'Ada "L" Ünsal'
    package = new(kind, name, tmp_path / "new", author=author)
    metadata = tomllib.loads((package / "pyproject.toml").read_text())
    project = metadata["project"]
    module = f"guardcore_{name.replace('-', '_')}"
    assert project["name"] == f"guardcore-{name}"
    assert project["entry-points"] == {"guardcore.v1": {name: module}}
    assert project["authors"] == [{"name": author}]
    assert project["dependencies"] == [f"guardcore{compatible(Version(version('guardcore')))}"]
    assert metadata["tool"]["hatch"]["build"]["targets"]["wheel"]["include"] == [f"{module}.py"]
    assert f" {author}\n" in (package / "LICENSE").read_text()


TRICKY = (
    "csv",
    "class",
    "torch",
    "replace",
    "options",
    "ratio",
    "prompt",
    "gradient",
    "math",
    "x2",
)


@every_kind
def test_a_name_may_be_a_keyword_or_one_that_the_module_imports(kind, loaded):
    host = PluginHost.discover()
    for name in (*TRICKY, kind.replace("_", "-")):
        loaded(host, kind, name)
        found = host.registry.find(kind, f"guardcore-{name}:{name}")
        assert found.description
    assert host.problems == []


def test_a_name_that_ends_in_its_kinds_noun_does_not_say_it_twice():
    text = package_files("reward", "my-reward", "me")["guardcore_my_reward.py"]
    assert "class MyReward:" in text
    assert "def my_reward(options: MyRewardOptions)" in text
    text = package_files("reward", "reward", "me")["guardcore_reward.py"]
    assert "class RewardReward:" in text


@every_kind
def test_the_command_that_is_offered_names_the_component_where_a_config_does(kind, loaded):
    parser = argparse.ArgumentParser()
    for flag in ("--backbone", "--sampler", "--strategy"):
        parser.add_argument(flag)
    for flag in ("--ratio", "--gradient-weight", "--reward"):
        parser.add_argument(flag, action="append", default=[])
    parser.add_argument("--set", action="append", default=[], dest="assignments")
    begin, *arguments = shlex.split(train_command(kind, named(kind)).partition(" train ")[2])
    overrides = Overrides(**vars(parser.parse_args([begin, *arguments])))
    config = parse_config(overrides.over(embedded_profile()))
    host = PluginHost.discover()
    loaded(host, kind, named(kind))
    binding = bind(config, host.registry)
    qualified = f"guardcore-{named(kind)}:{named(kind)}"
    assert qualified in {entry.qualified for entry in binding.entries().values()}
    assert all("was derived for" not in warning for warning in binding.warnings)


def test_every_example_passes_ruff_and_mypy(packages):
    files = [str(path) for path in sorted(packages.glob("*/*.py"))]
    checked = said(str(Path(sys.executable).parent / "ruff"), "check", *files)
    assert checked == "All checks passed!\n"
    checked = said(sys.executable, "-m", "mypy", "--no-pretty", *files)
    assert f" {2 * len(KINDS)} source files" in checked
    assert re.findall(rf"^\S*{packages.name}/.*", checked, re.MULTILINE) == []


def said(*command: str) -> str:
    """What a command prints in the checkout, whose settings and cache mypy takes."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout


def test_every_examples_own_test_passes_and_finds_a_mistake_in_its_formula(packages, tmp_path):
    assert tried(packages) == dict.fromkeys(KINDS, 0)
    for kind, (right, wrong) in CHANGES.items():
        new(kind, named(kind), tmp_path / kind)
        (module,) = (tmp_path / kind).glob("guardcore_*.py")
        text = module.read_text()
        assert text.count(right) == 1, kind
        module.write_text(text.replace(right, wrong))
    blind = [kind for kind, failures in tried(tmp_path).items() if not failures]
    assert blind == []


REFUSED = {
    "no-such": ("no-such-kind", "late", "no kind of component is called"),
    "misspelt": ("rewrad", "late", "did you mean 'reward'?"),
    "Late": ("reward", "Late", "kebab-case"),
    "snake": ("reward", "late_steps", "kebab-case"),
    "digit": ("reward", "2d", "kebab-case from a letter on"),
    "empty": ("reward", "", "kebab-case"),
    "path": ("reward", "../up", "kebab-case"),
    "prefixed": ("reward", "guardcore-late", "say 'late'"),
    "ours": ("reward", "plugins", "is a module of GuardCore"),
    "taken": ("ratio-transform", "ppo-clip", "the ratio-transform name 'ppo-clip' is built in"),
}


@pytest.mark.parametrize(("kind", "name", "said"), REFUSED.values(), ids=REFUSED)
def test_what_could_not_be_used_is_refused_and_nothing_is_written(kind, name, said, tmp_path):
    with pytest.raises(GuardcoreError, match=re.escape(said)) as refused:
        new(kind, name, tmp_path / "new")
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_built_ins_name_is_free_for_another_kind(tmp_path):
    assert (new("reward", "ppo-clip", tmp_path / "new") / "guardcore_ppo_clip.py").is_file()


def test_a_directory_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(GuardcoreError, match="is not empty: name another directory with --out"):
        new("reward", "late", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    with pytest.raises(GuardcoreError, match="cannot write .*kept"):
        new("reward", "late", tmp_path / "kept")
