"""zhou2019's table 1 as far as data and weights are available: face networks by their pre-training data.

    python benchmarks/table1.py DATA OUT [--mobilefacenet FILE]

DATA contains fer2013.csv and fer2013new.csv. Networks that are not in OUT yet are trained in turn; all
are evaluated on the validation part, with one view of each picture. If stopped, the same command continues.
OUT/table1.md is rewritten after each figure. The schedules take an hour or two on one core.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from avemo.extract.backbones import get

AVEMO = "from avemo.pipelines.cli.main import main; main(prog_name='avemo')"
PAPER = {"VGGFace": "88.84", "ResNet18": "88.65", "IR50": "89.26"}
"""Accuracy on FER+'s test part, which is not the part used here."""


class Data(NamedTuple):
    """A row of the table: its file, and the extra options for training on it."""

    name: str
    file: str
    training: tuple[str, ...] = ()


class Network(NamedTuple):
    """A column: a backbone, its training, its initial weights, and the data that these were trained on."""

    name: str
    backbone: str
    schedule: str
    training: tuple[str, ...]
    start: Path | None = None
    knows: Data | None = None


FERPLUS = Data("FER+", "fer2013new.csv", ("--votes", "soft", "--label-smoothing", "0"))
FER2013 = Data("FER2013", "fer2013.csv")
ROWS = (FERPLUS, FER2013)
LIGHT = "--augment blur=0.5,noise=4,erase=0.3"


def networks(mobilefacenet: Path | None) -> list[Network]:
    """Return the columns, the cheapest first."""
    found = [
        Network(
            "ferplusnet",
            "ferplusnet",
            "FER+: the embedded weights; FER2013: these, fine-tuned for 4 epochs",
            ("--epochs 4 --lr 0.02 --warm-up 1", LIGHT),
            embedded_weights("ferplusnet"),
            knows=FERPLUS,
        ),
        Network(
            "ResNet18",
            "resnet18-64",
            "random, 8 epochs, 48 pixels for the first five and then 64",
            ("--epochs 8 --small-size 48 --lr 0.1 --warm-up 1 --ema 0.99", LIGHT),
        ),
    ]
    if mobilefacenet:
        schedule = "face recognition (MS-Celeb-1M), fine-tuned for 2 epochs, 112 pixels"
        training = ("--epochs 2 --batch 64 --lr 0.02 --warm-up 0.3 --ema 0.99", LIGHT)
        found.append(Network("MobileFaceNet", "mobilefacenet", schedule, training, mobilefacenet))
    return found


def embedded_weights(name: str) -> Path:
    path = get(name).default_weights
    assert path is not None
    return path()


def avemo(*words: object) -> str:
    """Run a command, with its progress on stderr; return its output."""
    command = [sys.executable, "-c", AVEMO, *map(str, words)]
    print("avemo", *map(str, words), file=sys.stderr, flush=True)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def figure(data: Data, network: Network, folder: Path, out: Path) -> dict[str, Any]:
    """Return accuracy and UAR of a network on the validation part; train it first if necessary."""
    kept = out / f"{network.name}-{data.name}.figures.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    source, weights = folder / data.file, out / f"{network.name}-{data.name}.safetensors"
    if data == network.knows and network.start:
        weights = network.start
    else:
        backbone = f"{network.backbone}@{network.start}" if network.start else network.backbone
        words = ("--data", source, "--backbone", backbone, "--out", weights, *data.training)
        avemo("pretrain", "face", *words, *" ".join(network.training).split())
    told = avemo("pretrain", "face", "--evaluate", "--data", source, "--weights", weights, "--json")
    (found,) = json.loads(told)["figures"].values()
    kept.write_text(json.dumps(found))
    return dict(found)


def table(found: Mapping[tuple[Data, Network], dict[str, Any]], columns: Sequence[Network]) -> str:
    names = [*(network.name for network in columns), *(f"{name} (paper)" for name in PAPER)]
    lines = [f"| accuracy, % | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
    for data in ROWS:
        figures = [found.get((data, network)) for network in columns]
        cells = [f"{100 * e['accuracy']:.1f} (UAR {100 * e['uar']:.1f})" if e else "not run" for e in figures]
        paper = PAPER.values() if data == FERPLUS else ["-"] * len(PAPER)
        lines.append(f"| {' | '.join([data.name, *cells, *paper])} |")
    return "\n".join([*lines, "", *(f"- {each.name}: {each.schedule}." for each in columns), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--mobilefacenet", type=Path, metavar="FILE", help="its face recognition weights")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    columns = networks(arguments.mobilefacenet)
    found: dict[tuple[Data, Network], dict[str, Any]] = {}
    for network in columns:
        for data in ROWS:
            found[data, network] = figure(data, network, arguments.data, arguments.out)
            (arguments.out / "table1.md").write_text(table(found, columns))
    print(table(found, columns))


if __name__ == "__main__":
    main()
