"""Parses whole numbers that strangers wrote."""

from __future__ import annotations


def whole_number(text: str) -> int | None:
    """Parse up to nine decimal digits; return None for any other text.

    ``int`` raises an error for more than 4,300 digits, although ``str.isdecimal`` accepts them.
    """
    return int(text) if text.isdecimal() and len(text) < 10 else None
