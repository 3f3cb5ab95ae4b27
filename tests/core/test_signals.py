import os
import signal
import threading

import pytest

from guardcore.signals import StopRequest

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@BOTH
def test_the_first_signal_is_remembered_and_announced_once(number):
    told = []
    with StopRequest(told.append) as stop:
        assert stop.received is None
        os.kill(os.getpid(), number)
        assert stop.received is number
    assert told == [number]


@BOTH
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_stops_at_once(number, second):
    with pytest.raises(KeyboardInterrupt), StopRequest(lambda received: None):
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), second)


@BOTH
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
