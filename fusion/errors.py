"""Errors of stage 2. Each message gives the value found, the value expected and a remedy."""

from __future__ import annotations


class FusionError(Exception):
    """Unusable scores, runs or settings."""


class NotHeld(FusionError):
    """The store does not hold a requested feature."""
