"""``avemo store import``: features made elsewhere go in as they are, or cost one clip and a reason."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result

from avemo.cache.arrays import open_arrays
from avemo.cache.checks import export
from avemo.cache.clips import Clip
from avemo.cache.errors import StoreError
from avemo.cache.imports import match
from avemo.cache.keys import FeatureKey
from avemo.cache.rows import Source
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.fusion.features.recipes import find
from avemo.pipelines.cli.fuse import main as fuse
from avemo.pipelines.cli.main import main

FACES = FeatureKey("faces", {"detector": "dlib"})
NET = FeatureKey("net/default", {"backbone": "net"})
CLIPS = [Clip(f"{i:03d}", split, f"{split}/{i:03d}.avi", label) for split, ids, label in (
    ("train", range(4), "Happy"), ("train", range(4, 8), "Sad"), ("val", range(6, 10), "Happy"),
) for i in ids]  # fmt: skip
"""Ids 006 and 007 are in train and in val, as some are in AFEW."""
FRAMES, D = 12, 16


def vectors(clip: Clip, frames: int = FRAMES, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng([seed, int(clip.id), clip.split == "val"])
    return rng.normal(size=(frames, D)).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Twelve clips of twelve frames at 10 a second, the first at 0.5 s."""
    path = tmp_path / "features"
    with FeatureStore(path, create=True).writer() as writer:
        for clip in CLIPS:
            faces = Outcome(
                FACES,
                info={"frames": FRAMES, "faces": FRAMES},
                arrays={"times": 0.5 + np.arange(FRAMES) / 10},
            )
            mean = Outcome(NET, arrays={"mean": vectors(clip)})
            writer.add(clip, Source(f"{clip}", 1, 1), {"faces": faces, NET.stream: mean})
    return path


def add(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["store", "import", *map(str, arguments)])


def as_folder(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    for name, array in arrays.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(path / f"{name}.npy", array)
    return path


def as_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    file = path.with_suffix(".npz")
    np.savez_compressed(file, **arrays)
    return file


def as_hdf5(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, compression="gzip")
    return path.with_suffix(".h5")


def given(*clips: Clip) -> dict[str, np.ndarray]:
    return {f"{clip.split}/{clip.id}": vectors(clip) for clip in clips or CLIPS}


def stored(path: Path, name: str = "fgnet") -> dict[str, dict[str, np.ndarray]]:
    with FeatureStore(path) as store:
        stream = f"{name}/none"
        return {str(row.clip): store.read(row, stream) for row in store.rows if row.has(stream)}


@pytest.mark.parametrize("write", [as_folder, as_npz, as_hdf5])
def test_arrays_go_in_as_they_are(
    write: Callable[[Path, Mapping[str, np.ndarray]], Path], store: Path, tmp_path: Path
) -> None:
    source = write(tmp_path / "fgnet", given())
    result = add(source, "--store", store, "--name", "fgnet", "--note", "FG-Net")
    assert result.exit_code == 0, result.output
    assert "fgnet/none: 12 imported\n" in result.stdout
    assert f"next: avemo-fuse train --store {store} --visual basic:fgnet\n" in result.stdout
    found = stored(store)
    assert found.keys() == {str(clip) for clip in CLIPS}
    for clip in CLIPS:
        assert found[str(clip)]["basic"].dtype == np.float32
        np.testing.assert_array_equal(found[str(clip)]["basic"], vectors(clip))
        np.testing.assert_allclose(found[str(clip)]["times"], 0.5 + np.arange(FRAMES) / 10)
    with FeatureStore(store) as opened:
        key = opened.key("fgnet/none")
        assert key.settings == {
            "imported": True,
            "backbone": "fgnet",
            "dimensions": D,
            "fps": None,
            "note": "FG-Net",
        }
        assert opened.rows[0].source == Source("train/000", 1, 1)  # what is known of the clip stays
        feature = find(opened, "visual", "basic:fgnet")
        assert feature.name == "basic:fgnet"
        np.testing.assert_array_equal(feature.read(opened, opened.rows[0]), vectors(CLIPS[0]))


def test_the_row_has_the_sha256_of_the_source(store: Path, tmp_path: Path) -> None:
    folder = as_folder(tmp_path / "f", given())
    packed, hdf5 = as_npz(tmp_path / "f", given()), as_hdf5(tmp_path / "f", given())
    add(folder, "--store", store, "--name", "a")
    add(packed, "--store", store, "--name", "b")
    add(hdf5, "--store", store, "--name", "c")
    of_file = hashlib.sha256((folder / "train/000.npy").read_bytes()).hexdigest()
    of_values = hashlib.sha256(vectors(CLIPS[0]).tobytes()).hexdigest()
    with FeatureStore(store) as opened:
        infos = [opened.rows[0].entries[f"{name}/none"].info for name in "abc"]
    assert infos == [{"file": "train/000", "sha256": sha} for sha in (of_file, of_file, of_values)]


def test_the_same_again_is_skipped_whatever_file_it_is_in(store: Path, tmp_path: Path) -> None:
    add(as_folder(tmp_path / "f", given()), "--store", store, "--name", "fgnet", "--note", "mine")
    journals = sorted((store / "journal").iterdir())
    for source in (tmp_path / "f", as_hdf5(tmp_path / "f", given())):
        result = add(source, "--store", store, "--name", "fgnet")  # the note stays
        assert (result.exit_code, "fgnet/none: 12 there already\n" in result.stdout) == (0, True)
    assert sorted((store / "journal").iterdir()) == journals


def test_other_values_replace_stored_ones_only_when_told(store: Path, tmp_path: Path) -> None:
    add(as_folder(tmp_path / "f", given()), "--store", store, "--name", "fgnet")
    np.save(tmp_path / "f/train/000.npy", vectors(CLIPS[0], seed=1))
    result = add(tmp_path / "f", "--store", store, "--name", "fgnet")
    assert result.exit_code == 1
    assert "train/000): differs from the stored values; --replace overwrites them" in result.stderr
    assert "fgnet/none: 11 there already, 1 failed\n" in result.stdout
    np.testing.assert_array_equal(stored(store)["train/000"]["basic"], vectors(CLIPS[0]))
    result = add(tmp_path / "f", "--store", store, "--name", "fgnet", "--replace")
    assert "fgnet/none: 1 imported, 11 there already\n" in result.stdout
    np.testing.assert_array_equal(stored(store)["train/000"]["basic"], vectors(CLIPS[0], seed=1))


def test_another_dimension_or_note_under_the_same_name_is_refused(store: Path, tmp_path: Path) -> None:
    add(as_folder(tmp_path / "f", given()), "--store", store, "--name", "fgnet", "--note", "one")
    wide = {name: np.hstack([array, array]) for name, array in given(*CLIPS[:3]).items()}
    as_folder(tmp_path / "wide", wide)
    result = add(tmp_path / "wide", "--store", store, "--name", "fgnet")
    assert result.exit_code == 2
    assert "(dimensions: 16 / 32: stored / new); give the new features another --name, or" in result.stderr
    result = add(tmp_path / "f", "--store", store, "--name", "fgnet", "--note", "two")
    assert (result.exit_code, "note: one / two" in result.stderr) == (2, True)
    assert len(stored(store)) == 12
    result = add(tmp_path / "wide", "--store", store, "--name", "fgnet", "--replace", "--note", "two")
    assert "other features of that name are dropped from 12 clips\n" in result.stdout
    assert {name: arrays["basic"].shape for name, arrays in stored(store).items()} == {
        f"train/00{i}": (FRAMES, 32) for i in range(3)
    }


def test_names_that_cannot_be_used(store: Path, tmp_path: Path) -> None:
    folder = as_folder(tmp_path / "f", given())
    for name in ("a/b", "", "@x", "..", "a:b", "-a"):
        result = add(folder, "--store", store, "--name", name)
        assert (result.exit_code, "cannot name a backbone" in result.stderr) == (2, True), name
    result = add(folder, "--store", store, "--name", "net")
    assert (result.exit_code, "holds net/default, which was extracted" in result.stderr) == (2, True)


def test_matching_names() -> None:
    names = {
        "000": "train/000",
        "train/001": "train/001",
        "Train/x/002": "train/002",
        "Happy/003": "train/003",
        "val/006": "val/006",
        "deep/val/Happy/007": "val/007",
        "test/004": None,  # a split that the store has no such clip of
        "val/005": None,
        "x005": None,
    }
    matched = match(names, CLIPS)
    assert {name: str(clip) for name, clip in matched.clips.items()} == {
        name: clip for name, clip in names.items() if clip
    }
    assert matched.unknown == ["test/004", "val/005", "x005"]
    assert not matched.refused
    in_folders = [Clip("a/one", "all"), Clip("b/one", "all")]
    assert match(["b/one", "all/a/one"], in_folders).clips == {
        "b/one": in_folders[1],
        "all/a/one": in_folders[0],
    }
    assert match(["one"], in_folders).refused.keys() == {"one"}
    in_classes = [Clip("Happy/one", "train"), Clip("Sad/two", "train")]
    assert match(["train/one", "Happy/two", "feats/Sad/two"], in_classes).clips == {
        "train/one": in_classes[0],
        "feats/Sad/two": in_classes[1],
    }


def test_names_of_two_clips_and_clips_of_two_names_are_refused_with_the_remedy(
    store: Path, tmp_path: Path
) -> None:
    folder = as_folder(tmp_path / "f", {clip.id: vectors(clip) for clip in CLIPS[:8]})
    as_folder(folder / "train", {"000": vectors(CLIPS[0])})
    result = add(folder, "--store", store, "--name", "fgnet")
    assert result.exit_code == 1
    assert "failed: 006: matches train/006 or val/006: put it into a folder (or group) named" in result.stderr
    assert "failed: 000: 000 and train/000 all match train/000: leave out all but one" in result.stderr
    assert "fgnet/none: 5 imported, 4 failed\n" in result.stdout
    assert "7 clips without an array in" in result.stderr
    assert stored(store).keys() == {f"train/00{i}" for i in range(1, 6)}


def test_a_map_says_whose_each_file_is(store: Path, tmp_path: Path) -> None:
    folder = as_folder(
        tmp_path / "f", {"x/one": vectors(CLIPS[6]), "two": vectors(CLIPS[0]), "spare": np.ones(3)}
    )
    table = tmp_path / "map.csv"
    table.write_text(
        "\n".join(
            [
                "file,clip,split",
                "x/one.npy,006,train",
                "./two,000,",
                "absent.npy,001,",
                ",002,",
                "two,003,",
                "two,000,,x",
            ]
        )
    )
    result = add(folder, "--store", store, "--name", "fgnet", "--map", table)
    assert result.exit_code == 1
    for line in (
        "failed: absent: the map names it, but there is no such array",
        "failed: row 5 of map.csv: names no file",
        "failed: row 6 of map.csv: gives 'two' to 003, and a row before to 000",
        "failed: row 7 of map.csv: has more cells than the first line ('x')",
        "1 array of no clip in",
    ):
        assert line in result.stderr
    assert "fgnet/none: 2 imported, 4 failed\n" in result.stdout
    assert stored(store).keys() == {"train/000", "train/006"}
    table.write_text("name,clip\ntwo,000\n")
    result = add(folder, "--store", store, "--name", "fgnet", "--map", table)
    assert (result.exit_code, "has no column 'file'" in result.stderr) == (2, True)


def test_clips_are_made_of_a_map_and_trained_on(tmp_path: Path) -> None:
    """Features alone, without any video, are enough for a store."""
    clips = [Clip(f"{i}", "train" if i < 8 else "val", label="ab"[i % 2], subject=str(i)) for i in range(12)]
    arrays = {clip.id: vectors(clip) + 3.0 * (clip.label == "a") for clip in clips}
    folder, table = as_folder(tmp_path / "f", arrays), tmp_path / "map.csv"
    rows = [f"{clip.id}.npy,{clip.id},{clip.split},{clip.label},{clip.subject}" for clip in clips]
    table.write_text("\n".join(["file,clip,split,label,subject", *rows]))
    bare = tmp_path / "bare"
    refused = add(folder, "--store", bare, "--name", "fgnet", "--map", table)
    assert (refused.exit_code, "is not a feature store" in refused.stderr) == (2, True)
    assert add(folder, "--store", bare, "--name", "fgnet", "--add-clips").exit_code == 2
    result = add(folder, "--store", bare, "--name", "fgnet", "--map", table, "--add-clips", "--fps", 25)
    assert result.exit_code == 0, result.output
    with FeatureStore(bare) as opened:
        assert [row.clip for row in opened.rows] == clips
        np.testing.assert_allclose(opened.read(opened.rows[0], "fgnet/none")["times"], np.arange(FRAMES) / 25)
    options = [
        "--fusion",
        "faces",
        "--attention",
        "self",
        "--epochs",
        "40",
        "--lr",
        "0.01",
        "--device",
        "cpu",
    ]
    trained = CliRunner().invoke(
        fuse, ["train", "--store", str(bare), *options, "--out", str(tmp_path / "run")]
    )
    assert trained.exit_code == 0, trained.output
    assert "visual      basic:fgnet, 16 values" in trained.stdout
    ensemble = next(line for line in trained.stdout.splitlines() if line.startswith("ensemble"))
    assert float(ensemble.split()[2]) == 1.0


def test_files_that_cannot_be_used_cost_one_clip_each(store: Path, tmp_path: Path) -> None:
    folder = as_folder(tmp_path / "f", given())
    good = vectors(CLIPS[0])
    np.save(folder / "train/000.npy", good[0])
    np.save(folder / "train/001.npy", good[:, :5])
    np.save(folder / "train/002.npy", np.where(np.arange(D) == 3, np.inf, good))
    np.save(folder / "train/003.npy", good.astype(np.int64))
    np.save(folder / "train/004.npy", np.array([{"a": 1}], dtype=object))
    (folder / "train/005.npy").write_bytes((folder / "train/005.npy").read_bytes()[:-8])
    (folder / "train/006.npy").write_bytes(b"<html>not found</html>")
    np.save(folder / "train/007.npy", good[:7])
    np.save(folder / "val/006.npy", 1e300 * good.astype(np.float64))
    result = add(folder, "--store", store, "--name", "fgnet")
    assert result.exit_code == 1
    reasons = {
        "train/000": "has shape [16], expected [frames, values]; for one vector [values] per clip, use",
        "train/001": "has 5 values per frame, but most arrays have 16",
        "train/002": "frame 0 has values that are not finite (one of 12 such frames)",
        "train/003": "holds int64 values; floats are expected",
        "train/004": "holds Python objects, which are never unpickled",
        "train/005": "declares 768 bytes, float32[12, 16], but holds 760",
        "train/006": "cannot be read: ",
        "train/007": "has 7 frames, but the store has 12 of this clip",
        "val/006": "frame 0 has values that are not finite",
    }
    for clip, reason in reasons.items():
        assert f"failed: {clip} ({clip}): {reason}" in result.stderr
    assert "fgnet/none: 3 imported, 9 failed\n" in result.stdout
    with FeatureStore(store) as opened:
        entries = {str(row.clip): row.entries["fgnet/none"] for row in opened.rows}
    assert {name for name, entry in entries.items() if entry.status == "failed"} == set(reasons)
    assert entries["train/007"].reason.startswith("has 7 frames")
    as_folder(folder, given())
    mended = add(folder, "--store", store, "--name", "fgnet")
    assert (mended.exit_code, "fgnet/none: 9 imported, 3 there already\n" in mended.stdout) == (0, True)


def test_a_bad_file_does_not_void_what_is_stored(store: Path, tmp_path: Path) -> None:
    folder = as_folder(tmp_path / "f", given())
    add(folder, "--store", store, "--name", "fgnet")
    (folder / "train/000.npy").write_bytes(b"broken")
    result = add(folder, "--store", store, "--name", "fgnet", "--replace")
    assert result.exit_code == 1
    np.testing.assert_array_equal(stored(store)["train/000"]["basic"], vectors(CLIPS[0]))


def test_other_kinds_of_floats_and_orders(store: Path, tmp_path: Path) -> None:
    array = vectors(CLIPS[0])
    kinds = {
        "train/000": array.astype(np.float16),
        "train/001": array.astype(np.float64),
        "train/002": array.astype(">f4"),
        "train/003": np.asfortranarray(array),
    }
    add(as_folder(tmp_path / "a", kinds), "--store", store, "--name", "a")
    add(as_hdf5(tmp_path / "b", kinds), "--store", store, "--name", "b")
    for name in "ab":
        found = stored(store, name)
        np.testing.assert_array_equal(found["train/000"]["basic"], array.astype(np.float16).astype("f4"))
        for clip in ("train/001", "train/002", "train/003"):
            np.testing.assert_array_equal(found[clip]["basic"], array)


def test_a_row_of_nan_is_a_frame_without_a_vector(store: Path, tmp_path: Path) -> None:
    arrays = given()
    arrays["train/000"][[2, 5]] = np.nan
    arrays["train/001"][:] = np.nan
    arrays["train/002"][3, 4] = np.nan
    result = add(as_folder(tmp_path / "f", arrays), "--store", store, "--name", "fgnet")
    assert "train/002): frame 3 has values that are not finite" in result.stderr
    assert "fgnet/none: 11 imported, 1 failed; 1 without any vector\n" in result.stdout
    np.testing.assert_array_equal(stored(store)["train/000"]["basic"], arrays["train/000"])
    with FeatureStore(store) as opened:
        for text in ("basic:fgnet", "f-normfft:fgnet"):
            feature = find(opened, "visual", text)
            values = feature.read(opened, opened.rows[0])
            assert values is not None and values.shape[0] == FRAMES - 2
        values = find(opened, "visual", "basic:fgnet").read(opened, opened.rows[0])
        np.testing.assert_array_equal(values, np.delete(vectors(CLIPS[0]), [2, 5], axis=0))
        assert opened.rows[1].entries["fgnet/none"].status == "absent"
        assert feature.read(opened, opened.rows[1]) is None
    again = add(tmp_path / "f", "--store", store, "--name", "fgnet")
    assert "11 there already, 1 failed; 1 without any vector\n" in again.stdout


def test_another_rate(store: Path, tmp_path: Path) -> None:
    arrays = {"000": vectors(CLIPS[0], 4), "001": vectors(CLIPS[1], FRAMES)}
    folder = as_folder(tmp_path / "f", arrays)
    assert add(folder, "--store", store, "--name", "a", "--vectors", "any").exit_code == 0
    times = {name: found["times"] for name, found in stored(store, "a").items()}
    # from 0.5 to 1.6 s are four parts of 0.275 s, whose middles these are
    np.testing.assert_allclose(times["train/000"], [0.6375, 0.9125, 1.1875, 1.4625])
    np.testing.assert_allclose(times["train/001"], 0.5 + np.arange(FRAMES) / 10)
    assert add(folder, "--store", store, "--name", "b", "--vectors", "any", "--fps", 5).exit_code == 0
    np.testing.assert_allclose(stored(store, "b")["train/000"]["times"], [0, 0.2, 0.4, 0.6])
    result = add(folder, "--store", store, "--name", "b", "--vectors", "any")
    assert (result.exit_code, "fps: 5.0 / None" in result.stderr) == (2, True)


def test_one_vector_a_clip(store: Path, tmp_path: Path) -> None:
    arrays = {"000": vectors(CLIPS[0])[0], "001": vectors(CLIPS[1], 1), "002": vectors(CLIPS[2], 2)}
    folder = as_folder(tmp_path / "f", arrays)
    result = add(folder, "--store", store, "--name", "a", "--vectors", "one")
    assert "train/002 (002): has 2 vectors, but --vectors one expects one per clip" in result.stderr
    found = stored(store, "a")
    np.testing.assert_array_equal(found["train/000"]["basic"], arrays["000"][np.newaxis])
    np.testing.assert_allclose(found["train/001"]["times"], [1.05])
    alone = as_folder(tmp_path / "g", {"000": arrays["000"]})
    result = add(alone, "--store", store, "--name", "b")
    assert result.exit_code == 2
    assert "000 has shape [16], expected [frames, values]; for one vector [values] per clip" in result.stderr


def test_a_clip_without_frames_in_the_store_is_not_checked_for_their_number(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with FeatureStore(path, create=True).writer() as writer:
        writer.add(Clip("1", "train"), None, {"faces": Outcome(FACES, "failed", "moov atom not found")})
    array = np.ones((5, 3), np.float32)
    result = add(as_folder(tmp_path / "f", {"1": array}), "--store", path, "--name", "fgnet")
    assert result.exit_code == 0, result.output
    assert stored(path)["train/1"].keys() == {"basic"}  # of unknown time


def test_no_array_of_any_clip(store: Path, tmp_path: Path) -> None:
    folder = as_folder(tmp_path / "f", {"a": np.ones((2, 2)), "b": np.ones((2, 2))})
    result = add(folder, "--store", store, "--name", "fgnet")
    assert result.exit_code == 2
    assert "none of 2 arrays in" in result.stderr and "(a, b) is of a clip in" in result.stderr
    assert "its clips are train/000, train/001" in result.stderr


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("nowhere", "does not exist"),
        ("a.csv", "is not a file of arrays"),
        ("empty", "holds no arrays (it has .txt)"),
        ("a.h5", "cannot be opened"),
        ("a.npz", "cannot be opened"),
    ],
)
def test_sources_that_are_none(name: str, complaint: str, store: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/readme.txt").touch()
    for file in ("a.csv", "a.h5", "a.npz"):
        (tmp_path / file).write_text("nonsense")
    result = add(tmp_path / name, "--store", store, "--name", "fgnet")
    assert (result.exit_code, complaint in result.stderr) == (2, True), result.output


def test_hdf5_is_not_followed_out_of_the_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.ones((3, 2), np.float32)
    (tmp_path / "raw").write_bytes(bytes(48))
    layout = h5py.VirtualLayout((3, 2), np.float32)
    layout[:] = h5py.VirtualSource(str(secret), "x", (3, 2))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["good"] = np.ones((3, 2), np.float32)
        file["linked"] = h5py.ExternalLink(str(secret), "x")
        file["alias"] = h5py.SoftLink("/good")
        file.create_dataset("raw", (3, 2), np.float64, external=[(str(tmp_path / "raw"), 0, 48)])
        file.create_virtual_dataset("virtual", layout)
        file["loop/again"] = file["/"]
    with open_arrays(tmp_path / "a.h5") as arrays:
        assert arrays.names == ["good", "raw", "virtual"]
        np.testing.assert_array_equal(arrays.read("good")[0], np.ones((3, 2)))
        for name in ("raw", "virtual"):
            with pytest.raises(StoreError, match="in other files, which are not read"):
                arrays.read(name)


def test_huge_shapes_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    def npy(shape: tuple[int, ...], body: bytes = b"") -> bytes:
        head = io.BytesIO()
        np.lib.format.write_array_header_2_0(head, {"shape": shape, "fortran_order": False, "descr": "<f4"})
        return head.getvalue() + body

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("huge", (10**9, 1024), np.float32, chunks=(1024, 1024))
        file.create_dataset("scalar", data=np.float32(1))
        file.create_dataset("words", data=["a", "b"])
        file.create_dataset("null", data=h5py.Empty("f"))
    folder = tmp_path / "folder"
    folder.mkdir()
    contents = {"huge": npy((10**15, 1024)), "lie": npy((5, 4), bytes(8)), "minus": npy((-5, -4), bytes(80))}
    for name, content in contents.items():
        (folder / f"{name}.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in contents.items():
            packed.writestr(f"{name}.npy", content)
        packed.writestr("bomb.npy", npy((1 << 19, 1024), bytes(1 << 20)))
    for source, names in {"a.h5": ["huge"], "folder": ["huge", "minus"], "a.npz": ["huge", "minus"]}.items():
        with open_arrays(tmp_path / source) as arrays:
            for name in names:
                with pytest.raises(StoreError, match=r"declares float32.*at most 1 GiB is read per clip"):
                    arrays.read(name)
    for source in ("folder", "a.npz"):
        with open_arrays(tmp_path / source) as arrays, pytest.raises(StoreError, match="declares 80 bytes"):
            arrays.read("lie")
    with open_arrays(tmp_path / "a.npz") as arrays, pytest.raises(StoreError, match="at most 1 GiB"):
        arrays.read("bomb")
    with open_arrays(tmp_path / "a.h5") as arrays:
        assert arrays.shape("scalar") == ()
        with pytest.raises(StoreError, match="holds Python objects"):
            arrays.read("words")


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    trap = np.array([Trap()], dtype=object)
    np.save(tmp_path / "a.npy", trap, allow_pickle=True)
    np.savez(tmp_path / "a.npz", a=trap)
    for source in ("a.npy", "a.npz"):
        with open_arrays(tmp_path / source) as arrays, pytest.raises(StoreError, match="never unpickled"):
            arrays.read("a")
    assert not (tmp_path / "sprung").exists()


KILLED = """
import os, signal, sys
from avemo.cache.writer import StoreWriter
from avemo.pipelines.cli.main import main
StoreWriter.__init__.__defaults__ = (1, 20.0)  # a shard each clip
add, calls = StoreWriter.add, []
def killing(*arguments):
    calls.append(1)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    add(*arguments)
StoreWriter.add = killing
main(sys.argv[1:])
"""


def test_a_killed_import_goes_on(store: Path, tmp_path: Path) -> None:
    folder = as_folder(tmp_path / "f", given())
    command = ["store", "import", str(folder), "--store", str(store), "--name", "fgnet"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *command], capture_output=True, env={**os.environ}, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(stored(store)) == 3
    result = CliRunner().invoke(main, command)
    assert "fgnet/none: 9 imported, 3 there already\n" in result.stdout
    for clip in CLIPS:
        np.testing.assert_array_equal(stored(store)[str(clip)]["basic"], vectors(clip))


def test_what_comes_after_knows_imported_features(store: Path, tmp_path: Path) -> None:
    """Training names what is missing, predictions of new clips say why they cannot be, export holds all."""
    folder = as_folder(tmp_path / "f", given(*CLIPS[2:]))
    add(folder, "--store", store, "--name", "fgnet")
    quick = ["--fusion", "faces", "--epochs", "1", "--device", "cpu", "--out", str(tmp_path / "run")]
    trained = CliRunner().invoke(fuse, ["train", "--store", str(store), "--visual", "basic:fgnet", *quick])
    assert trained.exit_code == 0, trained.output
    assert "2 clips are not in fgnet/none yet: avemo store import adds theirs" in trained.stdout
    (tmp_path / "film.mp4").touch()
    refused = CliRunner().invoke(fuse, ["predict", str(tmp_path / "run"), str(tmp_path / "film.mp4")])
    assert refused.exit_code == 2
    assert "'fgnet/none', which was imported and cannot be made here" in refused.stderr
    with FeatureStore(store) as opened:
        export(opened, tmp_path / "all.h5")
    with h5py.File(tmp_path / "all.h5") as file:
        np.testing.assert_array_equal(file["clips/train/002/fgnet/none/basic"], vectors(CLIPS[2]))
