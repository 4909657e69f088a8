"""``avemo pretrain audio``: an audio network on labelled recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from ..cli.completion import names
from ..cli.framework import InputError, command, group, json_result, keep_result, together
from ..cli.progress import progress_bar
from ..cli.settings_file import config_options
from ..corpora.clips.found import counts_of
from ..corpora.clips.schemes import SCHEMES
from .options import (
    chosen_subjects,
    device_options,
    evaluation_options,
    output_options,
    recipe_options,
    rename_option,
    renaming,
    speaker_options,
    with_defaults,
    without_option,
)
from .work import (
    Job,
    as_card,
    clear_way,
    fit,
    make_fabric,
    of_whom,
    only_the_first_speaks,
    probabilities,
    recipe_of,
    require_fabric,
    tell_figures,
    training_card,
)

if TYPE_CHECKING:
    from ...pretrain.audio_network import AudioNetwork
    from ...pretrain.audio_samples import AudioSamples
    from ...pretrain.classifier import Classifier
    from ...pretrain.evaluation import Figures
    from ...pretrain.recordings import PackedRecordings, RecordingSet

LAYOUTS = tuple(name for name in SCHEMES if name != "flat")
SHOWN = 10  # of the recordings that are left out

EXAMPLES = """
\b
Examples:
  avemo pretrain audio --data java_sed/speech/ --held-out-subjects 06,07 --out mine.safetensors
  avemo pretrain audio --data ravdess/ --network fcn --input logmel
  avemo pretrain audio --data CREMA-D/ --network alexnet@alexnet-owt-7be5be79.pth --batch 64
  avemo pretrain audio --data emodb/ --subject-pattern '/(\\d\\d)' --balance sampling
  avemo pretrain audio --data recordings.csv --held-out 0.2 --devices 4
  avemo pretrain audio --evaluate --weights mine.safetensors --data java_sed/speech/ --held-out-subjects 06,07
  avemo-extract clips/ --audio-backbone alexnet@mine.safetensors

\b
recordings.csv has the columns path and label, and subject, split (train, val, test) where they are known.

\b
Exit code: 0 done; 1 done, but some recordings could not be read or only in part, each named with its
reason; 2 wrong arguments or input; 130 interrupted: the same command goes on.
"""

data_options = together(
    group(
        "Clips",
        click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), metavar="PATH",
                     help="Labelled recordings, sounds or videos: a folder, or a CSV that lists them."),
        click.option("--layout", default="auto", show_default=True, metavar="NAME",
                     shell_complete=names(("auto", *LAYOUTS)),
                     help=f"Layout of a folder: auto, or {', '.join(LAYOUTS)}."),
        click.option("--subject-pattern", default="", metavar="REGEX",
                     help="Finds the speaker in a recording's path, if the layout does not give it."),
        rename_option,
        without_option(),
    ),
    speaker_options,
)  # fmt: skip

network_options = group(
    "Network",
    click.option("--network", default="alexnet", show_default=True, metavar="NAME[@WEIGHTS]",
                 shell_complete=names(("alexnet", "fcn")),
                 help="alexnet, for --audio-backbone of avemo-extract; or fcn, an encoder of fusion heads. "
                      "Without weights it starts at random."),
    click.option("--input", type=click.Choice(["spectrogram", "logmel"]), default="spectrogram",
                 show_default=True, help="Input of fcn."),
    click.option("--pooling", type=click.Choice(["attention", "mean"]), default="attention",
                 show_default=True, help="Pooling over time, before the classifier."),
    click.option("--temperature", type=click.FloatRange(min=0), default=1.0, show_default=True,
                 metavar="LAMBDA", help="Sharpness of attention pooling; 0 is the plain mean."),
    click.option("--no-lrn", is_flag=True, help="fcn without local response normalisation."),
)  # fmt: skip

change_options = group(
    "Augmentation",
    click.option("--frames", type=click.IntRange(min=63), default=300, show_default=True, metavar="N",
                 help="Train on random excerpts of N frames of 10 ms."),
    click.option("--shift", type=click.FloatRange(min=0), default=0.1, show_default=True, metavar="SECONDS",
                 help="Largest delay of the start, also in recordings shorter than an excerpt."),
    click.option("--speed", type=click.FloatRange(1, 2), default=1.0, show_default=True, metavar="TIMES",
                 help="Largest factor of speeding up or slowing down."),
    click.option("--gain", type=click.FloatRange(min=0), default=6.0, show_default=True, metavar="DB",
                 help="Largest change of level."),
    click.option("--filter", type=click.FloatRange(min=0), default=6.0, show_default=True, metavar="DB",
                 help="Largest change of level by frequency, as other microphones make."),
    click.option("--noise", type=click.FloatRange(0, 1), default=0.5, show_default=True, metavar="SHARE",
                 help="Share of recordings with added noise, from white to brown."),
    click.option("--snr", type=click.FloatRange(max=30), default=5.0, show_default=True, metavar="DB",
                 help="Lowest signal-to-noise ratio; the highest is 30."),
    click.option("--time-mask", type=click.FloatRange(min=0), default=0.3, show_default=True,
                 metavar="SECONDS", help="Longest of two masked stretches."),
    click.option("--frequency-mask", type=click.FloatRange(0, 1), default=0.15, show_default=True,
                 metavar="SHARE", help="Widest of two masked bands, as a share of all bins."),
)  # fmt: skip


@command("audio", epilog=EXAMPLES)
@data_options
@network_options
@with_defaults(recipe_options, batch=32, optimiser="adamw", weight_decay=0.01, dropout=0.3, ema=0.99)
@change_options
@evaluation_options("--data", "what training on --data writes")
@device_options
@output_options
@json_result
@config_options
def audio(evaluate: bool, **options: Any) -> int:
    """Train an audio network on labelled recordings, or say how right one is.

    Writes the weights, which --audio-backbone alexnet@FILE of avemo-extract and the encoders of avemo-fuse
    take, and a card that says what they are. Nobody speaks on both sides of the held-out part. A training
    that was stopped goes on with the same command, and ends as if it had not been.
    """
    with only_the_first_speaks():
        return _evaluate(options) if evaluate else _train(options)


def _train(options: Mapping[str, Any]) -> int:
    require_fabric()
    import torch

    from ...pretrain.audio_card import start_from, write_audio
    from ...pretrain.audio_changes import AudioChanges
    from ...pretrain.audio_network import AudioNetwork
    from ...pretrain.audio_samples import AudioSamples
    from ...pretrain.speakers import divided

    name, _, start = options["network"].partition("@")
    network = AudioNetwork(
        name,
        options["input"],
        name == "fcn" and not options["no_lrn"],
        options["pooling"],
        options["temperature"],
    )
    recipe = recipe_of(options, random=not start)
    changes = AudioChanges(
        **{name: options[name] for name in ("frames", "shift", "speed", "gain", "filter", "noise", "snr")},
        time_mask=options["time_mask"],
        frequency_mask=options["frequency_mask"],
    )
    recordings = _find(options)
    packed = _pack(recordings)
    chosen = chosen_subjects(options)
    fitted_rows, watched = divided(packed, options["held_out"], recipe.seed, chosen, options["no_subjects"])
    torch.manual_seed(recipe.seed)
    classifier = network.classifier(len(packed.classes), recipe.dropout)
    identity: dict[str, Any] = {
        "architecture": name,
        "network": asdict(network),
        "recipe": {**recipe.settings(), "augmentation": asdict(changes)},
        "data": packed.digest,
        "held_out": chosen or options["held_out"],
    }
    if start:
        identity["start"] = start_from(classifier, network, start)
    network = _fitted_to(network, packed, fitted_rows)
    samples = AudioSamples(packed, network, changes)
    out = options["out"] or _default_out(name, recordings)
    job = Job(samples, fitted_rows, watched, recipe, identity, out)
    clear_way(job, options["overwrite"])
    _say_job(job, packed, f"{name} on {network.input}", start)
    if job.done and not options["overwrite"]:
        click.echo(f"{out}: trained already")
        return _say_skipped(packed)
    fabric = make_fabric(options)
    fitted, seconds = fit(fabric, classifier, job)
    if not fabric.is_global_zero:
        return 0
    card = _card(network, recordings, packed, job, options) | training_card(job, fitted, seconds)
    if len(watched):
        figures = _figures(fitted.classifier, samples, packed, watched, options)
        card["held_out"] = as_card(figures)
        tell_figures(figures, f"held out, epoch {fitted.best}")
    write_audio(out, fitted.classifier, network, card, options["half"])
    job.checkpoint.unlink(missing_ok=True)
    keep_result(weights=str(out))
    click.echo(f"wrote {out} and {out.with_suffix('.json')}")
    return _say_skipped(packed)


def _evaluate(options: Mapping[str, Any]) -> int:
    from ...extract.backbones.weights_folder import read_card
    from ...pretrain.audio_card import read_audio
    from ...pretrain.audio_changes import AudioChanges
    from ...pretrain.audio_samples import AudioSamples
    from ...pretrain.speakers import to_evaluate

    recordings = _find(options)
    name = options["network"].partition("@")[0]
    weights = options["weights"] or options["out"] or _default_out(name, recordings)
    if not weights.exists():
        raise InputError(f"there are no weights {weights}: name them by --weights FILE.safetensors")
    classifier, network, classes = read_audio(weights)
    packed = _pack(_in_classes_of(classes, recordings, weights))
    rows, of = to_evaluate(packed, chosen_subjects(options))
    of = f"{recordings.name} {of}".strip()
    click.echo(f"{weights.name} on {of}: {len(rows)} recordings")
    data = read_card(weights).get("data", {})
    known = sorted({*data.get("fitted_subjects", ())} & {*packed.subjects[rows]})
    if known and data.get("name") == recordings.name:
        click.echo(f"note: it was trained on the voices of {', '.join(known)}, so this flatters it")
    samples = AudioSamples(packed, network, AudioChanges())
    figures = _figures(classifier, samples, packed, rows, options)
    code = _say_skipped(packed)
    tell_figures(figures, of)
    return code


def _find(options: Mapping[str, Any]) -> RecordingSet:
    from .recordings import find_recordings

    recordings = find_recordings(
        options["data"],
        options["layout"],
        subject_pattern=options["subject_pattern"],
        rename=renaming(options["rename"]),
        without=options["without"],
    )
    counts = Counter(recording.label for recording in recordings.recordings)
    click.echo(
        f"{options['data']}: {recordings.name}, {len(recordings.recordings)} recordings: {counts_of(counts)}"
    )
    for note in recordings.notes:
        click.echo(note)
    if options["no_subjects"]:
        return replace(recordings, recordings=tuple(replace(r, subject="") for r in recordings.recordings))
    return recordings


def _pack(recordings: RecordingSet) -> PackedRecordings:

    from ...pretrain.recordings import LONGEST, pack_recordings

    with progress_bar(total=len(recordings.recordings), unit="recording", desc="reading", leave=False) as bar:
        packed = pack_recordings(recordings, bar.update)
    cut = int((packed.seconds >= LONGEST).sum())
    if cut:
        click.echo(f"of {cut} recordings, the first {LONGEST:g} seconds are used")
    return packed


def _fitted_to(network: AudioNetwork, packed: PackedRecordings, rows: np.ndarray) -> AudioNetwork:

    with progress_bar(total=len(rows), unit="recording", desc="mean and deviation", leave=False) as bar:
        return network.fitted_to(packed.sounds, rows, bar.update)


def _default_out(network: str, recordings: RecordingSet) -> Path:
    return Path(f"{network}-{recordings.name}.safetensors")


def _say_job(job: Job, packed: PackedRecordings, what: str, start: str) -> None:
    def count(rows: np.ndarray) -> str:
        return f"{len(rows)}{of_whom(packed.subjects[rows])}"

    begins = f"starting from {start}" if start else "starting at random"
    click.echo(f"{what}, {begins}: recordings to fit {count(job.fit)}; held out {count(job.watch)}")


def _figures(
    classifier: Classifier,
    samples: AudioSamples,
    packed: PackedRecordings,
    rows: np.ndarray,
    options: Mapping[str, Any],
) -> Figures:
    from ...pretrain.evaluation import figures

    said = probabilities(classifier, samples, rows, "recording", options)
    return figures(packed.classes, packed.targets[rows], said)


def _card(
    network: AudioNetwork,
    recordings: RecordingSet,
    packed: PackedRecordings,
    job: Job,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    def subjects(rows: np.ndarray) -> list[str]:
        return sorted({*packed.subjects[rows].tolist()} - {""})

    return {
        "architecture": network.name,
        "features": 256,
        "preprocessing": {
            "input": network.input,
            **network.reads.settings.settings(),
            **_normalisation(network),
        },
        "data": {
            "name": recordings.name,
            "recordings": len(packed.labels),
            "seconds": round(float(packed.seconds.sum())),
            "left_out": len(packed.skipped),
            "fitted_subjects": subjects(job.fit),
            "held_out_subjects": subjects(job.watch),
            "licence": options["licence"],
        },
    }


def _normalisation(network: AudioNetwork) -> dict[str, Any]:
    if network.pictures:
        return {"normalisation": "each recording as a picture whose loudest cell is white"}
    return {"normalisation": "values of the recordings fitted", "mean": network.mean, "std": network.std}


def _in_classes_of(classes: tuple[str, ...], recordings: RecordingSet, weights: Path) -> RecordingSet:
    """The recordings with the classes of a network; raises :class:`InputError` on others than these."""
    unknown = sorted({*recordings.classes} - {*classes})
    if unknown:
        raise InputError(
            f"{weights.name} tells {', '.join(classes)} apart, but there are recordings of "
            f"{', '.join(unknown)}: leave them out (--without {unknown[0]}) or --rename them"
        )
    return replace(recordings, classes=classes)


def _say_skipped(packed: PackedRecordings) -> int:
    """Name the recordings that were left out, and those used in part; the exit code."""
    lines = [f"left out: {item.name}: {item.reason}" for item in packed.skipped]
    lines += [f"damaged: {item.name}: {item.reason}; what could be read is used" for item in packed.damaged]
    for line in lines[:SHOWN]:
        click.echo(line, err=True)
    if len(lines) > SHOWN:
        click.echo(f"left out or damaged: {len(lines) - SHOWN} more", err=True)
    return 1 if lines else 0
