"""Renders HTML pages from ``templates/``. A page embeds its styles and scripts and loads nothing."""

from __future__ import annotations

import base64
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ... import __version__


@cache
def templates() -> Environment:
    """Return the templates. They escape every value that is not marked as HTML."""
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        extensions=["jinja2.ext.do"],
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {
        "allow_nan": False,
        "ensure_ascii": False,
        "separators": (",", ":"),
    }
    environment.filters["percent"] = percent
    environment.globals |= {"asset": asset, "version": __version__}
    return environment


def render(template: str, **values: object) -> str:
    """Render a template as a page."""
    return templates().get_template(template).render(values)


def percent(share: float) -> str:
    """Format ``0.6144`` as ``61.4%``."""
    return f"{share:.1%}"


@cache
def asset(name: str) -> Markup:
    """Return a style sheet or script from ``templates/``, unescaped."""
    return Markup((files(__package__) / "templates" / name).read_text(encoding="utf-8"))


def inlined(data: bytes, kind: str = "image/jpeg") -> str:
    """Return a picture as a data URL, to embed it in a page."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
