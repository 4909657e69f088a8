"""A clip as a row of a manifest."""

from __future__ import annotations

from dataclasses import dataclass

ClipKey = tuple[str, str]
"""``(split, id)``, unique in a store."""


@dataclass(frozen=True, slots=True)  # there may be a million of them
class Clip:
    """A recording and its labels, as known before extraction.

    Ids are unique only within a split (AFEW repeats some across splits), so :attr:`key` identifies a clip.
    ``label`` is ``None`` for unlabelled test clips; ``subject`` and ``session`` are ``None`` if unknown.
    """

    id: str
    split: str
    path: str = ""
    label: str | None = None
    subject: str | None = None
    session: str | None = None

    @property
    def key(self) -> ClipKey:
        """``(split, id)``."""
        return (self.split, self.id)

    def __str__(self) -> str:
        return f"{self.split}/{self.id}"
