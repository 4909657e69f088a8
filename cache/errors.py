"""Store errors. Each message says what was found, what was expected and what to do."""

from __future__ import annotations


class StoreError(Exception):
    """A store, or a file to import, cannot be opened, read or written."""


class MixedKeysError(StoreError):
    """The clips of one stream were extracted with different settings."""
