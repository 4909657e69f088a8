"""How far the work on a clip is, told to whoever waits for it: it shows that the clip gets on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

from .stopwatch import Stopwatch

OnProgress = Callable[[str, str, float, float], None]
"""Is told the stage (:mod:`.stopwatch`); and what is made of frames (``faces``, ``features``, or nothing
yet), the time of the last frame and the clip's length in seconds."""

EVERY = 0.2  # seconds; a word about each packet would cost more than reading it


class Report:
    """What is told.

    Attributes:
        length: of the clip in seconds, once it is known.
    """

    def __init__(self) -> None:
        self.length = 0.0
        self._step, self._seconds = "", 0.0

    def on_frame(self, step: str, seconds: float) -> None:
        """Another frame is done; as :data:`.streams.base.OnFrame`."""
        self._step, self._seconds = step, seconds

    def tell(self, stage: str, on_progress: OnProgress) -> None:
        """Pass it on."""
        on_progress(stage, self._step, self._seconds, self.length)


@contextmanager
def reported(watch: Stopwatch, on_progress: OnProgress | None) -> Iterator[Report]:
    """Tell ``on_progress``, from a thread, whenever something was done by ``watch`` since it was last told.

    The thread runs on beside a decoder that hangs, but then has nothing to tell.
    """
    report = Report()
    if on_progress is None:
        yield report
        return
    ended = Event()
    thread = Thread(target=_tell, args=(watch, report, on_progress, ended), daemon=True)
    thread.start()
    try:
        yield report
    finally:
        ended.set()
        thread.join()


def _tell(watch: Stopwatch, report: Report, on_progress: OnProgress, ended: Event) -> None:
    told = None
    with suppress(OSError):  # whoever waited is gone
        while not ended.wait(EVERY):
            now = watch.steps, watch.doing
            if now != told:
                told = now
                report.tell(watch.doing, on_progress)
