import os
import signal
import threading

import pytest

from guardcore.signals import GO_ON, PREEMPTING, StopRequest, exit_code

HEEDED = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]
EACH = pytest.mark.parametrize("number", HEEDED)


@EACH
def test_the_first_signal_is_remembered_and_announced_once(number):
    told = []
    with StopRequest(told.append) as stop:
        assert stop.received is None
        os.kill(os.getpid(), number)
        assert stop.received is number
    assert told == [number]


@EACH
def test_ctrl_c_after_any_stops_at_once(number):
    with pytest.raises(KeyboardInterrupt), StopRequest(lambda received: None):
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGINT)


@EACH
@pytest.mark.parametrize("second", PREEMPTING)
def test_a_scheduler_is_heard_once(number, second):
    told = []
    with StopRequest(told.append) as stop:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), second)
        os.kill(os.getpid(), second)
    assert told == [number]
    assert stop.received is number


def test_a_scheduler_can_tell_by_the_code_that_the_run_is_to_go_on():
    assert [exit_code(number) for number in HEEDED] == [130, 75, 75]
    assert os.EX_TEMPFAIL == GO_ON


@EACH
def test_the_handlers_from_before_are_back_afterwards_also_after_an_error(number):
    before = signal.getsignal(number)
    with StopRequest(lambda received: None):
        assert signal.getsignal(number) != before
    assert signal.getsignal(number) == before
    with pytest.raises(RuntimeError), StopRequest(lambda received: None):
        raise RuntimeError
    assert signal.getsignal(number) == before


def test_outside_the_main_thread_it_leaves_signals_alone():
    # a notebook or a server may train in a thread, where Python allows no handlers
    outcome = []

    def work():
        with StopRequest(outcome.append) as stop:
            outcome.append(stop.received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert outcome == [None]
