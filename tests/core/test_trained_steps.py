"""A run trains what its window chooses, and a window that breaks its contract is named."""

import pytest

from guardcore import Options
from guardcore.errors import ComponentError
from runs import metrics, rows, run, whole
from toy import toy_host

LONG = {"num_inference_steps": 6, "batch_size": 4}


def hosting(window, options=Options):
    """A host with a window ``mine``."""

    def factory(given: options):
        return window

    return toy_host(mine=("windows", factory))


def trained(directory):
    """Each iteration's trained steps."""
    found = {}
    for row in rows(directory, "steps"):
        found.setdefault(row["iteration"], set()).add(row["step"])
    return {iteration: sorted(steps) for iteration, steps in found.items()}


def falling(iteration, steps, generator):
    """Fewer steps in each iteration, and others."""
    return range(iteration, steps) if iteration < 3 else [0, 4]


def test_the_steps_may_be_others_and_fewer_in_each_iteration(tmp_path):
    sections = {"rollout": {**LONG, "train_steps": "mine"}, "record": {"iterations": 3}}
    run(tmp_path, host=hosting(falling), report=True, **sections)
    assert trained(tmp_path) == {1: [1, 2, 3, 4], 2: [2, 3, 4], 3: [0, 4]}
    assert all(row["grad_norm"] > 0 for row in metrics(tmp_path)[1:])
    assert (tmp_path / "report.html").is_file()


def test_an_advantage_a_step_has_as_many_columns_as_the_iteration_has_steps(tmp_path):
    seen = []

    def factory(options: Options):
        def advantage(rewards, groups, weights):
            columns = {1: 4, 2: 3, 3: 2}[1 + len(seen)]
            seen.append(columns)
            values = rewards["brightness"] - rewards["brightness"].mean()
            return values[:, None].expand(-1, columns)

        return advantage

    def windows(options: Options):
        return falling

    host = toy_host(mine=("windows", windows), columns=("advantages", factory))
    rollout = {**LONG, "train_steps": "mine"}
    run(tmp_path, host=host, advantage="columns", rollout=rollout, prompts={"eval": None})
    assert seen == [4, 3, 2]


def test_chance_in_a_window_comes_back_when_a_run_is_resumed(tmp_path):
    def drawing(iteration, steps, generator):
        import torch

        return sorted(torch.randperm(steps, generator=generator)[: 1 + iteration % 2].tolist())

    sections = {"rollout": {**LONG, "train_steps": "mine"}}
    host = hosting(drawing)
    run(tmp_path / "one", host=host, train={"iterations": 4}, **sections)
    run(tmp_path / "two", host=host, train={"iterations": 2}, **sections)
    run(tmp_path / "two", host=host, resume=True, train={"iterations": 4}, **sections)
    assert trained(tmp_path / "one") == trained(tmp_path / "two")
    assert len({tuple(steps) for steps in trained(tmp_path / "one").values()}) > 1
    assert whole(tmp_path / "one")["state"] == whole(tmp_path / "two")["state"]


@pytest.mark.parametrize(
    "chosen",
    [[], [5], [-1], [1, 1], [2, 1], [0.0], [True], None, RuntimeError("no steps today")],
    ids=str,
)
def test_a_window_that_breaks_its_contract_is_named_before_there_is_a_run(tmp_path, chosen):
    def window(iteration, steps, generator):
        if isinstance(chosen, Exception):
            raise chosen
        return chosen

    directory = tmp_path / "run"
    with pytest.raises(ComponentError, match=r"^window 'test:mine' (must|raised)"):
        run(directory, host=hosting(window), rollout={**LONG, "train_steps": "mine"})
    assert not directory.exists()


def test_one_that_breaks_it_later_is_named_with_the_iteration(tmp_path):
    def window(iteration, steps, generator):
        return [0] if iteration < 3 else [steps]

    with pytest.raises(ComponentError, match=r"'test:mine' must .* iteration 3 it returned \[5\]"):
        run(tmp_path, host=hosting(window), rollout={**LONG, "train_steps": "mine"})
    assert [row["iteration"] for row in metrics(tmp_path)] == [0, 1, 2]


def test_only_steps_that_a_window_may_choose_need_a_density(tmp_path):
    # past the middle this sampler is the ODE: a window that says that it stays before it may run
    from guardcore import ode_step
    from guardcore.transition import Transition

    class Early:
        def transition(self, velocity, x, step):
            euler = ode_step(velocity, x, step)
            return Transition(euler.mean, (step.sigma - 0.5).clamp(min=0), euler.velocity_gain)

    def early(options: Options):
        return Early()

    class Reaching(Options):
        def reach(self, steps):
            return range(2)

    def plain(options: Options):
        return lambda iteration, steps, generator: [0, 1]

    def reaching(options: Reaching):
        return lambda iteration, steps, generator: [0, 1]

    host = toy_host(
        early=("samplers", early), plain=("windows", plain), reaching=("windows", reaching)
    )
    sections = {"sampler": "early", "prompts": {"eval": None}, "strategy": "plain"}
    run(tmp_path / "a", host=host, rollout={**LONG, "train_steps": "reaching"}, **sections)
    with pytest.raises(Exception, match="deterministic at step 3"):
        run(tmp_path / "b", host=host, rollout={**LONG, "train_steps": "plain"}, **sections)
