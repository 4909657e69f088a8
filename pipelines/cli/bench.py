"""``avemo bench``: where stage 1 spends its time on this machine, and how long a corpus takes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ... import __version__
from ..corpora.clips.found import count_of
from ..detector_choice import choose_detector
from ..stage_one import ClipFolder
from .clip_options import DATASET_OPTIONS
from .extract import main as avemo_extract
from .extract import settings_of
from .framework import command, group, refuse_idle, tell_result, wants_json, with_options_of
from .progress import progress_bar
from .table import aligned

if TYPE_CHECKING:
    from ...cache.clips import Clip
    from ...extract.plan import Plan
    from ..bench.measure import Measured
    from ..bench.verdict import Verdict

BAR = 30  # characters
TAKEN = {
    *DATASET_OPTIONS,
    *("max_frames", "tta", "backbones", "audio_backbones", "detector", "detect_every"),
    *("segments", "segment_backbones", "vad", "device", "workers", "precision", "batch", "json"),
}
"""Options of avemo-extract that affect the cost of its stages."""

EXAMPLES = """
\b
Examples:
  avemo bench
  avemo bench afew/ --tta meanstd --backbone resnet18@Resnet18_FER+.pth.tar
  avemo bench afew/ --detect-every 3
  avemo bench afew/ --seconds 300 --json > bench.json

\b
Exit code: 0 done; 1 done, but some clips failed (each is named with its reason);
2 wrong arguments or input; 130 interrupted.
"""


@with_options_of(avemo_extract, without={each.name or "" for each in avemo_extract.params} - TAKEN)
@command("bench", epilog=EXAMPLES)
@click.argument("clips", type=click.Path(path_type=Path), required=False)
@group(
    "Evaluation",
    click.option(
        "--clips",
        "count",
        type=click.IntRange(min=1),
        default=24,
        show_default=True,
        metavar="N",
        help="Time at most N clips, spread evenly over the folder, and at most 4 s of each.",
    ),
    click.option(
        "--seconds",
        type=click.FloatRange(min=1),
        default=60.0,
        show_default=True,
        metavar="S",
        help="Approximate duration; fewer or shorter clips are timed to meet it.",
    ),
)
def bench(clips: Path | None, count: int, seconds: float, **options: Any) -> int:
    """Time each stage of avemo-extract on this machine, with the clips in the folder CLIPS.

    The options are those of avemo-extract. Each stage is timed alone, then the whole run. The output shows
    what each stage costs, which one is the bottleneck, what to change, and how long a corpus takes. Without
    CLIPS, demo clips are made and timed. Nothing is kept.
    """
    from ..bench.measure import BenchSettings, measure
    from ..bench.verdict import judge

    if not (options["segments"] or options["segment_backbones"]):
        refuse_idle({"vad": "it finds the speech for segments; add --segments"})
    if clips is None:
        refuse_idle(dict.fromkeys(DATASET_OPTIONS, "there is no folder to read; name CLIPS"))
    with tempfile.TemporaryDirectory(prefix="avemo-bench-") as name:
        folder = Path(name)
        settings = settings_of(clips=clips or _made(folder), store=folder, **{**_defaults(), **options})
        chosen, plan = _found(settings.clips, settings.plan)
        with _progress() as on_clip:
            wanted = BenchSettings(chosen, plan, settings.workers, count, seconds)
            measured = measure(wanted, folder, on_clip)
    verdict = judge(measured, plan)
    for clip, why in measured.whole.failed.items():
        click.echo(f"failed: {clip}: {why}", err=True)
    if wants_json():
        tell_result(_record(measured, verdict, plan))
    else:
        click.echo(_text(measured, verdict, plan, clips is None))
    return 1 if measured.whole.failed else 0


def _defaults() -> dict[str, Any]:
    """Return the defaults of those options of avemo-extract that this command lacks."""
    names = signature(settings_of).parameters
    others = [each for each in avemo_extract.params if each.name in names and each.name not in TAKEN]
    plain = (bool, int, float, str, tuple)
    values = {each.name or "": each.default if isinstance(each.default, plain) else None for each in others}
    return {name: value for name, value in values.items() if name not in ("clips", "store")}


def _found(folder: ClipFolder, plan: Plan) -> tuple[list[Clip], Plan]:
    found = folder.find()
    plan = replace(plan, detector=choose_detector(plan.detector).text)
    return list(found.clips), replace(plan, pictures=False, backbones=()) if found.markers else plan


def _made(folder: Path) -> Path:
    from ..bench.sample import MADE, made_clips

    clips = folder / "clips"
    clips.mkdir()
    for _ in progress_bar(made_clips(clips), total=MADE, unit="clip", desc="making clips", leave=False):
        pass
    return clips


@contextmanager
def _progress() -> Iterator[Any]:
    with progress_bar(total=0, unit="clip", desc="timing") as bar:

        def on_clip(done: int, total: int) -> None:
            bar.total = total or None
            bar.update(done - bar.n)

        yield on_clip


def _record(measured: Measured, verdict: Verdict, plan: Plan) -> dict[str, object]:
    from ...extract.run import usable_cores

    return {
        "avemo": __version__,
        "cores": usable_cores(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "plan": asdict(plan),
        **{name: asdict(run) for name, run in (("alone", measured.alone), ("whole", measured.whole))},
        "film_seconds": measured.film,
        "corpus": measured.corpus,
        **asdict(verdict),
    }


def _text(measured: Measured, verdict: Verdict, plan: Plan, made: bool) -> str:
    from ...extract.devices import torch_devices
    from ...extract.networks import face_networks
    from ...extract.run import usable_cores

    alone, whole = measured.alone, measured.whole
    networks = ", ".join(f"{network.label} ({network.precision})" for network in face_networks(plan))
    device = ",".join(torch_devices(plan.device))
    what = f"{plan.detector}, {networks or 'no network'} on {device}, {count_of(usable_cores(), 'core')}"
    timed = f"{count_of(alone.clips, 'clip')}, {measured.film:.1f} s of film, {alone.frames} frames"
    longest = max(stage.share for stage in verdict.stages)
    rows = [
        [
            each.stage,
            f"{each.seconds:.3f}",
            "-" if each.ms_a_frame is None else f"{each.ms_a_frame:.1f}",
            f"{each.share:.0%}",
            "█" * round(BAR * each.share / longest),
        ]
        for each in verdict.stages
    ]
    resource = "cores" if verdict.slowest == "cores" else device
    lines = [
        f"{what}\ntimed: {timed}{', made here' if made else ''}; processor time of each stage alone:\n",
        aligned(["stage", "s a clip", "ms a frame", "share", ""], rows),
        f"\nwhole run: {whole.wall:.1f} s in {whole.workers} process{'es' if whole.workers > 1 else ''}, "
        f"after {whole.start:.1f} s to start; the {resource} alone need {verdict.bound:.1f} s "
        f"(ratio {verdict.ratio:.2f})",
        f"the bottleneck: {verdict.wall}, {_share(verdict):.0%} of the time",
        *(f"  {_change(change.option, change.effect, change.saves)}" for change in verdict.changes),
        f"1,000 clips of {verdict.clip_seconds:.1f} s, {verdict.clip_frames:.0f} frames each: about "
        f"{duration(verdict.thousand_seconds)} on this machine",
    ]
    if not made and measured.corpus > 1:
        lines.append(f"the {measured.corpus} clips of this folder: about {duration(verdict.corpus_seconds)}")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > 1.5 * usable_cores():
        own = duration(verdict.own * verdict.thousand_seconds)
        lines.append(
            f"note: other programs are running (load {load:.1f}); without them, 1,000 clips: about {own}"
        )
    return "\n".join(lines)


def _share(verdict: Verdict) -> float:
    return next(stage.share for stage in verdict.stages if stage.stage == verdict.wall)


def _change(option: str, effect: str, saves: float | None) -> str:
    return f"{option}: {effect}{'' if saves is None else f', about {saves:.0%} less time'}"


def duration(seconds: float) -> str:
    """Format seconds as ``40 s``, ``12 min``, ``1 h 10 min`` or ``3 days 4 h``."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if minutes < 100:
        return f"{minutes} min"
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24} days {hours % 24} h"
