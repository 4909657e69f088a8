"""Errors of stage 2; each message says what was found, what was expected and what to do."""

from __future__ import annotations


class FusionError(Exception):
    """Scores, runs or settings that cannot be used as they are."""


class NotHeld(FusionError):
    """A feature that a store does not hold."""
