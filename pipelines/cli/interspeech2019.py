"""``avemo interspeech2019``: the segment pipeline of priyasad2019, from clips to its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...extract import DEFAULT_BACKBONE
from ..demo.set import DEMO_NOTE, is_demo
from ..fuse.cv import SESSION, cross_validate, cv, divide
from ..fuse.cv_results import show
from ..fuse.cv_results import write as write_folds
from ..fuse.leaks import allow_duplicates
from ..recipes.interspeech2019 import CORPORA, Result, as_text, file_name, rows_of, write
from ..stage_one import into_store, say_found
from .clip_options import PATTERN_HELP, dataset_options, find_chosen
from .framework import InputError, command, json_result, keep_result
from .outputs import refuse_existing

if TYPE_CHECKING:
    from ...extract.plan import Plan
    from ..corpora.clips.find import Found

FACES, SOUND, LSTM = "vgg19-227", "vgg19", 4096  # the paper's networks and sizes
SMALL_LSTM = 128

EXAMPLES = """
\b
Examples:
  avemo interspeech2019 clips/ --out segments
  avemo interspeech2019 RML/ --out rml --paper vgg19-dcbb9e9d.pth --detector ssd@opencv_face_detector_uint8.pb
  avemo interspeech2019 clips/ --out vgg --backbone vgg19-227@faces.safetensors --segment-audio vgg19@mfcc.pth
  avemo interspeech2019 clips/ --out groups --folds group-kfold:5 --members 5 --vote mean

\b
DIR gets features/ (the store), a cross-validation for each kind of folds (cv-subject/, cv-kfold-6/),
results.md and results.csv (accuracy beside the paper's, in the shape of its tables 1 and 2) and a
confusion matrix for each (confusion-subject.csv).
"""


@command("interspeech2019", epilog=EXAMPLES + PATTERN_HELP)
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Where everything goes."
)
@dataset_options
@click.option(
    "--paper",
    metavar="WEIGHTS",
    help=f"The paper's networks and sizes: the fc7 of a VGG19 with these weights over faces and MFCC images, "
    f"and an LSTM of {LSTM}. Options below say otherwise. Much longer.",
)
@click.option(
    "--backbone",
    metavar="NAME[@WEIGHTS]",
    help=f"The face network.  [default: {DEFAULT_BACKBONE}, which comes with avemo]",
)
@click.option(
    "--segment-audio",
    metavar="NAME[@WEIGHTS]",
    help="An image network over the MFCC images.  [default: none, but mean and standard deviation of each "
    "coefficient]",
)
@click.option("--lstm", type=click.IntRange(min=1), metavar="N",
              help=f"Values of the LSTM's output.  [default: {SMALL_LSTM}]")  # fmt: skip
@click.option("--hidden", type=click.IntRange(min=1), default=128, show_default=True, metavar="M",
              help="Values of h in eq. 5.")  # fmt: skip
@click.option("--dense", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
              help="Values of one more dense layer; 0: none.")  # fmt: skip
@click.option(
    "--vote",
    type=click.Choice(["majority", "mean"]),
    default="majority",
    show_default=True,
    help="A clip's class: that of most of its segments, or of the mean of their posteriors.",
)
@click.option(
    "--folds",
    default="subject,kfold:6",
    show_default=True,
    metavar="KINDS",
    help="As of avemo-fuse cv, with commas between. In kfold:K, as in the paper's, subjects are on both "
    "sides; results are marked.",
)
@click.option(
    "--members",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Heads for each fold, averaged; member i has seed S + i.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="S")
@click.option("--epochs", type=click.IntRange(min=1), default=15, show_default=True, metavar="N",
              help="On few clips more are worse.")  # fmt: skip
@click.option(
    "--select",
    type=click.Choice(["none", "epoch"]),
    default="none",
    show_default=True,
    help="epoch: choose the number of epochs of each fold, up to --epochs, on inner folds of its training "
    "clips.",
)
@click.option("--batch", type=click.IntRange(min=1), default=8, show_default=True, metavar="N",
              help="Clips, with all their segments.")  # fmt: skip
@click.option("--lr", "learning_rate", type=click.FloatRange(min=0, min_open=True), default=1e-4,
              show_default=True, metavar="RATE", help="Adam's learning rate.")  # fmt: skip
@click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), default=0.3, show_default=True,
              metavar="SHARE")  # fmt: skip
@click.option(
    "--detector",
    default="dlib",
    show_default=True,
    metavar="NAME[@FILE]",
    help="dlib, yunet@FILE.onnx, or the paper's ssd@FILE.",
)
@click.option("--vad", default="energy", show_default=True, metavar="NAME",
              help="What tells speech: energy (the paper's), silero or none.")  # fmt: skip
@click.option(
    "--max-frames",
    type=click.IntRange(min=1),
    metavar="N",
    help="At most N frames of each clip, spread evenly.  [default: all]",
)
@allow_duplicates
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda, cuda:1.")
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Processes side by side.  [default: one a core where that pays]",
)
@click.option("--overwrite", is_flag=True, help="Replace cross-validations of other settings in DIR.")
@json_result
def interspeech2019(
    data: Path,
    out: Path,
    dataset: str,
    pattern: str,
    manifest: Path | None,
    labels: str,
    other_labels: str,
    paper: str | None,
    backbone: str | None,
    segment_audio: str | None,
    lstm: int | None,
    folds: str,
    detector: str,
    vad: str,
    max_frames: int | None,
    **training: Any,
) -> int:
    """Recognise emotions in the clips of DATA as Priyasad et al. do (Interspeech 2019), and cross-validate.

    Speech is cut into segments of 655 ms. An LSTM reads the faces of each, attention fuses it with the
    segment's sound, and a clip's segments vote. The networks are trained first, by avemo pretrain or by
    others; here they are applied, and what is fused is trained. What is done already is not done again, so
    a run that was stopped goes on with the same command.
    """
    from ...extract.plan import Plan

    backbone = backbone or (f"{FACES}@{paper}" if paper else DEFAULT_BACKBONE)
    segment_audio = segment_audio or (f"{SOUND}@{paper}" if paper else None)
    found = find_chosen(data, dataset, pattern, manifest, labels, other_labels)
    kinds = kinds_of(folds, found, training["seed"])
    plan = Plan(
        detector,
        (backbone,),
        ("none",),
        max_frames=max_frames,
        device=training["device"],
        segments=True,
        segment_audio=(segment_audio,) if segment_audio else (),
        voice_activity=vad,
    )
    pages = [out / "results.md", out / "results.csv"]
    refuse_existing(pages, training["overwrite"], unless=out / "features")
    click.echo(f"== 1 of {1 + len(kinds)}: clips to features")
    say_found(data, found)
    failures = into_store(found, plan, out / "features", training["workers"])
    options = {
        **cv.make_context("cv", []).params,
        **training,
        "store": out / "features",
        "fusion": "segments",
        **features_of(plan),
        "lstm": lstm or (LSTM if paper else SMALL_LSTM),
    }
    note = DEMO_NOTE if is_demo(data) else None
    results = []
    for number, kind in enumerate(kinds, 2):
        click.echo(f"\n== {number} of {1 + len(kinds)}: folds by {kind}")
        folder = out / f"cv-{file_name(kind)}"
        mixed = {"folds": kind, "allow_same_subjects": kind.startswith("kfold")}
        outcome = cross_validate(folder, {**options, **mixed})
        write_folds(outcome, folder, note)
        show(outcome, folder, note)
        results.append(Result(kind, CORPORA.get(found.name, found.dataset), outcome.mean))
    notes = notes_of(options, found, note)
    written = write(results, notes, out)
    click.echo("\n" + "\n\n".join(map(as_text, results)))
    click.echo("\n" + "\n".join(notes) + f"\nwrote {', '.join(map(str, written))}")
    keep_result(results=rows_of(results), notes=list(notes), wrote=[str(path) for path in written])
    return 1 if failures or found.problems else 0


def kinds_of(text: str, found: Found, seed: int) -> list[str]:
    """The kinds of folds that ``--folds`` asks for; that they can be made is seen before any work.

    Raises:
        UsageError: it asks for folds that there are not.
        FusionError: the clips cannot be divided so.
        InputError: the clips have no pictures.
    """
    if found.markers:
        raise InputError(f"{found.dataset} is read as sound and facial markers, and this needs pictures")
    kinds = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not kinds:
        raise click.UsageError(f"--folds {text!r}: folds expected, as in subject,kfold:6")
    clips = [clip for clip in found.clips if clip.label is not None]
    for kind in kinds:
        divide(kind, clips, SESSION, seed)
    return kinds


def features_of(plan: Plan) -> dict[str, str]:
    """What the head reads of each stream."""
    (seen,), heard = plan.networks(), plan.segment_networks()
    return {
        "visual": f"basic:{seen.label}",
        "audio": f"mfcc-vectors:{heard[0].label}" if heard else "mfcc-stats",
    }


def notes_of(options: Mapping[str, Any], found: Found, demo: str | None) -> Sequence[str]:
    """What whoever reads the tables must know."""
    (faces, sound) = (options[stream].partition(":")[2] for stream in ("visual", "audio"))
    sound = sound or "mean and standard deviation of each coefficient of MFCC, Δ and ΔΔ"
    notes = [
        f"Here, on {found.dataset}: faces by {faces}, sound by {sound}, an LSTM of {options['lstm']}, vote "
        f"by {options['vote']}. The paper: VGG19, fine-tuned, over both, an LSTM of 4096; accuracies on 500 "
        "clips of RML and 1166 of eNTERFACE'05; it does not print its K."
    ]
    return [*notes, demo] if demo else notes
