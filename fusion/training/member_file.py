"""The file of a trained member: head and standardisation, with the history in the file's metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, astuple, fields
from pathlib import Path

import numpy as np
import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...cache.reading import packed, unpacked
from ..errors import FusionError
from ..files import replacing, shortened
from ..heads.base import Head
from .batches import Standardisation
from .training import Epoch, Member, Trained

PROBABILITIES = "probabilities"


def write_member(path: Path, trained: Trained, probabilities: bool = False) -> None:
    """Write a member atomically, optionally with its probabilities of every clip.

    Raises:
        FusionError: the file cannot be written.
    """
    member = trained.member
    tensors = {f"head.{name}": tensor.contiguous() for name, tensor in member.head.state_dict().items()}
    for stream, standard in member.standardisations.items():
        for name, values in asdict(standard).items():
            tensors[f"standardisation.{stream}.{name}"] = torch.from_numpy(values)
    if probabilities:
        tensors[PROBABILITIES] = torch.from_numpy(trained.probabilities)
    history = json.dumps([astuple(epoch) for epoch in trained.history])
    about = {"history": history, "sum": _sum(history, tensors)}
    with replacing(path) as temporary:
        save_file(tensors, temporary, packed(about))


def read_member(path: Path) -> tuple[Mapping[str, str], dict[str, Tensor]]:
    """Read the metadata and the tensors of a member's file.

    Raises:
        FusionError: the file cannot be read, or is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = unpacked(file.metadata())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, KeyError, RuntimeError) as error:
        why = shortened(" ".join(str(error).split()))
        raise FusionError(f"{path} cannot be read ({why}); delete it and train again") from error
    # Early members have no checksum, and no metadata but their history.
    if about.keys() - {"history"} and about.get("sum") != _sum(about.get("history", ""), tensors):
        raise FusionError(f"{path} is damaged: its checksum differs; delete it and train again")
    return about, tensors


def history_of(about: Mapping[str, str]) -> list[Epoch]:
    """Return the epochs in a file's metadata. JSON errors are not caught."""
    return [Epoch(*values) for values in json.loads(about["history"])]


def member_of(tensors: Mapping[str, Tensor], classes: tuple[str, ...], head: Head) -> Member:
    """Build a member by loading a complete set of ``tensors`` into a new ``head``."""
    head.load_state_dict({name: tensors[f"head.{name}"] for name in head.state_dict()})
    names = [field.name for field in fields(Standardisation)]
    standardisations = {
        stream: Standardisation(*(tensors[f"standardisation.{stream}.{name}"].numpy() for name in names))
        for stream in head.streams
    }
    return Member(classes, head.eval(), standardisations)


def _sum(history: str, tensors: Mapping[str, Tensor]) -> str:
    """Return a checksum over the contents of a member's file."""
    digest = xxhash.xxh3_64(history.encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name].numpy())
        digest.update(f"{name} {array.dtype.str}{list(array.shape)}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
