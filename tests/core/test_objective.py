"""The reference costs a forward only where a penalty asks for it."""

import pytest
import torch

from guardcore import Options
from runs import ONE_UPDATE, run, spying_host


@pytest.mark.parametrize("penalised", [False, True])
def test_the_reference_is_computed_only_when_a_penalty_is_configured(tmp_path, penalised):
    host, spies = spying_host()
    run(
        tmp_path,
        host=host,
        backbone="spy",
        penalty=["kl"] if penalised else [],
        rollout={"batch_size": 15},
        train=ONE_UPDATE,
        prompts={"eval": None},
    )
    calls = spies[-1].seen
    assert sum(call["grad"] for call in calls) == 3
    assert sum(not call["trained"] for call in calls) == (3 if penalised else 0)
    assert not any(call["grad"] for call in calls if not call["trained"])


def test_a_word_may_look_at_all_that_design_promises(tmp_path):
    seen = []

    def word(options: Options):
        def look(terms, context):
            seen.append((terms, context))
            return terms

        return look

    from toy import toy_host

    run(
        tmp_path,
        host=toy_host(look=("ratio_transforms", word)),
        strategy="plain",
        ratio=["look"],
        penalty=["kl"],
        reduction="sum",
        rollout={"batch_size": 15},
        train={"iterations": 1},
        prompts={"eval": None},
    )
    for terms, context in seen:
        assert context.reduction == "sum"
        assert terms.low.tolist() == [0.0] * 15
        assert terms.high.tolist() == [torch.inf] * 15
        assert context.advantage.shape == context.step.sigma.shape == (15,)
        assert context.velocity.shape == context.x_next.shape == (15, 3, 2, 2)
        assert context.reference_velocity.shape == context.reference.mean.shape == (15, 3, 2, 2)
        assert context.velocity.requires_grad
        assert context.new.mean.requires_grad
        for fixed in (context.old.mean, context.reference.mean, context.x_next, context.advantage):
            assert not fixed.requires_grad
    first = [context for _, context in seen[:3]]
    assert [context.step.index.tolist() for context in first] == [[i] * 15 for i in range(3)]
    for context in first:
        assert torch.equal(context.new.mean.detach(), context.old.mean)
