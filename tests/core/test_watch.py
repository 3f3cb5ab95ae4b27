"""The watch against hand-made scores: it sees what falls, and is not fooled by noise."""

import logging

import pytest
import torch

from guardcore import Options, hookimpl
from guardcore.config import Watch
from guardcore.layers import parse_config
from guardcore.loop import train
from guardcore.registry import Origin
from guardcore.watch import Alarm, Trend, Watcher, trend
from runs import checkpoints, rows, run, state, target
from toy import toy_host, toy_tree

WEIGHTS = {"proxy": 2.0, "taste": 0.0, "text": 0.0}


def watcher(weights=WEIGHTS, **options):
    return Watcher(Watch(**options), weights)


def scores(proxy, taste=1.0, text=1.0, images=8):
    """Scores that differ from image to image, and from evaluation to evaluation only as told."""
    own = [place / images for place in range(images)]
    values = {"proxy": proxy, "taste": taste, "text": text}
    return {name: [value + o for o in own] for name, value in values.items()}


def feed(found, proxies, golds):
    return [
        found.look(5 * place, scores(proxy, taste=gold, text=gold))
        for place, (proxy, gold) in enumerate(zip(proxies, golds, strict=True))
    ]


def test_gold_is_the_mean_of_scores_over_the_base_models():
    found = watcher()
    first = found.look(0, {"proxy": [1.0, 2.0], "taste": [2.0, 6.0], "text": [0.2, 0.3]})
    assert first == {"proxy": 3.0, "gold": pytest.approx(1.0), "alarm": 0.0}
    later = found.look(5, {"proxy": [2.0, 2.0], "taste": [8.0, 8.0], "text": [0.5, 0.5]})
    assert later["proxy"] == 4.0
    assert later["gold"] == pytest.approx((8 / 4 + 0.5 / 0.25) / 2)


def test_without_a_reward_of_weight_0_there_is_no_gold():
    assert watcher({"proxy": 1.0}).look(0, {"proxy": [1.0]}) == {"proxy": 1.0}


def test_a_score_that_the_base_model_does_not_have_cannot_be_divided_by(caplog):
    found = watcher()
    with caplog.at_level(logging.WARNING):
        first = found.look(0, {"proxy": [1.0], "taste": [0.0], "text": [0.5]})
    assert "gold leaves out 'taste'" in caplog.text
    assert first["gold"] == 1.0
    assert found.look(1, {"proxy": [1.0], "taste": [3.0], "text": [0.25]})["gold"] == 0.5


def test_the_alarm_is_raised_where_the_proxy_rises_and_gold_falls():
    figures = feed(found := watcher(window=3), [1, 2, 3, 4, 5], [1, 1.1, 1.2, 1.15, 1.0])
    assert [row["alarm"] for row in figures] == [0, 0, 0, 0, 1]
    alarm = found.alarm()
    assert (alarm.since, alarm.iteration, alarm.best) == (10, 20, 10)
    # proxy 2·1 in 5 iterations; every image has the same slope, so there is no noise
    assert alarm.proxy.slope == pytest.approx(100 * 2 / 5)
    assert alarm.proxy.error == pytest.approx(0, abs=1e-9)
    assert alarm.gold.slope < 0


@pytest.mark.parametrize(
    ("proxies", "golds"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4]),  # both rise
        ([4, 3, 2, 1], [4, 3, 2, 1]),  # both fall: no over-optimisation but a collapse
        ([4, 3, 2, 1], [1, 2, 3, 4]),
        ([1, 1, 1, 1], [4, 3, 2, 1]),
    ],
)
def test_any_other_pair_of_trends_is_no_alarm(proxies, golds):
    assert all(row["alarm"] == 0 for row in feed(watcher(window=3), proxies, golds))


def test_too_few_evaluations_are_no_trend():
    assert all(row["alarm"] == 0 for row in feed(watcher(window=4), [1, 2, 3], [3, 2, 1]))


def test_a_trend_within_its_noise_is_none():
    generator = torch.Generator().manual_seed(0)
    raised = 0
    for _ in range(200):
        found = watcher(window=4)
        for place in range(4):
            noise = torch.randn(2, 32, generator=generator).double()
            values = {"proxy": noise[0] + 3, "taste": noise[1] + 3, "text": noise[1] + 3}
            figures = found.look(place, {name: v.tolist() for name, v in values.items()})
        raised += figures["alarm"]
    # by chance each trend exceeds two standard errors on its side in 2.7 % (Student, 31), both
    # in 0.07 %: 0.15 expected in 200
    assert raised <= 2


def test_the_slope_is_least_squares_with_the_images_spread_as_its_error():
    values = torch.tensor([[0.0, 0.0], [1.0, 2.0], [2.0, 7.0]]).double()
    found = trend([0, 50, 100], values)
    assert found.slope == pytest.approx((2 + 7) / 2)
    assert found.error == pytest.approx((7 - 2) / 2)  # sd 5/√2 over √2
    assert (found.beyond(1.5), found.beyond(2.0)) == (1, 0)
    assert Trend(-1.0, 0.1).beyond(2) == -1


# The toy's images turn bright for the proxy; "dull" is what nobody trains on.


class Dull:
    def __call__(self, images, prompts):
        return 1 - images.mean((1, 2, 3))

    def close(self):
        pass


def dull(options: Options):
    return Dull()


HACKED = {
    "reward": ["brightness", {"use": "test:dull", "weight": 0}],
    "rollout": {"groups": 4, "group_size": 8, "batch_size": 32},
    "train": {"iterations": 12, "learning_rate": 0.05},
    "evaluate": {"every": 1, "num_images": 16},
    "checkpoint": {"every": 100, "keep": 1},
}


def hacked(directory, watch, resume=False, observer=None):
    host = toy_host(dull=("rewards", dull))
    if observer is not None:
        host.add(observer, Origin("nosy", "2.0", "nosy", "nosy"))
    config = parse_config(toy_tree(**HACKED, watch=watch))
    settings = {"registry": host.registry, "observers": host.observers(), "report": False}
    return train(config, directory, resume=resume, **settings)


def test_a_hacked_reward_raises_the_alarm_in_a_real_run(tmp_path):
    hacked(tmp_path, {"window": 4})
    found = [row for row in rows(tmp_path, "metrics") if "gold" in row]
    assert found[0]["gold"] == pytest.approx(1)
    assert found[-1]["proxy"] > found[0]["proxy"]
    assert found[-1]["gold"] < 1
    assert found[-1]["alarm"] == 1


def test_the_watch_can_stop_the_run_and_the_adapter_is_the_best_by_gold(tmp_path):
    outcome = hacked(tmp_path, {"window": 4, "stop": True, "keep_best": True})
    assert isinstance(outcome.alarm, Alarm)
    assert not outcome.finished
    assert outcome.iteration < 12
    best = max((r for r in rows(tmp_path, "metrics") if r["iteration"]), key=lambda r: r["gold"])
    assert outcome.alarm.best == best["iteration"]
    assert checkpoints(tmp_path) == sorted({best["iteration"], outcome.iteration})
    from safetensors.torch import load_file

    (saved,) = (tmp_path / "adapter").glob("*.safetensors")
    (weights,) = load_file(saved).values()
    assert torch.equal(weights, state(tmp_path, best["iteration"])["ema.target"])


def test_without_keep_best_the_adapter_is_the_last(tmp_path):
    hacked(tmp_path, {"window": 4})
    from safetensors.torch import load_file

    (saved,) = (tmp_path / "adapter").glob("*.safetensors")
    assert torch.equal(*load_file(saved).values(), target(tmp_path, "ema"))
    assert checkpoints(tmp_path) == [12]


def test_a_run_that_goes_on_remembers_what_the_watch_has_seen(tmp_path):
    first = hacked(tmp_path / "a", {"window": 4, "stop": True})
    second = hacked(tmp_path / "a", {"window": 4, "stop": True}, resume=True)
    assert second.iteration == first.iteration + 1  # the next evaluation completes a window again
    assert second.alarm is not None


class Nosy:
    def __init__(self, fails=False):
        self.heard, self.fails = [], fails

    @hookimpl
    def guardcore_alarm_raised(self, iteration, alarm):
        self.heard.append((iteration, alarm))
        if self.fails:
            raise RuntimeError("not my day")


def test_an_observer_hears_every_alarm(tmp_path):
    nosy = Nosy()
    hacked(tmp_path, {"window": 4}, observer=nosy)
    alarmed = [row["iteration"] for row in rows(tmp_path, "metrics") if row.get("alarm")]
    assert [iteration for iteration, _ in nosy.heard] == alarmed
    assert all(alarm.iteration == iteration for iteration, alarm in nosy.heard)


def test_a_failing_observer_is_named_once_and_switched_off(tmp_path, caplog):
    nosy = Nosy(fails=True)
    with caplog.at_level(logging.WARNING):
        assert hacked(tmp_path, {"window": 4}, observer=nosy).finished
    assert len(nosy.heard) == 1
    said = [r.message for r in caplog.records if "not my day" in r.message]
    assert len(said) == 1
    assert "nosy 2.0" in said[0]


def test_the_built_in_observer_says_it_in_one_line(caplog):
    from guardcore_plugins.alarms import guardcore_alarm_raised

    alarm = Alarm(10, 40, Trend(3.21, 0.4), Trend(-0.5, 0.1), 25)
    with caplog.at_level(logging.WARNING):
        guardcore_alarm_raised(alarm=alarm)
    (record,) = caplog.records
    assert "rises (+3.21 ± 0.4 in 100 iterations)" in record.message
    assert "falls (-0.5 ± 0.1); gold was best after iteration 25" in record.message


def test_an_observer_changes_nothing_in_a_run(tmp_path):
    from runs import whole

    hacked(tmp_path / "alone", {"window": 4})
    hacked(tmp_path / "watched", {"window": 4}, observer=Nosy())
    assert whole(tmp_path / "alone") == whole(tmp_path / "watched")


def test_a_base_model_that_is_never_evaluated_has_no_gold(tmp_path):
    run(tmp_path, prompts={"eval": None})
    assert not any("proxy" in row or "gold" in row for row in rows(tmp_path, "metrics"))
