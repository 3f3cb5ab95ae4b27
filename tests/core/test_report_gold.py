"""Is the reward still the goal? What the report says of proxy, gold, alarms and drift."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from guardcore.report import write_report
from guardcore.report.canvas import style
from guardcore.report.curves import evaluation_curves
from guardcore.report.gold import alarms, gold_curves, ways
from guardcore.report.groups import Group
from guardcore.report.page import sections
from guardcore.report.plots import drift_plots
from guardcore.report.plots_of_gold import gold_plots, gold_text
from guardcore.report.read import RecordedRun
from guardcore.run_directory import RunDirectory
from runs import rows, run

RISING = {0: 1.0, 10: 1.1, 20: 1.2, 30: 1.15, 40: 1.05}


@pytest.fixture
def recorded(tmp_path):
    """Makes a run of these evaluations: gold by iteration, and where the alarm was raised."""

    def make(gold, alarm=(), seed=0, **figures):
        metrics = [
            {"iteration": i, "eval/score": 20.0, "proxy": 20 + i / 10, "reward/score": 1.0}
            | ({} if value is None else {"gold": value, "alarm": float(i in alarm)})
            | {key: values[i] for key, values in figures.items()}
            for i, value in gold.items()
        ]
        config = {"seed": seed, "watch": {"window": 4, "sigmas": 2.0}}
        return RecordedRun(RunDirectory(tmp_path), config, {}, metrics, (), {}, None)

    return make


def group(*runs, label="plain", colour="#0072B2"):
    return Group(label, colour, runs)


def test_an_alarm_says_when_and_which_checkpoint_to_take(recorded, tmp_path):
    found = [group(recorded(RISING, alarm=[30, 40]))]
    beginning = "Alarm at iterations 30, 40. Gold was highest at iteration 20 (1.200, now 1.050): "
    assert alarms(found) == [
        f"{beginning}its checkpoint is not kept; another time set watch.keep_best=true."
    ]
    (tmp_path / "checkpoints" / "iteration-000020").mkdir(parents=True)
    assert alarms(found) == [f"{beginning}checkpoints/iteration-000020 is the model to take."]


def test_a_run_that_was_never_better_than_the_base_is_not_recommended(recorded):
    worse = {0: 1.0, 10: 0.98, 20: 0.9}
    (sentence,) = alarms([group(recorded(worse, alarm=[20]))])
    assert sentence.startswith("Alarm at iteration 20. Gold never rose above the base model's 1")
    assert sentence.endswith("(now 0.900): do not use this run's weights.")


def test_alarms_name_the_run_where_there_are_several(recorded):
    plain = group(recorded(RISING, seed=0), recorded(RISING, alarm=[40], seed=1))
    guard = group(recorded(RISING, alarm=[30]), label="guard")
    said = [sentence.partition(". ")[0] for sentence in alarms([plain, guard])]
    assert said == ["plain, seed 1: alarm at iteration 40", "guard: alarm at iteration 30"]


def test_the_text_says_what_the_watch_found(recorded):
    assert "No alarm was raised" in gold_text([group(recorded(RISING))])
    raised = gold_text([group(recorded(RISING, alarm=[40]))])
    assert "over the last 4 evaluations" in raised
    assert "more than 2 standard errors" in raised
    assert "lower train.learning_rate or choose another strategy" in raised
    short = {0: 1.0, 10: 1.1}
    assert "There were fewer than 4 evaluations" in gold_text([group(recorded(short))])


def test_without_gold_the_page_says_how_to_get_it(recorded):
    nobody = dict.fromkeys(RISING)
    text = gold_text([group(recorded(nobody))])
    assert "--reward NAME:weight=0" in text
    other = recorded(nobody, **{"eval/judge": dict.fromkeys(RISING, -1.0)})
    assert "has a positive score on the base model's images" in gold_text([group(other)])
    assert list(gold_plots([group(other)])) == []


def test_a_way_is_the_mean_of_the_seeds_where_all_have_come(recorded):
    one = recorded(RISING, alarm=[40])
    other = recorded({0: 1.0, 10: 1.3, 20: 1.4, 30: 1.25}, alarm=[30], seed=1)
    (way,) = ways([group(one, other)])
    assert way.iterations == (0, 10, 20, 30)
    assert way.gold == pytest.approx((1.0, 1.2, 1.3, 1.2))
    assert way.proxy == (20, 21, 22, 23)
    assert way.alarmed == {30}
    assert way.label == "plain (2 seeds)"


def test_alarms_are_crosses_on_both_figures(recorded):
    found = [group(recorded(RISING, alarm=[30, 40]))]
    with style():
        against, over = (plot.figure for plot in gold_plots(found))
    places = [
        [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "X"]
        for axes in (against.axes[0], *over.axes)
    ]
    assert places == [[[[23, 1.15], [24, 1.05]]], [], [[[30, 1.15], [40, 1.05]]]]
    assert [axes.get_ylabel() for axes in over.axes] == ["proxy", "gold"]


def test_gaps_in_gold_are_left_out(recorded):
    gold = {0: 1.0, 10: float("nan"), 20: 1.2}
    (way,) = ways([group(recorded(gold))])
    assert way.iterations == (0, 20)


def test_golds_band_is_the_error_of_its_change_image_by_image(recorded):
    scores = {0: [1.0, 3.0, 2.0], 10: [1.5, 3.0, 3.0]}
    judged = recorded({0: 1.0, 10: 1.25}, **{"eval/judge": {0: 2.0, 10: 2.5}})
    samples = {i: {"scores": {"judge": s, "score": [9.0, 9.0, 9.0]}} for i, s in scores.items()}
    (curve,) = gold_curves([group(replace(judged, evaluations=samples))])
    changes = np.array([0.5, 0.0, 1.0]) / 2  # over the base model's mean
    assert curve.spread == pytest.approx((0, changes.std(ddof=1) / 3**0.5))
    (without,) = gold_curves([group(judged)])
    assert without.spread == (0, 0)
    (seeds,) = gold_curves([group(judged, recorded({0: 1.0, 10: 1.35}, seed=1))])
    assert seeds.spread == pytest.approx((0, 0.1 / 2**0.5))


def test_what_evaluations_measure_is_not_smoothed(recorded):
    gold = {i: 1 + (-1) ** i / 10 for i in range(60)}
    (curve,) = evaluation_curves([group(recorded(gold))], "gold")
    assert curve.y == tuple(gold.values())
    assert curve.spread == ()


def test_drift_is_drawn_where_it_was_measured(recorded):
    nothing = [group(recorded(RISING))]
    kl, spread = dict.fromkeys(RISING, 3.0), dict.fromkeys(RISING, 0.2)
    both = [group(recorded(RISING, **{"kl/base": kl, "diversity": spread}))]
    with style():
        assert list(drift_plots(nothing)) == []
        assert [plot.name for plot in drift_plots(both)] == ["kl-to-base", "diversity"]


# real runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of the toy with a judge of weight 0, and the divergence from the base."""
    made = tmp_path_factory.mktemp("runs") / "run"
    judged = ["colour", {"use": "brightness", "weight": 0}]
    run(
        made,
        reward=judged,
        train={"iterations": 6, "learning_rate": 0.05},
        evaluate={"kl_images": 2},
    )
    return made


def test_the_page_of_a_run_has_gold_and_drift(folder):
    page = write_report([folder]).read_text(encoding="utf-8")
    assert "<h2>Is the reward still the goal?</h2>" in page
    names = {file.stem for file in (folder / "figures").iterdir()}
    assert {"proxy-against-gold", "proxy-and-gold", "kl-to-base", "diversity"} <= names
    assert page.index("Is the reward still the goal?") < page.index("How it went")


def test_an_alarm_stands_above_everything_else_in_its_section(folder, tmp_path):
    changed = rows(folder, "metrics")
    for found in changed[-1:]:
        found["alarm"] = 1.0
    copy = tmp_path / "alarmed"
    copy.mkdir()
    for name in ("config.yaml", "manifest.json"):
        (copy / name).write_text((folder / name).read_text())
    (copy / "metrics.jsonl").write_text("".join(json.dumps(found) + "\n" for found in changed))
    page = write_report([copy]).read_text(encoding="utf-8")
    section = page[page.index("Is the reward still the goal?") :]
    assert re.match(r'[^<]+</h2>\s*<p class="alarm">Alarm at iteration 6\. Gold', section)


def test_a_run_without_a_judge_is_told_to_get_one(tmp_path):
    run(tmp_path / "run", report=True)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "--reward NAME:weight=0 adds one" in page


def test_sections_come_in_the_order_of_a_strangers_questions():
    with style():
        titles = [section.title for section in sections([])]
    assert titles == [
        "Is the reward still the goal?",
        "How it went",
        "What the clip saw",
        "Gradient and time",
    ]
