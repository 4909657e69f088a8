"""Whole numbers that strangers wrote."""

from __future__ import annotations

import pytest

from avemo.cache.digits import whole_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", 12),
        ("007", 7),
        ("٣", 3),
        ("", None),
        ("-1", None),
        ("1.5", None),
        (" 2", None),
        ("9" * 5000, None),
    ],
)
def test_a_whole_number_or_nothing(text: str, number: int | None) -> None:
    assert whole_number(text) == number
