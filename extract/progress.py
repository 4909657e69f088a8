"""Reports the progress of a clip to the main process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

from .stopwatch import Stopwatch

OnProgress = Callable[[str, str, float, float], None]
"""Callback that gets the stage (:mod:`.stopwatch`), the step over the frames (``faces``, ``features`` or, at
first, the empty string), the time of the last frame and the clip's length, both in seconds."""

EVERY = 0.2  # seconds; a report for each packet would cost more than reading it


class Report:
    """The current progress of a clip.

    Attributes:
        length: length of the clip in seconds, 0 while unknown.
    """

    def __init__(self) -> None:
        self.length = 0.0
        self._step, self._seconds = "", 0.0

    def on_frame(self, step: str, seconds: float) -> None:
        """Record that another frame is done; see :data:`.streams.base.OnFrame`."""
        self._step, self._seconds = step, seconds

    def send(self, stage: str, on_progress: OnProgress) -> None:
        """Pass the progress to a callback."""
        on_progress(stage, self._step, self._seconds, self.length)


@contextmanager
def reported(watch: Stopwatch, on_progress: OnProgress | None) -> Iterator[Report]:
    """Call ``on_progress`` from a thread whenever ``watch`` has recorded a step since the last call.

    The thread keeps running if a decoder hangs, but then makes no calls.
    """
    report = Report()
    if on_progress is None:
        yield report
        return
    ended = Event()
    thread = Thread(target=_send_reports, args=(watch, report, on_progress, ended), daemon=True)
    thread.start()
    try:
        yield report
    finally:
        ended.set()
        thread.join()


def _send_reports(watch: Stopwatch, report: Report, on_progress: OnProgress, ended: Event) -> None:
    last = None
    with suppress(OSError):  # the main process is gone
        while not ended.wait(EVERY):
            now = watch.steps, watch.current_stage
            if now != last:
                last = now
                report.send(watch.current_stage, on_progress)
