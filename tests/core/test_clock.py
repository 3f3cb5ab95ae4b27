import time

import pytest

from guardcore.clock import Clock


def test_the_phases_and_the_rest_add_up_to_the_total():
    clock = Clock()
    for phase in ("rollout", "reward", "rollout"):
        with clock(phase):
            time.sleep(0.01)
    time.sleep(0.01)
    lap = clock.lap()
    parts = sum(value for name, value in lap.items() if name != "seconds/total")
    assert parts == pytest.approx(lap["seconds/total"], abs=1e-9)
    assert lap["seconds/rollout"] >= 0.02
    assert lap["seconds/reward"] >= 0.01
    assert lap["seconds/rest"] >= 0.01


def test_a_phase_within_another_counts_towards_the_outer_one():
    clock = Clock()
    with clock("evaluate"), clock("reward"):
        time.sleep(0.01)
    lap = clock.lap()
    assert "seconds/reward" not in lap
    assert lap["seconds/evaluate"] >= 0.01


def test_a_lap_begins_anew():
    clock = Clock()
    with clock("rollout"):
        time.sleep(0.01)
    clock.lap()
    lap = clock.lap()
    assert set(lap) == {"seconds/rest", "seconds/total"}
    assert lap["seconds/total"] < 0.01


def test_a_phase_that_fails_is_over():
    clock = Clock()
    with pytest.raises(RuntimeError), clock("reward"):
        raise RuntimeError
    with clock("rollout"):
        pass
    assert "seconds/rollout" in clock.lap()


def test_work_beside_is_reported_and_no_part_of_the_total():
    clock = Clock()
    clock.beside("reward/ocr", 100.0)
    clock.beside("reward/ocr", 1.0)
    with clock("evaluate"):
        clock.beside("reward/ocr", 1000.0)  # the evaluation's, as its phases are
    lap = clock.lap()
    assert lap["seconds/reward/ocr"] == 101.0
    assert lap["seconds/total"] == pytest.approx(lap["seconds/evaluate"] + lap["seconds/rest"])
    assert "seconds/reward/ocr" not in clock.lap()
