"""Show stage 1 on the terminal: the clips found, the work to do, a progress bar, and what went wrong."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..corpora.clips.found import ONLY_SPLIT, count_of, counts_of, first_of
from ..stage_one import ExtractionReporter
from ..stores import warn_of_damage
from .progress import progress_bar, seconds_bar, write

if TYPE_CHECKING:
    from ...cache.clips import Clip
    from ...cache.store import FeatureStore
    from ...extract.clip import ClipResult
    from ...extract.marker_run import MarkerRun
    from ...extract.plan import Plan
    from ...extract.run import Extraction
    from ..cluster.extraction import DistributedExtraction
    from ..corpora.clips.found import FoundClips
    from ..detector_choice import DetectorChoice

SHOWN = 20  # limit for left-out files named
NAMED = 3  # limit for clips named with the same note
LONG = 20.0  # seconds from which a clip has bars of its own


class Printed(ExtractionReporter):
    """Prints the events of stage 1.

    Args:
        where: text that says where the work is done; empty for processes on this machine.
    """

    def __init__(self, where: str = "") -> None:
        self.where = where

    def found(self, root: Path, found: FoundClips) -> None:
        splits = Counter(clip.split for clip in found.clips)
        listed = ", ".join(f"{count} {split}" for split, count in splits.items() if split != ONLY_SPLIT)
        listed = f" ({listed})" if listed else ""
        spare = len(found.left_out) - len(found.problems)
        repeated = f"; {spare} files that only repeat them are ignored" if spare else ""
        click.echo(f"{root}: {found.dataset}, {count_of(len(found.clips), 'clip')}{listed}{repeated}")
        labels = Counter(clip.label for clip in found.clips if clip.label)
        if labels:
            click.echo(f"classes: {counts_of(labels)}")
        for note in found.notes:
            click.echo(note)
        for item in found.problems[:SHOWN]:
            click.echo(f"left out: {item.path}: {item.why}", err=True)
        if len(found.problems) > SHOWN:
            click.echo(f"left out: {len(found.problems) - SHOWN} more", err=True)

    def detected(self, choice: DetectorChoice) -> None:
        click.echo(f"faces are found by {choice.text} ({choice.why})")

    def planned(self, plan: Plan, run: Extraction, store: FeatureStore, total: int) -> None:
        from ...extract.backbones.weights_folder import mismatch
        from ...extract.devices import torch_devices
        from ...extract.networks import planned_face_networks

        warn_of_damage(store)
        stored = [(row.clip, clip) for clip in run.renewed for row in [store.row(clip)] if row]
        relabelled = [
            (old, new, new.label or "unlabelled") for old, new in stored if old.label not in (None, new.label)
        ]
        changes: list[tuple[Sequence[tuple[object, ...]], str, str]] = [
            (run.renamed, "under another id or split; renamed", "the file of {0.clip} is {1} now"),
            ([(clip,) for clip in run.duplicates], "twice; removed under the older id", "{0}"),
            (run.replaced, "from another file; extracted again", "{0} was {0.path} and is {1.path}"),
            (relabelled, "with another label; the label changes", "{0} was {0.label} and is {2}"),
        ]
        for clips, what, first in changes:
            if clips:
                told = first.format(*clips[0]) + _more(clips)
                click.echo(f"{count_of(len(clips), 'clip')} stored {what}: {told}")
        if run.gone:
            click.echo(
                f"note: {count_of(len(run.gone), 'file')} of stored clips can no longer be read; their "
                f"features are kept: {run.gone[0].path}{_more(run.gone)}",
                err=True,
            )
        for stream, differences in run.changes.items():
            click.echo(f"{stream} is stored with other settings ({'; '.join(differences)}); extracted again")
        if not run.jobs:
            click.echo(f"{store.path}: nothing to do, all {total} clips are there already")
            return
        for text in dict.fromkeys((*plan.backbones, *plan.audio_backbones, *plan.segment_backbones)):
            if why := mismatch(text):
                click.echo(f"note: {why}", err=True)
        networks = ", ".join(
            f"{network.label} ({network.settings['precision']})" for network in planned_face_networks(plan)
        )
        sets = " and ".join(
            "faces as they are" if name == "none" else f"{name} views" for name in plan.view_sets
        )
        views = f"{networks} over {sets}" if networks else "face tracks and sound"
        views = views if plan.pictures else "sound alone"
        click.echo(
            f"{views} on {', '.join(torch_devices(plan.device))}; {len(run.jobs)} of {total} clips to do "
            + (self.where or f"in {run.workers} process{'es' if run.workers > 1 else ''}")
        )

    def message(self, text: str) -> None:
        write(text)

    def results(
        self, work: Extraction | MarkerRun | DistributedExtraction, total: int
    ) -> Iterator[ClipResult]:
        from ...extract.marker_run import MarkerRun
        from ...extract.run import Extraction

        if isinstance(work, MarkerRun):
            click.echo(f"facial markers; {len(work.jobs)} of {total} clips to do")
        counts = {"failed": 0, "damaged": 0}
        notes = Notes()
        done = total - len(work.jobs)
        with (
            progress_bar(total=total, initial=done, unit="clip", smoothing=0.1, disable=not work.jobs) as bar,
            _within(work) if isinstance(work, Extraction) else nullcontext(),
        ):
            bar.set_postfix(failed=0, refresh=False)
            for result in work:
                if result.failure or result.warnings:
                    counts["failed" if result.failure else "damaged"] += 1
                for line in (*_lines(result), *notes.told(result)):
                    bar.write(line, file=sys.stderr)
                bar.set_postfix(
                    {name: n for name, n in counts.items() if n or name == "failed"}, refresh=False
                )
                bar.update()
                yield result
        for line in notes.counted():
            click.echo(line, err=True)

    def gone(self, clips: list[Clip], root: Path, pruned: bool) -> None:
        if not clips:
            return
        what = f"{count_of(len(clips), 'stored clip')} no longer in {root}: {first_of(clips)}"
        remedy = "removed from the store" if pruned else "kept, and trained on; --prune removes them"
        click.echo(f"{what}; {remedy}", err=not pruned)


@contextmanager
def _within(run: Extraction) -> Iterator[None]:
    """If the only clip to do is long, show a bar for each step of it."""
    if len(run.jobs) != 1:
        yield
        return
    with ExitStack() as bars:
        steps: dict[str, Callable[[float], None]] = {}

        def on_progress(_: str, step: str, at: float, length: float) -> None:
            if not step or length < LONG:
                return
            if step not in steps:
                bars.close()
                steps[step] = bars.enter_context(seconds_bar(step, length))
            steps[step](at)

        run.on_progress = on_progress
        yield


def _more(items: Sequence[object]) -> str:
    return f", and {len(items) - 1} more" if len(items) > 1 else ""


def _lines(result: ClipResult) -> list[str]:
    clip = f"{result.job.clip} ({result.job.clip.path})"
    failed = [f"failed: {clip}: {result.failure}"] if result.failure else []
    damaged = [f"damaged: {clip}: {warning}; what could be read is used" for warning in result.warnings]
    return failed + damaged


class Notes:
    """Notes about clips that did not fail; like notes are shown for a few clips and counted for the rest.

    In a folder of sound files, for example, every clip has the same note.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def told(self, result: ClipResult) -> list[str]:
        """Return the lines to show at once."""
        lines = []
        for note in result.notes:
            kind = _alike(note)
            self._counts[kind] += 1
            if self._counts[kind] <= NAMED:
                lines.append(f"note: {result.job.clip} ({result.job.clip.path}): {note}")
        return lines

    def counted(self) -> list[str]:
        """Return the lines to show at the end."""
        return [
            f"note: the same for {count_of(count - NAMED, 'more clip')}: {kind}"
            for kind, count in self._counts.items()
            if count > NAMED
        ]


def _alike(note: str) -> str:
    return re.sub(r"\d+(\.\d+)?", "N", note)
