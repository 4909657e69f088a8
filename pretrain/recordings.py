"""Labelled recordings, decoded once, as in stage 1."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import xxhash

from ..extract.decode.heard import SAMPLE_RATE
from ..extract.decode.media import Media
from ..extract.errors import ClipError
from .errors import PretrainError
from .packed import grouped
from .pictures import Skipped

MOST_BYTES = 2 << 30
"""Of sound that stays in memory: nine hours."""

SHORTEST, LONGEST = 0.2, 30.0
"""Seconds: what is shorter is no speech, and of what is longer the beginning is used."""

_FAINTEST = 2e-4  # between the lowest and the highest sample: 80 dB below full scale


@dataclass(frozen=True)
class Recording:
    """One labelled recording, not read yet.

    Attributes:
        name: what people call it.
        file: a sound, or a video with one.
        label: name of its class.
        part: ``train``, ``val`` or ``test`` where the data set says so, else empty.
        subject: who speaks; empty where nobody is named.
    """

    name: str
    file: Path
    label: str
    part: str = ""
    subject: str = ""


@dataclass(frozen=True)
class RecordingSet:
    """All recordings of a data set, in an order that is the same each time.

    Attributes:
        name: of the data set.
        classes: all that a label may be.
        recordings: those that can be tried.
        skipped: those that cannot, which should be looked at.
        notes: what the user should know.
    """

    name: str
    classes: tuple[str, ...]
    recordings: tuple[Recording, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()


class Sounds:
    """Sounds by their number, ``[S]`` float32 in [-1, 1] at 16 kHz, in memory as far as they fit.

    What does not fit is decoded again whenever it is asked for.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._held = most_bytes, 0
        self._files: list[Path] = []
        self._kept: list[np.ndarray | None] = []

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: int) -> np.ndarray:
        kept = self._kept[number]
        return read_sound(self._files[number])[0] if kept is None else kept

    def add(self, file: Path, sound: np.ndarray) -> None:
        """The next sound, which :func:`read_sound` gave for ``file``."""
        fits = self._held + sound.nbytes <= self._most
        self._held += sound.nbytes * fits
        self._files.append(file)
        self._kept.append(sound if fits else None)


@dataclass(frozen=True, eq=False)
class PackedRecordings:
    """N recordings that could be read.

    Attributes:
        classes: C names.
        sounds: N of them.
        seconds: ``[N]`` float64, how long each is.
        labels: ``[N, C]`` float32, 1 for the class and 0 else.
        parts: ``[N]`` of ``train``, ``val``, ``test`` or empty.
        subjects: ``[N]`` names of who speaks, or empty.
        groups: ``[N]`` int, one number for all of a subject, and for all of the very same sound.
        prints: N hashes of the sounds.
        skipped: recordings that could not be read.
        damaged: recordings of which only a part could be read, which is used.
    """

    classes: tuple[str, ...]
    sounds: Sounds
    seconds: np.ndarray
    labels: np.ndarray
    parts: np.ndarray
    subjects: np.ndarray
    groups: np.ndarray
    prints: tuple[bytes, ...]
    skipped: tuple[Skipped, ...]
    damaged: tuple[Skipped, ...]

    @cached_property
    def digest(self) -> str:
        """A fingerprint of sounds, labels, parts and subjects, in hexadecimal."""
        content = xxhash.xxh3_128(b"".join(self.prints))
        content.update(self.labels.data)
        content.update(json.dumps([self.parts.tolist(), self.subjects.tolist()]).encode())
        return content.hexdigest()

    @property
    def targets(self) -> np.ndarray:
        """``[N]`` int: the class."""
        return self.labels.argmax(1)


def pack_recordings(
    recordings: RecordingSet, on_recording: Callable[[], object], most_bytes: int = MOST_BYTES
) -> PackedRecordings:
    """Read every recording; one that cannot be read is left out.

    Args:
        recordings: what to read, in this order.
        on_recording: called once a recording.
        most_bytes: of sound that may stay in memory.

    Raises:
        PretrainError: no recording at all can be read.
    """
    sounds = Sounds(most_bytes)
    used: list[Recording] = []
    prints: list[bytes] = []
    seconds: list[float] = []
    skipped = list(recordings.skipped)
    damaged: list[Skipped] = []
    with ThreadPoolExecutor() as pool:
        outcomes = pool.map(_outcome, recordings.recordings)
        for recording, outcome in zip(recordings.recordings, outcomes, strict=True):
            on_recording()
            if isinstance(outcome, str):
                skipped.append(Skipped(recording.name, outcome))
                continue
            sound, warnings = outcome
            sounds.add(recording.file, sound)
            used.append(recording)
            prints.append(xxhash.xxh3_128_digest(sound.data))
            seconds.append(len(sound) / SAMPLE_RATE)
            damaged.extend(Skipped(recording.name, warning) for warning in warnings)
    if not used:
        first = f"; the first: {skipped[0].name}: {skipped[0].reason}" if skipped else ""
        raise PretrainError(
            f"{recordings.name}: none of {len(recordings.recordings)} recordings can be read{first}"
        )
    targets = [recordings.classes.index(recording.label) for recording in used]
    subjects = [recording.subject for recording in used]
    return PackedRecordings(
        recordings.classes,
        sounds,
        np.array(seconds),
        np.eye(len(recordings.classes), dtype=np.float32)[targets],
        np.array([recording.part for recording in used]),
        np.array(subjects),
        grouped(prints, subjects),
        tuple(prints),
        tuple(skipped),
        tuple(damaged),
    )


def read_sound(file: Path) -> tuple[np.ndarray, list[str]]:
    """The sound of a file, ``[S]`` float32 of up to 30 seconds, and what is wrong with it.

    Raises:
        PretrainError: there is none that can be trained with.
        ClipError: the file cannot be opened.
    """
    media = Media(file)
    if not media.has_sound:
        raise PretrainError("has no sound")
    most = round(LONGEST * SAMPLE_RATE)
    blocks: list[np.ndarray] = []
    count = 0
    for block in media.sound():
        blocks.append(block)
        count += len(block)
        if count >= most:
            break
    if count < SHORTEST * SAMPLE_RATE:
        why = f": {media.warnings[0]}" if media.warnings else ""
        raise PretrainError(
            f"has {count / SAMPLE_RATE:.2f} seconds of sound, expected {SHORTEST:g} or more{why}"
        )
    sound = np.concatenate(blocks)[:most].astype(np.float32, copy=False)
    if not np.isfinite(sound).all():
        raise PretrainError("has samples that are no finite numbers; decode it again, or repair it")
    if np.ptp(sound) < _FAINTEST:
        raise PretrainError("is silent")
    return sound, media.warnings


def _outcome(recording: Recording) -> tuple[np.ndarray, list[str]] | str:
    """The sound and what is wrong with it, or why there is none."""
    try:
        return read_sound(recording.file)
    except (PretrainError, ClipError) as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
    except Exception as error:  # a stranger's file may break a decoder in any way: it costs one recording
        return f"{type(error).__name__}: {error}"
