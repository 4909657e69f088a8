"""Finds the media files or pictures below a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ....cache.order import natural

SOUND_SUFFIXES = frozenset(
    {
        *(".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".au", ".caf", ".flac", ".m4a", ".mka", ".mp2"),
        *(".mp3", ".mpa", ".oga", ".ogg", ".opus", ".spx", ".w64", ".wav", ".wma"),
    }
)
VIDEO_SUFFIXES = frozenset(
    {
        *(".264", ".265", ".3g2", ".3gp", ".3gpp", ".asf", ".avc", ".avi", ".divx", ".dv", ".f4v", ".flv"),
        *(".gif", ".h264", ".h265", ".hevc", ".ivf", ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg"),
        *(".mjpg", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mpv", ".mts", ".mxf", ".nut", ".ogm"),
        *(".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".wtv", ".y4m"),
    }
)
MEDIA_SUFFIXES = SOUND_SUFFIXES | VIDEO_SUFFIXES


class LeftOut(NamedTuple):
    """A file or folder that is not used.

    Attributes:
        path: path below the folder searched.
        reason: why it is not used.
        spare: whether it is only redundant; if not, the user should check it.
        detail: the part of the explanation that differs between files with the same reason.
    """

    path: str
    reason: str
    spare: bool = False
    detail: str = ""

    @property
    def why(self) -> str:
        """The reason with its detail."""
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


@dataclass(frozen=True)
class Tree:
    """Result of :func:`scan`.

    Attributes:
        root: absolute path of the folder.
        files: wanted files relative to ``root``, in natural order.
        left_out: unreadable and repeated entries.
    """

    root: Path
    files: list[PurePosixPath]
    left_out: list[LeftOut]

    @cached_property
    def stems(self) -> list[str]:
        """The paths of the files without their suffixes."""
        return [str(file)[: -len(file.suffix)] for file in self.files]


def scan(root: Path, suffixes: frozenset[str] = MEDIA_SUFFIXES) -> Tree:
    """Find the files below ``root`` with one of ``suffixes``.

    Links are followed, but no folder is entered twice. Hidden entries are skipped (macOS creates
    ``._clip.avi`` beside ``clip.avi``).
    """
    root = root.absolute()  # resolve() would replace links by their targets
    files: list[PurePosixPath] = []
    left_out: list[LeftOut] = []
    seen: dict[tuple[int, int], str] = {}
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            status = (root / folder).stat()
            twin = seen.setdefault((status.st_dev, status.st_ino), folder)
            if twin != folder:
                left_out.append(
                    LeftOut(folder, "a link to a folder that is already searched", True, twin or root.name)
                )
                continue
            entries = _visible_entries(root / folder)
        except OSError as error:
            left_out.append(LeftOut(folder or str(root), f"folder cannot be read: {error.strerror}"))
            continue
        inner: list[str] = []
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            kind = _kind(entry, suffixes)
            if kind == "folder":
                inner.append(path)
            elif kind == "file":
                files.append(PurePosixPath(path))
            elif kind:
                left_out.append(LeftOut(path.encode(errors="backslashreplace").decode(), kind))
        waiting.extend(reversed(inner))
    return Tree(root, sorted(files, key=path_order), sorted(left_out, key=lambda item: path_order(item.path)))


def _visible_entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder, links last, so that folders are found by their own names first."""
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    return sorted(visible, key=lambda entry: (entry.is_symlink(), entry.name))


def _kind(entry: os.DirEntry[str], suffixes: frozenset[str]) -> str:
    """Return ``"folder"``, ``"file"``, an empty string for unwanted entries, or why an entry is unusable."""
    try:
        folder, file = entry.is_dir(), entry.is_file()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not folder and PurePosixPath(entry.name).suffix.lower() not in suffixes:
        return ""
    if not folder and not file:
        return "not a file: a link to nothing, or a device"
    if any("\ud800" <= letter <= "\udfff" for letter in entry.name):
        return "name is not UTF-8: rename it"
    return "folder" if folder else "file"


def is_media(name: str) -> bool:
    """Return whether a file has the suffix of a video or sound file."""
    return PurePosixPath(name).suffix.lower() in MEDIA_SUFFIXES


def is_sound(path: str) -> bool:
    """Return whether a file has the suffix of a sound file."""
    return PurePosixPath(path).suffix.lower() in SOUND_SUFFIXES


def path_order(path: str | PurePosixPath) -> tuple[list[list[str | int]], str]:
    """Sort key: folder by folder, numbers by value (``clip2`` before ``clip10``), ignoring case."""
    text = str(path)
    return [natural(part) for part in text.casefold().split("/")], text
