"""The manifest says from which files a run's components came, and resuming when they changed."""

import importlib
import json

import pytest

from guardcore import train
from guardcore.layers import parse_config
from guardcore.manifest import changes, source_hash
from stranger import forget_modules_below, install, plugin
from toy import toy_host, toy_tree

WORD = """
    from guardcore import Options, hookimpl
    from words.helper import scaled

    def word(options: Options):
        '''A word.'''
        return scaled

    @hookimpl
    def guardcore_register_ratio_transforms(register):
        register("word", word)
"""
HELPER = """
    def scaled(terms, context):
        return terms
"""


@pytest.fixture
def package(site):
    """A stranger whose package has a helper module, of which each test may change the source."""

    def write(version="1.0", helper=HELPER):
        for old in site.glob("*.dist-info"):
            for path in [*old.iterdir(), old]:
                path.rmdir() if path.is_dir() else path.unlink()
        (site / "words").mkdir(exist_ok=True)
        entry_point = "[guardcore.v1]\nword = words.plugin\n"
        modules = {"words/__init__": "", "words/plugin": WORD, "words/helper": helper}
        install(site, "some-words", modules, entry_point, version=version)
        forget_modules_below(site)
        importlib.invalidate_caches()

    return write


def settings(iterations=1):
    return parse_config(
        toy_tree(ratio=["some-words:word"], gradient_weight=[], train={"iterations": iterations})
    )


def go(directory, caplog, iterations, resume=True):
    """Train; return what was logged, and the manifest."""
    caplog.clear()
    registry = toy_host().registry
    train(settings(iterations), directory, resume=resume, registry=registry, report=False)
    lines = [r.getMessage() for r in caplog.records if "has changed" in r.getMessage()]
    return lines, json.loads((directory / "manifest.json").read_text())


def test_every_component_has_distribution_version_and_the_hash_of_its_files(
    package, tmp_path, caplog
):
    package()
    _, manifest = go(tmp_path / "run", caplog, 1, resume=False)
    rows = {row["path"]: row for row in manifest["components"]}
    word = rows["ratio.0"]
    assert (word["distribution"], word["version"]) == ("some-words", "1.0")
    assert word["sha256"] == source_hash("words.plugin") == source_hash("words.helper")
    assert rows["sampler"]["distribution"] == "guardcore"
    assert rows["sampler"]["sha256"] == rows["evaluate.sampler"]["sha256"] != word["sha256"]
    assert "resumed" not in manifest


def test_a_run_that_goes_on_with_the_same_files_is_not_warned_of(package, tmp_path, caplog):
    package()
    go(tmp_path / "run", caplog, 1, resume=False)
    package()
    lines, manifest = go(tmp_path / "run", caplog, 2)
    assert lines == []
    assert "resumed" not in manifest


def test_a_change_in_a_helper_module_is_warned_of_once_and_remembered(package, tmp_path, caplog):
    package()
    _, first = go(tmp_path / "run", caplog, 1, resume=False)
    package(helper=HELPER + "    # another line\n")
    lines, second = go(tmp_path / "run", caplog, 2)
    assert lines == [
        "some-words has changed since this run was begun: the files of version 1.0 are others; "
        "it goes on with what is installed now"
    ]
    change = {"distribution": "some-words", "was": "1.0", "now": "1.0"}
    assert second["resumed"] == [{"after_iteration": 1, "changed": [change]}]
    assert second["components"] != first["components"]
    lines, third = go(tmp_path / "run", caplog, 3)
    assert lines == []
    assert third["resumed"] == second["resumed"]
    package("1.1")
    lines, fourth = go(tmp_path / "run", caplog, 4)
    assert lines == [
        "some-words has changed since this run was begun: version 1.0, now 1.1; "
        "it goes on with what is installed now"
    ]
    assert [entry["after_iteration"] for entry in fourth["resumed"]] == [1, 3]


def test_a_manifest_without_hashes_is_compared_by_version_alone(package, tmp_path, caplog):
    package()
    _, manifest = go(tmp_path / "run", caplog, 1, resume=False)
    for row in manifest["components"]:
        del row["sha256"], row["distribution"]  # as before either was recorded
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    package(helper=HELPER + "    # another line\n")
    lines, manifest = go(tmp_path / "run", caplog, 2)
    assert lines == []
    assert all("sha256" in row for row in manifest["components"])


def test_a_damaged_manifest_is_written_anew(package, tmp_path, caplog):
    package()
    go(tmp_path / "run", caplog, 1, resume=False)
    (tmp_path / "run" / "manifest.json").write_text("{")
    lines, manifest = go(tmp_path / "run", caplog, 2)
    assert lines == []
    assert manifest["components"]


def test_asking_another_distribution_to_observe_does_not_hinder_resuming(
    package, site, tmp_path, caplog
):
    package()
    go(tmp_path / "run", caplog, 1, resume=False)
    install(site, "watching", {"watching_runs": plugin("watch")})
    config = settings(2).model_copy(update={"plugins": ("watching",)})
    registry = toy_host().registry
    assert train(config, tmp_path / "run", resume=True, registry=registry, report=False).finished


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda site: None, True),
        (lambda site: (site / "words" / "notes.txt").write_text("x"), True),
        (lambda site: (site / "words" / "helper.py").write_text("x = 1"), False),
        (lambda site: (site / "words" / "new.py").write_text(""), False),
        (lambda site: (site / "words" / "helper.py").rename(site / "words" / "h.py"), False),
        (lambda site: (site / "beside.py").write_text("x = 1"), True),
    ],
)
def test_the_hash_is_of_the_packages_python_files(package, site, change, same):
    package()
    importlib.import_module("words.plugin")
    before = source_hash("words.plugin:attribute")
    change(site)
    assert (source_hash("words.plugin") == before) is same


def test_a_single_modules_hash_is_of_its_file(site):
    for name in ("one_word", "same_word"):
        (site / f"{name}.py").write_text("x = 1\n")
        importlib.import_module(name)
    before = source_hash("one_word")
    (site / "same_word.py").write_text("x = 2\n")
    assert source_hash("one_word") == before
    (site / "one_word.py").write_text("x = 2\n")
    assert source_hash("one_word") != before


def test_of_a_namespace_that_several_share_only_the_own_part_counts(site):
    for name in ("ours", "theirs"):
        (site / "shared" / name).mkdir(parents=True)
        (site / "shared" / name / "__init__.py").write_text("")
    importlib.import_module("shared.ours")
    before = source_hash("shared.ours")
    (site / "shared" / "theirs" / "__init__.py").write_text("x = 1")
    assert source_hash("shared.ours") == before
    (site / "shared" / "ours" / "__init__.py").write_text("x = 1")
    assert source_hash("shared.ours") != before


@pytest.mark.parametrize("module", ["sys", "never_imported", ""])
def test_what_has_no_python_file_has_no_hash(module):
    assert source_hash(module) is None


def test_a_distribution_with_several_components_is_one_change():
    old = {"path": "", "name": "", "distribution": "d", "version": "1", "sha256": "a"}
    before = [{**old, "path": path, "name": f"d:{path}"} for path in ("one", "two")]
    now = [{**row, "sha256": "b"} for row in before]
    (change,) = changes({"components": before}, now)
    assert (change.distribution, change.was, change.now) == ("d", "1", "1")
    assert changes({}, now) == changes({"components": before}, before) == []
