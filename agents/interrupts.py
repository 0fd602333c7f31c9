"""Stopping at a good moment: ctrl-C and SIGTERM wait for the update that runs, so that nothing is lost.

A second signal does not wait.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.wanted = False

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; raise KeyboardInterrupt at the second."""
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        sys.stderr.write("\nstopping after this update (again: at once)\n")


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Note signals while the block runs; outside the main thread, where none arrive, none are noted."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.receive) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
