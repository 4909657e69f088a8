"""Errors of stage 1. Each message says what was found, what was expected and what to do."""

from __future__ import annotations


class ExtractError(ValueError):
    """The settings are invalid, or nothing can be extracted with them."""


class ClipError(Exception):
    """One clip cannot be used; the run continues without it."""


class DeviceError(ExtractError):
    """The networks' device failed and can no longer be used by this process; the clip may be fine."""


class WeightsError(ExtractError):
    """A weights file is missing, unreadable, unsafe, or belongs to another network."""
