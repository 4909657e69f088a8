"""``avemo interspeech2019``: the segment pipeline of priyasad2019, from clips to its tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...extract import DEFAULT_BACKBONE
from ..demo.set import DEMO_NOTE, is_demo
from ..fuse.settings import CrossValidationSettings
from ..recipes.interspeech2019 import CORPORA, Result, as_text, file_name, rows_of, write
from ..stage_one import ClipFolder, into_store
from .clip_options import PATTERN_HELP, dataset_options
from .console import Console
from .extraction import Printed
from .framework import InputError, altered, command, group, json_result, keep_result
from .fuse.cv import show
from .fuse.options import allow_duplicates
from .options import (
    backbone_option,
    batch_option,
    choose_epoch_option,
    dense_option,
    detector_option,
    device_option,
    dropout_option,
    epochs_option,
    hidden_option,
    learning_rate_option,
    lstm_option,
    max_frames_option,
    members_option,
    out_option,
    seed_option,
    segment_backbones_option,
    vad_option,
    vote_option,
    workers_option,
)
from .outputs import overwrite_option, refuse_existing

if TYPE_CHECKING:
    from ...extract.plan import Plan
    from ..corpora.clips.find import FoundClips

FACES, SOUND, LSTM = "vgg19-227", "vgg19", 4096  # the paper's networks and sizes
SMALL_LSTM = 128

EXAMPLES = """
\b
Examples:
  avemo interspeech2019 clips/ --out segments
  avemo interspeech2019 RML/ --out rml --paper vgg19-dcbb9e9d.pth --detector ssd@opencv_face_detector_uint8.pb
  avemo interspeech2019 clips/ --out vgg --backbone vgg19-227@faces.safetensors \\
                        --segment-backbone vgg19@mfcc.pth
  avemo interspeech2019 clips/ --out groups --folds group-kfold:5 --members 5 --vote mean

\b
DIR gets features/ (the store), a cross-validation for each kind of folds (cv-subject/, cv-kfold-6/),
results.md and results.csv (accuracy beside the paper's, in the shape of its tables 1 and 2) and a
confusion matrix for each (confusion-subject.csv).
"""


@command("interspeech2019", epilog=EXAMPLES + PATTERN_HELP)
@click.argument("data", type=click.Path(path_type=Path))
@dataset_options
@group("Clips", max_frames_option)
@group(
    "Features",
    click.option(
        "--paper",
        metavar="WEIGHTS",
        help=f"Use the paper's networks and sizes: fc7 of a VGG19 with these weights for faces and MFCC "
        f"images, and an LSTM of {LSTM}. Other options override them. Takes much longer.",
    ),
    altered(backbone_option, help=f"Face network.  [default: {DEFAULT_BACKBONE}, which comes with avemo]"),
    altered(
        segment_backbones_option,
        name="segment_backbone",
        multiple=False,
        help="Image network for MFCC images.  [default: mean and standard deviation of each coefficient]",
    ),
    detector_option,
    vad_option,
)
@group(
    "Head",
    altered(lstm_option, help=f"Size of the LSTM.  [default: {SMALL_LSTM}]"),
    altered(hidden_option, help="Size of h in eq. 5."),
    altered(dense_option, default=0, show_default=True, help="Size of an additional dense layer; 0: none."),
    altered(
        vote_option,
        type=click.Choice(["majority", "mean"]),
        default="majority",
        show_default=True,
        help="How segments decide a clip's class: majority, or mean of their posteriors.",
    ),
    altered(dropout_option, help="Dropout rate."),
)
@group(
    "Training",
    altered(members_option, help="Heads to train for each fold and average; member i has seed S + i."),
    altered(epochs_option, default=15, help="Number of epochs; more are worse with few clips."),
    altered(batch_option, default=8, help="Clips per batch, with all their segments."),
    learning_rate_option,
    seed_option,
)
@group(
    "Selection",
    click.option(
        "--folds",
        default="subject,kfold:6",
        show_default=True,
        metavar="KINDS",
        help="Kinds of folds, as in avemo-fuse cv, separated by commas. In kfold:K, as in the paper's, "
        "subjects are on both sides; results are marked.",
    ),
    choose_epoch_option,
)
@allow_duplicates
@group("Where it runs", device_option, workers_option)
@group(
    "Output",
    out_option,
    altered(overwrite_option, help="Replace cross-validations with other settings in DIR."),
)
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
    segment_backbone: str | None,
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
    from ..fuse.cv import cross_validate
    from ..fuse.cv_results import write as write_folds

    backbone = backbone or (f"{FACES}@{paper}" if paper else DEFAULT_BACKBONE)
    segment_backbone = segment_backbone or (f"{SOUND}@{paper}" if paper else None)
    found = ClipFolder(data, dataset, pattern, manifest, labels, other_labels).find()
    kinds = kinds_of(folds, found, training["seed"])
    plan = Plan(
        detector,
        (backbone,),
        ("none",),
        max_frames=max_frames,
        device=training["device"],
        segments=True,
        segment_backbones=(segment_backbone,) if segment_backbone else (),
        voice_activity=vad,
    )
    pages = [out / "results.md", out / "results.csv"]
    refuse_existing(pages, training["overwrite"], unless=out / "features")
    click.echo(f"== 1 of {1 + len(kinds)}: clips to features")
    Printed().found(data, found)
    failures = into_store(found, plan, out / "features", training["workers"], reporter=Printed())
    settings = CrossValidationSettings(store=out / "features", fusion="segments").changed(
        **training, **features_of(plan), lstm=lstm or (LSTM if paper else SMALL_LSTM)
    )
    note = DEMO_NOTE if is_demo(data) else None
    results = []
    for number, kind in enumerate(kinds, 2):
        click.echo(f"\n== {number} of {1 + len(kinds)}: folds by {kind}")
        folder = out / f"cv-{file_name(kind)}"
        mixed = kind.startswith("kfold")
        own = settings.changed(folds=kind, allow_same_subjects=mixed, out=folder)
        outcome = cross_validate(own, Console())
        write_folds(outcome, folder, note)
        show(outcome, folder, note)
        results.append(Result(kind, CORPORA.get(found.name, found.dataset), outcome.mean))
    notes = notes_of(settings, found, note)
    written = write(results, notes, out)
    click.echo("\n" + "\n\n".join(map(as_text, results)))
    click.echo("\n" + "\n".join(notes) + f"\nwrote {', '.join(map(str, written))}")
    keep_result(results=rows_of(results), notes=list(notes), wrote=[str(path) for path in written])
    return 1 if failures or found.problems else 0


def kinds_of(text: str, found: FoundClips, seed: int) -> list[str]:
    """The kinds of folds that ``--folds`` asks for; that they can be made is seen before any work.

    Raises:
        UsageError: it names no folds.
        FusionError: there are no such folds, or the clips cannot be divided so.
        InputError: the clips have no pictures.
    """
    from ...fusion.training.folds import divide

    if found.markers:
        raise InputError(f"{found.dataset} is read as sound and facial markers, and this needs pictures")
    kinds = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not kinds:
        raise click.UsageError(f"--folds {text!r}: folds expected, as in subject,kfold:6")
    clips = [clip for clip in found.clips if clip.label is not None]
    for kind in kinds:
        divide(kind, clips, seed=seed)
    return kinds


def features_of(plan: Plan) -> dict[str, str]:
    """What the head reads of each stream."""
    from ...extract.networks import face_networks, segment_networks

    (seen,), heard = face_networks(plan), segment_networks(plan)
    return {
        "visual": f"basic:{seen.label}",
        "audio": f"mfcc-vectors:{heard[0].label}" if heard else "mfcc-stats",
    }


def notes_of(settings: CrossValidationSettings, found: FoundClips, demo: str | None) -> Sequence[str]:
    """What whoever reads the tables must know."""
    (faces, sound) = (name.partition(":")[2] for name in (settings.visual, settings.audio))
    sound = sound or "mean and standard deviation of each coefficient of MFCC, Δ and ΔΔ"
    lstm, vote = settings.head["lstm"], settings.head["vote"]
    notes = [
        f"Here, on {found.dataset}: faces by {faces}, sound by {sound}, an LSTM of {lstm}, vote "
        f"by {vote}. The paper: VGG19, fine-tuned, over both, an LSTM of 4096; accuracies on 500 "
        "clips of RML and 1166 of eNTERFACE'05; it does not print its K."
    ]
    return [*notes, demo] if demo else notes
