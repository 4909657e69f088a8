"""``avemo-extract``: extract features from a folder of clips into a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ... import __version__
from ...cache.digits import whole_number
from ...extract import CLIP_TIMEOUT, DEFAULT_BACKBONE
from ..cluster.engine import ClusterSettings
from ..corpora.clips.found import count_of, counts_of
from ..stage_one import VIEW_SETS, ClipFolder, Extracted, ExtractSettings, extract
from .clip_options import PATTERN_HELP, dataset_options
from .cluster_options import cluster_of, cluster_options
from .extraction import Printed
from .framework import altered, command, group, json_result, keep_result, refuse_idle
from .options import (
    audio_backbones_option,
    backbones_option,
    detect_every_option,
    detector_option,
    device_option,
    max_frames_option,
    precision_option,
    segment_backbones_option,
    store_option,
    vad_option,
    workers_option,
)
from .settings_file import config_options
from .table import aligned, records

if TYPE_CHECKING:
    from ..corpora.clips.find import FoundClips
    from ..tally import Tally

PICTURE_OPTIONS = ("tta", "backbones", "detector", "detect_every", "max_frames")

EXAMPLES = """
\b
Examples:
  avemo-extract afew/ --tta meanstd
  avemo-extract clips/ --manifest clips.csv --backbone resnet18@Resnet18_FER+.pth.tar
  avemo-extract afew/ --tta meanstd --tta meanstd2 --backbone ir50@affectnet.pth \\
                --backbone ir50@rafdb.pth --audio-backbone alexnet@alexnet-owt-7be5be79.pth
  avemo-extract clips/ --pattern '{actor}-{sentence}-{emotion}_{take}' --labels 'an=Angry,sa=Sad'
  avemo-extract film.mp4 --store film --max-frames 200
  avemo-extract RML/ --tta none --backbone vgg19-227@vgg19-dcbb9e9d.pth \\
                --segment-backbone vgg19@vgg19-dcbb9e9d.pth
  avemo-extract IEMOCAP_full_release/ --store iemocap
  avemo-extract clips/ --prune                       (after deleting files)
  avemo-extract MELD/ --on slurm --jobs 16 --workers 8 --slurm partition=cpu
  avemo-extract MELD/ --part 3/16 --store part-3     (one of 16 jobs)

\b
Exit code: 0 done; 1 done, but some clips failed (each is named with its reason);
2 wrong arguments or input; 130 interrupted (143 by SIGTERM, 129 by SIGHUP; the same
command continues).
"""


class JobPart(NamedTuple):
    """Part ``number`` (from 1) ``of`` several."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def _part(context: click.Context, option: click.Parameter, text: str | None) -> JobPart | None:
    if text is None:
        return None
    number, count = map(whole_number, text.partition("/")[::2])
    if number is None or count is None or not 1 <= number <= count:
        raise click.BadParameter(f"{text!r}: I/N expected, with I from 1 to N, as 3/16")
    return JobPart(number, count)


@command("extract", epilog=EXAMPLES + PATTERN_HELP)
@click.version_option(__version__, prog_name="avemo-extract")
@click.argument("clips", type=click.Path(path_type=Path))
@dataset_options
@group("Clips", max_frames_option)
@group(
    "Features",
    click.option(
        "--tta",
        type=click.Choice(list(VIEW_SETS)),
        multiple=True,
        default=("meanstd",),
        show_default=True,
        help="Views of each face: none (the face as it is), meanstd (18 small changes; their mean and "
        "standard deviation are stored), meanstd2 (18 larger changes). Repeatable.",
    ),
    altered(backbones_option, default=(DEFAULT_BACKBONE,), show_default=True),
    audio_backbones_option,
    detector_option,
    detect_every_option,
    click.option("--segments", is_flag=True, help="Also cut speech into MFCC images of 655 ms."),
    segment_backbones_option,
    vad_option,
)
@group(
    "Where it runs",
    altered(
        device_option,
        callback=None,
        help="Device for the networks: auto, cpu, cuda, cuda:1, mps, or cuda:0,1 for two GPUs. On a "
        "GPU, they run in a process of their own.",
    ),
    altered(workers_option, help="Number of parallel processes.  [default: one per core]"),
    precision_option,
    click.option(
        "--batch",
        type=click.IntRange(min=1),
        metavar="N",
        help="Views per batch of a network.  [default: 36; 288 on a GPU]",
    ),
    click.option(
        "--part",
        callback=_part,
        metavar="I/N",
        help="Extract only every N-th clip from the I-th on, as one of N cluster jobs; avemo store merge "
        "joins their stores.",
    ),
    cluster_options,
    click.option(
        "--clip-timeout",
        type=click.FloatRange(min=0),
        default=CLIP_TIMEOUT,
        show_default=True,
        metavar="SECONDS",
        help="Give up on a clip after SECONDS without progress (a packet, a frame or a block of sound); "
        "0: never. The total time of a clip is not limited.",
    ),
    click.option("--retry-failed", is_flag=True, help="Extract only the stored clips that failed before."),
)
@group(
    "Output",
    altered(store_option, help="Feature store to create or add to."),
    click.option("--prune", is_flag=True, help="Remove stored clips that are no longer in CLIPS."),
    click.option(
        "--replace", is_flag=True, help="Replace stored clips whose file or label differs from that in CLIPS."
    ),
)
@json_result
@config_options
def main(**options: Any) -> int:
    """Extract features from the video clips in the folder CLIPS.

    Tracks the main face of each clip, runs face networks over views of it, turns the sound into spectrograms,
    and keeps everything in a feature store. Stored features are not computed again. If a run is stopped, the
    same command continues it.
    """
    if not (options["segments"] or options["segment_backbones"]):
        refuse_idle({"vad": "it finds the speech for segments; add --segments"})
    settings = settings_of(**options)
    if settings.failed_only and not (settings.store / "store.json").exists():
        refuse_idle({"retry_failed": f"there is no store {settings.store} with clips that failed"})
    done = extract(
        settings, _Watched("" if settings.cluster.on == "local" else f"on {settings.cluster.on.capitalize()}")
    )
    _summarise(settings.store, done)
    keep_result(no_longer_there=[str(clip) for clip in done.gone], pruned=settings.prune)
    return 0 if done.whole else 1


def settings_of(
    clips: Path,
    store: Path,
    *,
    tta: tuple[str, ...],
    backbones: tuple[str, ...],
    audio_backbones: tuple[str, ...],
    detector: str,
    detect_every: int,
    segments: bool,
    segment_backbones: tuple[str, ...],
    vad: str,
    max_frames: int | None,
    part: JobPart | None,
    device: str,
    precision: str,
    workers: int,
    batch: int | None,
    prune: bool,
    replace: bool,
    clip_timeout: float,
    retry_failed: bool,
    **source: Any,
) -> ExtractSettings:
    """Return the settings that the options ask for."""
    from ...extract.plan import Plan

    # avemo bench has no options of a cluster.
    cluster = cluster_of(source) if "on" in source else ClusterSettings()
    if "," in device and cluster.on != "local":
        raise click.UsageError(f"--device {device}: a task of --on {cluster.on} has one GPU; use cuda")
    plan = Plan(
        detector=detector,
        backbones=tuple(dict.fromkeys(backbones)),
        view_sets=tuple(dict.fromkeys(VIEW_SETS[name] for name in tta)),
        audio_backbones=tuple(dict.fromkeys(audio_backbones)),
        max_frames=max_frames,
        device=device,
        precision=precision,
        batch=batch,
        segments=segments or bool(segment_backbones),
        segment_backbones=tuple(dict.fromkeys(segment_backbones)),
        voice_activity=vad,
        detect_every=detect_every,
    )
    return ExtractSettings(
        ClipFolder(clips, **source),
        plan,
        store,
        workers,
        part,
        prune,
        replace,
        cluster,
        clip_timeout,
        retry_failed,
    )


class _Watched(Printed):
    """Prints, and refuses options that would do nothing for these clips."""

    def found(self, root: Path, found: FoundClips) -> None:
        if found.markers:
            why = f"{found.dataset} is read as sound and facial markers, without pictures"
            refuse_idle(dict.fromkeys(PICTURE_OPTIONS, why))
        super().found(root, found)


def _summarise(store: Path, done: Extracted) -> None:
    found, counts = done.found, done.counts
    table = [
        [
            split,
            of.clips,
            of.clips - of.unlabelled,
            of.with_sound,
            of.failed,
            of.frames,
            f"{of.frames_with_face / of.frames:.1%}" if of.frames else "-",
        ]
        for split, of in counts.splits.items()
    ]
    header = ["split", "clips", "labelled", "with sound", "failed", "frames", "with face"]
    click.echo(aligned(header, table))
    stages = dict(counts.stages.most_common())
    keep_result(
        store=str(store),
        dataset=found.dataset,
        splits=records(header, table),
        failed=counts.failed,
        failed_stages=stages,
    )
    if stages:
        click.echo(f"failed in: {counts_of(stages)}; --retry-failed tries these clips again")
    if counts.changes:
        told = (f"{count_of(count, 'clip')} {change}" for change, count in counts.changes.items())
        click.echo(f"pictures: {', '.join(told)}")
    if found.markers:
        click.echo(_markers(counts))
    following = f"; next: avemo-fuse train --store {store} --fusion fbp"
    labelled = any(of.labels for of in counts.splits.values())
    click.echo(f"stored in {store}{following if labelled else ''}")


def _markers(counts: Tally) -> str:
    """Say how many clips have facial markers, and why the others have none."""
    told = [f"facial markers: {count_of(counts.markers['ok'], 'clip')}"]
    told += [f"{count} failed" for count in (counts.markers["failed"],) if count]
    told += [f"{count} without: {reason}" for reason, count in counts.unmarked.items()]
    return "; ".join(told)
