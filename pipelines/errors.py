"""Errors of commands; each message says what was found, what was expected and what to do."""

from __future__ import annotations

from ..pretrain.errors import PretrainError


class DatasetError(ValueError):
    """Clips that were not found where expected; the message says what was expected."""


class NotThisDataset(DatasetError):
    """A folder whose layout is not that of the data set."""


class NotThisLayout(PretrainError):
    """Files whose layout is not that of the data set; the message says what was expected."""


class DownloadError(ValueError):
    """A file that cannot be had from its address; the text says why, in a word."""


class ClusterError(ValueError):
    """The engine, or its workers, cannot do the work. The text says what was found, and the remedy."""
