"""Naming schemes as patterns of paths: ``{actor}-{sentence}-{emotion}_{take}``.

=====================  ==============================================================================
``{name}``             one or more characters, up to the one that follows in the pattern
``{name:REGEX}``       what the regular expression matches; ``{:REGEX}`` where that tells nothing
``*``                  any characters within a folder's or file's name, or none
``**/``                any folders, or none
=====================  ==============================================================================

Other characters stand for themselves, letters in either case. A pattern fits the end of a path without its
suffix, from the beginning of a folder's or file's name; what lies above does not matter. Some names have a
meaning (:data:`ROLES`); others help to tell recordings apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ...errors import DatasetError
from .scan import is_media

ROLES = {
    **dict.fromkeys(("emotion", "label"), "label"),
    **dict.fromkeys(("subject", "actor", "speaker"), "subject"),
    "session": "session",
    "split": "split",
    "part": "part",
}
"""Placeholder → what it says of a clip. A ``part`` whose choices are known says what a file holds of its
recording."""

_WITHOUT_PART = {name: role for name, role in ROLES.items() if role != "part"}

SHOWN = 12  # choices that an error lists
_PART = re.compile(r"\{(?:\\.|\{[^{}]*\}|[^{}\\])*\}|\*\*/|\*|[^{*]+|\{")


class Named(NamedTuple):
    """What a pattern read from a path.

    Attributes:
        id: what the pattern matched, without the folder of its split.
        says: role → text, of :data:`ROLES`.
        values: placeholder → text.
        recording: what placeholders with a name and wildcards matched, but for the split and the part: the
            same for all files of a recording of a split.
    """

    id: str
    says: dict[str, str]
    values: dict[str, str]
    recording: tuple[str, ...]


class Piece(NamedTuple):
    """A literal or a placeholder: as written, and as a regular expression."""

    written: str
    regex: str


class PathPattern:
    """A pattern of paths.

    Args:
        text: the pattern.
        choices: role → the only texts that stand for it, where they are known.

    Raises:
        DatasetError: it is no pattern.

    Example:
        >>> PathPattern("{actor}-{emotion}_*").match("b/03-sad_1").says
        {'subject': '03', 'label': 'sad'}
    """

    def __init__(self, text: str, choices: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self.text = text
        self._pieces = _pieces(text, choices or {})
        self._regex = self._compiled(len(self._pieces), end="$")
        self._roles = _roles(text, self._regex, ROLES if choices and choices.get("part") else _WITHOUT_PART)
        apart = [name for name, role in self._roles.items() if role in ("part", "split")]
        self._apart = [self._regex.groupindex[name] - 1 for name in apart]

    def match(self, path: str) -> Named | None:
        """What a path without its suffix says, or None where the pattern does not fit."""
        match = self._regex.search(path)
        if match is None:
            return None
        values = match.groupdict("")
        says = {role: values[name] for name, role in self._roles.items()}
        groups = [(group or "").casefold() for group in match.groups()]
        for index in self._apart:
            groups[index] = ""
        whole = match[0].removeprefix("/")
        split = f"{says['split']}/" if says.get("split") else ""
        return Named(whole.removeprefix(split), says, values, tuple(groups))

    def misfit(self, path: str) -> str:
        """Where and why the pattern does not fit a path, which it does not."""
        done, end = max(self._attempts(path))
        here = f"at '{path[end:]}'" if end < len(path) else "at its end"
        expected = self._pieces[done].written if done < len(self._pieces) else "the end of the name"
        return f"fails {here}, where {expected} is expected"

    def _attempts(self, path: str) -> Iterator[tuple[int, int]]:
        """From each beginning: how many pieces fit, and where the rest of the path begins."""
        starts = [0, *(i + 1 for i, letter in enumerate(path) if letter == "/")]
        for start in starts:
            for count in range(len(self._pieces), -1, -1):
                match = self._compiled(count).match(path, start)
                if match:
                    yield count, match.end()
                    break

    def _compiled(self, count: int, end: str = "") -> re.Pattern[str]:
        body = "".join(piece.regex for piece in self._pieces[:count])
        try:
            return re.compile(f"(?:^|/){body}$" if end else body, re.IGNORECASE)
        except re.error as error:
            raise DatasetError(f"the pattern '{self.text}' cannot be used: {error}") from error


def _pieces(text: str, choices: Mapping[str, Mapping[str, str]]) -> list[Piece]:
    parts = _split(_without_suffix(text))
    if not any(part.startswith("{") for part in parts):
        raise DatasetError(
            f"the pattern '{text}' has no placeholder; expected one like "
            "'{actor}-{sentence}-{emotion}_{take}'"
        )
    pieces = []
    for part, following in zip(parts, [*parts[1:], ""], strict=True):
        if part == "**/":
            pieces.append(Piece("any folders", "((?:[^/]+/)*)"))
        elif part == "*":
            pieces.append(Piece("anything", "([^/]*?)"))
        elif part.startswith("{"):
            pieces.append(_placeholder(part, following, text, choices))
        else:
            pieces.append(Piece(f"'{part}'", re.escape(part)))
    return pieces


def _without_suffix(text: str) -> str:
    """Patterns are of names without their suffix, whether or not it is written."""
    return text.rpartition(".")[0] if is_media(text) or text.endswith(".*") else text


def _split(text: str) -> list[str]:
    """Placeholders (with the braces of their regular expressions), wildcards, and what is between them."""
    parts = _PART.findall(text)
    if "{" in parts:
        rest = "".join(parts[parts.index("{") :])
        raise DatasetError(f"the pattern '{text}' has a brace at '{rest}' that is not closed")
    return parts


def _placeholder(part: str, following: str, text: str, choices: Mapping[str, Mapping[str, str]]) -> Piece:
    name, colon, regex = part[1:-1].partition(":")
    if not name.isidentifier() and not (colon and not name):
        raise DatasetError(f"'{part}' in the pattern '{text}': expected a name of letters, {{emotion}} say")
    known = choices.get(ROLES.get(name, ""), {})
    written = part
    if not colon and known:
        regex = "|".join(sorted(map(re.escape, known), key=len, reverse=True))
        written = f"{part} ({', '.join([*known][:SHOWN])}{', …' if len(known) > SHOWN else ''})"
    elif not colon:
        regex = _up_to(part, following, text)
    return Piece(written, f"(?P<{name}>{regex})" if name else f"(?:{regex})")


def _up_to(part: str, following: str, text: str) -> str:
    """Characters up to the one that follows; to the end of the name where none does."""
    if following.startswith("{") and ":" in following:
        return "[^/]+?"
    if following.startswith(("{", "*")):
        raise DatasetError(
            f"nothing separates '{part}' and '{following}' in the pattern '{text}': say what one of them "
            f"consists of, as in '{part[:-1]}:[a-z]+}}' for letters or '{part[:-1]}:[0-9]+}}' for digits"
        )
    return f"[^/{re.escape(following[:1])}]+"


def _roles(text: str, regex: re.Pattern[str], known: Mapping[str, str]) -> dict[str, str]:
    """Placeholder → role, for those that have one."""
    roles: dict[str, str] = {}
    for name in regex.groupindex:
        role = known.get(name)
        if role in roles.values():
            raise DatasetError(f"the pattern '{text}' names the {role} twice")
        if role:
            roles[name] = role
    return roles
