"""``avemo pretrain audio``: train an audio network on labelled recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...pretrain.recipe import AudioChanges, changes_of
from ..cli.clip_options import PATTERN_HELP, dataset_options
from ..cli.completion import names
from ..cli.framework import altered, command, group, json_result, together
from ..cli.options import backbone_option
from ..cli.settings_file import config_options
from ..corpora.clips.found import counts_of
from .options import (
    augment_option,
    augmentation_help,
    chosen_subjects,
    device_options,
    evaluation_options,
    output_options,
    recipe_of,
    recipe_options,
    speaker_options,
    with_defaults,
    without_option,
)
from .work import (
    Terminal,
    default_out,
    evaluate,
    only_the_first_speaks,
    require_fabric,
    train,
    weights_there,
)

if TYPE_CHECKING:
    from ...pretrain.audio_network import AudioNetwork
    from ...pretrain.tasks import SoundTask

EXAMPLES = """
\b
Examples:
  avemo pretrain audio --data java_sed/speech/ --held-out-subjects 06,07 --out mine.safetensors
  avemo pretrain audio --data ravdess/ --backbone fcn --input logmel
  avemo pretrain audio --data CREMA-D/ --backbone alexnet@alexnet-owt-7be5be79.pth --batch 64
  avemo pretrain audio --data emodb/ --dataset emodb --balance sampling
  avemo pretrain audio --data recordings.csv --held-out 0.2 --processes 4
  avemo pretrain audio --evaluate --weights mine.safetensors --data java_sed/speech/ --held-out-subjects 06,07
  avemo-extract clips/ --audio-backbone alexnet@mine.safetensors

\b
recordings.csv has the columns path and label and, if known, subject and split (train, val, test).

\b
Exit code: 0 done; 1 done, but some recordings could not be read, or only in part, each named with its
reason; 2 wrong arguments or input; 130 interrupted: the same command continues.
"""

data_options = together(
    group(
        "Clips",
        click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), metavar="PATH",
                     help="Labelled recordings, sounds or videos: a folder, or a CSV that lists them."),
    ),
    dataset_options,
    group("Clips", without_option()),
    speaker_options,
)  # fmt: skip

network_options = group(
    "Network",
    altered(
        backbone_option, default="alexnet", show_default=True, shell_complete=names(("alexnet", "fcn")),
        help="alexnet, for avemo-extract; or fcn, an encoder of fusion heads. Without weights it starts at "
             "random.",
    ),
    click.option("--input", type=click.Choice(["spectrogram", "logmel"]), default="spectrogram",
                 show_default=True, help="Input of fcn."),
    click.option("--pooling", type=click.Choice(["attention", "mean"]), default="attention",
                 show_default=True, help="Pooling over time, before the classifier."),
    click.option("--lambda", "temperature", type=click.FloatRange(min=0), default=1.0, show_default=True,
                 metavar="LAMBDA", help="Sharpness of attention pooling; 0 is the plain mean."),
    click.option("--no-lrn", is_flag=True, help="fcn without local response normalisation."),
)  # fmt: skip


@command("audio", epilog=EXAMPLES + PATTERN_HELP + augmentation_help(AudioChanges))
@data_options
@network_options
@with_defaults(recipe_options, batch=32, optimiser="adamw", weight_decay=0.01, dropout=0.3, ema=0.99)
@augment_option
@evaluation_options("--data", "the file that training on --data writes")
@device_options
@output_options
@json_result
@config_options
def audio(evaluating: bool, **options: Any) -> int:
    """Train an audio network on labelled recordings, or evaluate one.

    Writes the weights, for --audio-backbone alexnet@FILE of avemo-extract and for the encoders of avemo-fuse,
    and a card that describes them. No speaker is in both the training and the held-out part. If training is
    stopped, the same command continues it, with the same result as an uninterrupted one.
    """
    name, _, start = options["backbone"].partition("@")
    with only_the_first_speaks():
        if evaluating:
            from ...pretrain.audio_card import read_audio

            weights = weights_there(options, default_out(name, options["data"].resolve().stem))
            classifier, network, classes = read_audio(weights)
            return evaluate(_task(options, network, classes, weights), classifier, weights, options)
        require_fabric()
        from ...pretrain.audio_network import AudioNetwork

        lrn = name == "fcn" and not options["no_lrn"]
        network = AudioNetwork(name, options["input"], lrn, options["pooling"], options["temperature"])
        recipe = recipe_of(
            options, random=not start, augmentation=changes_of(AudioChanges, options["augment"])
        )
        return train(_task(options, network), recipe, start, options)


def _task(
    options: Mapping[str, Any],
    network: AudioNetwork,
    classes: tuple[str, ...] = (),
    weights: Path = Path(),
) -> SoundTask:
    """Read the recordings that the options name; for evaluation, in the ``classes`` of ``weights``."""
    from ...pretrain.recordings import LONGEST, pack_recordings
    from ...pretrain.tasks import SoundTask
    from ..corpora.clips.labels import read_labels
    from .recordings import find_recordings

    recordings = find_recordings(
        options["data"],
        options["dataset"],
        manifest=options["manifest"],
        pattern=options["pattern"],
        labels=read_labels(options["labels"]) if options["labels"] else None,
        others=options["other_labels"],
        without=options["without"],
    )
    counts = Counter(recording.label for recording in recordings.recordings)
    count = len(recordings.recordings)
    click.echo(f"{options['data']}: {recordings.name}, {count} recordings: {counts_of(counts)}")
    for note in recordings.notes:
        click.echo(note)
    if classes:
        recordings = recordings.in_classes_of(classes, weights)
    with Terminal().counting("reading", "recording", count) as advance:
        packed = pack_recordings(recordings, advance, named=not options["no_subjects"])
    cut = int((packed.seconds >= LONGEST).sum())
    if cut:
        click.echo(f"of {cut} recordings, the first {LONGEST:g} seconds are used")
    subjects = chosen_subjects(options)
    return SoundTask(network, packed, recordings.name, options["held_out"], subjects, options["no_subjects"])
