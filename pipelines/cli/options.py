"""Options shared by several commands, each declared once."""

from __future__ import annotations

from pathlib import Path

import click

from .completion import AUDIO_NETWORKS, BACKBONES, DETECTORS, names

# clips to features

detector_option = click.option(
    "--detector",
    default="auto",
    show_default=True,
    metavar="NAME[@FILE]",
    shell_complete=names(DETECTORS),
    help="Face detector: auto (the store's; in a new store yunet if its weights are here, else dlib), "
    "dlib, yunet[@FILE.onnx], or ssd@FILE (OpenCV's SSD; faces are cropped, not aligned).",
)
max_frames_option = click.option(
    "--max-frames",
    type=click.IntRange(min=1),
    metavar="N",
    help="Use at most N frames of each clip, evenly spaced.  [default: all]",
)
detect_every_option = click.option(
    "--detect-every",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Detect faces in every Nth frame, and interpolate between them.",
)
backbones_option = click.option(
    "--backbone",
    "backbones",
    multiple=True,
    metavar="NAME[@WEIGHTS]",
    shell_complete=names(BACKBONES),
    help="Face network and its checkpoint; also onnx@FILE.onnx or timm:NAME[@FILE]. Repeatable.",
)
backbone_option = click.option(
    "--backbone",
    metavar="NAME[@WEIGHTS]",
    shell_complete=names(BACKBONES),
    help="Network to train; without weights it starts at random.",
)
audio_backbones_option = click.option(
    "--audio-backbone",
    "audio_backbones",
    multiple=True,
    metavar="NAME@WEIGHTS",
    shell_complete=names(AUDIO_NETWORKS),
    help="Audio network, in addition to the spectrogram and log-Mel that are always stored: alexnet reads "
    "the spectrogram, alexnet-logmel log-Mel and its deltas. Repeatable.",
)
segment_backbones_option = click.option(
    "--segment-backbone",
    "segment_backbones",
    multiple=True,
    metavar="NAME[@WEIGHTS]",
    shell_complete=names(BACKBONES),
    help="Image network for the segments' MFCC images; implies --segments. Repeatable.",
)
vad_option = click.option(
    "--vad",
    default="energy",
    show_default=True,
    metavar="NAME",
    shell_complete=names(("energy", "silero", "none")),
    help="Voice activity detector for segments: energy, silero (pip install 'avemo[vad]'), or none (the "
    "whole clip is speech).",
)

# training

members_option = click.option(
    "--members",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Number of heads to train and average; member i has seed S + i.",
)
seed_option = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="S", help="Random seed."
)
epochs_option = click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    metavar="N",
    help="Number of epochs.",
)
batch_option = click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    metavar="N",
    help="Clips per batch.",
)
learning_rate_option = click.option(
    "--lr",
    "learning_rate",
    type=click.FloatRange(min=0, min_open=True),
    default=1e-4,
    show_default=True,
    metavar="RATE",
    help="Learning rate of Adam.",
)
dropout_option = click.option(
    "--dropout",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.3,
    show_default=True,
    metavar="SHARE",
    help="Dropout rate: of the products in bilinear pooling, of the classifier's input in other heads, and "
    "in self and relation attention.",
)
fit_on_option = click.option(
    "--fit-on",
    type=click.Choice(["train", "train+val"]),
    default="train",
    show_default=True,
    help="Splits to train on. train+val, as for a submission, leaves no clips to validate on.",
)

# a head of segments

hidden_option = click.option(
    "--hidden",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    metavar="M",
    help="Reduced dimension in the attention of transformer and of segments.",
)
lstm_option = click.option(
    "--lstm", type=click.IntRange(min=1), metavar="N", help="segments: size of the LSTM.  [default: 128]"
)
dense_option = click.option(
    "--dense",
    type=click.IntRange(min=0),
    metavar="N",
    help="segments: size of an additional dense layer.  [default: 0, none]",
)
vote_option = click.option(
    "--vote",
    metavar="KIND",
    shell_complete=names(("majority", "mean")),
    help="segments: how segments decide a clip's class: majority, or mean of their posteriors.  "
    "[default: majority]",
)

# selection

choose_epoch_option = click.option(
    "--choose-epoch",
    is_flag=True,
    help="Choose each fold's number of epochs, up to --epochs, on inner folds of its training clips.",
)

# where it runs, and output


def _one_device(_: click.Context, __: click.Parameter, text: str) -> str:
    if "," in text:
        raise click.BadParameter(f"{text!r}: several devices are for avemo-extract; name one")
    return text


device_option = click.option(
    "--device",
    callback=_one_device,
    default="auto",
    show_default=True,
    metavar="NAME",
    shell_complete=names(("auto", "cpu", "cuda", "mps")),
    help="auto, cpu, cuda, cuda:1, mps.",
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Number of parallel processes.  [default: one per core, if that is faster]",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "int8"]),
    default="auto",
    show_default=True,
    help="auto: bf16 if the machine supports it and the network tolerates it. int8: the fastest on x86 "
    "processors, for ferplusnet and ferresnet; features change by 3 %.",
)
out_option = click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder for all output."
)
window_option = click.option(
    "--window",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Length of a window in seconds.  [default: 1; with --run, the run's own]",
)
hop_option = click.option(
    "--hop",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Seconds from one window to the next.  [default: as --window; with --run 0.5]",
)
overlay_option = click.option(
    "--overlay",
    type=click.Path(path_type=Path),
    metavar="MP4",
    help="Write the film with the face's box, its expression and a bar per class. For several films: a "
    "folder.",
)
store_option = click.option(
    "--store",
    type=click.Path(path_type=Path),
    default="features",
    show_default=True,
    metavar="DIR",
    help="Feature store made by avemo-extract.",
)
