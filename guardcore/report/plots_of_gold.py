"""Is the reward still the goal? The figures, and the sentences above them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guardcore.report import figures_of_gold
from guardcore.report.canvas import Plot
from guardcore.report.curves import Curve, evaluation_curves
from guardcore.report.gold import (
    GOLD,
    PROXY,
    alarms,
    gold_curves,
    has_gold,
    judges,
    was_watched,
    ways,
)
from guardcore.report.groups import Group

_BOTH = (
    "The proxy is what the run is trained on. Gold is the mean of the rewards with weight 0, which "
    "only judge, each divided by the base model's value: the base model is at 1. Both are taken on "
    "the held-out prompts."
)
_ALARM = (
    "An alarm means: over the last {window} evaluations the proxy went up and gold went down, each "
    "by more than {sigmas:g} standard errors. The model has learnt to please its reward, and the "
    "images pay for it; more iterations make it worse. Go back to the best checkpoint; to train "
    "further, lower train.learning_rate or choose another strategy."
)
_NO_ALARM = (
    "No alarm was raised: at no evaluation had the proxy gone up and gold gone down over the last "
    "{window}, each by more than {sigmas:g} standard errors."
)
_TOO_SHORT = "There were fewer than {window} evaluations, so no trend could raise an alarm."
_NO_GOLD = (
    "Nothing but the trained reward has judged these images, and a trained reward cannot tell when "
    "it is being fooled. A reward with weight 0 is never trained on, only watched: "
    "--reward NAME:weight=0 adds one, and this section then shows whether both rise together."
)
_NO_BASE = (
    "No reward with weight 0 has a positive score on the base model's images, and gold is a score "
    "over the base model's; how each went is shown below."
)


def gold_text(groups: Sequence[Group]) -> str:
    """Return what the figures compare and what the watch said; empty for runs without a watch."""
    if not was_watched(groups):
        return ""
    if not has_gold(groups):
        judged = any(judges(run) for group in groups for run in group.runs)
        return _NO_BASE if judged else _NO_GOLD
    watch = groups[0].runs[0].config.get("watch") or {}
    told = {"window": watch.get("window", 4), "sigmas": watch.get("sigmas", 2.0)}
    if alarms(groups):
        sentence = _ALARM
    else:
        longest = max(len(run.series(GOLD)) for group in groups for run in group.runs)
        sentence = _NO_ALARM if longest >= told["window"] else _TOO_SHORT
    return f"{_BOTH} {sentence.format(**told)}"


def gold_plots(groups: Sequence[Group]) -> Iterator[Plot]:
    """Yield proxy against gold, and both over the iterations; nothing where there is no gold."""
    found = ways(groups)
    if not found:
        return
    yield Plot(
        "proxy-against-gold",
        "Proxy against gold",
        "A dot an evaluation, from the base model (hollow) to the last, its iteration beside it. "
        "Up and to the right is progress; to the right and down is over-optimisation. Of two runs "
        "at the same proxy, the higher one is better.",
        figures_of_gold.proxy_against_gold(found),
    )
    proxy, gold = evaluation_curves(groups, PROXY), gold_curves(groups)
    yield Plot(
        "proxy-and-gold",
        "Proxy and gold over the iterations",
        "Where the upper curve goes on rising and the lower one turns down, the reward has ceased "
        f"to be the goal; crosses are alarms. {_spread(gold)}",
        figures_of_gold.proxy_and_gold(proxy, gold, found),
    )


def _spread(gold: Sequence[Curve]) -> str:
    if any(curve.traces for curve in gold):
        return "Thin: single seeds; band: ± one standard deviation over them."
    return "Band: ± one standard error of gold's change since the base model, image by image."
