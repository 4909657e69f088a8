"""Maintains the folder of a preview: draws missing sheets and writes the index page."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...cli.progress import progress_bar

if TYPE_CHECKING:
    from ....cache.rows import Row
    from ....cache.store import FeatureStore
    from .facts import Subject, Track

BATCH = 4  # sheets submitted per thread at a time; these are still drawn after Ctrl-C
LAYOUT = 1  # version of the sheet layout; sheets with another version are redrawn
SHEET = re.compile(r".*-[0-9a-f]{12}\.jpg(\.\d+\.tmp)?")  # includes temporary files


class Preview:
    """The sheets and the index page of a store's clips.

    Args:
        store: store with the face tracks.
        rows: rows of the clips to show.
        out: folder for the page.
        frames: frames per sheet.
        source: name of the clips' source, as the user gave it.
    """

    def __init__(self, store: FeatureStore, rows: Sequence[Row], out: Path, frames: int, source: str) -> None:
        from .facts import subject_of

        self.out = out
        self.source = source
        self._store = store
        self._frames = frames
        self._rows = {row.clip.key: row for row in rows}
        bar = progress_bar(rows, desc="tracks", unit="clip", leave=False)
        self.subjects = sorted((subject_of(store, row) for row in bar), key=lambda subject: subject.rank)
        self._names = {subject.clip.key: self._name(subject) for subject in self.subjects}

    @property
    def failed(self) -> list[Subject]:
        """Clips that failed or have damaged files."""
        return [s for s in self.subjects if s.problem or any(n.startswith("damaged") for n in s.notes)]

    @property
    def sheets(self) -> dict[tuple[str, str], str]:
        """Existing sheets: clip → path relative to the page."""
        folder = self.out / "sheets"
        existing = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        return {key: f"sheets/{name}" for key, name in self._names.items() if name in existing}

    def draw(self, count: int, workers: int) -> None:
        """Draw the missing sheets of the ``count`` worst clips (0: all), and write the page."""
        showable = [subject for subject in self.subjects if subject.track or not subject.problem]
        wanted = showable[: count or None]
        existing = self.sheets
        todo = [subject for subject in wanted if subject.clip.key not in existing]
        (self.out / "sheets").mkdir(parents=True, exist_ok=True)
        self._write()
        try:
            with progress_bar(
                total=len(wanted), initial=len(wanted) - len(todo), unit="sheet", disable=not todo
            ) as bar:
                for _ in self._draw_sheets(todo, workers):
                    bar.update()
            self._clear()
        finally:
            self._write()

    def table(self) -> dict[str, Any]:
        """Return all clips as JSON values."""
        sheets = self.sheets
        return {
            "source": self.source,
            "page": str(self.out / "index.html"),
            "clips": [
                {
                    **asdict(subject.clip),
                    "detection_rate": subject.track and subject.track.rate,
                    **(asdict(subject.track) if subject.track else {}),
                    "problem": subject.problem or None,
                    "notes": list(subject.notes),
                    "sheet": sheets.get(subject.clip.key),
                }
                for subject in self.subjects
            ],
        }

    def _draw_sheets(self, todo: Sequence[Subject], workers: int) -> Iterator[None]:
        """Draw in threads, as decoding and drawing release the GIL; read tracks in the calling thread."""
        from ....extract.run import usable_cores

        count = max(1, min(workers or usable_cores(), len(todo)))
        with ThreadPoolExecutor(count) as pool:
            for start in range(0, len(todo), BATCH * count):
                batch = todo[start : start + BATCH * count]
                sheets = [pool.submit(self._sheet, subject, self._track(subject)) for subject in batch]
                for subject, sheet in zip(batch, sheets, strict=True):
                    self._save_sheet(subject, sheet)
                    yield

    def _save_sheet(self, subject: Subject, future: Future[bytes]) -> None:
        """Write a sheet, or record the error: a damaged file can make libraries fail in any way."""
        from ....fusion.files import replacing

        error = future.exception()
        if error is None:
            with replacing(self.out / "sheets" / self._names[subject.clip.key]) as temporary:
                temporary.write_bytes(future.result())
            return
        reason = f"its sheet could not be drawn: {type(error).__name__}: {error}"
        self.subjects[self.subjects.index(subject)] = replace(subject, problem=subject.problem or reason)

    def _sheet(self, subject: Subject, track: Track | None) -> bytes:
        import numpy as np

        from ..drawing import jpeg
        from .sheet import draw

        return jpeg(np.asarray(draw(subject, track, self._frames)))

    def _track(self, subject: Subject) -> Track | None:
        from ....extract.streams.faces import FACES

        return self._store.read(self._rows[subject.clip.key], FACES) if subject.track else None

    def _name(self, subject: Subject) -> str:
        """Return the file name of a sheet: the clip's name, and a digest of everything on the sheet."""
        from ....fusion.files import as_file_name

        about = (LAYOUT, self._frames, asdict(subject.clip), subject.problem, subject.notes, subject.content)
        digest = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]
        return f"{as_file_name(str(subject.clip))[:60]}-{digest}.jpg"

    def _clear(self) -> None:
        """Remove outdated sheets."""
        current = set(self._names.values())
        for path in (self.out / "sheets").iterdir():
            if path.name not in current and SHEET.fullmatch(path.name):
                path.unlink()

    def _write(self) -> None:
        from ....fusion.files import write_text
        from .index import index

        text = index(self.source, self._detector_sentence(), self.subjects, self.sheets, self._frames)
        write_text(self.out / "index.html", text)

    def _detector_sentence(self) -> str:
        from ....extract.streams.faces import FACES

        entries = [row.entries[FACES] for row in self._rows.values() if FACES in row.entries]
        ways = {
            (str(entry.key.settings.get("detector", "imported")), entry.key.settings.get("max_frames"))
            for entry in entries
        }
        phrases = [
            f"{name} in {f'at most {frames} frames per clip' if frames else 'all frames'}"
            for name, frames in ways
        ]
        return (
            f"Faces found by {' and by '.join(sorted(phrases))}." if phrases else "No face detection was run."
        )
