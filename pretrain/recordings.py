"""Labelled recordings, decoded once, as in stage 1."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xxhash

from ..extract.decode.heard import SAMPLE_RATE
from ..extract.decode.media import Media
from ..extract.errors import ClipError
from .errors import PretrainError
from .labelled import PackedSpeech, grouped, nothing_usable
from .pictures import Skipped, require_known

MOST_BYTES = 2 << 30
"""Maximum bytes of sound in memory: nine hours."""

SHORTEST, LONGEST = 0.2, 30.0
"""Seconds: shorter recordings are refused, longer ones are truncated."""

_FAINTEST = 2e-4  # peak to peak: 80 dB below full scale


@dataclass(frozen=True)
class Recording:
    """One labelled recording, not read yet.

    Attributes:
        name: display name.
        file: sound file, or video with sound.
        label: name of its class.
        part: ``train``, ``val`` or ``test`` if the data set defines it, else empty.
        subject: name of the speaker; empty if unknown.
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
        name: name of the data set.
        classes: all possible labels.
        recordings: recordings to read.
        skipped: recordings that cannot be read, for the user to check.
        notes: remarks for the user.
    """

    name: str
    classes: tuple[str, ...]
    recordings: tuple[Recording, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()

    def in_classes_of(self, classes: Sequence[str], weights: Path) -> RecordingSet:
        """Return the set with a network's ``classes``; raise :class:`PretrainError` for others."""
        require_known(self.classes, classes, "recordings", weights)
        return replace(self, classes=tuple(classes))


class Sounds:
    """Sounds by number, ``[S]`` float32 in [-1, 1] at 16 kHz, kept in memory as far as they fit.

    Others are decoded again at each access.
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
        """Add the next sound, which :func:`read_sound` returned for ``file``."""
        fits = self._held + sound.nbytes <= self._most
        self._held += sound.nbytes * fits
        self._files.append(file)
        self._kept.append(sound if fits else None)


@dataclass(frozen=True, eq=False, kw_only=True)
class PackedRecordings(PackedSpeech):
    """N recordings; recordings of one subject, or with identical sound, are a group.

    Attributes:
        sounds: N sounds.
        seconds: durations, ``[N]`` float64.
        prints: N hashes of the sounds.
        damaged: recordings that could be read only in part; that part is used.
    """

    sounds: Sounds
    seconds: np.ndarray
    prints: tuple[bytes, ...]
    damaged: tuple[Skipped, ...]

    def _content(self) -> Iterable[bytes | memoryview]:
        return *self.prints, *self._told()


def pack_recordings(
    recordings: RecordingSet,
    on_recording: Callable[[], object],
    most_bytes: int = MOST_BYTES,
    named: bool = True,
) -> PackedRecordings:
    """Read every recording, leaving out those that cannot be read.

    Args:
        recordings: recordings to read, in this order.
        on_recording: called after each recording.
        most_bytes: maximum bytes of sound to keep in memory.
        named: whether to use the names of speakers.

    Raises:
        PretrainError: no recording can be read.
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
        count = len(recordings.recordings)
        raise nothing_usable(recordings.name, f"{count} recordings can be read", skipped)
    targets = [recordings.classes.index(recording.label) for recording in used]
    subjects = [recording.subject if named else "" for recording in used]
    return PackedRecordings(
        classes=recordings.classes,
        sounds=sounds,
        seconds=np.array(seconds),
        labels=np.eye(len(recordings.classes), dtype=np.float32)[targets],
        parts=np.array([recording.part for recording in used]),
        subjects=np.array(subjects),
        groups=grouped(prints, subjects),
        prints=tuple(prints),
        skipped=tuple(skipped),
        damaged=tuple(damaged),
    )


def read_sound(file: Path) -> tuple[np.ndarray, list[str]]:
    """Read the sound of a file, ``[S]`` float32 of up to 30 seconds; also return its defects.

    Raises:
        PretrainError: the file has no usable sound.
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
        raise PretrainError("has non-finite samples; decode it again, or repair it")
    if np.ptp(sound) < _FAINTEST:
        raise PretrainError("is silent")
    return sound, media.warnings


def _outcome(recording: Recording) -> tuple[np.ndarray, list[str]] | str:
    """Return the sound and its defects, or why there is none."""
    try:
        return read_sound(recording.file)
    except (PretrainError, ClipError) as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
    except Exception as error:  # an untrusted file may break a decoder in any way: skip only this one
        return f"{type(error).__name__}: {error}"
