"""Errors of a store; each message says what was found, what was expected and what to do."""

from __future__ import annotations


class StoreError(Exception):
    """A store that cannot be opened, read or written."""


class MixedKeysError(StoreError):
    """Clips of one stream that were extracted with different settings."""
