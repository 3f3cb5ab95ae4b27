"""Groups side by side: gold at equal proxy, figures over seeds, and the tables' words."""

import json
import math
from pathlib import Path

import pytest

from guardcore.report import forms
from guardcore.report.comparison import Figure, compare
from guardcore.report.equal_proxy import Crossing, comparable, crossing, levels
from guardcore.report.groups import group_runs
from guardcore.report.measures import factor, measures
from guardcore.report.read import RecordedRun
from guardcore.report.tables import markdown, tables
from guardcore.run_directory import RunDirectory

NAN = math.nan


def recorded(strategy, seed, proxy, gold=(), *, steps=(), iterations=None, every=5, **more):
    """A run that evaluated every few iterations, with these scores."""
    metrics = [
        {
            "iteration": every * place,
            "proxy": score,
            "eval/proxy": score,
            "seconds/total": 10.0,
            **({"gold": gold[place]} if gold else {}),
            **{
                key.replace("_", "/"): values[place]
                for key, values in more.items()
                if "config" not in key
            },
        }
        for place, score in enumerate(proxy)
    ]
    return RecordedRun(
        directory=RunDirectory(Path(f"{strategy}-seed{seed}")),
        config={
            "strategy": f"guardcore:{strategy}",
            "seed": seed,
            "reward": [{"use": "proxy"}],
            "prompts": {"eval": "words"},
            "train": {"iterations": iterations or every * (len(proxy) - 1)},
            **more.get("config", {}),
        },
        manifest={},
        metrics=metrics,
        steps=steps,
        evaluations={},
        error=None,
    )


def step(iteration, update, number, **figures):
    return {
        "iteration": iteration,
        "update": update,
        "step": number,
        "sigma": 1 - number / 10,
        "ratio_mean": 1.0,
        "ratio_std": 1e-3,
        "log_ratio_mean": 0.0,
        "k": 1.0,
        "clip_high": 0.0,
        "clip_low": 0.0,
        "blocked": 0.0,
        **figures,
    }


def by_label(comparison):
    return {contender.label: contender for contender in comparison.contenders}


def cell(table, label, title):
    (row,) = (row for row in table.rows if row.label == label)
    return row.cells[table.columns.index(title)]


def table(made, title):
    return next(found for found in made if found.title == title)


@pytest.mark.parametrize(
    ("level", "found"),
    [
        (0.4, Crossing(0, 1.0)),  # the base model is there already
        (0.5, Crossing(2.5, 0.95)),
        (0.6, Crossing(5, 0.9)),
        (0.7, Crossing(17.5, 0.8)),  # after a fall, where it is first reached
        (0.8, Crossing(20, 0.8)),
        (0.81, None),
    ],
)
def test_a_crossing_is_the_first_and_between_evaluations_linear(level, found):
    proxy = {0: 0.4, 5: 0.6, 10: 0.5, 15: 0.6, 20: 0.8, 25: 0.6}
    gold = {0: 1.0, 5: 0.9, 10: 0.9, 15: 0.8, 20: 0.8, 25: 0.1}
    where = crossing(proxy, gold, level)
    if found is None:
        assert where is None
    else:
        assert (where.iteration, where.gold) == pytest.approx((found.iteration, found.gold))


def test_without_gold_a_crossing_has_its_iteration():
    where = crossing({0: 0.0, 10: 1.0}, {}, 0.25)
    assert where.iteration == 2.5
    assert math.isnan(where.gold)


def test_equal_proxy_is_the_smallest_of_the_largest_seed_by_seed():
    found = levels(
        group_runs(
            [
                recorded("plain", 0, [0.4, 0.9, 0.5]),
                recorded("guard", 0, [0.4, 0.6, 0.7]),
                recorded("plain", 1, [0.3, 0.5, 0.6]),
                recorded("guard", 1, [0.3, 0.8, 0.9]),
                recorded("dppo", 2, [0.3, 0.8, 0.9]),  # nobody to be compared with
            ]
        )
    )
    assert {
        seed: (level.proxy, level.holder, level.iteration) for seed, level in found.items()
    } == {
        0: (0.7, "guard", 10),
        1: (0.6, "plain", 10),
    }


def test_an_unfinished_run_does_not_lower_the_level_unless_none_is_finished():
    runs = [
        recorded("plain", 0, [0.4, 0.8]),
        recorded("guard", 0, [0.4, 0.7]),
        recorded("dppo", 0, [0.4, 0.5], iterations=30),
    ]
    assert levels(group_runs(runs))[0].proxy == 0.7
    both = [
        recorded(s, 0, [0.4, top], iterations=30) for s, top in (("plain", 0.6), ("guard", 0.5))
    ]
    assert levels(group_runs(both))[0].proxy == 0.5
    made = tables(compare(group_runs(runs)))
    gold = table(made, "Proxy and gold")
    assert cell(gold, "dppo", "seeds") == "1 unfinished"
    assert cell(gold, "dppo", "P* at iteration") == "not reached"
    assert cell(gold, "guard", "P* at iteration") == "5.0"


def test_scores_of_different_rewards_are_not_held_against_each_other():
    one = recorded("plain", 0, [0.4, 0.8])
    other = recorded("guard", 0, [0.4, 0.8], config={"reward": [{"use": "another"}]})
    assert not comparable(group_runs([one, other]))
    assert compare(group_runs([one, other])).levels == {}
    assert not comparable(group_runs([one]))


def test_gold_at_equal_proxy_is_paired_with_plain_by_seed():
    runs = [
        recorded("plain", 0, [0.0, 1.0], [1.0, 0.6]),
        recorded("plain", 1, [0.0, 1.0], [1.0, 0.4]),
        recorded("guard", 0, [0.0, 0.5], [1.0, 0.9]),
        recorded("guard", 1, [0.0, 0.5], [1.0, 0.9]),
        recorded("guard", 2, [0.0, 0.5], [1.0, 0.1]),
    ]
    found = by_label(compare(group_runs(runs)))
    # P* is 0.5: plain is half-way there, its gold 0.8 and 0.7; guard's seed 2 has no partner
    assert [found["plain"].runs[seed]["gold_equal"] for seed in (0, 1)] == pytest.approx([0.8, 0.7])
    figure = found["guard"].figure("gold_vs_plain")
    assert (figure.mean, figure.number) == (pytest.approx(0.15), 2)
    assert figure.error == pytest.approx(0.05)  # of 0.1 and 0.2
    assert found["plain"].figure("gold_vs_plain") is None
    gold = table(tables(compare(group_runs(runs))), "Proxy and gold")
    assert cell(gold, "guard", "vs plain") == "+0.150 ± 0.050 (2 of 3)"
    assert cell(gold, "plain", "vs plain") == "–"
    assert cell(gold, "guard", "gold") == "1.000 → 0.633 ± 0.462"
    assert "over 2 pairs" in gold.note


def test_each_variation_is_paired_with_its_own_plain():
    def varied(strategy, rate, gold):
        return recorded(
            strategy,
            0,
            [0.0, 1.0],
            [1.0, gold],
            config={"sampler": {"use": "cps", "noise_level": rate}},
        )

    runs = [
        varied("plain", 1, 0.5),
        varied("plain", 2, 0.1),
        varied("guard", 1, 0.6),
        varied("guard", 2, 0.6),
    ]
    found = by_label(compare(group_runs(runs)))
    differences = {label: c.figure("gold_vs_plain") for label, c in found.items()}
    assert differences["guard, noise_level=1"].mean == pytest.approx(0.1)
    assert differences["guard, noise_level=2"].mean == pytest.approx(0.5)
    assert math.isnan(differences["guard, noise_level=1"].deviation)


def test_the_finished_seeds_count_and_the_table_says_how_many():
    runs = [
        recorded("guard", 0, [0.0, 0.5], every=30),
        recorded("guard", 1, [0.0, 0.7], every=30),
        recorded("guard", 2, [0.0, 9.0], every=15, iterations=30),
        recorded("plain", 0, [0.0, 0.5], every=30),
    ]
    comparison = compare(group_runs(runs))
    assert by_label(comparison)["guard"].figure("proxy") == Figure(
        pytest.approx(0.6), pytest.approx(0.02**0.5), 2
    )
    assert cell(tables(comparison)[0], "guard", "seeds") == "2 of 3"


def test_who_never_rises_above_the_base_is_named():
    runs = [
        recorded("plain", 0, [0.4, 0.8], [1.0, 0.8]),
        recorded("guard", 0, [0.4, 0.3], [1.0, 0.8]),
    ]
    note = table(tables(compare(group_runs(runs))), "Proxy and gold").note
    assert "0.400 for seed 0 (the base model's: guard never rose above it)" in note


def test_ratio_and_clip_are_of_later_updates_over_the_whole_run():
    steps = [
        step(1, 1, 0, ratio_mean=1.0, clip_low=0.9),
        step(1, 2, 0, ratio_mean=0.999, ratio_std=1e-4, clip_low=0.2, clip_high=0.1, blocked=0.3),
        step(1, 2, 1, ratio_mean=0.997, ratio_std=1e-3, clip_low=0.4, clip_high=0.3, blocked=0.5),
    ]
    found = measures(recorded("plain", 0, [0.0, 1.0], steps=steps))
    assert found["ratio"] == pytest.approx(-2e-3)
    assert [found[key] for key in ("clip_low", "clip_high", "blocked")] == pytest.approx(
        [0.3, 0.2, 0.4]
    )
    assert found["spread"] == pytest.approx(10)
    assert found["seconds"] == 20
    assert "share_first" not in found


def test_a_steps_share_is_its_norm_over_the_sum_of_the_updates_norms():
    rows = [
        step(1, 1, 0, grad_norm=1.0),
        step(1, 1, 1, grad_norm=3.0),
        step(11, 1, 0, grad_norm=50.0),
        step(11, 1, 1, grad_norm=50.0),
        step(2, 1, 0),  # not sampled
        step(1, 2, 0, grad_norm=NAN),  # null in the file
    ]
    found = measures(recorded("plain", 0, [0.0], steps=rows))
    assert found["share_first"] == pytest.approx(5 / 3)
    assert "share_later" not in found


def test_a_factor_needs_two_positive_numbers():
    assert factor([1.0, 4.0, 2.0]) == 4
    assert math.isnan(factor([1.0]))
    assert math.isnan(factor([0.0, 1.0]))


def test_a_run_of_an_older_version_has_what_it_recorded():
    run = recorded("plain", 0, [0.4, 0.8])
    for row in run.metrics:
        del row["proxy"]
    assert measures(run) == {"eval/proxy_before": 0.4, "eval/proxy": 0.8, "seconds": 20.0}
    titles = [found.title for found in tables(compare(group_runs([run])))]
    assert titles == ["How far they went", "Every judge"]


def test_beginning_and_end_stand_in_one_cell():
    run = recorded("plain", 0, [0.4, 0.8], diversity=[0.3, 0.1], kl_base=[0.0, 1.234])
    made = tables(compare(group_runs([run])))
    way = table(made, "How far they went")
    assert way.rows[0].cells == ("1", "1.23", "0.300 → 0.100", "20 seconds")
    assert cell(table(made, "Every judge"), "plain", "proxy") == "0.400 → 0.800"
    (begun,) = tables(compare(group_runs([recorded("plain", 0, [0.4], iterations=9)])))[:1]
    assert cell(begun, "plain", "proxy") == "0.400 →"


def test_everything_is_strict_json_and_every_seed_is_in_it():
    runs = [recorded("plain", seed, [0.4, 0.8], [1.0, 0.5], alarm=[0.0, 1.0]) for seed in (0, 1)]
    runs.append(recorded("guard", 0, [0.4, 0.8], [1.0, 0.9]))
    plain = json.loads(json.dumps(compare(group_runs(runs)).plain(), allow_nan=False))
    assert plain["equal_proxy"] == {"0": {"proxy": 0.8, "best_of": "guard", "at": 5}}
    assert [row["label"] for row in plain["rows"]] == ["plain", "guard"]
    assert plain["rows"][0]["figures"]["alarms"] == {"mean": 1.0, "deviation": 0.0, "number": 2}
    assert plain["rows"][1]["figures"]["gold"] == {"mean": 0.9, "deviation": None, "number": 1}
    assert set(plain["rows"][0]["runs"]) == {"0", "1"}


def test_markdown_has_as_many_cells_in_every_row():
    runs = [recorded("a|b", seed, [0.4, 0.8], [1.0, 0.5]) for seed in (0, 1)]
    text = markdown(tables(compare(group_runs(runs))))
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 3
    for lines in blocks:
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


@pytest.mark.parametrize(
    ("form", "mean", "spread", "words"),
    [
        (forms.score, 0.6123, 0.0131, "0.612 ± 0.013"),
        (forms.score, 20.71, 0.123, "20.71 ± 0.12"),
        (forms.score, 0.5, NAN, "0.500"),
        (forms.change, -0.0214, 0.0041, "−0.021 ± 0.004"),
        (forms.small, -1.23e-3, 2.2e-4, "−1.2e−3 ± 2e−4"),
        (forms.percent, 0.1234, 0.011, "12.3 ± 1.1 %"),
        (forms.times, 61.2, 4.4, "×61 ± 4"),
        (forms.times, 2.51, 0.32, "×2.5 ± 0.3"),
        (forms.nats, 43.21, 1.3, "43.2 ± 1.3"),
        (forms.nats, 0.0, NAN, "0.00"),
        (forms.time, 300.0, 9.0, "5 minutes"),
        (forms.iteration, 12.52, 1.0, "12.5 ± 1.0"),
    ],
)
def test_a_number_is_written_in_its_own_unit(form, mean, spread, words):
    assert form(mean, spread) == words
