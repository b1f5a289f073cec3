"""Stopping a run between two steps where a signal asks for it.

A terminal sends SIGINT, a scheduler that wants its machine back SIGTERM. At either the
step that is running is finished and the state saved, by whoever asks `stop()`.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from xguide_jax.types import TrainState


class Interrupted(SystemExit):
    """A run was asked to stop and did, after its state was saved.

    Uncaught it ends the process with the status that shells expect, 128 + signal (130
    for SIGINT, 143 for SIGTERM), and without a traceback.

    Attributes:
      signal: its number.
      state: the one that was reached and given to `on_save`.
    """

    def __init__(self, number: int, state: TrainState | None = None):
        super().__init__(128 + number)
        self.signal = number
        self.state = state

    def __str__(self) -> str:
        where = "" if self.state is None else f" after step {int(self.state.step)}"
        return f"stopped by {signal.Signals(self.signal).name}{where}"


@contextlib.contextmanager
def stop_on_signals(
    signals: Sequence[int] = (signal.SIGINT, signal.SIGTERM),
) -> Iterator[Callable[[], int]]:
    """Turns signals into a question that a loop asks between its steps.

        with training.stop_on_signals() as stop:
            state = training.fit(..., on_save=save, stop=stop)

    The first signal is remembered; a SIGINT after it interrupts at once, by the handler
    of before. Handlers are those of before when the block ends, and a signal that
    nobody asked about is then sent again, so that none is lost. Outside of the main
    thread, where Python takes no signals, nothing is changed and `stop` says 0.

    Args:
      signals: their numbers.

    Yields:
      `stop() -> int`: the number of the signal that came, 0 for none.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    came, told = 0, False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = came or number
        if signal.SIGINT in before:
            signal.signal(signal.SIGINT, before[signal.SIGINT])

    def stop() -> int:
        nonlocal told
        told = told or came != 0
        return came

    before = {number: signal.getsignal(number) for number in signals}
    try:
        for number in signals:
            signal.signal(number, remember)
        yield stop
    finally:
        for number, handler in before.items():
            # None: set by other than Python, which cannot put it back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if came and not told:
        signal.raise_signal(came)
