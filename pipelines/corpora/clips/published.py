"""Published counts of corpora, and their comparison with a folder."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ....cache.clips import Clip


@dataclass(frozen=True)
class Count:
    """A corpus, or a part that may be had on its own; ``schemes.toml`` says what the entries mean."""

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
