"""``avemo emotiw2019``: submission 5 of zhou2019 (table 4), from AFEW's clips to the challenge's zip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...extract import DEFAULT_BACKBONE
from ..demo.set import DEMO_NOTE, is_demo
from ..fuse.priors import choose
from ..fuse.settings import EnsembleSettings, TrainSettings
from ..recipes.emotiw2019 import HEADER, PAPER, RAW, results, write
from ..stage_one import into_store
from .completion import names
from .console import Console
from .extraction import Printed
from .framework import altered, command, group, json_result, keep_result
from .fuse.options import allow_duplicates
from .options import (
    backbones_option,
    detector_option,
    device_option,
    epochs_option,
    fit_on_option,
    max_frames_option,
    members_option,
    out_option,
    seed_option,
    workers_option,
)
from .outputs import overwrite_option, refuse_existing
from .table import aligned, records

if TYPE_CHECKING:
    from ...fusion.evaluation.priors import Prior
    from ..corpora.clips.find import FoundClips

VIEW_SETS = ("default", "wide")
JOINT = "f-ar-mean"
HEAD: dict[str, Any] = {  # zhou2019 table 2's best; sizes and training are those that zhou2021 prints
    "fusion": "fbp",
    "attention": "transformer",
    "dropout": 0.3,
    "head": {"outputs": 128, "factors": 4},
    "batch": 64,
    "learning_rate": 1e-4,
}

EXAMPLES = """
\b
Examples:
  avemo emotiw2019 afew/ --out emotiw --backbone ir50@affectnet.pth --backbone ir50@rafdb.pth \\
        --audio-backbone alexnet@alexnet-owt-7be5be79.pth --zip MyTeam
  avemo demo clips && avemo emotiw2019 clips --out emotiw --max-frames 10

\b
DIR gets features/ (the store), runs/ (one for each feature), results.md and results.csv (accuracy beside
the paper's), submission.csv, scores.csv, and with --zip the challenge's zip.
"""


@command("emotiw2019", epilog=EXAMPLES)
@click.argument("afew_dir", type=click.Path(path_type=Path))
@group("Clips", max_frames_option)
@group(
    "Features",
    altered(
        backbones_option,
        default=(DEFAULT_BACKBONE,),
        show_default=True,
        help="Face network; the paper's is trained on AffectNet. Give a second one, trained on RAF-DB, for "
        "F-AR-Mean, which joins both.",
    ),
    click.option(
        "--audio-backbone",
        "audio",
        metavar="alexnet@WEIGHTS",
        shell_complete=names(("alexnet@",)),
        help="The paper's audio network.  [default: statistics of the log-Mel spectrogram]",
    ),
    detector_option,
)
@group(
    "Training",
    altered(members_option, help="Heads to train for each feature; member i has seed S + i."),
    epochs_option,
    seed_option,
    fit_on_option,
)
@allow_duplicates
@group("Where it runs", device_option, workers_option)
@group(
    "Output",
    out_option,
    click.option(
        "--prior",
        type=click.Choice(["emotiw2019", "train", "none"]),
        default="emotiw2019",
        show_default=True,
        help="Class weights of the ensemble: the paper's, or shares of the training labels.",
    ),
    click.option("--zip", "team", metavar="TEAM", help="Also write TEAM.zip: a text file per test clip."),
    altered(overwrite_option, help="Replace runs with other settings in DIR."),
)
@json_result
def emotiw2019(
    afew_dir: Path,
    out: Path,
    backbones: tuple[str, ...],
    audio: str | None,
    fit_on: str,
    prior: str,
    team: str | None,
    detector: str,
    max_frames: int | None,
    device: str,
    workers: int,
    **training: Any,
) -> int:
    """Reproduce submission 5 of zhou2019 to EmotiW 2019 on the clips in AFEW_DIR.

    Five features of the face, each fused with the sound by transformer attention and factorized bilinear
    pooling, averaged, and re-weighted by class. What is done already is not done again, so a run that was
    stopped goes on with the same command.
    """
    if len(backbones) > 2:
        raise click.UsageError(f"{len(backbones)} backbones given; one, or an AffectNet and a RAF-DB one")
    from ...extract.networks import face_networks
    from ...extract.plan import Plan
    from ..corpora.clips.find import find_clips
    from ..fuse.ensemble import ensemble, outputs

    found = find_clips(afew_dir, "afew")
    plan = Plan(detector, backbones, VIEW_SETS, (audio,) if audio else (), max_frames, device)
    labels = [network.label for network in face_networks(plan)]
    written = [out / "results.md", out / "results.csv", *outputs(out, team)]
    refuse_existing(written, training["overwrite"], unless=out / "features")
    click.echo("== 1 of 3: clips to features")
    Printed().found(afew_dir, found)
    failures = into_store(found, plan, out / "features", workers, reporter=Printed())
    click.echo("\n== 2 of 3: features to trained heads")
    settings = TrainSettings(
        **training,
        fit_on=fit_on,
        store=out / "features",
        audio="alexnet" if audio else "logmel-stats",
        device=device,
        workers=workers,
        **HEAD,
    )
    runs = train_all(labels, out / "runs", settings)
    click.echo("\n== 3 of 3: heads to a submission")
    ensemble(EnsembleSettings(tuple(runs.values()), prior=prior, out=out, team=team, overwrite=True))
    weights = _prior(prior, runs)
    notes = [*_notes(labels, audio, weights, fit_on, is_demo(afew_dir)), *_marks(runs)]
    lines = results(runs, weights, validated=_validated(found, fit_on))
    written = write(lines, notes, out)
    click.echo("\n" + "\n".join(notes) + "\n\n" + aligned(HEADER, [line.cells for line in lines]))
    click.echo(f"wrote {' and '.join(map(str, written))}")
    rows = [[line.name, line.clips, line.accuracy, line.uar, line.paper] for line in lines]
    folders = {name: str(path) for name, path in runs.items()}
    keep_result(results=records(RAW, rows), notes=notes, runs=folders)
    return 1 if failures or found.problems else 0


def train_all(labels: Sequence[str], folder: Path, settings: TrainSettings) -> dict[str, Path]:
    """Train a run for each feature that the backbones ``labels`` allow; feature → the run's folder."""
    from ..fuse.train import train

    runs = {}
    for feature in PAPER:
        if feature == JOINT and len(labels) < 2:
            click.echo(f"{PAPER[feature].name} is left out: it joins two backbones and one is given; name "
                       "an AffectNet and a RAF-DB one by --backbone twice")  # fmt: skip
            continue
        visual = f"{feature}:{'+'.join(labels) if feature == JOINT else labels[0]}"
        runs[feature] = folder / feature
        train(settings.changed(visual=visual, out=runs[feature]), Console())
    return runs


def _notes(
    labels: Sequence[str], audio: str | None, prior: Prior | None, fit_on: str, demo: bool
) -> list[str]:
    """What whoever reads the table must know."""
    heard = audio.partition("@")[0] if audio else "log-Mel statistics in place of the paper's AlexNet"
    notes = [
        f"Here: {' and '.join(labels)}, sound by {heard}. The paper: IR50 trained on AffectNet (and on "
        "RAF-DB, for F-AR-Mean), sound by AlexNet; accuracies on AFEW's 383 validation clips."
    ]
    if prior:
        notes.append(f"Re-weighted by {prior.note}.")
    if fit_on != "train":
        notes.append("Trained on the validation clips too, so there is nothing to validate on.")
    return [*notes, DEMO_NOTE] if demo else notes


def _marks(runs: Mapping[str, Path]) -> list[str]:
    """What must stand beside the figures of validation clips."""
    from ...fusion.training import cards

    marks = {mark for path in runs.values() for mark in cards.read(path).facts.get("marks", ())}
    return [f"{mark.capitalize()}." for mark in sorted(marks)]


def _validated(found: FoundClips, fit_on: str) -> bool:
    return fit_on == "train" and any(clip.split == "val" and clip.label for clip in found.clips)


def _prior(source: str, runs: Mapping[str, Path]) -> Prior | None:
    from ...fusion.training import cards

    return choose(source, cards.read(next(iter(runs.values()))).facts["train_counts"])
