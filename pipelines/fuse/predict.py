"""Score clips with trained runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from ...cache.keys import FeatureKey
from ...cache.rows import Row
from ...cache.store import FeatureStore
from ...fusion.evaluation.scores import Scores
from ...fusion.training import runs as trained_runs
from ...fusion.training.leaks import known_to
from ...fusion.training.runs import Run
from ..cli.clip_options import DATASET_OPTIONS
from ..cli.framework import InputError
from ..corpora.clips.find import FoundClips, find_files
from ..corpora.clips.found import count_of, first_names
from ..corpora.clips.labels import same_class
from ..stage_one import ClipFolder, ExtractionReporter, into_store
from ..stores import open_store
from .reporter import Reporter
from .settings import ScoringSettings


@dataclass(frozen=True, eq=False)
class Predicted:
    """Scores of ``rows``, the mean of all members of ``runs``.

    Attributes:
        trained: clips that a run was trained on.
        incomplete: whether some clips could not be scored.
    """

    runs: Sequence[Run]
    rows: Sequence[Row]
    scores: Scores
    trained: set[tuple[str, str]]
    incomplete: bool


def predict(
    settings: ScoringSettings,
    reporter: Reporter = Reporter(),  # noqa: B008 (it has no state)
    extraction: ExtractionReporter = ExtractionReporter(),  # noqa: B008
) -> Predicted:
    """Score clips, from a store or extracted here, and write the scores.

    Raises:
        UsageError: the paths are not runs and clips.
        StoreError: the store cannot be read.
        FusionError: keys or classes do not match, or a run is not finished.
    """
    from ..pages.overlay.windows import WindowOptions, score_over_time
    from ..plan_again import plan_again

    runs, files, source = divide(settings.paths, settings.store)
    options = WindowOptions(
        settings.out, settings.overlay, settings.timeline, settings.window, settings.hop, settings.overwrite
    )
    loaded = [Run(path) for path in runs]
    found, failures = None, 0
    with TemporaryDirectory(prefix="avemo-") as scratch:
        if files or is_clips(source):
            one = files[0] if files else source
            found = find_files(files) if len(files) > 1 else ClipFolder(one, **settings.dataset).find()
            extraction.found(source, found)
            plan = plan_again(
                keys_of(loaded),
                settings.detector,
                settings.backbones,
                settings.audio_backbones,
                settings.device,
                settings.segment_backbones,
            )
            source = settings.store or Path(scratch) / "features"
            if options:
                wanted = of_split(found, settings.split)
                scores, rows, failures = score_over_time(
                    loaded, wanted, plan, options, source, settings.device, settings.workers
                )
            else:
                failures = into_store(found, plan, source, settings.workers, reporter=extraction)
        elif options:
            raise click.UsageError(
                f"--overlay and --timeline need video clips, and {source} is a store; name a file or a folder"
            )
        if not options:
            with open_store(source) as opened:
                rows = choose(opened, found, settings.split)
                scores = trained_runs.predict(loaded, opened, rows, settings.device)
        scores = with_truth(scores, rows, reporter)
        trained = known_to(loaded, rows, source)
    scores.write(settings.out)
    return Predicted(loaded, rows, scores, trained, bool(failures or (found and found.problems)))


def idle(settings: ScoringSettings) -> dict[str, str]:
    """Return the settings that do nothing with these runs and clips → reason."""
    paths, files, source = divide(settings.paths, settings.store)
    runs = [Run(path) for path in paths]
    networks = ("backbones", "audio_backbones", "segment_backbones", "detector")
    if not (files or is_clips(source)):
        why = f"{source} is a store, and holds the features of its clips"
        return dict.fromkeys((*networks, "workers", *DATASET_OPTIONS), why)
    streams = {stream for run in runs for stream in run.keys}
    spoken = {stream for stream in streams if stream.partition("/")[0] == "segments"}
    found: dict[str, str] = {}
    if not any("/" in stream for stream in streams - spoken):
        found |= dict.fromkeys(("backbones", "detector"), "the runs read no pictures")
    if not any(stream.startswith("alexnet") for stream in streams):
        found["audio_backbones"] = "the runs read no audio network"
    if not any("/" in stream for stream in spoken):
        found["segment_backbones"] = "the runs read no network over segments"
    if len(files) > 1:
        found |= dict.fromkeys(DATASET_OPTIONS, "several files are taken as they are, unlabelled")
    return found


def with_truth(scores: Scores, rows: Sequence[Row], reporter: Reporter) -> Scores:
    """Add each clip's class under the runs' name for it; report labels that the runs do not know.

    A label in another case, or another name of one of the seven emotions, is the runs' own class.
    """
    labels = {row.clip.key: row.clip.label for row in rows}
    names = {label: same_class(label, scores.classes) for label in {*labels.values()} if label is not None}
    taken = [f"{old} as {new}" for old, new in sorted(names.items()) if new not in (None, old)]
    foreign = sorted(old for old, new in names.items() if new is None)
    if taken:
        reporter.facts([("classes taken: ", ", ".join(taken))])
    if foreign:
        count = sum(label in foreign for label in labels.values())
        reporter.note(
            f"{count_of(count, 'clip')} labelled {', '.join(foreign)}, which the runs do not know "
            f"(their classes: {', '.join(scores.classes)}), counted as unlabelled; --labels 'NAME=CLASS' "
            "or --other-labels map says what they are"
        )
    truth = tuple(names.get(labels[clip] or "") for clip in scores.clips)
    return replace(scores, truth=truth)


def divide(paths: Sequence[Path], store: Path | None) -> tuple[list[Path], list[Path], Path]:
    """Divide ``paths`` into runs, clips that are files, and the place of the clips.

    The place is a folder of clips, the common folder of those files, or a store; if ``paths`` name none, it
    is ``store``, else ``features``.
    """
    runs = [path for path in paths if (path / "run.json").exists()]
    others = [path for path in paths if path not in runs]
    files = [path for path in others if path.is_file()]
    if files and len(files) == len(others):
        others = [Path(os.path.commonpath([file.absolute() for file in files]))]
    elif store and not any(map(is_clips, others)):
        others.append(store)
    if len(others) > 1:
        raise click.UsageError(
            f"{first_names(others)}: one store, one folder of clips or files expected; runs are folders "
            "with a run.json"
        )
    if not runs:
        raise click.UsageError(
            f"{first_names(paths)}: no run among these (a folder with a run.json); avemo-fuse train makes one"
        )
    return runs, files, (others or [Path("features")])[0]


def is_clips(path: Path) -> bool:
    """Whether a path is a file, or a folder that is not a store."""
    return path.exists() and not (path / "store.json").exists()


def keys_of(runs: Sequence[Run]) -> dict[str, FeatureKey]:
    """Return the keys of all streams that the runs read.

    Raises:
        InputError: two runs read one stream with different settings.
    """
    keys: dict[str, FeatureKey] = {}
    for run in runs:
        for stream, key in run.keys.items():
            if keys.setdefault(stream, key) != key:
                changes = "; ".join(keys[stream].differences(key))
                raise InputError(
                    f"{run.path} reads {stream!r} with other settings than the runs before it ({changes}); "
                    "score the clips with each alone, and join the scores with avemo-fuse ensemble"
                )
    return keys


def of_split(found: FoundClips, split: str | None) -> FoundClips:
    """Select the clips of ``split``; all if it is None."""
    clips = [clip for clip in found.clips if split in (None, clip.split)]
    if not clips:
        have = ", ".join(sorted({clip.split for clip in found.clips}))
        raise click.UsageError(f"there are no clips of split {split!r}; the clips are of {have}")
    return replace(found, clips=clips)


def choose(store: FeatureStore, found: FoundClips | None, split: str | None) -> list[Row]:
    """Return the clips to score, of ``found`` or of the whole store; of one split if it is given."""
    every = store.rows if found is None else [row for row in map(store.row, found.clips) if row]
    rows = [row for row in every if split in (None, row.clip.split)]
    if not rows:
        have = ", ".join(sorted({row.clip.split for row in every})) or "no clips"
        raise click.UsageError(f"{store.path} has no clips of split {split!r}; it has {have}")
    return rows
