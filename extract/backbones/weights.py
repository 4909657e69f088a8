"""Weights files: read without running anything in them, and matched key by key with a network."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ..errors import ExtractError

State = dict[str, Tensor]

_WRAPPERS = ("state_dict", "model_state_dict", "model")
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_SHOWN_KEYS = 5


class WeightsError(ExtractError):
    """A weights file that is absent, unreadable, unsafe, or of another network."""


def load_state(path: str | Path) -> State:
    """The tensors of a checkpoint by name, on the CPU, floating ones as float32.

    Reads safetensors and ``torch.save`` files, the latter with ``weights_only=True``, so that no code
    in the file runs. A ``state_dict`` or ``model`` entry is unwrapped and the ``module.`` of
    data-parallel training taken off.

    Raises :class:`WeightsError` where the file is absent, no checkpoint, damaged, or holds pickled
    objects beside tensors.
    """
    path = Path(path)
    start = _first_bytes(path)
    if start.startswith((_ZIP, _PICKLE)):
        content = _read_torch(path)
    elif start[8:9] == b"{":
        content = _read_safetensors(path)
    else:
        raise WeightsError(
            f"{path}: not a checkpoint (it begins with {start[:16]!r}); expected a file of torch.save "
            "or safetensors. A download that failed often leaves a web page or an empty file: fetch it again"
        )
    return {_plain_name(key): _plain_tensor(value) for key, value in _tensors(path, content).items()}


def weights_sha256(path: str | Path) -> str:
    """The SHA-256 of a weights file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def load_into(
    module: nn.Module,
    state: Mapping[str, Tensor],
    network: str,
    path: str | Path,
    ignored: tuple[str, ...] = (),
) -> None:
    """Gives ``module`` the tensors of ``state``; a module on the meta device takes them over as they are.

    Keys that begin with one of ``ignored`` are left out, and a batch norm's ``num_batches_tracked``,
    which inference does not use, may be absent. Any other difference raises :class:`WeightsError`,
    which counts and names the missing, extra and misshapen keys, of the ``network`` in the file ``path``.
    """
    wanted = module.state_dict()
    given = {key: value for key, value in state.items() if not key.startswith(ignored)}
    for key in wanted:
        if key.endswith("num_batches_tracked"):
            given.setdefault(key, torch.tensor(0))
    differences = [
        _summary("missing", [key for key in wanted if key not in given]),
        _summary("extra", [key for key in given if key not in wanted]),
        _summary("misshapen", _misshapen(wanted, given)),
    ]
    if any(differences):
        raise WeightsError(
            f"{path}: not weights of {network!r}: {'; '.join(filter(None, differences))}. "
            "Give the checkpoint that fits, or name the network that it was made for"
        )
    module.load_state_dict(given, assign=True)


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError as error:
        raise WeightsError(f"{path}: the weights file cannot be read ({error.strerror})") from error


def _read_torch(path: Path) -> Any:
    try:
        if not _is_torchscript(path):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a malformed archive or pickle fails in any way at all
        if "GLOBAL" in str(error):
            raise WeightsError(
                f"{path}: holds pickled Python objects, perhaps a whole model; loading these would run "
                f"code from the file, so it is refused. {_HOW_TO_SAVE}"
            ) from error
        raise WeightsError(f"{path}: a damaged or truncated checkpoint; fetch it again") from error
    raise WeightsError(f"{path}: a TorchScript program, which carries code. {_HOW_TO_SAVE}")


_HOW_TO_SAVE = (
    "Where you trust the file, open it in the program that wrote it and save the tensors alone: "
    "torch.save(model.state_dict(), FILE)"
)


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _read_safetensors(path: Path) -> State:
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise WeightsError(
            f"{path}: a damaged or truncated safetensors file ({error}); fetch it again"
        ) from error


def _tensors(path: Path, content: Any) -> Mapping[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"{path}: holds a {type(content).__name__}, expected tensors by name (a state_dict)"
        )
    strangers = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if strangers:
        raise WeightsError(
            f"{path}: {_summary('entries that are no tensors', strangers)}; expected tensors by name, "
            f"alone or under one of {', '.join(_WRAPPERS)}"
        )
    return content


def _plain_name(key: object) -> str:
    return str(key).removeprefix("module.")


def _plain_tensor(value: Tensor) -> Tensor:
    return value.detach().float() if value.is_floating_point() else value.detach()


def _misshapen(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{key} {list(given[key].shape)} instead of {list(value.shape)}"
        for key, value in wanted.items()
        if key in given and given[key].shape != value.shape
    ]


def _summary(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    shown = ", ".join(keys[:_SHOWN_KEYS])
    return f"{len(keys)} {what} ({shown}{', …' if len(keys) > _SHOWN_KEYS else ''})"
