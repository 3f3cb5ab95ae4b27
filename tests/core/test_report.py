"""The report of real runs of the toy: what it says is what their files hold, and it stands alone."""

import json
import math
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from guardcore import GuardcoreError, Options, Prompt
from guardcore.report import write_report
from guardcore.report.canvas import png, style
from guardcore.report.curves import held_out_curves, training_curves
from guardcore.report.facts import facts
from guardcore.report.figures import over_iterations
from guardcore.report.figures_by_step import ratio_by_step
from guardcore.report.groups import group_runs
from guardcore.report.read import read_run
from guardcore.report.steps import StepCurve, StepFigures, step_curves, step_figures
from guardcore.report.words import clip_bounds, duration, number, strategy_sentence
from runs import left_over, rows, run, whole
from toy import Brightness, RewardOptions, toy_host

LONG = {"iterations": 6, "learning_rate": 0.05, "updates_per_iteration": 3, "ema_every": 1}
TWO = {"reward": ["brightness", {"use": "colour", "weight": 0}]}
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """What a reader's browser makes of a page."""

    def __init__(self, path):
        super().__init__()
        self.open, self.tags, self.images, self.links, self.words = [], [], [], [], []
        self.cells: list[list[str]] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == [], "elements that are never closed"

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.links += [found[name] for name in ("href", "src", "srcset", "action") if name in found]
        if tag == "img":
            self.images.append(found)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1][-1] += data

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def row(self, *beginning):
        """The table row that begins so."""
        (found,) = (row for row in self.cells if row[: len(beginning)] == list(beginning))
        return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs by name: plain with seeds 0 and 1, guard, and one of other lengths."""
    made = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        run(made / f"plain-{seed}", strategy="plain", train=LONG, seed=seed, **TWO)
    run(made / "guard-0", strategy="guard", train=LONG, **TWO)
    longer = {"num_inference_steps": 7, "train_steps": {"size": 3}}
    run(made / "longer", train={**LONG, "iterations": 2}, rollout=longer)
    return made


@pytest.fixture
def plain(folder, tmp_path):
    """A copy of the run under plain, to be damaged."""
    return shutil.copytree(folder / "plain-0", tmp_path / "plain")


@pytest.fixture(scope="module")
def single(folder):
    return Page(write_report([folder / "plain-0"]))


@pytest.fixture(scope="module")
def several(folder):
    names = ("plain-0", "guard-0", "plain-1")
    return Page(write_report([folder / name for name in names], folder / "both" / "report.html"))


def test_a_page_needs_nothing_but_itself(single, several, folder):
    for page, path in ((single, folder / "plain-0"), (several, folder / "both")):
        assert page.images
        assert all(link.startswith("data:image/") for link in page.links)
        assert set(page.tags) & {"script", "link", "iframe", "object", "base", "form"} == set()
        source = (path / "report.html").read_text(encoding="utf-8")
        assert "@import" not in source
        assert "url(" not in source
        assert len(source) < 5e6


def test_every_figure_on_the_page_is_also_a_png_and_not_blank(single, several, folder):
    for page, path in ((single, folder / "plain-0"), (several, folder / "both")):
        shown = {m[1] for image in page.images if (m := re.search(r"figures/(.+)$", image["alt"]))}
        assert shown == {file.name for file in (path / "figures").iterdir()}
        for file in (path / "figures").iterdir():
            pixels = np.asarray(Image.open(file).convert("L"))
            assert pixels.shape[1] > 800
            assert 0.002 < (pixels < 200).mean() < 0.5, file.name  # ink, and ground


def test_one_run_has_the_figures_that_its_data_allow(single, folder):
    assert {file.stem for file in (folder / "plain-0" / "figures").iterdir()} == {
        "held-out-brightness",
        "held-out-colour",
        "reward-brightness",
        "diversity",
        "ratio-histogram",
        "ratio-mean-by-step",
        "ratio-std-by-step",
        "clip-by-step",
        "clip-by-sign",
        "k-by-step",
        "bias-by-step",
        "clip-by-iteration",
        "gradient-by-step",
        "grad-norm",
        "seconds-by-phase",
    }


def test_the_table_is_computed_from_the_samples(single, folder):
    samples = [
        json.loads((folder / "plain-0" / "samples" / f"iteration-{i:06d}.json").read_text())
        for i in (0, 6)
    ]
    for name in ("brightness", "colour"):
        before, after = (np.array(found["scores"][name]) for found in samples)
        change, error = (after - before).mean(), (after - before).std(ddof=1) / len(after) ** 0.5
        cells = [float(word.replace("−", "-")) for word in single.row(name)[1:3]]
        said = re.fullmatch(r"([+−][\d.]+) ± ([\d.]+)", single.row(name)[3])
        numbers = [*cells, float(said[1].replace("−", "-")), float(said[2])]
        assert numbers == pytest.approx([before.mean(), after.mean(), change, error], abs=6e-4)
        assert single.row(name)[5] == "5 images, iterations 0 and 6"


def test_several_seeds_are_one_row_with_the_error_over_seeds(several, folder):
    means = [
        np.array(
            [
                row["eval/brightness"]
                for row in rows(folder / name, "metrics")
                if "eval/brightness" in row
            ]
        )
        for name in ("plain-0", "plain-1")
    ]
    changes = np.array([found[-1] - found[0] for found in means])
    row = several.row("plain", "brightness")
    said = [float(word) for word in row[4].replace("−", "-").split(" ± ")]
    assert said == pytest.approx([changes.mean(), changes.std(ddof=1) / 2**0.5], abs=6e-4)
    assert row[6] == "2 seeds, s.e. over them"
    assert several.row("plain, seed 1", "colour")[6] == "5 images, iterations 0 and 6"
    assert several.row("guard", "brightness")[6] == "5 images, iterations 0 and 6"


def test_what_was_run_is_said_in_words(single, several):
    assert "plain — ratio: ppo-clip (low 0.0001, high 0.0001); gradient weight: none" in single.text
    assert "finished, 6 iterations" in single.text
    assert "3 prompts × 5 images = 15, 16 × 16 px; 3 updates, learning rate 0.05" in single.text
    assert "toy:colour" in single.text
    assert "evaluation only" in single.text
    guard = "ratio: ratio-norm, then ppo-clip (low 2e-06, high 2e-06); gradient weight: inverse-dt"
    assert guard in several.text
    assert several.row("strategy")[1:] == ["guardcore:plain", "guardcore:plain", "guardcore:guard"]


def test_a_learning_rate_that_falls_is_said(tmp_path):
    run(tmp_path, train={"iterations": 1, "lr_scheduler": "cosine"})
    assert facts(read_run(tmp_path))["An iteration"].endswith(", falling to 0 (cosine)")


def test_config_and_manifest_are_on_the_page_word_by_word(single, folder):
    text = "".join(single.words)
    assert (folder / "plain-0" / "config.yaml").read_text() in text
    assert json.loads((folder / "plain-0" / "manifest.json").read_text())["platform"] in text


def test_the_figures_of_a_step_leave_the_first_update_out(folder):
    read = read_run(folder / "plain-0")
    found = {
        point.step: point for point in step_curves(group_runs([read])[0], thirds=False)[0].points
    }
    assert sorted(found) == [0, 1, 2]
    for step, point in found.items():
        mine = [
            r for r in rows(folder / "plain-0", "steps") if r["step"] == step and r["update"] > 1
        ]
        assert len(mine) == 12
        assert point.excess == pytest.approx(np.mean([r["ratio_mean"] - 1 for r in mine]))
        assert point.spread == pytest.approx(np.mean([r["ratio_std"] ** 2 for r in mine]) ** 0.5)
        assert point.k == pytest.approx(np.mean([r["k"] for r in mine]))
        assert point.clip_low == pytest.approx(np.mean([r["clip_low"] for r in mine]))
        assert point.clip_high == pytest.approx(np.mean([r["clip_high"] for r in mine]))


def test_a_single_run_shows_its_first_and_its_last_third(folder):
    curves = step_curves(group_runs([read_run(folder / "plain-0")])[0], thirds=True)
    assert [curve.label for curve in curves] == ["iterations 1–2", "iterations 5–6"]
    mine = [
        r["k"]
        for r in rows(folder / "plain-0", "steps")
        if r["iteration"] > 4 and r["update"] > 1 and r["step"] == 2
    ]
    assert curves[1].points[2].k == pytest.approx(np.mean(mine))


def test_the_held_out_curve_is_that_of_the_metrics_with_the_samples_error(folder):
    (curve,) = held_out_curves(group_runs([read_run(folder / "guard-0")]), "brightness")
    told = {
        r["iteration"]: r["eval/brightness"]
        for r in rows(folder / "guard-0", "metrics")
        if "eval/brightness" in r
    }
    assert dict(zip(curve.x, curve.y, strict=True)) == told
    scores = json.loads((folder / "guard-0" / "samples" / "iteration-000004.json").read_text())
    values = torch.tensor(scores["scores"]["brightness"])
    assert curve.spread[curve.x.index(4)] == pytest.approx(float(values.std()) / 5**0.5, rel=1e-5)


def test_seeds_are_joined_where_all_have_come(folder, tmp_path):
    short = shutil.copytree(folder / "plain-1", tmp_path / "short")
    kept = (short / "metrics.jsonl").read_text().splitlines(keepends=True)[:4]
    (short / "metrics.jsonl").write_text("".join(kept))
    groups = group_runs([read_run(folder / "plain-0"), read_run(short)])
    (curve,) = training_curves(groups, "reward/brightness")
    one, other = (
        {r["iteration"]: r["reward/brightness"] for r in rows(path, "metrics") if r["iteration"]}
        for path in (folder / "plain-0", short)
    )
    assert curve.x == (1, 2, 3)
    assert curve.y == pytest.approx([(one[x] + other[x]) / 2 for x in curve.x])
    assert curve.spread[0] == pytest.approx(abs(one[1] - other[1]) / 2**0.5)
    assert [len(x) for x, _ in curve.traces] == [6, 3]


def test_runs_of_one_config_are_one_group_and_others_are_told_apart(folder, tmp_path):
    names = ("plain-1", "guard-0", "plain-0")
    groups = group_runs([read_run(folder / name) for name in names])
    assert [(g.label, [r.config["seed"] for r in g.runs]) for g in groups] == [
        ("plain", [0, 1]),
        ("guard", [0]),
    ]
    assert len({group.colour for group in groups}) == 2
    run(tmp_path / "slow", strategy="plain", train={**LONG, "learning_rate": 0.01}, **TWO)
    groups = group_runs([read_run(folder / "plain-0"), read_run(tmp_path / "slow")])
    assert [g.label for g in groups] == ["plain, learning_rate=0.05", "plain, learning_rate=0.01"]


def test_the_same_files_give_the_same_page(folder, plain, tmp_path):
    first = write_report([plain], tmp_path / "a" / "x.html").read_bytes()
    assert write_report([plain, plain], tmp_path / "b" / "x.html").read_bytes() == first
    assert left_over(tmp_path) == []


HOSTILE = [
    '<script>alert("x")</script>',
    "</pre></details><img src=http://x.example/y>",
    "ein Bär, 猫 & {{ 1 }}",
    "",
    "$a_b$",
]


def test_prompts_are_text_whatever_is_in_them(tmp_path):
    def hostile(options: Options):
        """Prompts that nobody should trust."""
        return [Prompt(text) for text in HOSTILE]

    host = toy_host(hostile=("prompt_sources", hostile))
    run(tmp_path / "<b>run", host=host, prompts={"eval": "hostile"}, evaluate={"grid": 5})
    page = Page(write_report([tmp_path / "<b>run"]))
    assert set(page.tags) & {"script", "b"} == set()
    assert all(link.startswith("data:image/") for link in page.links)
    for text in filter(None, HOSTILE):
        assert " ".join(text.split()) in page.text
    assert "<b>run" in page.text


def test_samples_are_shown_prompt_by_prompt_with_their_scores(single, several, folder):
    samples = json.loads((folder / "plain-0" / "samples" / "iteration-000006.json").read_text())
    tiles = [image for image in single.images if image["alt"] in ("base model", "iteration 6")]
    assert [tile["alt"] for tile in tiles] == ["base model", "iteration 6"] * 4  # grid: 4
    assert (
        f"{samples['scores']['brightness'][0]:.3g}, {samples['scores']['colour'][0]:.3g}"
        in single.text
    )
    # the two strategies start from one base model, whose image is shown once
    both = [image["alt"] for image in several.images if "figures/" not in image["alt"]]
    assert both[:3] == ["base model", "plain, iteration 6", "guard, iteration 6"]


def test_schedules_of_different_lengths_share_the_axis_of_sigma(folder, tmp_path):
    out = tmp_path / "x" / "report.html"
    page = Page(write_report([folder / "guard-0", folder / "longer"], out))
    assert "4 steps, trained: all but the last" not in page.text  # not shared by both
    assert (out.parent / "figures" / "k-by-step.png").is_file()
    point = StepFigures(0, 0.9, 0.0, 1e-3, 0.1, 0.0, 0.0)
    other = StepFigures(0, 0.8, 0.0, 1e-3, 0.1, 0.0, 0.0)
    curves = [StepCurve("a", "#000", False, (point,)), StepCurve("b", "#111", False, (other,))]
    with style():
        axes = ratio_by_step(curves, None).axes[0]
        assert axes.get_xlabel().startswith("sigma")
        assert axes.get_xlim()[0] > axes.get_xlim()[1]
        assert ratio_by_step(curves[:1], None).axes[0].get_xlabel().startswith("denoising step")


def test_a_run_just_begun_has_a_page(plain):
    for path in ("metrics.jsonl", "steps.jsonl"):
        (plain / path).unlink()
    for path in ("samples", "adapter", "checkpoints"):
        shutil.rmtree(plain / path)
    page = Page(write_report([plain]))
    assert "not finished: 0 of 6 iterations" in page.text
    assert "There are no two evaluations to compare" in page.text
    assert "No iteration with a second update has finished yet" in page.text
    assert page.images == []


@pytest.mark.parametrize("kept", [1, 2])
def test_a_run_that_was_interrupted_is_reported_as_far_as_it_came(plain, kept):
    for name in ("metrics", "steps"):
        mine = [row for row in rows(plain, name) if row["iteration"] < kept]
        (plain / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in mine))
    page = Page(write_report([plain]))
    assert f"not finished: {kept - 1} of 6 iterations" in page.text
    assert "There are no two evaluations to compare" in page.text
    titles = {image["alt"] for image in page.images}
    assert any("Mean of the ratio" in title for title in titles) == (kept == 2)
    # samples of iterations that were cut back are not the run's
    assert "iteration 6" not in titles


def test_one_update_an_iteration_is_said_to_leave_nothing_to_clip(tmp_path):
    run(tmp_path / "run", train={"updates_per_iteration": 1, "iterations": 1}, report=True)
    page = Page(tmp_path / "run" / "report.html")
    assert "every ratio is 1 by construction, and no clip can act" in page.text
    assert not any("clip" in image["alt"] for image in page.images)


def test_without_held_out_prompts_there_are_curves_but_no_verdict(tmp_path):
    run(tmp_path / "run", prompts={"eval": None}, report=True)
    page = Page(tmp_path / "run" / "report.html")
    assert "the config has no held-out prompts (prompts.eval)" in page.text
    assert any("Training reward" in image["alt"] for image in page.images)


def test_numbers_that_json_had_no_word_for_leave_gaps(plain):
    changed = rows(plain, "metrics")
    for row in changed[2:4]:
        row.update({key: None for key in row if key != "iteration"})
    (plain / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
    steps = rows(plain, "steps")
    for row in steps[::2]:
        row.update(ratio_mean=None, ratio_std=None, k=None)
    (plain / "steps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in steps))
    assert sorted(read_run(plain).series("reward/brightness")) == [1, 4, 5, 6]
    assert all(math.isfinite(p.k) for p in step_figures(read_run(plain).steps))
    assert len(Page(write_report([plain])).images) > 8


def test_scores_that_are_no_numbers_leave_the_verdict_open(plain):
    path = plain / "samples" / "iteration-000006.json"
    record = json.loads(path.read_text())
    record["scores"]["brightness"][0] = math.nan
    path.write_text(json.dumps(record))
    page = Page(write_report([plain]))
    assert page.row("brightness")[2:5] == ["–", "–", "cannot tell"]


NO_RUN = {
    "nothing": lambda path: None,
    "a file": lambda path: path.write_text("x"),
    "an empty directory": lambda path: path.mkdir(),
    "a config alone": lambda path: (path.mkdir(), (path / "config.yaml").write_text("seed: 0")),
}


@pytest.mark.parametrize("case", NO_RUN)
def test_what_is_no_run_is_named_with_a_remedy(tmp_path, case):
    NO_RUN[case](tmp_path / "it")
    with pytest.raises(
        GuardcoreError, match=r"it is not a run: .* give a directory that"
    ) as caught:
        write_report([tmp_path / "it"])
    assert "\n" not in str(caught.value)


DAMAGE = {
    "metrics.jsonl": '{"iteration": 1\n{"iteration": 2}\n',
    "steps.jsonl": "[1, 2]\n",
    "config.yaml": "just a word",
    "manifest.json": "{",
    "samples/iteration-000006.json": "{}",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_named(plain, name):
    (plain / name).write_text(DAMAGE[name])
    (plain / "report.html").write_text("the page before")
    place = f"{name}: line 1" if name.endswith(".jsonl") else name
    with pytest.raises(GuardcoreError, match=f"{place} is damaged"):
        write_report([plain])
    assert (plain / "report.html").read_text() == "the page before"


def test_a_grid_that_cannot_be_read_is_left_out(plain, caplog):
    (plain / "samples" / "iteration-000006.png").write_bytes(b"no picture")
    page = Page(write_report([plain]))
    assert "iteration-000006.png cannot be read" in caplog.text
    assert "Samples before and after" in page.text  # the base model's are there


def test_a_directory_is_no_page(folder, tmp_path):
    with pytest.raises(GuardcoreError, match="is a directory; give a file"):
        write_report([folder / "plain-0"], tmp_path)
    (tmp_path / "figures").write_text("")
    with pytest.raises(GuardcoreError, match="cannot write .*figures.*choose another --out"):
        write_report([folder / "plain-0"], tmp_path / "report.html")


def test_a_finished_run_has_a_report_that_changes_nothing_else(tmp_path):
    run(tmp_path / "with", report=True)
    run(tmp_path / "without")
    assert whole(tmp_path / "with") == whole(tmp_path / "without")
    assert left_over(tmp_path) == []
    assert Page(tmp_path / "with" / "report.html").row("brightness")
    assert not (tmp_path / "without" / "report.html").exists()


def in_the_way(directory):
    """A host whose reward puts a file where the figures go."""

    def clumsy(options: Options):
        class Clumsy(Brightness):
            def __call__(self, images, prompts):
                (directory / "figures").write_text("mine")
                return super().__call__(images, prompts)

        return Clumsy(RewardOptions())

    return toy_host(clumsy=("rewards", clumsy))


def test_a_report_that_fails_costs_the_run_nothing_but_a_line(tmp_path, caplog):
    done = run(tmp_path / "run", host=in_the_way(tmp_path / "run"), reward=["clumsy"], report=True)
    assert done.finished
    (line,) = [r.getMessage() for r in caplog.records if r.name == "guardcore"]
    assert "report.html is not written; the run is as it was: " in line
    assert "figures" in line
    assert "\n" not in line
    assert (tmp_path / "run" / "adapter").is_dir()
    assert not (tmp_path / "run" / "error.log").exists()


def test_a_run_that_failed_has_a_report_that_says_why(tmp_path):
    faulty = [{"use": "brightness", "fault": "raise", "calls": 10}]
    with pytest.raises(GuardcoreError):
        run(tmp_path / "run", reward=faulty, report=True)
    page = Page(tmp_path / "run" / "report.html")
    assert re.search(r"failed after iteration \d of 3: .*the judge has left the room", page.text)


def test_labels_of_any_script_and_sign_are_drawn(folder):
    (group,) = group_runs([read_run(folder / "plain-0")])
    (curve,) = training_curves([group], "loss")
    curves = [replace(curve, label=label) for label in ("_private", "a$b^$", "猫 🐈", "x" * 200)]
    with style():
        figure = over_iterations(curves, "loss")
        shown = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        assert png(figure).startswith(b"\x89PNG")
    assert shown[:3] == ["private", "a$b^$", "猫 🐈"]
    assert len(shown[3]) == 40


def test_long_curves_are_smoothed_and_keep_their_points(plain):
    ramp = [{"iteration": i, "reward/brightness": i + (-1) ** i} for i in range(1, 101)]
    (plain / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ramp))
    (curve,) = training_curves(group_runs([read_run(plain)]), "reward/brightness")
    # 5 neighbours on each side of a ramp: the ramp, and of the alternation an eleventh
    assert curve.y[49] == pytest.approx(50 - 1 / 11)
    assert curve.traces[0][1][0] == 0
    assert len(curve.spread) == 100


@pytest.mark.parametrize(
    ("value", "scale", "said"),
    [
        (0.25, None, "0.250"),
        (-0.0621, 0.2, "−0.062"),
        (21.7234, None, "21.72"),
        (12345.6, None, "12346"),
        (0.000312, None, "0.000312"),
        (0.0, None, "0.000"),
        (math.nan, None, "–"),
        (math.inf, 1.0, "–"),
    ],
)
def test_numbers_have_the_decimals_of_their_scale(value, scale, said):
    assert number(value, scale) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.5, "0.5 seconds"), (90, "90 seconds"), (600, "10 minutes"), (86400, "24 hours")],
)
def test_times_are_in_the_unit_in_which_one_says_them(seconds, said):
    assert duration(seconds) == said


def test_the_clips_bounds_are_those_that_all_clips_leave():
    clips = [
        {"use": "guardcore:ppo-clip", "low": low, "high": high}
        for low, high in ((0.1, 0.3), (0.2, 0.05))
    ]
    assert clip_bounds({"ratio": clips}) == (-0.1, 0.05)
    assert clip_bounds({"ratio": [{"use": "guardcore:dppo-mask", "threshold": 1e-5}]}) is None
    assert strategy_sentence({"ratio": [], "gradient_weight": []}).startswith("ratio: as it is")
