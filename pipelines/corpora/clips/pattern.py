"""Path patterns that describe how files are named: ``{actor}-{sentence}-{emotion}_{take}``.

=====================  ==============================================================================
``{name}``             one or more characters, up to the one that follows in the pattern
``{name:REGEX}``       text that matches the regular expression; ``{:REGEX}`` to ignore the text
``*``                  zero or more characters within a folder or file name
``**/``                zero or more folders
=====================  ==============================================================================

Other characters match themselves, letters in either case. A pattern matches the end of a path without its
suffix, starting at the beginning of a folder or file name; outer folders are ignored. Some placeholders have
a meaning (:data:`ROLES`); others help to tell recordings apart.
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
"""Placeholder → role. A ``part`` with known choices says whether a file has the whole recording."""

_WITHOUT_PART = {name: role for name, role in ROLES.items() if role != "part"}

SHOWN = 12  # number of choices listed in an error
_PART = re.compile(r"\{(?:\\.|\{[^{}]*\}|[^{}\\])*\}|\*\*/|\*|[^{*]+|\{")


class PathFields(NamedTuple):
    """The fields that a pattern read from a path.

    Attributes:
        id: matched text, without the split folder.
        by_role: role (see :data:`ROLES`) → text.
        values: placeholder → text.
        recording: text of named placeholders and wildcards, with split and part blank: the same for all files
            of a recording within a split.
    """

    id: str
    by_role: dict[str, str]
    values: dict[str, str]
    recording: tuple[str, ...]


class Piece(NamedTuple):
    """A literal or placeholder, as written and as a regular expression."""

    written: str
    regex: str


class PathPattern:
    """A compiled path pattern.

    Args:
        text: the pattern.
        choices: role → allowed texts, if known.

    Raises:
        DatasetError: the pattern is invalid.

    Example:
        >>> PathPattern("{actor}-{emotion}_*").match("b/03-sad_1").by_role
        {'subject': '03', 'label': 'sad'}
    """

    def __init__(self, text: str, choices: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self.text = text
        self._pieces = _pieces(text, choices or {})
        self._regex = self._compile(len(self._pieces), end="$")
        self._roles = _roles(text, self._regex, ROLES if choices and choices.get("part") else _WITHOUT_PART)
        blanked = [name for name, role in self._roles.items() if role in ("part", "split")]
        self._blanked = [self._regex.groupindex[name] - 1 for name in blanked]

    def match(self, path: str) -> PathFields | None:
        """Match a path without its suffix; return its fields, or None if it does not match."""
        match = self._regex.search(path)
        if match is None:
            return None
        values = match.groupdict("")
        by_role = {role: values[name] for name, role in self._roles.items()}
        groups = [(group or "").casefold() for group in match.groups()]
        for index in self._blanked:
            groups[index] = ""
        whole = match[0].removeprefix("/")
        split = f"{by_role['split']}/" if by_role.get("split") else ""
        return PathFields(whole.removeprefix(split), by_role, values, tuple(groups))

    def explain_mismatch(self, path: str) -> str:
        """Explain where and why the pattern does not match a path."""
        count, end = max(self._attempts(path))
        here = f"at '{path[end:]}'" if end < len(path) else "at its end"
        expected = self._pieces[count].written if count < len(self._pieces) else "the end of the name"
        return f"fails {here}, where {expected} is expected"

    def _attempts(self, path: str) -> Iterator[tuple[int, int]]:
        """Yield, for each start in the path, how many pieces match and at which index the match ends."""
        starts = [0, *(i + 1 for i, letter in enumerate(path) if letter == "/")]
        for start in starts:
            for count in range(len(self._pieces), -1, -1):
                match = self._compile(count).match(path, start)
                if match:
                    yield count, match.end()
                    break

    def _compile(self, count: int, end: str = "") -> re.Pattern[str]:
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
    """Return the pattern without a file suffix, since patterns match paths without one."""
    return text.rpartition(".")[0] if is_media(text) or text.endswith(".*") else text


def _split(text: str) -> list[str]:
    """Split a pattern into placeholders (with the braces in their regexes), wildcards and literals."""
    parts = _PART.findall(text)
    if "{" in parts:
        rest = "".join(parts[parts.index("{") :])
        raise DatasetError(f"the pattern '{text}' has an unclosed brace at '{rest}'")
    return parts


def _placeholder(part: str, following: str, text: str, choices: Mapping[str, Mapping[str, str]]) -> Piece:
    name, colon, regex = part[1:-1].partition(":")
    if not name.isidentifier() and not (colon and not name):
        raise DatasetError(f"'{part}' in the pattern '{text}': expected a name, such as {{emotion}}")
    known = choices.get(ROLES.get(name, ""), {})
    written = part
    if not colon and known:
        regex = "|".join(sorted(map(re.escape, known), key=len, reverse=True))
        written = f"{part} ({', '.join([*known][:SHOWN])}{', …' if len(known) > SHOWN else ''})"
    elif not colon:
        regex = _up_to(part, following, text)
    return Piece(written, f"(?P<{name}>{regex})" if name else f"(?:{regex})")


def _up_to(part: str, following: str, text: str) -> str:
    """Return a regex for the text up to the next literal character, or to the end of the name."""
    if following.startswith("{") and ":" in following:
        return "[^/]+?"
    if following.startswith(("{", "*")):
        raise DatasetError(
            f"nothing separates '{part}' and '{following}' in the pattern '{text}': say what one of them "
            f"consists of, as in '{part[:-1]}:[a-z]+}}' for letters or '{part[:-1]}:[0-9]+}}' for digits"
        )
    return f"[^/{re.escape(following[:1])}]+"


def _roles(text: str, regex: re.Pattern[str], known: Mapping[str, str]) -> dict[str, str]:
    """Return placeholder → role, for placeholders with a role."""
    roles: dict[str, str] = {}
    for name in regex.groupindex:
        role = known.get(name)
        if role in roles.values():
            raise DatasetError(f"the pattern '{text}' names the {role} twice")
        if role:
            roles[name] = role
    return roles
