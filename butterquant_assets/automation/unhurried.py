"""Work that a tick of a sensor must not wait for: it goes on in the background, and a later tick takes its result."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Unhurried(Generic[T]):
    """One piece of work, done again for every result that is taken, never twice at once.

    A daemon gives a tick 60 seconds. A tick that takes longer leaves no cursor, so that whatever it did is done again.

    Parameters
    ----------
    work
        what is done. It must not depend on the tick: its result may be as old as the time since the last one.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._running: Future[T] | None = None

    def result(self, seconds: float) -> T:
        """The result of what was begun earlier, or else begun now; what it raised is raised.

        Raises
        ------
        TimeoutError
            if there is none after so many seconds; the work goes on.
        """
        running = self._running
        if running is None:
            running = self._running = Future()
            # Nobody waits for it when the process ends.
            threading.Thread(target=self._do, args=(running,), daemon=True, name="unhurried look").start()
        try:
            done = running.exception(seconds)
        except TimeoutError:
            raise TimeoutError("looking takes longer than a tick may; it goes on, and the next tick looks") from None
        self._running = None
        if done is not None:
            raise done
        return running.result()

    def _do(self, running: Future[T]) -> None:
        try:
            running.set_result(self._work())
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the tick that waits for the result
            running.set_exception(error)
