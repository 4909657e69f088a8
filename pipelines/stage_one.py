"""Stage 1 as a step of other commands: clips into a store, with settings given or those of a trained run."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .cli.framework import InputError
from .cli.progress import progress_bar, seconds_bar
from .corpora.clips.found import count_of, counts_of
from .stores import open_store

if TYPE_CHECKING:
    from ..cache.keys import FeatureKey
    from ..cache.store import FeatureStore
    from ..extract.clip import Result
    from ..extract.marker_run import MarkerRun
    from ..extract.plan import Plan
    from ..extract.run import Run
    from .corpora.clips.find import Found

SHOWN = 20  # of the files that are left out
NAMED = 3  # clips of which the same is noted
LONG = 20.0  # seconds of a clip that has bars of its own


def say_found(root: Path, found: Found) -> None:
    """Print which clips were found, and which files had to be left out."""
    splits = Counter(clip.split for clip in found.clips)
    listed = ", ".join(f"{count} {split}" for split, count in splits.items())
    spare = len(found.left_out) - len(found.problems)
    repeated = f"; {spare} files that only repeat them are passed over" if spare else ""
    click.echo(f"{root}: {found.dataset}, {count_of(len(found.clips), 'clip')} ({listed}){repeated}")
    labels = Counter(clip.label for clip in found.clips if clip.label)
    if labels:
        click.echo(f"classes: {counts_of(labels)}")
    for note in found.notes:
        click.echo(note)
    for item in found.problems[:SHOWN]:
        click.echo(f"left out: {item.path}: {item.why}", err=True)
    if len(found.problems) > SHOWN:
        click.echo(f"left out: {len(found.problems) - SHOWN} more", err=True)


def into_store(found: Found, plan: Plan, path: Path, workers: int, replace: bool = False) -> int:
    """Extract ``found`` into the store at ``path``, under a progress bar; then its facial markers, if any.

    Returns:
        How many clips failed or are damaged; those whose markers are, too, count twice.

    Raises:
        ExtractError: the plan asks for something that there is not, or clips would take the place of others
            with other labels; ``replace`` lets them.
        StoreError: ``path`` is no store and cannot become one.
    """
    from ..extract.marker_run import MarkerRun
    from ..extract.run import Run

    plan.keys()  # what cannot be used is told before there is a store
    with open_store(path, create=True) as store:
        run = Run(found.clips, plan, store, workers, rename=not found.one_by_one, replace=replace)
        _say_plan(plan, run, store, len(found.clips))
        with _within(run):
            failures = _work(run, len(found.clips))
        if found.markers:
            store.refresh()
            markers = MarkerRun(found.clips, found.markers, store)
            click.echo(f"facial markers; {len(markers.tasks)} of {len(found.markers)} clips to do")
            failures += _work(markers, len(found.markers))
    return failures


@contextmanager
def _within(run: Run) -> Iterator[None]:
    """If a single clip is to be done, and it is long, a bar for each step of it."""
    if len(run.tasks) != 1:
        yield
        return
    with ExitStack() as bars:
        steps: dict[str, Callable[[float], None]] = {}

        def on_progress(step: str, at: float, length: float) -> None:
            if length < LONG:
                return
            if step not in steps:
                bars.close()
                steps[step] = bars.enter_context(seconds_bar(step, length))
            steps[step](at)

        run.on_progress = on_progress
        yield


def _say_plan(plan: Plan, run: Run, store: FeatureStore, total: int) -> None:
    """Print what is about to be done, and why stored streams are made again."""
    from ..extract.backbones.weights_folder import doubt

    if run.renamed:
        row, clip = run.renamed[0]
        click.echo(
            f"{count_of(len(run.renamed), 'clip')} stored under another id or split, and renamed: "
            f"the file of {row.clip} is {clip} now{_more(run.renamed)}"
        )
    if run.twice:
        click.echo(
            f"{count_of(len(run.twice), 'clip')} stored twice; removed under the older id: "
            f"{run.twice[0]}{_more(run.twice)}"
        )
    if run.replaced:
        old, new = run.replaced[0]
        click.echo(
            f"{count_of(len(run.replaced), 'clip')} stored of another file, and made again: {old} was "
            f"{old.path} and is {new.path}{_more(run.replaced)}"
        )
    relabelled = [(row.clip, clip) for clip in run.renewed for row in [store.row(clip)] if row]
    relabelled = [(old, new) for old, new in relabelled if old.label not in (None, new.label)]
    if relabelled:
        old, new = relabelled[0]
        click.echo(
            f"{count_of(len(relabelled), 'clip')} stored with another label, which changes: {old} was "
            f"{old.label} and is {new.label or 'unlabelled'}{_more(relabelled)}"
        )
    if run.gone:
        click.echo(
            f"note: {count_of(len(run.gone), 'file')} of stored clips cannot be read any more; what is "
            f"stored of them is kept: {run.gone[0].path}{_more(run.gone)}",
            err=True,
        )
    for stream, differences in run.changes.items():
        click.echo(f"{stream} is stored with other settings ({'; '.join(differences)}): making it again")
    if not run.tasks:
        click.echo(f"{store.path}: nothing to do, all {total} clips are there already")
        return
    for text in dict.fromkeys((*plan.backbones, *plan.audio, *plan.segment_audio)):
        if why := doubt(text):
            click.echo(f"note: {why}", err=True)
    networks = ", ".join(f"{network.label} ({network.precision})" for network in plan.networks())
    sets = " and ".join("faces as they are" if name == "none" else f"{name} views" for name in plan.view_sets)
    views = f"{networks} over {sets}" if networks else "face tracks and sound"
    views = views if plan.pictures else "sound alone"
    click.echo(
        f"{views} on {plan.torch_device}; {len(run.tasks)} of {total} clips to do in "
        f"{run.workers} process{'es' if run.workers > 1 else ''}"
    )


def _more(items: Sequence[object]) -> str:
    return f", and {len(items) - 1} more" if len(items) > 1 else ""


def _work(run: Run | MarkerRun, total: int) -> int:
    """Carry ``run`` out under a progress bar; the number of clips that failed or are damaged."""

    counts = {"failed": 0, "damaged": 0}
    notes = _Notes()
    with progress_bar(
        total=total,
        initial=total - len(run.tasks),
        unit="clip",
        smoothing=0.1,
        disable=not run.tasks,
    ) as bar:
        bar.set_postfix(failed=0, refresh=False)
        for result in run:
            if result.failure or result.warnings:
                counts["failed" if result.failure else "damaged"] += 1
            for line in (*_lines(result), *notes.told(result)):
                bar.write(line, file=sys.stderr)
            bar.set_postfix({name: n for name, n in counts.items() if n or name == "failed"}, refresh=False)
            bar.update()
    for line in notes.counted():
        click.echo(line, err=True)
    return sum(counts.values())


def _lines(result: Result) -> list[str]:
    clip = f"{result.task.clip} ({result.task.clip.path})"
    failed = [f"failed: {clip}: {result.failure}"] if result.failure else []
    damaged = [f"damaged: {clip}: {warning}; what could be read is used" for warning in result.warnings]
    return failed + damaged


class _Notes:
    """What is worth a word about whole clips. A folder of sound alone says the same of each, so like notes
    are told of a few clips by name and counted of the others."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def told(self, result: Result) -> list[str]:
        """Lines to show at once."""
        lines = []
        for note in result.notes:
            kind = _alike(note)
            self._counts[kind] += 1
            if self._counts[kind] <= NAMED:
                lines.append(f"note: {result.task.clip} ({result.task.clip.path}): {note}")
        return lines

    def counted(self) -> list[str]:
        """Lines to show at the end."""
        return [
            f"note: the same of {count_of(count - NAMED, 'more clip')}: {kind}"
            for kind, count in self._counts.items()
            if count > NAMED
        ]


def _alike(note: str) -> str:
    return re.sub(r"\d+(\.\d+)?", "N", note)


def plan_again(
    keys: Mapping[str, FeatureKey],
    detector: str | None = None,
    backbones: Sequence[str] = (),
    audio: Sequence[str] = (),
    device: str = "auto",
    segment_audio: Sequence[str] = (),
) -> Plan:
    """The plan that gives streams of just these keys once more.

    Args:
        keys: of the streams wanted, visual ones (``BACKBONE/VIEWSET``) and others.
        detector, backbones, audio, segment_audio: ``NAME@FILE`` of what needs a file of weights; what comes
            with a package is found without.
        device: where the networks run.

    Raises:
        InputError: a file is not named, or it or something else is not what the keys tell of.
    """
    from ..extract.markers import MARKERS
    from ..extract.plan import DESCRIPTORS, LOG_MEL, SEGMENTS, SPECTROGRAM, Plan

    if MARKERS in keys:
        raise InputError(
            "the run reads facial markers, which clips alone do not have; put the corpus into a store by "
            "avemo-extract, and name that store"
        )
    for stream, key in keys.items():
        if key.settings.get("imported"):
            raise InputError(
                f"the run reads {stream!r}, which was imported and cannot be made here; put these clips "
                "into a store, import their features by avemo store import, and name that store"
            )
    spoken = {name: key.settings for name, key in keys.items() if name.partition("/")[0] == SEGMENTS}
    visual = {name: key.settings for name, key in keys.items() if "/" in name and name not in spoken}
    heard = {name: key.settings for name, key in keys.items() if name not in {*visual, *spoken}}
    seen = {stream.rpartition("/")[0]: settings for stream, settings in visual.items()}
    listened = {stream.partition("/")[2]: settings for stream, settings in spoken.items() if "/" in stream}
    always = (SPECTROGRAM, LOG_MEL, DESCRIPTORS)
    precisions = {str(settings["precision"]) for settings in (*seen.values(), *listened.values())}
    common: Mapping[str, Any] = next(iter(visual.values()), {})
    faces = _files("--backbone", seen, backbones)
    sounds = _files("--audio", {k: v for k, v in heard.items() if k not in always}, audio)
    images = _files("--segment-audio", listened, segment_audio)
    plan = Plan(
        detector=detector or str(common.get("detector", "dlib")),
        backbones=tuple(faces.values()),
        view_sets=tuple(dict.fromkeys(stream.rpartition("/")[2] for stream in visual)),
        audio=tuple(sounds.values()),
        max_frames=common.get("max_frames"),
        device=device,
        precision=precisions.pop() if len(precisions) == 1 else "auto",
        segments=bool(spoken),
        segment_audio=tuple(images.values()),
        voice_activity=next((str(settings["vad"]) for settings in spoken.values()), "energy"),
        labels=tuple((text, label) for files in (faces, sounds, images) for label, text in files.items()),
    )
    _check(keys, plan.keys())
    return plan


def _files(option: str, wanted: Mapping[str, Mapping[str, Any]], given: Iterable[str]) -> dict[str, str]:
    """By each label that is wanted, ``NAME`` or ``NAME@FILE``: the file of its checksum, else of its name."""
    given = tuple(given)
    known = {_label(text): text for text in given}
    sums = {text: _sha256(text) for text in given}
    files = {}
    for label, settings in wanted.items():
        name, _, stem = label.partition("@")
        wanted_sum = str(settings.get("weights_sha256", "")).partition("+")[0]
        same = [text for text in given if text.partition("@")[0] == name and sums[text] == wanted_sum]
        if stem and label not in known and not same:
            raise InputError(
                f"the run reads features of {label}: name its weights by {option} {name}@FILE, a file of "
                f"SHA-256 {settings['weights_sha256']}, once called {stem}"
                + (f"; given: {', '.join(known.values())}" if known else "")
            )
        files[label] = same[0] if same else known.get(label, label)
    return files


def _sha256(text: str) -> str | None:
    """Of the file of ``NAME@FILE`` or ``NAME@TAG``; None where there is none."""
    from ..extract.backbones import WeightsError
    from ..extract.backbones.weights_folder import find
    from ..extract.digest import sha256_of

    name, _, file = text.partition("@")
    try:
        return sha256_of(find(name, file)[0]) if file else None
    except (WeightsError, OSError):
        return None


def _label(text: str) -> str:
    name, _, file = text.partition("@")
    return f"{name}@{Path(file).stem}" if file else name


def _check(wanted: Mapping[str, FeatureKey], planned: Mapping[str, FeatureKey]) -> None:
    for stream, key in wanted.items():
        if planned[stream] != key:
            changes = "; ".join(key.differences(planned[stream]))
            raise InputError(
                f"the run reads {stream!r} made with other settings than it would be made with here "
                f"({changes}: trained / here); name the files of the training, or train again"
            )
