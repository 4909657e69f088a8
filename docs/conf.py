"""Sphinx configuration of the site, which `make docs` builds into build/docs.

Neither the build nor the pages load anything from elsewhere.
"""

from __future__ import annotations

import os
import re
import sys
from importlib import metadata
from pathlib import Path

import click
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from avemo.pipelines.cli.framework import by_group

ROOT = Path(__file__).resolve().parents[1]
# The notebook runs the commands of this environment.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

project = "avemo"
version = release = metadata.version("avemo")
html_title = f"avemo {version}"
language = "en"
smartquotes = False  # two hyphens are an option
highlight_language = "none"  # if no language is named

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
exclude_patterns = ["**/.ipynb_checkpoints"]

myst_heading_anchors = 4
myst_enable_extensions = ["html_image"]

# The notebook is run when the site is built, and again only when it changes.
nb_execution_mode = "cache"
nb_execution_cache_path = os.environ.get("AVEMO_NOTEBOOKS", str(ROOT / "build" / "notebooks"))
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
nb_output_stderr = "remove"  # progress bars
nb_ipywidgets_js = {}

autodoc_default_options = {"members": True, "show-inheritance": True, "ignore-module-all": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

OTHERS = (
    "numpy",
    "np",
    "av",
    "torch",
    "collections",
    "pathlib",
    "abc",
    "lightning_fabric",
    "click",
    "concurrent",
    "contextlib",
    "pandas",
)
# Names of other projects have no page here, and no inventories are downloaded for them.
nitpick_ignore_regex = [
    ("py:class", rf"({'|'.join(OTHERS)})\..*"),
    ("py:class", r"Tensor|(nn\.)?Module|State|Precision|Path|P|(dict|collections\.abc\.Mapping)\[.*"),
    ("py:(class|obj)", r"avemo\..*\.([A-Z]|_\w+)"),  # type variables and private names
    ("py:(class|obj)", r"avemo\..*\.(StreamSource|Changes)"),  # more type variables
    ("py:exc", r"FFmpegError"),
    ("py:(data|attr|meth)", r".*"),  # constants and attributes without a docstring
]
suppress_warnings = ["ref.python"]  # two rooms may have classes of the same name

html_theme = "furo"
html_static_path = ["assets"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}


CODE = re.compile(r"(``.*?``)|\|")
SEVERAL = re.compile(r"^(\s+)(\w+(?:, \w+)+): ")
QUOTED = re.compile(r"(?<!`)`([^`]+)`(?!`)")
STAR = re.compile(r"(\*\*Required\*\*)|\*")
OPEN = re.compile(r"<([^<>]*\[[^\]<>]*)>")  # sphinx-click strips the last bracket of NAME[@WEIGHTS]


def plain_docstring(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Escape text that napoleon and reST would mistake for markup.

    These are the bars of a length, a colon in a property's sentence, and several arguments on one line.
    """
    lines[:] = [CODE.sub(lambda found: found[1] or r"\|", line) for line in lines]
    lines[:] = [
        SEVERAL.sub(lambda found: f"{found[1]}{found[2].replace(', ', ',')}: ", line) for line in lines
    ]
    if what in ("attribute", "property", "data"):
        lines.insert(0, "\\")  # so that the first line is not taken for a type


def needless(app: Sphinx, what: str, name: str, thing: object, skip: bool, options: object) -> bool | None:
    """Skip fields of named tuples, which the class describes."""
    return True if (thing.__doc__ or "").startswith("Alias for field number") else None


def in_groups(app: Sphinx, context: click.Context, lines: list[str]) -> None:
    """Show options under the headings of ``--help``, in the same order."""
    starts = [place for place, line in enumerate(lines) if line.startswith(".. option::")]
    blocks = [lines[start:end] for start, end in zip(starts, [*starts[1:], len(lines)])]  # noqa: B905
    shown = [each for each in context.command.params if isinstance(each, click.Option) and not each.hidden]
    of = dict(zip(shown, blocks, strict=True))
    groups = by_group(shown)
    lines.clear()
    for name, options in groups.items():
        lines += [f".. rubric:: {name}", ""] * (len(groups) > 1)
        lines += [line for option in options for line in of[option]]


def plain_help(app: Sphinx, context: object, lines: list[str]) -> None:
    """Show a command's help as plain text: columns stay columns, and a star is a star."""
    told: list[str] = []
    for line in lines:
        column = line.startswith("| ") or line == "|"
        if column and not (told and told[-1].startswith("   ")):
            told += ["", ".. code-block:: text", ""]
        told.append(f"   {line[2:]}" if column else plain_line(line))
    lines[:] = told


def plain_line(line: str) -> str:
    if line.startswith(".. option::"):
        return OPEN.sub(r"<\1]>", line)
    return QUOTED.sub(r"``\1``", STAR.sub(lambda found: found[1] or r"\*", line))


def by_last_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """Link to the only object of that name, if a docstring uses the name that its module imports."""
    target = node["reftarget"]
    if node.get("refdomain") != "py" or target.partition(".")[0] in OTHERS:
        return None
    last = target.rpartition(".")[2]
    found = [
        (name, entry)
        for name, entry in env.domains.python_domain.objects.items()
        if name.rpartition(".")[2] == last
    ]
    room = ".".join((node.get("py:module") or "").split(".")[:2])
    if len(found) > 1:
        found = [(name, entry) for name, entry in found if name.startswith(f"{room}.")]
    if len(found) != 1:
        return None
    ((name, entry),) = found
    node["refdoc"] = node.get("refdoc", env.docname)
    uri = f"{app.builder.get_relative_uri(node['refdoc'], entry.docname)}#{entry.node_id}"
    return nodes.reference("", "", content, refuri=uri, internal=True, reftitle=name)


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", plain_docstring, priority=400)  # before napoleon's 500
    app.connect("autodoc-skip-member", needless)
    app.connect("sphinx-click-process-options", in_groups, priority=400)  # before plain_help
    for part in ("description", "options", "epilog"):
        app.connect(f"sphinx-click-process-{part}", plain_help)
    app.connect("missing-reference", by_last_name)
