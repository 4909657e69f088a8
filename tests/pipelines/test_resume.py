"""Commands that have nothing to compute do not import what computes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from avemo.cache.store import FeatureStore
from avemo.extract import devices
from avemo.extract.backbones import load_audio_backbone, load_backbone
from avemo.extract.backbones.planned import planned_audio_backbone, planned_backbone
from avemo.extract.errors import ExtractError
from avemo.extract.networks import face_networks
from avemo.extract.plan import Plan
from avemo.extract.run import Extraction
from avemo.pipelines.stage_one import ClipFolder

HEAVY = ("torch", "torchvision", "librosa.core", "numba", "scipy", "dlib", "joblib")
RUN = """
import sys
from click.testing import CliRunner
from avemo.pipelines.cli.{module} import main
result = CliRunner().invoke(main, sys.argv[1:])
print(result.output)
print([name for name in {heavy} if name in sys.modules])
sys.exit(result.exit_code)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_clip: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("done")
    (folder / "clips").mkdir()
    for name in "ab":
        make_clip(folder / "clips" / f"{name}.mp4", frames=2)
    found = ClipFolder(folder / "clips").find()
    with FeatureStore(folder / "store", create=True) as store:
        assert not any(result.failure for result in Extraction(found.clips, Plan(), store, in_process=True))
    return folder


def run(module: str, *arguments: str | Path) -> list[str]:
    code = RUN.format(module=module, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_a_resumed_run_with_nothing_to_do_imports_nothing_heavy(folder: Path) -> None:
    lines = run("extract", folder / "clips", "--store", folder / "store", "--device", "cpu")
    assert f"{folder / 'store'}: nothing to do, all 2 clips are there already" in lines
    assert lines[-1] == "[]"


def test_the_status_of_a_store_imports_nothing_heavy(folder: Path) -> None:
    lines = run("main", "store", "status", folder / "store", "--json")
    assert json.loads("\n".join(lines[:-1]))["clips"] == 2
    assert lines[-1] == "[]"


@pytest.mark.parametrize("precision", ["auto", "fp32"])
@pytest.mark.parametrize("text", ["ferresnet", "ferplusnet", "dlib"])
def test_settings_are_those_of_the_loaded_network(text: str, precision: str) -> None:
    known, loaded = planned_backbone(text, "cpu", precision), load_backbone(text, "cpu", precision)
    assert (known.label, known.settings) == (loaded.label, loaded.settings())


@pytest.mark.parametrize("name", ["alexnet", "alexnet-logmel"])
def test_settings_are_those_of_the_loaded_audio_network(name: str, tmp_path: Path) -> None:
    from torchvision.models import alexnet

    torch.save(alexnet(weights=None).state_dict(), tmp_path / "random.pth")
    text = f"{name}@{tmp_path / 'random.pth'}"
    known, loaded = planned_audio_backbone(text), load_audio_backbone(text)
    assert (known.label, known.settings, known.reads) == (loaded.label, loaded.settings(), loaded.spec.reads)


def test_linux_tells_of_the_processor_what_torch_does() -> None:
    known = devices._bf16_by_flags()
    if known is None:
        pytest.skip("no list of flags here, or a torch without such questions; torch itself is asked then")
    assert known is (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def test_without_a_driver_there_is_no_gpu() -> None:
    if devices._surely_no_gpu():
        assert not torch.cuda.is_available() and not torch.backends.mps.is_available()


def test_weights_that_change_while_a_run_lasts_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (embedded,) = (Path(devices.__file__).parent / "backbones/data").glob("ferresnet.safetensors")
    path = tmp_path / "mine.safetensors"
    path.write_bytes(embedded.read_bytes())
    plan = Plan(backbones=(f"ferresnet@{path}",), device="cpu", precision="fp32")
    monkeypatch.setattr("avemo.extract.backbones.backbone.sha256_of", lambda path: "another")
    with pytest.raises(
        ExtractError, match=r"^ferresnet@mine has changed since it was checked; do not change"
    ):
        face_networks(plan)
