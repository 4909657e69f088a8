"""Errors of commands; each message says what was found, what was expected and what to do."""

from __future__ import annotations

from ..pretrain.errors import PretrainError


class DatasetError(ValueError):
    """Clips were not found where expected; the message says what was expected."""


class NotThisDataset(DatasetError):
    """The folder's layout is not that of the data set."""


class NotThisLayout(PretrainError):
    """The files' layout is not that of the data set; the message says what was expected."""


class DownloadError(ValueError):
    """A file cannot be downloaded; the text says why in a few words."""


class ClusterError(ValueError):
    """The engine or its workers cannot do the work; the text says what was found and what to do."""
