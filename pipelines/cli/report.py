"""``avemo-fuse report``: show the results of runs in one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from ..fuse.ensemble import read_member
from .framework import command
from .outputs import overwrite_option, refuse_existing

EXAMPLES = """
\b
Examples:
  avemo-fuse report runs/default
  avemo-fuse report runs/am-fbp --baseline runs/g-fbp --store features
  avemo-fuse report runs/f-mean runs/f-meanstd submission --out report.html

\b
The page is about 6 MB for one run and 1 MB more for each other one, however
many clips there are; Plotly, which draws the figures, takes 4.8 MB. It shows at
most 20 clips of a run, and attention, factors and t-SNE of at most 1000. It
contains pictures of faces: take care whom you share it with.
"""


@command("report", epilog=EXAMPLES)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--store",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Feature store of the clips.  [default: that of the training, else features]",
)
@click.option(
    "--baseline",
    type=click.Path(path_type=Path, exists=True),
    metavar="RUN|CSV",
    help="Run or scores to test each RUN against, on the clips that both score.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="File for the page.  [default: report.html in the first RUN]",
)
@overwrite_option
def report(
    runs: tuple[Path, ...], store: Path | None, baseline: Path | None, out: Path | None, overwrite: bool
) -> None:
    """Show the results of each RUN, a folder of train, cv or ensemble, on one page.

    The page has accuracy, confusion, calibration and learning curves; the clips that are most wrong, with the
    attention over their frames and sound; adaption factors; t-SNE before and after fusion; and the settings.
    It is one self-contained HTML file: mail it, print it, open it on a phone.
    """
    from ...fusion.files import write_text
    from ..pages.report.page import report_page
    from ..pages.report.results import read

    if out:
        refuse_existing([out], overwrite)
    out = out or runs[0] / "report.html"  # the run's own page may be replaced
    other = read_member(baseline) if baseline else None
    results = [read(path, store, other) for path in runs]
    write_text(out, report_page(results))
    for run in results:
        for note in run.insights.notes:
            click.echo(f"note: {run.name}: {note}", err=True)
    click.echo(f"wrote {out}")
