"""A signal becomes a question; none is lost and none is asked twice."""

import os
import signal
import threading

import pytest

from xguide_jax import training


def send(number):
    os.kill(os.getpid(), number)


@pytest.fixture
def arrived():
    """The signals that reach the handlers of outside."""
    arrived = []
    handler = lambda number, frame: arrived.append(number)
    before = {n: signal.signal(n, handler) for n in (signal.SIGINT, signal.SIGTERM)}
    yield arrived
    for number, old in before.items():
        signal.signal(number, old)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_remembered_and_handlers_are_put_back(number, arrived):
    with training.stop_on_signals() as stop:
        assert stop() == 0
        send(number)
        assert stop() == number
        assert stop() == number
    assert arrived == []  # it was asked about
    send(number)
    assert arrived == [number]


def test_a_second_interrupt_is_not_waited_for(arrived):
    with training.stop_on_signals() as stop:
        send(signal.SIGINT)
        assert arrived == []
        send(signal.SIGINT)
        assert arrived == [signal.SIGINT]
        assert stop() == signal.SIGINT


def test_a_second_interrupt_raises_where_python_has_its_own_handler(arrived):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell may ignore

    def interrupt_twice():
        with training.stop_on_signals():
            send(signal.SIGINT)
            send(signal.SIGINT)
            pytest.fail("went on")

    with pytest.raises(KeyboardInterrupt):
        interrupt_twice()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_scheduler_that_asks_twice_is_told_once(arrived):
    with training.stop_on_signals() as stop:
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        assert arrived == []
        assert stop() == signal.SIGTERM


def test_a_signal_that_nobody_asked_about_arrives_after_the_block(arrived):
    with training.stop_on_signals():
        send(signal.SIGTERM)
        assert arrived == []
    assert arrived == [signal.SIGTERM]


def test_a_signal_that_came_after_the_last_question_arrives_as_well(arrived):
    with training.stop_on_signals() as stop:
        assert stop() == 0
        send(signal.SIGTERM)
    assert arrived == [signal.SIGTERM]


def test_the_first_of_two_signals_is_the_one_that_is_told(arrived):
    with training.stop_on_signals((signal.SIGTERM, signal.SIGUSR1)) as stop:
        send(signal.SIGTERM)
        send(signal.SIGUSR1)
        assert stop() == signal.SIGTERM


def test_handlers_are_put_back_after_an_error(arrived):
    with pytest.raises(KeyError), training.stop_on_signals():
        raise KeyError
    send(signal.SIGTERM)
    assert arrived == [signal.SIGTERM]


def test_another_thread_is_left_alone():
    handlers, said = [], []

    def run():
        with training.stop_on_signals() as stop:
            handlers.append(signal.getsignal(signal.SIGTERM))
            said.append(stop())

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert handlers == [before]
    assert said == [0]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (15, 143)])
def test_uncaught_it_ends_a_process_with_the_status_of_the_signal(number, status):
    assert isinstance(training.Interrupted(number), SystemExit)
    assert training.Interrupted(number).code == status
