"""A self-contained HTML page: elements that escape what they hold, the frame of the page, its style."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

STYLE = """
:root { --paper: #fff; --ink: #1b1f24; --faint: #5b6570; --line: #d9dee3; --tile: #f4f6f8;
  --first: #0b5394; --second: #c05a00; --warn: #fff4d6; --share: 8 81 156; --on-deep: #fff }
@media (prefers-color-scheme: dark) { @media not print {
  :root { --paper: #14171b; --ink: #e8ebee; --faint: #a3adb7; --line: #333a42; --tile: #1d2228;
    --first: #6cb6f2; --second: #f0a04b; --warn: #3d3211; --share: 86 180 233; --on-deep: #000 } } }
* { box-sizing: border-box; print-color-adjust: exact; -webkit-print-color-adjust: exact }
html { color-scheme: light dark; -webkit-text-size-adjust: 100% }
body { margin: 0 auto; max-width: 64rem; padding: 1.5rem 1rem 3rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .75rem }
h2 { font-size: 1.35rem; margin: 2.5rem 0 .75rem; padding-top: 1rem; border-top: 1px solid var(--line);
  overflow-wrap: anywhere }
h3 { font-size: 1.05rem; margin: 2rem 0 .5rem }
p { margin: .5rem 0; max-width: 44rem }
.faint, footer { color: var(--faint); font-size: .875rem }
.note { background: var(--warn); border-left: .3rem solid var(--second); padding: .6rem .9rem;
  max-width: none }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0 }
.tile { background: var(--tile); border-radius: .5rem; padding: .6rem 1rem; flex: 1 1 8rem }
.tile b { display: block; font-size: 1.8rem; line-height: 1.25; font-variant-numeric: tabular-nums }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; vertical-align: top }
thead th { color: var(--faint); font-weight: 500; font-size: .875rem; border-bottom: 1px solid var(--line) }
tbody th { font-weight: 500 }
.number { text-align: right; white-space: nowrap }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr));
  gap: 0 2.5rem }
.columns > * { min-width: 0 }
.confusion { border-spacing: 2px; border-collapse: separate; font-size: .875rem }
.confusion th { color: inherit; border: 0; padding: .1rem .5rem .1rem 0; vertical-align: middle }
.confusion thead th { padding: .2rem 0; vertical-align: bottom; text-align: center }
.confusion thead th span { writing-mode: vertical-rl; transform: rotate(180deg) }
.confusion td { min-width: 2.6rem; padding: .25rem .15rem; text-align: center; vertical-align: middle;
  line-height: 1.2; background: linear-gradient(rgb(var(--share) / var(--part)) 0 0) var(--tile) }
.confusion td small { display: block; font-size: .7rem }
.confusion td.deep { color: var(--on-deep) }
.bars { width: 100%; font-size: .9375rem }
.bars td, .bars th { vertical-align: middle }
.bars .track { width: 60%; padding-right: .6rem }
.bars .bar { background: var(--first); height: 1.05rem; width: var(--part); min-width: 2px;
  border-radius: 2px }
svg { width: 100%; height: auto; display: block; font: 13px system-ui, sans-serif; fill: var(--faint) }
svg .grid { stroke: var(--line) }
svg path { fill: none; stroke-linejoin: round }
.train { stroke: var(--second); stroke-dasharray: 5 3 }
.val { stroke: var(--first) }
.member { stroke-width: 1; opacity: .4 }
.mean { stroke-width: 2.5 }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; font-size: .875rem; margin: .3rem 0 }
.legend svg { display: inline-block; width: 1.8rem; height: .7rem; margin-right: .4rem }
.settings { columns: 3 18rem; column-gap: 2.5rem; margin: .5rem 0; font-size: .875rem }
.settings > div { display: grid; grid-template-columns: minmax(7.5rem, 1fr) 2fr; gap: .75rem;
  padding: .15rem 0; break-inside: avoid }
.settings dt { color: var(--faint) }
.settings dt, .settings dd { margin: 0; overflow-wrap: anywhere }
code { font: .85em ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere }
details { margin: .5rem 0 }
summary { cursor: pointer }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .6rem }
@media (max-width: 30rem) {
  .confusion td { min-width: 2.25rem; font-size: .75rem } .confusion td small { font-size: .625rem }
  .confusion th { padding-right: .2rem; font-size: .75rem } svg { font-size: 16px } }
@media print { body { max-width: none; padding: 0; font-size: 10pt } html { font-size: 10pt }
  .columns { grid-template-columns: 1fr 1fr; gap: 0 1.5rem } .confusion td { min-width: 2.2rem }
  section, .columns, tr, svg { break-inside: avoid } h2, h3 { break-after: avoid } }
"""


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


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Html:
    """Rows under a header, the first column names and the others numbers; it scrolls where it is too wide."""
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
    whole = element("table", element("thead", element("tr", *head)), element("tbody", *body))
    return element("div", whole, class_="wide")


def percent(share: float) -> str:
    """``0.6144`` as ``61.4%``."""
    return f"{share:.1%}"


def page(title: str, about: str, body: Iterable[Html], footer: str) -> str:
    """The whole document; it loads nothing from anywhere."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{element('title', f'{title}: {about}')}\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"{element('h1', title)}\n" + "\n".join(body) + f"\n{element('footer', footer)}\n</body>\n</html>\n"
    )
