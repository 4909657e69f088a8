"""Stage 1 as a function of its settings: clips into a store. It prints nothing, but calls a reporter."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..extract import CLIP_TIMEOUT
from .cluster.engine import ClusterSettings
from .corpora.clips.find import find_clips
from .corpora.clips.labels import read_labels
from .detector_choice import DetectorChoice, choose_detector

if TYPE_CHECKING:
    from ..cache.clips import Clip
    from ..cache.rows import Row
    from ..cache.store import FeatureStore
    from ..extract.clip import ClipResult
    from ..extract.marker_run import MarkerRun
    from ..extract.plan import Plan
    from ..extract.run import Extraction
    from .cluster.extraction import DistributedExtraction
    from .corpora.clips.found import FoundClips
    from .tally import Tally

VIEW_SETS = {"none": "none", "meanstd": "default", "meanstd2": "wide"}
"""``--tta`` name → view set."""


@dataclass(frozen=True)
class ClipFolder:
    """A folder of clips, and how to read it.

    Attributes:
        root: the folder, or one media file.
        dataset, pattern, manifest: data set, file names and table of the clips, see :func:`.find_clips`.
        labels: classes to keep and their new names: a mapping, or a text for :func:`.read_labels`.
        other_labels: ``keep``, ``map`` or ``drop`` classes beyond the seven emotions.
    """

    root: Path
    dataset: str = "auto"
    pattern: str = ""
    manifest: Path | None = None
    labels: str | Mapping[str, str] = ""
    other_labels: str = "keep"

    def find(self) -> FoundClips:
        """Find the clips.

        Raises:
            DatasetError: there are none, or a setting is invalid.
        """
        labels = self.labels or None
        return find_clips(
            self.root,
            self.dataset,
            self.manifest,
            pattern=self.pattern,
            labels=read_labels(labels) if isinstance(labels, str) else labels,
            others=self.other_labels,
        )


@dataclass(frozen=True)
class ExtractSettings:
    """Settings of :func:`extract`.

    Attributes:
        clips: folder of the clips.
        plan: features to extract; picture features are left out for a data set that is read without pictures.
        store: feature store to create or add to.
        workers: parallel processes; 0 for one per core.
        part: ``(I, N)``: only every N-th clip from the I-th on.
        prune: remove stored clips that are no longer in the folder.
        replace: replace stored clips whose file or label differs.
        cluster: where the work runs.
        silence: seconds without any progress on a clip after which it fails; 0 for no limit.
        failed_only: extract only the stored clips that failed.
    """

    clips: ClipFolder
    plan: Plan
    store: Path = Path("features")
    workers: int = 0
    part: tuple[int, int] | None = None
    prune: bool = False
    replace: bool = False
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    silence: float = CLIP_TIMEOUT
    failed_only: bool = False


@dataclass(frozen=True)
class Extracted:
    """The outcome of :func:`extract`.

    Attributes:
        found: the clips.
        store: path of the store.
        counts: counts over the clips.
        failures: number of clips that failed or are damaged.
        gone: stored clips that are no longer in the folder.
    """

    found: FoundClips
    store: Path
    counts: Tally
    failures: int
    gone: list[Clip]

    @property
    def rows(self) -> list[Row]:
        """The stored row of each clip, read at each access; all are held in memory."""
        from ..cache.store import FeatureStore

        with FeatureStore(self.store) as store:
            return [row for row in map(store.row, self.found.clips) if row is not None]

    @property
    def whole(self) -> bool:
        """Whether no clip failed and no file was left out because of a problem."""
        return not (self.failures or self.found.problems)


class ExtractionReporter:
    """Receives the events of stage 1; this one ignores them."""

    def found(self, root: Path, found: FoundClips) -> None:
        """The clips were found; no work has been done yet."""

    def detected(self, choice: DetectorChoice) -> None:
        """A face detector was chosen, because the user named none."""

    def planned(self, plan: Plan, run: Extraction, store: FeatureStore, total: int) -> None:
        """Work is about to start, on ``total`` clips."""

    def message(self, text: str) -> None:
        """An engine reports on its work, or on a worker that failed."""

    def results(
        self, work: Extraction | MarkerRun | DistributedExtraction, total: int
    ) -> Iterator[ClipResult]:
        """Yield each result as it comes; iterating does the work."""
        yield from work

    def gone(self, clips: list[Clip], root: Path, pruned: bool) -> None:
        """Stored clips are no longer in the folder."""


def extract(settings: ExtractSettings, reporter: ExtractionReporter | None = None) -> Extracted:
    """Turn a folder of clips into features.

    Raises:
        DatasetError: there are no clips, or the settings of the folder are invalid.
        ExtractError, StoreError: see :func:`into_store`.
    """
    from .tally import Tally

    reporter = reporter or ExtractionReporter()
    all_clips = settings.clips.find()
    found = all_clips.part(*settings.part) if settings.part else all_clips
    reporter.found(settings.clips.root, found)
    plan = replace(settings.plan, pictures=False, backbones=()) if found.markers else settings.plan
    filled_store = _filled_store(
        found,
        plan,
        settings.store,
        settings.workers,
        settings.replace,
        reporter,
        settings.cluster,
        settings.silence,
        settings.failed_only,
    )
    with filled_store as (store, failures):
        gone = stale(store, all_clips, settings.clips.root)
        if gone and settings.prune:
            with store.writer() as writer:
                for clip in gone:
                    writer.remove(clip)
            store.refresh()
        reporter.gone(gone, settings.clips.root, settings.prune)
        counts = Tally(row for row in map(store.row, found.clips) if row is not None)
    return Extracted(found, settings.store, counts, failures, gone)


def into_store(
    found: FoundClips,
    plan: Plan,
    path: Path,
    workers: int = 0,
    replace: bool = False,
    reporter: ExtractionReporter | None = None,
    cluster: ClusterSettings | None = None,
) -> int:
    """Extract ``found`` into the store at ``path``, then its facial markers, if it has any.

    Returns:
        Number of clips that failed or are damaged; a clip whose markers failed as well counts twice.

    Raises:
        ExtractError: the plan asks for something that does not exist, or clips would replace stored ones with
            other labels and ``replace`` is not set.
        StoreError: ``path`` is not a store and cannot become one.
        ClusterError: the engine of ``cluster`` is not available, or its workers fail.
    """
    reporter, cluster = reporter or ExtractionReporter(), cluster or ClusterSettings()
    with _filled_store(found, plan, path, workers, replace, reporter, cluster) as (_, failures):
        return failures


@contextmanager
def _filled_store(
    found: FoundClips,
    plan: Plan,
    path: Path,
    workers: int,
    replace: bool,
    reporter: ExtractionReporter,
    cluster: ClusterSettings,
    silence: float = CLIP_TIMEOUT,
    failed_only: bool = False,
) -> Iterator[tuple[FeatureStore, int]]:
    """Do the work of :func:`into_store`; yield the open store and the number of failures."""
    from ..cache.store import FeatureStore
    from ..extract.marker_run import MarkerRun
    from ..extract.run import Extraction, start_crew
    from ..extract.streams.registry import keys_of

    with ExitStack() as stack:
        crew = None
        if not (path / "store.json").exists():  # fail before a store is created
            plan = _with_detector(plan, None, reporter)
            keys_of(plan)
            if cluster.on == "local":
                crew = stack.enter_context(closing(start_crew(plan, workers, len(found.clips), silence)))
        store = stack.enter_context(FeatureStore(path, create=True))
        plan = _with_detector(plan, store, reporter)
        run = Extraction(
            found.clips,
            plan,
            store,
            workers,
            rename=not found.files_named,
            replace=replace,
            silence=silence,
            failed_only=failed_only,
            crew=crew,
        )
        reporter.planned(plan, run, store, len(found.clips))
        failures = _count_failures(_results(run, store, workers, reporter, cluster, len(found.clips)))
        if not run.idle:
            store.refresh()
        if found.markers:
            markers = MarkerRun(found.clips, found.markers, store, failed_only)
            failures += _count_failures(reporter.results(markers, len(found.markers)))
            if markers.jobs:
                store.refresh()
        yield store, failures


def _with_detector(plan: Plan, store: FeatureStore | None, reporter: ExtractionReporter) -> Plan:
    """Return the plan with ``auto`` resolved to a detector."""
    choice = choose_detector(plan.detector, store) if plan.pictures else DetectorChoice("dlib")
    if choice.why:
        reporter.detected(choice)
    return replace(plan, detector=choice.text)


def _results(
    run: Extraction,
    store: FeatureStore,
    workers: int,
    reporter: ExtractionReporter,
    cluster: ClusterSettings,
    total: int,
) -> Iterator[ClipResult]:
    """Yield the results of the run, which is done here or on the cluster."""
    if cluster.on == "local" or not run.jobs:
        yield from reporter.results(run, total)
        return
    from .cluster.extraction import DistributedExtraction

    gpu = run.plan.device.startswith("cuda")
    with cluster.engine(store.path, workers, gpu, reporter.message) as engine:
        work = DistributedExtraction(run, store, engine, workers, reporter.message)
        yield from reporter.results(work, total)


def _count_failures(results: Iterator[ClipResult]) -> int:
    return sum(bool(result.failure or result.warnings) for result in results)


def stale(store: FeatureStore, found: FoundClips, root: Path) -> list[Clip]:
    """Return stored clips of files below ``root`` that are not among ``found``.

    Clips from elsewhere belong to other data sets, which may share the store.
    """
    folder = os.path.join(os.path.abspath(root), "")  # noqa: PTH100, PTH118  links are not resolved
    keys = {clip.key for clip in found.clips}
    clips = (row.clip for row in store.beside(keys) if row.clip.path)
    return [clip for clip in clips if os.path.abspath(clip.path).startswith(folder)]  # noqa: PTH100
