"""Every block of the tutorials is executed, in order, as a reader would: files written, commands run.

The reader's venv is made by the first tutorial's own commands. What it takes from outside is the
packages of the environment that runs the tests, so that nothing is downloaded; GuardCore and the
tutorials' packages are built and installed for real.
"""

import json
import os
import re
import shlex
import site
import subprocess
import sys
from pathlib import Path

import pytest

from fresh import MODULES, OFFLINE
from guardcore.kinds import KINDS
from guardcore.scaffold.usage import EXAMPLES as SCAFFOLDED
from pages import DOCS, ROOT, blocks

EXAMPLES = {
    "write-a-ratio-transform.md": "guardcore-spread-clip",
    "write-a-reward.md": "guardcore-colourfulness",
    "write-a-sampler.md": "guardcore-fading-sde",
    "write-a-backbone.md": "guardcore-small-flow",
}
TUTORIALS = ("first-run.md", *EXAMPLES, "other-kinds.md", "publish-your-plugin.md", "your-gpu.md")


def script(page: Path) -> str:
    """A page as one shell script that stops at the first command that fails."""
    parts = ["set -euo pipefail"]
    for block in blocks(page):
        if block.title:
            parts.append(f"cat > {shlex.quote(block.title)} <<'THE_END'\n{block.text}THE_END")
        elif block.language == "sh":
            parts.append(block.text)
    return "\n".join(parts)


class Reader:
    """A person in a folder with a clone of GuardCore in it, and no network."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "guardcore").symlink_to(ROOT)
        tools = home / ".tools"
        tools.mkdir()
        packages = [p for p in (*site.getsitepackages(), *sys.path) if p.endswith("site-packages")]
        lines = [f"import site; site.addsitedir({package!r})\n" for package in set(packages)]
        (tools / "sitecustomize.py").write_text("".join(lines))
        self._tool("python3.11", shlex.quote(sys.executable))
        for module in MODULES[1:]:  # pip is in every venv
            self._tool(module, f"python -m {module}")
        (tools / "ruff").symlink_to(Path(sys.executable).parent / "ruff")
        path = f"{tools}:{os.environ['PATH']}"
        self.environment = {**os.environ, **OFFLINE, "PATH": path, "PYTHONPATH": str(tools)}

    def _tool(self, name: str, command: str) -> None:
        path = self.home / ".tools" / name
        path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        path.chmod(0o755)

    def follow(self, page: str) -> str:
        """Do what a page says; return what the commands print."""
        done = subprocess.run(
            ["bash", "-c", script(DOCS / page)],
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{page}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A reader who has been through the first run."""
    person = Reader(tmp_path_factory.mktemp("reader"))
    person.output = person.follow("first-run.md")
    return person


def manifest(run: Path) -> set[tuple[str, str, str]]:
    """Path, qualified name and version of every component of a run."""
    stored = json.loads((run / "manifest.json").read_text())
    return {(row["path"], row["name"], row["version"]) for row in stored["components"]}


def test_the_first_run_leaves_what_its_table_lists(reader):
    page = (DOCS / "first-run.md").read_text()
    run = reader.home / "first"
    for entry in run.iterdir():
        assert f"| `{entry.name}{'/' if entry.is_dir() else ''}` |" in page
    assert (reader.home / "circles.png").stat().st_size > 1000
    assert '"update": 2' in reader.output


def test_the_tutorials_ratio_transform_is_used_by_a_run(reader):
    output = reader.follow("write-a-ratio-transform.md")
    used = manifest(reader.home / "spread-clip" / "with-spread-clip")
    assert ("ratio.1", "guardcore-spread-clip:spread-clip", "0.1.0") in used
    table = output.rpartition("step  sigma")[2].splitlines()
    assert [line.split()[0] for line in table[1:]] == [str(step) for step in range(7)]
    assert "3 passed" in output


def test_the_tutorials_reward_is_used_by_a_run(reader):
    output = reader.follow("write-a-reward.md")
    run = reader.home / "colourfulness" / "colourful"
    assert ("reward.0", "guardcore-colourfulness:colourfulness", "0.1.0") in manifest(run)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    assert all(0 < row["reward/colourfulness"] <= 0.5 for row in rows[1:])
    assert "3 passed" in output
    assert "the config is sound" in output


def test_the_tutorials_sampler_is_used_by_a_run(reader):
    output = reader.follow("write-a-sampler.md")
    run = reader.home / "fading-sde" / "faded"
    assert ("sampler", "guardcore-fading-sde:fading-sde", "0.1.0") in manifest(run)
    assert "3 passed" in output
    assert "1 plugin, 1 component: no finding" in output


def test_the_tutorials_backbones_are_planned_trained_and_exported(reader):
    output = reader.follow("write-a-backbone.md")
    scaffolded = reader.home / "guardcore-word-colours" / "colours"
    name = "guardcore-word-colours:word-colours"
    assert ("backbone", name, "0.1.0") in manifest(scaffolded)
    package = reader.home / "small-flow"
    assert ("backbone", "guardcore-small-flow:small-flow", "0.1.0") in manifest(package / "small")
    assert "3 passed" in output
    assert re.search(r"^network +0.0 M +41.7 kB", output, re.MULTILINE)
    assert (package / "sample.png").stat().st_size > 1000


def test_one_package_of_each_other_kind_is_used_by_one_run(reader):
    output = reader.follow("other-kinds.md")
    rows = manifest(reader.home / "kinds" / "kinds")
    used = {path: name for path, name, _ in rows if not name.startswith("guardcore:")}
    assert used == {
        "advantage": "guardcore-ranked:ranked",
        "gradient_weight.0": "guardcore-early:early",
        "penalty.0": "guardcore-leash:leash",
        "rollout.train_steps": "guardcore-scattered:scattered",
        "prompts.train": "guardcore-counting:counting",
        "tracker.1": "guardcore-records:records",
    }
    assert "strategy: guardcore-even:even\n" in output
    assert "7 plugins, 7 components: no finding" in output


def test_a_plugin_is_published_as_far_as_the_upload(reader):
    output = reader.follow("publish-your-plugin.md")
    package = reader.home / "guardcore-half-step"
    assert (package / "dist" / "guardcore_half_step-0.1.0-py3-none-any.whl").is_file()
    assert "no issues found in 2 source files" in output
    assert output.count("1 plugin, 1 component: no finding") == 2
    assert re.search(r"^guardcore-half-step +0.1.0 +half-step", output, re.MULTILINE)
    assert "use: guardcore-half-step:half-step" in output


def test_every_kind_has_a_tutorial_or_its_section_and_the_option_that_uses_it():
    page = (DOCS / "other-kinds.md").read_text()
    own = {path.stem.removeprefix("write-a-").replace("-", "_") for path in DOCS.glob("write-a-*")}
    for kind in set(KINDS) - own:
        assert f"\n## {kind.replace('_', ' ').capitalize()}\n" in page
        (name,) = re.findall(rf"plugins new {kind.replace('_', '-')} (\w+)", page)
        assert shlex.join(SCAFFOLDED[kind].train).replace("your-name", name) in page


def test_the_gpu_page_is_followed_from_a_plan_to_an_export(reader):
    output = reader.follow("your-gpu.md")
    assert output.count("8 prompts × 24 images = 192") == 2
    assert "fits 24 GB" in output
    assert "the config is sound" in output
    assert (reader.home / "comfyui" / "comfyui_lora.safetensors").is_file()


@pytest.mark.parametrize(("page", "package"), EXAMPLES.items())
def test_a_tutorial_writes_exactly_the_example_package(page, package):
    written = {block.title: block.text for block in blocks(DOCS / page) if block.title}
    folder = DOCS / "examples" / package
    files = [path for path in folder.rglob("*") if path.suffix in (".py", ".toml")]
    assert len(files) >= 3
    for path in files:
        assert written[str(path.relative_to(folder))] == path.read_text()


@pytest.mark.parametrize("page", TUTORIALS)
def test_no_block_of_a_tutorial_is_left_out(page):
    for block in blocks(DOCS / page):
        assert block.title or block.language in ("sh", "text"), block
