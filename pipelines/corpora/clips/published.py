"""Published counts of corpora, and their comparison with a folder."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ....cache.clips import Clip
from .folders import AFEW_CLASSES


@dataclass(frozen=True)
class Count:
    """A corpus, or a part that may be had on its own.

    Attributes:
        part: its name.
        clips: how many recordings.
        classes: of each class, where that is known.
        subjects: who is in it.
        each: how many of each subject, where all have as many.
        within: what its clips' ``SPLIT/ID`` begins with, as a regular expression.
    """

    part: str
    clips: int
    classes: Mapping[str, int] = field(default_factory=dict)
    subjects: tuple[str, ...] = ()
    each: int = 0
    within: str = ""


@dataclass(frozen=True)
class Comparison:
    """A part of a corpus here, compared with its published count.

    Attributes:
        here: clips.
        classes: class → clips here and published, where they differ.
        absent: subjects of whom there is no clip.
        fewer: subject → clips, of those who have fewer than every subject should.
    """

    count: Count
    here: int
    classes: dict[str, tuple[int, int]]
    absent: list[str]
    fewer: dict[str, int]

    @property
    def whole(self) -> bool:
        """Whether it has as many clips as published, or none, for then it was not wanted."""
        differs = self.here != self.count.clips or self.absent or self.fewer or self.classes
        return not (self.here and differs)


def compare(clips: Sequence[Clip], counts: Sequence[Count]) -> list[Comparison]:
    """Each part of a corpus with what of it is in ``clips``, whose classes are the corpus's own."""
    return [_compare(clips, count) for count in counts]


def _compare(clips: Sequence[Clip], count: Count) -> Comparison:
    here = [clip for clip in clips if re.match(count.within, str(clip))]
    classes = Counter(clip.label for clip in here if clip.label)
    subjects = Counter(clip.subject for clip in here if clip.subject)
    published = Counter(count.classes)
    names = dict.fromkeys([*published, *classes] if published else ())
    return Comparison(
        count,
        len(here),
        {name: (classes[name], published[name]) for name in names if classes[name] != published[name]},
        [name for name in count.subjects if not subjects[name]],
        {name: subjects[name] for name in count.subjects if 0 < subjects[name] < count.each},
    )


def _numbers(first: int, last: int, width: int = 1) -> tuple[str, ...]:
    return tuple(f"{number:0{width}}" for number in range(first, last + 1))


def _seven(*clips: int) -> dict[str, int]:
    return dict(zip(AFEW_CLASSES, clips, strict=True))


_SIX = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise")
_SUNG = ("Calm", "Happy", "Sad", "Angry", "Fear")
_IEMOCAP = tuple(f"Ses0{session}{speaker}" for session in range(1, 6) for speaker in "FM")
_RAVDESS = _numbers(1, 24, width=2)


def _iemocap(clips: int, **classes: int) -> tuple[Count]:
    return (Count("sentences", clips, classes, _IEMOCAP),)


PUBLISHED: dict[str, tuple[Count, ...]] = {
    "afew": (
        Count(
            "train",
            773,
            _seven(133, 74, 81, 150, 144, 117, 74),
            within="train/",
        ),
        Count(
            "val",
            383,
            _seven(64, 40, 46, 63, 63, 61, 46),
            within="val/",
        ),
        Count("test", 653, within="test/"),
    ),
    "java-sed": (
        Count(
            "clips",
            240,
            dict.fromkeys(("Angry", "Fear", "Happy", "Neutral", "Sad", "Surprise"), 40),
            _numbers(1, 10, width=2),
            24,
            within=r"all/\d\d-\d\d-\d\d_01$",
        ),
    ),
    "ravdess": (
        Count(
            "speech",
            1440,
            {"Neutral": 96} | dict.fromkeys((*_SUNG, "Disgust", "Surprise"), 192),
            _RAVDESS,
            60,
            within=r"all/\d\d-01-",
        ),
        Count(
            "song",
            1012,
            {"Neutral": 92} | dict.fromkeys(_SUNG, 184),
            tuple(actor for actor in _RAVDESS if actor != "18"),
            44,
            within=r"all/\d\d-02-",
        ),
    ),
    "crema-d": (
        Count(
            "clips",
            7442,
            {"Neutral": 1087} | dict.fromkeys(("Angry", "Disgust", "Fear", "Happy", "Sad"), 1271),
            _numbers(1001, 1091),
        ),
    ),
    "savee": (
        Count("clips", 480, {"Neutral": 120} | dict.fromkeys(_SIX, 60), ("DC", "JE", "JK", "KL"), 120),
    ),
    "rml": (Count("clips", 720, dict.fromkeys(_SIX, 120), _numbers(1, 8)),),
    "enterface": (Count("clips", 1293, dict.fromkeys(_SIX, 216) | {"Happy": 213}, _numbers(1, 44)),),
    "meld": (
        Count(
            "train",
            9989,
            _seven(1109, 271, 268, 1743, 4710, 683, 1205),
            within="train/",
        ),
        Count(
            "val",
            1109,
            _seven(153, 22, 40, 163, 470, 111, 150),
            within="val/",
        ),
        Count(
            "test",
            2610,
            _seven(345, 68, 50, 402, 1256, 208, 281),
            within="test/",
        ),
    ),
    "iemocap": _iemocap(2280, Angry=289, Happy=284, Neutral=1099, Sad=608),
    "iemocap-exc": _iemocap(2943, Angry=289, Happy=947, Neutral=1099, Sad=608),
    "iemocap-all": _iemocap(5531, Angry=1103, Happy=1636, Neutral=1708, Sad=1084),
    "iemocap-full": _iemocap(
        7529,
        Angry=1103,
        Disgust=2,
        Excited=1041,
        Fear=40,
        Frustrated=1849,
        Happy=595,
        Neutral=1708,
        Sad=1084,
        Surprise=107,
    ),
}
"""Name of a data set → its parts; ``docs/datasets.md`` tells where the counts are from."""
