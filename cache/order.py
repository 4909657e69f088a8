"""Natural sort order."""

from __future__ import annotations

import re


def natural(text: str) -> list[str | int]:
    """Return a sort key that compares digits in ``text`` as numbers: ``actor2`` before ``actor10``."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d{1,18})", text))]
