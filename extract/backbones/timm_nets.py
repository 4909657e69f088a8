"""Networks of the timm library as face networks: ``timm:NAME[@FILE]`` (extra ``timm``).

``NAME`` is timm's own, best with the tag of the weights (``timm:vit_tiny_patch16_224.augreg_in21k``).
Size, mean and deviation of the input are those that timm lists for the tag, or for the network's first
tag if none is given. timm's central crop (``crop_pct``) is not applied, as a chip is already cropped to the
face. Features are the input of the network's classifier.

Without ``FILE``, the weights are downloaded once through timm's hub into its cache.
"""

from __future__ import annotations

import difflib
import inspect
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ..errors import ExtractError, WeightsError
from .spec import TIMM, BackboneSpec
from .weights import State, load_state

_HUB_FILE = "model.safetensors"


@cache
def timm_spec(name: str) -> BackboneSpec:
    """Return the spec of timm's network ``name`` (without ``timm:``).

    Raises :class:`ExtractError` if timm is not installed, has no such network, or the network does not
    turn square images of three colours into one vector each.
    """
    timm = _timm()
    config = _config(timm, name)
    full_name = f"{config.architecture}.{config.tag}" if config.tag else name
    network, features = _network_and_features(timm, name, config.input_size)
    with torch.device("meta"):
        full_state = timm.create_model(name, num_classes=2).state_dict()
    return BackboneSpec(
        name=f"{TIMM}{full_name}",
        features=features,
        input_size=config.input_size[1],
        mean=tuple(255 * value for value in config.mean),
        std=tuple(255 * value for value in config.std),
        layer="below the classifier",
        build=partial(_build, name),
        source=f"timm; licence of the weights: {config.license or 'see their model card'}",
        classifier=tuple(full_state.keys() - network.state_dict().keys()),
        read=partial(_read, network),
        default_weights=partial(_from_hub, f"{TIMM}{name}", config.hf_hub_id),
        bf16=False,  # its effect on each of them has not been measured
    )


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise ExtractError("timm: needs the package timm: pip install 'avemo[timm]'") from error
    return timm


def _config(timm: Any, name: str) -> Any:
    """Return timm's ``PretrainedCfg``."""
    if not timm.is_model(name):
        known = [*timm.list_models(), *timm.list_pretrained()]
        nearest = difflib.get_close_matches(name, known, n=5) or ["resnet18", "convnext_atto"]
        raise ExtractError(f"timm has no network {name!r}; the nearest are {', '.join(nearest)}")
    try:
        return timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        raise ExtractError(f"timm has no weights {name!r}; there are {', '.join(tags)}") from error


def _network_and_features(timm: Any, name: str, input_size: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """Return the network without its classifier, on the meta device, and its number of features."""
    channels, height, width = input_size
    try:
        with torch.device("meta"):
            network = timm.create_model(name, num_classes=0).eval()
            shape = tuple(network(torch.empty(1, *input_size)).shape)
    except Exception as error:  # a network for other inputs than images may fail in any way
        raise ExtractError(f"{TIMM}{name} cannot be used here: {str(error).partition(chr(10))[0]}") from error
    if channels != 3 or height != width or len(shape) != 2:
        raise ExtractError(
            f"{TIMM}{name} makes {list(shape)} of an image of {channels} × {height} × {width}; expected "
            "a network of one square colour image in and one vector out"
        )
    return network, shape[1]


def _build(name: str) -> nn.Module:
    # Some have tables that are in no checkpoint, which a module on the meta device would never get.
    with torch.device("cpu"):
        return _timm().create_model(name, num_classes=0)


def _read(network: nn.Module, path: Path) -> State:
    """Read the checkpoint with the keys of ``network``; timm knows the names that other authors use."""
    state = load_state(path)
    shapes = {key: value.shape for key, value in state.items()}
    wanted = {key: value.shape for key, value in network.state_dict().items()}
    rename = getattr(inspect.getmodule(type(network)), "checkpoint_filter_fn", None)
    if rename is None or wanted.items() <= shapes.items():
        return state
    try:
        return rename(dict(state), network)
    except Exception:  # a checkpoint of another network may fail in any way
        return state  # loading reports what does not fit


def _from_hub(name: str, repository: str | None) -> Path:
    """Return the weights file in the hub's cache, downloading it if necessary."""
    import huggingface_hub as hub

    if not repository:
        raise WeightsError(f"the weights of {name} are on no hub: give their file as {name}@FILE")
    cached = hub.try_to_load_from_cache(repository, _HUB_FILE)
    if isinstance(cached, str):
        return Path(cached)
    try:
        # Without a connection this fails at once, while the download would keep trying.
        hub.get_hf_file_metadata(hub.hf_hub_url(repository, _HUB_FILE))
        return Path(hub.hf_hub_download(repository, _HUB_FILE))
    except Exception as error:  # no connection, no permission, no such file, a full disk: any class
        raise WeightsError(
            f"the weights of {name} are not in the hub's cache and cannot be fetched "
            f"({type(error).__name__}): fetch {_HUB_FILE} of {repository} where there is a connection, "
            f"and give it as {name}@FILE"
        ) from error
