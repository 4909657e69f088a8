"""What can go wrong in stage 1."""

from __future__ import annotations


class ExtractError(ValueError):
    """Wrong settings: nothing can be extracted. The text says what was given, expected, and the remedy."""


class ClipError(Exception):
    """One clip cannot be used; the run goes on without it. The text says what is wrong and what to do."""


class DeviceError(ExtractError):
    """The device that the networks run on failed, and with it this process; the clip may be whole."""


class WeightsError(ExtractError):
    """A weights file that is absent, unreadable, unsafe, or of another network."""
