"""Every word goes through a whole iteration: rollout, advantages, two updates, a checkpoint."""

import pytest

from runs import rows, run, target

STRATEGIES = ["clip-higher", "soft-clip", "dual-clip", "cispo"]
ONE = {"rollout": {"groups": 2, "group_size": 8, "batch_size": 16}, "train": {"iterations": 1}}


@pytest.mark.parametrize(
    "sections",
    [
        *({"strategy": name} for name in STRATEGIES),
        {"ratio": ["cispo"], "gradient_weight": ["noise-aware"]},
        *({"advantage": name} for name in ("gdpo", "leave-one-out")),
        {"advantage": {"use": "extremes", "best": 3, "worst": 1}},
        {"penalty": [{"use": "kl-velocity", "weight": 0.1}]},
    ],
    ids=str,
)
def test_a_run_with_it_learns_something(tmp_path, sections):
    run(tmp_path, **ONE, **sections)
    learnt = target(tmp_path)
    assert learnt.isfinite().all()
    assert bool((learnt != 0).any())


def second_update(tmp_path, name, **options):
    """One iteration with large steps; the rows of its second update, where words can act."""
    directory = tmp_path / name
    run(
        directory,
        strategy=name,
        strategy_options={name: options},
        rollout={"groups": 4, "group_size": 16, "batch_size": 64},
        train={"iterations": 1, "learning_rate": 0.15},
    )
    return [row for row in rows(directory, "steps") if row["update"] == 2], target(directory)


def test_what_the_words_do_shows_in_the_figures(tmp_path):
    narrow = {"low": 1e-3, "high": 1e-3}
    guard, _ = second_update(tmp_path, "guard", **{"ppo-clip": narrow})
    dual, _ = second_update(
        tmp_path, "dual-clip", **{"ppo-clip": narrow, "dual-clip": {"c": 1.002}}
    )
    soft, _ = second_update(tmp_path, "soft-clip", **{"soft-clip": narrow})
    cispo, _ = second_update(tmp_path, "cispo", cispo={"high": 1e-3})
    for plain, twice, faded, free in zip(guard, dual, soft, cispo, strict=True):
        assert 0 < plain["blocked"] < twice["blocked"] < 1
        assert faded["blocked"] == free["blocked"] == 0
        assert max(faded["ratio_quantiles"]) < 1.001 + 1e-12
        assert min(faded["ratio_quantiles"]) > 0.999 - 1e-12
        assert max(free["ratio_quantiles"]) < 1.001 + 1e-12 < max(plain["ratio_quantiles"])
