"""An HTML page that loads nothing: elements that escape what they hold, its frame, its style and scripts."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files


class Html(str):
    """Text that is HTML already, and is not escaped again."""


def element(name: str, *children: object, **attributes: object) -> Html:
    """``<name ...>children</name>``; every child and value that is not :class:`Html` is escaped.

    A trailing underscore of an attribute's name is dropped, others become hyphens (``class_``,
    ``stroke_width``); an attribute that is None is left out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{given}>{together(children)}</{name}>")


def together(parts: Iterable[object]) -> Html:
    """``parts`` one after the other, what is not :class:`Html` escaped."""
    return Html("".join(part if isinstance(part, Html) else html.escape(str(part)) for part in parts))


def section(title: str, *body: object) -> Html:
    """A part of the page under a small heading."""
    return element("section", element("h3", title), *body)


def table(header: Sequence[str], rows: Sequence[Sequence[object]], sortable: bool = False) -> Html:
    """Rows under a header, the first column names and the others numbers; it scrolls where it is too wide.
    One that is ``sortable`` needs ``sort.js``."""
    head = [
        element("th", name, scope="col", class_="number" if place else None)
        for place, name in enumerate(header)
    ]
    body = [
        element(
            "tr",
            element("th", first, scope="row"),
            *(element("td", cell, class_="number") for cell in others),
        )
        for first, *others in rows
    ]
    parts = element("thead", element("tr", *head)), element("tbody", *body)
    whole = element("table", *parts, class_="sortable" if sortable else None)
    return element("div", whole, class_="wide")


def percent(share: float) -> str:
    """``0.6144`` as ``61.4%``."""
    return f"{share:.1%}"


def page(
    title: str,
    about: str,
    body: Iterable[Html],
    footer: str,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    library: str = "",
) -> str:
    """The whole document; it loads nothing from anywhere.

    Args:
        title: of the page.
        about: what it is about; beside the title where a browser lists its pages.
        body: what stands on it.
        footer: its last line.
        styles, scripts: names of files in ``assets/`` that it needs beside ``page.css``, in this order.
            Tables of class ``sortable`` need ``sort.js``.
        library: a script of others, as text, that comes last: what needs it waits for the event ``load``.
    """
    css = "".join(map(asset, ("page.css", *styles)))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{element('title', f'{title}: {about}')}\n<style>{css}</style>\n</head>\n<body>\n"
        f"{element('h1', title)}\n"
        + "\n".join(body)
        + f"\n{element('footer', footer)}\n"
        + "".join(f"<script>{code}</script>\n" for code in (*map(asset, scripts), library) if code)
        + "</body>\n</html>\n"
    )


@cache
def asset(name: str) -> str:
    """The text of a style sheet or script that comes with the package."""
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")
