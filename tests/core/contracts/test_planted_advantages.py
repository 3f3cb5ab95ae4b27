"""The group advantage, (R − group mean)/(std + eps), with the bugs that implementations have had."""

import pytest
import torch

from guardcore.testing import check_advantage
from laws import broken


def total(rewards, weights):
    return sum(weights[name] * values for name, values in rewards.items() if weights[name] != 0)


def in_groups(values, groups, what):
    """Return ``what(values of the group, number)`` at the group's places."""
    result = torch.zeros_like(values)
    for number in set(groups.tolist()):
        result[groups == number] = what(values[groups == number], number)
    return result


def centred(values):
    alike = values.max() == values.min()
    return torch.zeros_like(values) if alike else values - values.mean()


def standardised(values):
    return centred(values) / (values.std(correction=0) + 1e-4)


def sound(rewards, groups, weights):
    return in_groups(total(rewards, weights), groups, lambda own, _: standardised(own))


def std_of_the_next_group(rewards, groups, weights):
    values, numbers = total(rewards, weights), sorted(set(groups.tolist()))

    def what(own, number):
        after = numbers[(numbers.index(number) + 1) % len(numbers)]
        return centred(own) / (values[groups == after].std(correction=0) + 1e-4)

    return in_groups(values, groups, what)


def mean_of_the_batch(rewards, groups, weights):
    values = total(rewards, weights)
    return (values - values.mean()) / (values.std(correction=0) + 1e-4)


def rounding_of_a_constant_group(rewards, groups, weights):
    values = total(rewards, weights)
    return in_groups(
        values, groups, lambda own, _: (own - own.mean()) / (own.std(correction=0) + 1e-12)
    )


def no_eps(rewards, groups, weights):
    values = total(rewards, weights)
    return in_groups(values, groups, lambda own, _: (own - own.mean()) / own.std(correction=0))


def off_the_median(rewards, groups, weights):
    values = total(rewards, weights)
    return in_groups(values, groups, lambda own, _: own - own.median())


def off_the_best(rewards, groups, weights):
    values = total(rewards, weights)
    return in_groups(values, groups, lambda own, _: own - own.max())


def groups_by_their_order(rewards, groups, weights):
    """Group 0 stands first, and so on: true of a rollout, and not of what is gathered from many."""
    sizes = torch.bincount(groups).tolist()
    return torch.cat([standardised(own) for own in total(rewards, weights).split(sizes)])


def later_images_count_more(rewards, groups, weights):
    advantage = sound(rewards, groups, weights)
    return in_groups(advantage, groups, lambda own, _: centred(own * torch.arange(len(own))))


def lower_is_better(rewards, groups, weights):
    return -sound(rewards, groups, weights)


def weights_left_out(rewards, groups, weights):
    return sound(rewards, groups, dict.fromkeys(weights, 1.0))


def rewards_in_place(rewards, groups, weights):
    for values in rewards.values():
        values.sub_(values.mean())
    return sound(rewards, groups, weights)


def in_half_precision(rewards, groups, weights):
    return sound(rewards, groups, weights).half()


def one_a_group(rewards, groups, weights):
    return torch.stack(
        [sound(rewards, groups, weights)[groups == g].max() for g in set(groups.tolist())]
    )


@pytest.mark.parametrize(
    ("advantage", "law"),
    [
        (std_of_the_next_group, "group-numbers-are-labels"),
        (mean_of_the_batch, "constant-group-gets-zero"),
        (rounding_of_a_constant_group, "constant-group-gets-zero"),
        (no_eps, "finite"),
        (off_the_median, "zero-mean-per-group"),
        (off_the_best, "zero-mean-per-group"),
        (groups_by_their_order, "constant-group-gets-zero"),
        (later_images_count_more, "order-of-images-does-not-matter"),
        (lower_is_better, "higher-is-better"),
        (weights_left_out, "weight-zero-counts-for-nothing"),
        (rewards_in_place, "pure"),
        (in_half_precision, "one-number-an-image"),
        (one_a_group, "one-number-an-image"),
    ],
)
def test_an_advantage_with_a_bug_breaks_the_law_that_forbids_it(advantage, law):
    assert broken(check_advantage, advantage).law == law


def test_a_sound_one_passes_for_each_step_as_well():
    def growing(rewards, groups, weights):
        return sound(rewards, groups, weights)[:, None] * torch.tensor([1.0, 2.0, 3.0])

    check_advantage(sound)
    check_advantage(growing)


def test_one_that_keeps_only_the_best_and_the_worst_passes():
    def extremes(rewards, groups, weights):
        def what(own, _):
            z, order = standardised(own), own.argsort()
            kept = torch.zeros_like(own, dtype=torch.bool)
            kept[order[-2:]] = kept[order[:1]] = True
            return z * kept

        return in_groups(total(rewards, weights), groups, what)

    check_advantage(extremes)


def test_leave_one_out_passes():
    def leave_one_out(rewards, groups, weights):
        def what(own, _):
            return centred(own) * len(own) / (len(own) - 1)

        return in_groups(total(rewards, weights), groups, what)

    check_advantage(leave_one_out)


def test_a_tight_clip_does_not_hide_a_wrong_mean():
    def off_the_median_and_clipped(rewards, groups, weights):
        return off_the_median(rewards, groups, weights).clamp(-3, 3)

    def clipped(rewards, groups, weights):
        return sound(rewards, groups, weights).clamp(-1, 1)

    assert broken(check_advantage, off_the_median_and_clipped).law == "zero-mean-per-group"
    check_advantage(clipped)
