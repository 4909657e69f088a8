"""What pre-training raises."""

from __future__ import annotations


class PretrainError(ValueError):
    """Data or settings that cannot be trained with; the text says what was expected and what to do."""
