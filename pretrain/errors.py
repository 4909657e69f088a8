"""Errors of pre-training."""

from __future__ import annotations


class PretrainError(ValueError):
    """Unusable data or settings; the message says what was expected and what to do."""
