"""Export as the core sees it: which weights, where to, and what it refuses."""

import json

import pytest
import torch

from guardcore import GuardcoreError
from guardcore.export import export
from guardcore.layers import parse_config
from runs import checkpoints, left_over, run, state
from toy import ToyBackbone, ToyOptions, toy_host, toy_tree

KEEP_ALL = {"checkpoint": {"keep": 10}}


class Exporting(ToyBackbone):
    """A toy that writes its weights as JSON."""

    def export(self, directory, to):
        if to == "trouble":
            (directory / "half.json").touch()
            raise GuardcoreError("--to 'trouble': this backbone writes json")
        (directory / "target.json").write_text(json.dumps(self.target.tolist()))
        return f"json.load, as {to}"


def exporting(options: ToyOptions) -> Exporting:
    return Exporting(options)


@pytest.fixture
def host():
    return toy_host(exporting=("backbones", exporting))


@pytest.fixture
def trained(tmp_path, host):
    run(tmp_path / "run", host, backbone="exporting", **KEEP_ALL)
    return tmp_path / "run"


@pytest.fixture
def take(host, trained, tmp_path):
    """Export the run; return what was said and the exported weights."""

    def call(out="out", to="json", **options):
        config = parse_config(toy_tree(backbone="exporting"))
        registry = host.registry
        done = export(config, trained, to, tmp_path / out, registry=registry, **options)
        return done, torch.tensor(json.loads((done.directory / "target.json").read_text()))

    return call


def test_the_newest_averages_are_exported(take, trained, tmp_path):
    done, target = take()
    assert (done.iteration, done.weights, done.usage) == (3, "ema", "json.load, as json")
    assert done.directory == tmp_path / "out"
    assert torch.equal(target, state(trained)["ema.target"])


def test_raw_weights_and_an_older_checkpoint_are_exported(take, trained):
    assert checkpoints(trained) == [1, 2, 3]
    done, target = take(iteration=2, weights="raw")
    assert (done.iteration, done.weights) == (2, "raw")
    assert torch.equal(target, state(trained, 2)["weights.target"])
    assert not torch.equal(target, state(trained, 2)["ema.target"])


def test_a_run_without_averages_says_that_they_are_raw(take, host, trained, tmp_path):
    without = {"iterations": 3, "learning_rate": 0.02, "ema_decay": None}
    run(tmp_path / "other", host, backbone="exporting", train=without)
    config = parse_config(toy_tree(backbone="exporting"))
    done = export(config, tmp_path / "other", "json", tmp_path / "out", registry=host.registry)
    assert done.weights == "raw"


def test_an_empty_directory_is_taken_and_one_in_use_is_not(take, tmp_path):
    (tmp_path / "empty").mkdir()
    take("empty")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "letter.txt").write_text("mine")
    with pytest.raises(GuardcoreError, match=r"used is not an empty directory; choose another"):
        take("used")
    with pytest.raises(GuardcoreError, match=r"empty is not an empty directory"):
        take("empty")
    assert (tmp_path / "used" / "letter.txt").read_text() == "mine"


def test_a_failed_export_leaves_nothing(take, tmp_path):
    with pytest.raises(GuardcoreError, match="this backbone writes json"):
        take(to="trouble")
    assert not (tmp_path / "out").exists()
    assert left_over(tmp_path) == []


def test_an_out_that_cannot_be_written_is_one_line(take, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(GuardcoreError, match=r"cannot write .*file/below: (File exists|Not a dir)"):
        take("file/below")


def test_a_missing_checkpoint_is_told(take):
    with pytest.raises(GuardcoreError, match=r"no checkpoint \(wanted: 7\)"):
        take(iteration=7)


def test_a_backbone_without_export_is_one_line(trained, host, tmp_path):
    config = parse_config(toy_tree())
    with pytest.raises(GuardcoreError, match=r"toy:toy offers no export; .* in the run's adapter/"):
        export(config, trained, "json", tmp_path / "out", registry=host.registry)


def test_weights_of_another_model_are_refused(trained, host, tmp_path):
    class Wider(Exporting):
        def __init__(self, options):
            super().__init__(options)
            self.target = torch.nn.Parameter(torch.zeros(4))

    def wider(options: ToyOptions) -> Wider:
        return Wider(options)

    other = toy_host(wider=("backbones", wider))
    config = parse_config(toy_tree(backbone="wider"))
    with pytest.raises(GuardcoreError, match="the checkpoint belongs to another model"):
        export(config, trained, "json", tmp_path / "out", registry=other.registry)


def test_only_the_backbone_is_needed(trained, host, tmp_path):
    tree = toy_tree(backbone="exporting", reward=["a-reward-that-is-not-installed"])
    done = export(parse_config(tree), trained, "json", tmp_path / "out", registry=host.registry)
    assert done.iteration == 3
