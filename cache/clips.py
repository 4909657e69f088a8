"""A clip as a row of a manifest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Clip:
    """One recording and what is known of it before anything is extracted.

    Ids are unique within a split only (AFEW repeats some across splits), so a clip is addressed by
    :attr:`key`. ``label`` is ``None`` for unlabelled test clips, ``subject`` where nobody is named, and
    ``session`` where no sitting in which it was recorded is.
    """

    id: str
    split: str
    path: str = ""
    label: str | None = None
    subject: str | None = None
    session: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """``(split, id)``, unique in a store."""
        return (self.split, self.id)

    def __str__(self) -> str:
        return f"{self.split}/{self.id}"
