"""Decoding pictures once: bad files, memory or a file, kills, faces as stage 1 frames them."""

from __future__ import annotations

import io
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from functools import partial
from itertools import count as counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from avemo.extract.align import CHIP_SIZE, compose, resize_transform
from avemo.extract.decode.media import Media
from avemo.extract.detectors import Face, load_detector
from avemo.extract.errors import ExtractError
from avemo.extract.track import Tracker, face_arrays
from avemo.extract.warp import warp
from avemo.pretrain.chips import Boxed, Detected, WholePicture, faces_named, main_face
from avemo.pretrain.errors import PretrainError
from avemo.pretrain.images import decode, read_image
from avemo.pretrain.packed import PackedPictures, pack
from avemo.pretrain.pictures import Picture, PictureSet, Skipped, one_hot
from avemo.pretrain.rows import RowsOnDisk

RNG = np.random.default_rng(0)
PHOTO = cv2.GaussianBlur(RNG.integers(0, 255, (60, 80, 3), np.uint8), (0, 0), 5)


def encoded(kind: str, image: np.ndarray = PHOTO) -> bytes:
    """``image``, which is RGB, in a format that loses nothing but for jpg."""
    bgr = image[..., ::-1] if image.ndim == 3 and image.shape[2] == 3 else image
    flags = [cv2.IMWRITE_WEBP_QUALITY, 101] if kind == "webp" else []
    return bytes(cv2.imencode(f".{kind}", bgr, flags)[1])


def by_pillow(image: Image.Image, kind: str, **settings: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def huge_png(side: int) -> bytes:
    """A few bytes that claim to be a picture of ``side`` × ``side`` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


class TestDecode:
    @pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "webp", "ppm"])
    def test_colour_is_rgb(self, kind: str) -> None:
        np.testing.assert_array_equal(decode(encoded(kind)), PHOTO)

    def test_grey_stays_grey(self) -> None:
        grey = PHOTO[..., 0]
        np.testing.assert_array_equal(decode(encoded("png", grey)), grey)

    def test_sixteen_bits_become_eight(self) -> None:
        wide = PHOTO.astype(np.uint16) * 257
        np.testing.assert_array_equal(decode(encoded("png", wide)), PHOTO)
        np.testing.assert_array_equal(decode(encoded("png", wide[..., 0])), PHOTO[..., 0])
        np.testing.assert_array_equal(decode(encoded("tiff", wide[..., 0])), PHOTO[..., 0])

    def test_what_is_transparent_becomes_black(self) -> None:
        alpha = np.zeros((60, 80), np.uint8)
        alpha[:, :40] = 255
        data = by_pillow(Image.fromarray(np.dstack([PHOTO, alpha])), "PNG")
        np.testing.assert_array_equal(decode(data), np.where(alpha[..., None] > 0, PHOTO, 0))
        palette = Image.fromarray(alpha // 255).convert("P")
        palette.putpalette([9, 9, 9, 50, 60, 70])
        image = decode(by_pillow(palette, "PNG", transparency=0))
        np.testing.assert_array_equal(image[0, [0, 79]], [[50, 60, 70], [0, 0, 0]])

    @pytest.mark.parametrize(("orientation", "turns", "flips"), [(3, 2, False), (6, -1, False), (2, 0, True)])
    def test_exif_turns_it_upright(self, orientation: int, turns: int, flips: bool) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = by_pillow(Image.fromarray(PHOTO), "PNG", exif=exif)
        expected = np.rot90(PHOTO[:, ::-1] if flips else PHOTO, turns)
        np.testing.assert_array_equal(decode(data), expected)

    @pytest.mark.parametrize("kind", ["WEBP", "GIF"])
    def test_of_an_animation_the_first_frame_counts(self, kind: str) -> None:
        frames = [Image.fromarray(np.full((20, 30, 3), value, np.uint8)) for value in (10, 200)]
        settings = {"lossless": True} if kind == "WEBP" else {}
        data = by_pillow(frames[0], kind, save_all=True, append_images=frames[1:], **settings)
        image = decode(data)
        assert image.shape == (20, 30, 3)
        assert (image == 10).all()

    def test_cmyk(self) -> None:
        image = decode(by_pillow(Image.fromarray(PHOTO).convert("CMYK"), "JPEG", quality=95))
        assert np.abs(image.astype(int) - PHOTO).mean() < 3

    @pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tiff", "progressive"])
    @pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
    def test_half_a_file_is_refused(self, kind: str, share: float) -> None:
        whole = (
            by_pillow(Image.fromarray(PHOTO), "JPEG", progressive=True)
            if kind == "progressive"
            else encoded(kind)
        )
        decode(whole)
        with pytest.raises(PretrainError, match=r"cannot be decoded|not a picture"):
            decode(whole[: int(share * len(whole))])

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "an empty file"),
            (b"\n<!DOCTYPE html><html>gone</html>", "a web page, not a picture: fetch it again"),
            (b"<html><body>404", "a web page, not a picture: fetch it again"),
            (b"version https://git-lfs", "not a picture of a known format"),
            (huge_png(60_000), "more than 89 million pixels: shrink it"),
            (huge_png(10_000), "10000 × 10000 pixels, more than 89 million: shrink it"),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture of a known format"),
        ],
    )
    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    def test_what_is_no_picture_says_so(self, data: bytes, reason: str) -> None:
        with pytest.raises(PretrainError, match=reason):
            decode(data)

    def test_floating_point_is_refused(self) -> None:
        with pytest.raises(PretrainError, match="floating-point numbers of unknown range"):
            decode(by_pillow(Image.fromarray(PHOTO[..., 0].astype(np.float32)), "TIFF"))


def in_files(folder: Path, count: int, side: int = 12) -> PictureSet:
    """Pictures of noise in two classes, the third of which repeats the first."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    pictures = []
    for number in range(count):
        file = folder / f"{number}.png"
        if not file.exists():
            image = rng.integers(0, 256, (side, side, 3), np.uint8)
            file.write_bytes((folder / "0.png").read_bytes() if number == 2 else encoded("png", image))
        pictures.append(
            Picture(file.name, partial(read_image, file), one_hot(number % 2, 2), "train", "", file)
        )
    return PictureSet("some set", ("Happy", "Sad"), tuple(pictures))


def same(one: PackedPictures, other: PackedPictures) -> None:
    assert one.digest == other.digest
    for name in ("pixels", "labels", "parts", "groups"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert (one.classes, one.skipped) == (other.classes, other.skipped)


class TestPack:
    def test_values(self, tmp_path: Path) -> None:
        pictures = in_files(tmp_path, 5)
        told = counter()
        packed = pack(pictures, 12, False, partial(next, told))
        assert next(told) == 5
        for row, picture in zip(packed.pixels, pictures.pictures, strict=True):
            np.testing.assert_array_equal(row, picture.read())
        np.testing.assert_array_equal(packed.targets, [0, 1, 0, 1, 0])
        assert packed.groups[2] == packed.groups[0]
        assert len(set(packed.groups)) == 4
        grey = pack(pictures, 6, True, lambda: None)
        assert grey.pixels.shape == (5, 6, 6, 1)
        small = cv2.resize(pictures.pictures[1].read(), (6, 6), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(grey.pixels[1, ..., 0], cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))

    def test_groups_join_through_names_and_pixels(self, tmp_path: Path) -> None:
        found = in_files(tmp_path, 5).pictures
        names = ("a", "b", "b", "", "a")
        named = [Picture(p.name, p.read, p.label, p.part, name) for p, name in zip(found, names, strict=True)]
        groups = pack(PictureSet("s", ("x", "y"), tuple(named)), 12, False, lambda: None).groups
        assert len({*groups[[0, 1, 2, 4]]}) == 1
        assert groups[3] != groups[0]

    def test_a_bad_file_costs_one_picture_and_says_why(self, tmp_path: Path) -> None:
        pictures = in_files(tmp_path, 6)
        (tmp_path / "0.png").write_bytes(b"")
        (tmp_path / "1.png").write_bytes(encoded("jpg")[:700])
        (tmp_path / "3.png").unlink()
        (tmp_path / "4.png").write_bytes(b"<html>")
        told = counter()
        packed = pack(pictures, 12, True, partial(next, told))
        assert next(told) == 6
        assert len(packed.pixels) == len(packed.labels) == len(packed.parts) == len(packed.groups) == 2
        np.testing.assert_array_equal(packed.targets, [0, 1])
        why = dict(packed.skipped)
        assert list(why) == ["0.png", "1.png", "3.png", "4.png"]
        assert why["0.png"] == "an empty file"
        assert "truncated" in why["1.png"]
        assert why["3.png"] == "No such file or directory"
        assert why["4.png"] == "a web page, not a picture: fetch it again"

    def test_no_picture_at_all_is_one_error(self, tmp_path: Path) -> None:
        pictures = in_files(tmp_path, 3)
        for file in tmp_path.iterdir():
            file.write_bytes(b"<html>")
        with pytest.raises(
            PretrainError, match=r"some set: none of 3 pictures can be read; the first: 0\.png: a web"
        ):
            pack(pictures, 12, True, lambda: None)

    def test_what_readers_left_out_is_told_too(self, tmp_path: Path) -> None:
        pictures = in_files(tmp_path, 3)
        left_out = Skipped("row 7", "bad")
        pictures = PictureSet("s", pictures.classes, pictures.pictures, (left_out,))
        assert pack(pictures, 12, True, lambda: None).skipped == (left_out,)

    def test_reading_stays_a_little_ahead_only(self, tmp_path: Path) -> None:
        read: list[int] = []

        def reader(number: int) -> np.ndarray:
            read.append(number)
            return np.full((4, 4), number % 256, np.uint8)

        pictures = tuple(Picture(str(n), partial(reader, n), one_hot(n % 2, 2)) for n in range(600))
        ahead: list[int] = []
        taken = counter(1)
        packed = pack(
            PictureSet("s", ("a", "b"), pictures), 4, True, lambda: ahead.append(len(read) - next(taken))
        )
        assert max(ahead) < 100
        np.testing.assert_array_equal(packed.pixels[:, 0, 0, 0], np.arange(600) % 256)


class TestCache:
    def test_a_file_holds_what_memory_would(self, tmp_path: Path) -> None:
        pictures = in_files(tmp_path / "in", 40)
        (tmp_path / "in/5.png").write_bytes(b"<html>")
        in_memory = pack(pictures, 12, False, lambda: None)
        in_file = pack(pictures, 12, False, lambda: None, cache=tmp_path / "cache", most_bytes=100)
        assert isinstance(in_file.pixels, np.memmap)
        same(in_memory, in_file)
        small = pack(pictures, 12, False, lambda: None, cache=tmp_path / "other", most_bytes=1 << 20)
        assert not isinstance(small.pixels, np.memmap)
        assert not (tmp_path / "other").exists()

    def test_nothing_is_read_again_until_something_changes(self, tmp_path: Path) -> None:
        reads = counter()
        found = in_files(tmp_path / "in", 6)

        def counted(read: Callable[[], np.ndarray]) -> np.ndarray:
            next(reads)
            return read()

        def again(size: int = 12) -> tuple[PackedPictures, int]:
            pictures = tuple(
                Picture(p.name, partial(counted, p.read), p.label, p.part, "", p.file) for p in found.pictures
            )
            before, told = next(reads), counter()
            packed = pack(
                PictureSet("s", ("a", "b"), pictures),
                size,
                False,
                partial(next, told),
                cache=tmp_path / "cache",
                most_bytes=100,
            )
            assert next(told) == 6
            return packed, next(reads) - before - 1

        first, count = again()
        assert count == 6
        second, count = again()
        assert count == 0
        same(first, second)
        assert again(size=8)[1] == 6
        file = tmp_path / "in/4.png"
        file.write_bytes(encoded("png", 255 - found.pictures[4].read()))
        os.utime(file, ns=(1, 1))
        changed, count = again()
        assert count == 6
        np.testing.assert_array_equal(changed.pixels[4], 255 - first.pixels[4])
        assert len(list((tmp_path / "cache").iterdir())) == 3

    @pytest.mark.parametrize("torn", ["pixels.u8", "prints", "progress.json"])
    def test_a_torn_or_damaged_file_is_made_anew(self, tmp_path: Path, torn: str) -> None:
        pictures = in_files(tmp_path / "in", 6)
        first = pack(pictures, 12, False, lambda: None, cache=tmp_path / "cache", most_bytes=100)
        digest = first.digest
        del first
        (file,) = (tmp_path / "cache").glob(f"*/{torn}")
        whole = file.read_bytes()
        place = whole.index(b"6") if torn == "progress.json" else 0
        for damaged in (whole[:-7], whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]):
            file.write_bytes(damaged)
            again = pack(pictures, 12, False, lambda: None, cache=tmp_path / "cache", most_bytes=100)
            assert again.digest == digest
            del again
        assert file.read_bytes() == whole

    def test_a_failure_kept_for_another_picture_is_not_believed(self, tmp_path: Path) -> None:
        shape, rows = (2, 2, 1), np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1)
        with RowsOnDisk(tmp_path, shape, 3) as made:
            for outcome in (rows[0], "broken", rows[1]):
                made.add(outcome)
        progress = tmp_path / "progress.json"
        with RowsOnDisk(tmp_path, shape, 3) as again:
            assert (again.done, again.failures) == (3, {1: "broken"})
        progress.write_text(progress.read_text().replace('[1, "broken"]', '[2, "broken"]'))
        with RowsOnDisk(tmp_path, shape, 3) as again:
            assert again.done == 0
        progress.write_text("[" * 100_000)
        with RowsOnDisk(tmp_path, shape, 3) as again:
            assert again.done == 0

    def test_a_kill_costs_little_and_harms_nothing(self, tmp_path: Path) -> None:
        """A process that saves after each picture is killed by the system, again and again."""
        pictures = in_files(tmp_path / "in", 30)
        code = (
            "import sys, time\nfrom pathlib import Path\nfrom functools import partial\n"
            "from avemo.pretrain import rows\nfrom avemo.pretrain.packed import pack\n"
            "from avemo.pretrain.images import read_image\n"
            "from avemo.pretrain.pictures import Picture, PictureSet, one_hot\n"
            "rows._SAVE_EVERY = 0\nfolder = Path(sys.argv[1])\n"
            "files = [folder / f'{n}.png' for n in range(30)]\n"
            "pictures = tuple(Picture(f.name, partial(read_image, f), one_hot(n % 2, 2), 'train', '', f)\n"
            "                 for n, f in enumerate(files))\n"
            "def told():\n    print('.', flush=True)\n    time.sleep(0.02)\n"
            "pack(PictureSet('some set', ('Happy', 'Sad'), pictures), 12, False, told,\n"
            "     cache=folder.parent / 'cache', most_bytes=100)\n"
        )
        for stop in (4, 11):
            process = subprocess.Popen(
                [sys.executable, "-c", code, str(tmp_path / "in")], stdout=subprocess.PIPE, text=True
            )
            assert process.stdout is not None
            for _ in range(stop):
                assert process.stdout.readline() == ".\n"
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
        (folder,) = (tmp_path / "cache").iterdir()
        half = (folder / "pixels.u8").stat().st_size
        assert 0 < half < 30 * 12 * 12 * 3
        with (folder / "pixels.u8").open("ab") as file:
            file.write(b"half a row")
        resumed = pack(pictures, 12, False, lambda: None, cache=tmp_path / "cache", most_bytes=100)
        assert list((tmp_path / "cache").iterdir()) == [folder]
        same(resumed, pack(pictures, 12, False, lambda: None))

    def test_two_at_once_share_the_work(self, tmp_path: Path) -> None:
        reads = counter()

        def slow(number: int) -> np.ndarray:
            next(reads)
            time.sleep(0.01)
            return np.full((4, 4), number, np.uint8)

        pictures = tuple(Picture(str(n), partial(slow, n), one_hot(n % 2, 2)) for n in range(20))
        found: list[PackedPictures] = []

        def work() -> None:
            whole = PictureSet("s", ("a", "b"), pictures)
            found.append(pack(whole, 4, True, lambda: None, cache=tmp_path, most_bytes=10))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert next(reads) == 20
        same(found[0], found[1])
        same(found[0], found[2])

    def test_too_much_for_memory_or_disk_is_one_error(self, tmp_path: Path) -> None:
        pictures = in_files(tmp_path / "in", 3)
        with pytest.raises(PretrainError, match=r"3 pictures of 12 × 12 pixels need 0\.0 GB.*--cache"):
            pack(pictures, 12, False, lambda: None, most_bytes=100)
        with pytest.raises(PretrainError, match=r"GB free, but 3 pictures need 509955\.0 GB: make room"):
            pack(pictures, 200_000 * 39, False, lambda: None, cache=tmp_path / "cache")


class TestFaces:
    def test_a_box_becomes_a_square_with_its_margin(self) -> None:
        box, margin, size = (20.0, 10.0, 50.0, 34.0), 0.2, 24
        chip = Boxed(margin)(PHOTO, box, size)
        side = 30 * 1.4
        left, top = 35 - side / 2, 22 - side / 2
        padded = np.pad(PHOTO.astype(float), ((50, 50), (50, 50), (0, 0)))
        for row in range(size):
            for column in range(size):
                x = left + (column + 0.5) * side / size - 0.5 + 50
                y = top + (row + 0.5) * side / size - 0.5 + 50
                i, j, u, v = int(y), int(x), y % 1, x % 1
                corners = padded[i : i + 2, j : j + 2]
                mixed = (1 - u) * ((1 - v) * corners[0, 0] + v * corners[0, 1])
                mixed = mixed + u * ((1 - v) * corners[1, 0] + v * corners[1, 1])
                assert np.abs(chip[row, column] - mixed).max() < 4  # the sampler counts in 32nds of a pixel

    def test_boxes_that_give_no_face(self) -> None:
        with pytest.raises(PretrainError, match="lies outside its 80 × 60 pixels"):
            Boxed()(PHOTO, (90, 0, 100, 10), 24)
        with pytest.raises(PretrainError, match="gives no box"):
            Boxed()(PHOTO, None, 24)
        with pytest.raises(PretrainError, match=r"margin of -0\.5 around boxes leaves no face"):
            Boxed(-0.5)

    def test_grey_pictures_have_faces_too(self) -> None:
        chip = Boxed()(PHOTO[..., 0], (20, 10, 50, 40), 24)
        np.testing.assert_array_equal(chip[..., 0], chip[..., 1])

    def test_the_main_face_is_large_and_central(self) -> None:
        def at(x: float, y: float, side: float) -> Face:
            box = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2])
            return Face(box, np.zeros((5, 2)), 1.0)

        small, central, corner = at(50, 50, 10), at(52, 48, 20), at(90, 90, 24)
        assert main_face([small, corner, central], 100, 100) is central
        assert main_face([corner, small], 100, 100) is corner
        assert main_face([corner, small, central], 100, 100, (84, 80, 98, 100)) is corner
        with pytest.raises(PretrainError, match=r"no face was found$"):
            main_face([], 100, 100)
        with pytest.raises(PretrainError, match="at the data set's box"):
            main_face([small, central], 100, 100, (80, 80, 99, 99))

    def test_names(self, tmp_path: Path) -> None:
        assert isinstance(faces_named("whole"), WholePicture)
        assert faces_named("box", margin=0.3).settings() == {"faces": "box", "margin": 0.3}
        assert faces_named("detect").settings()["chip.padding"] == 0.3
        with pytest.raises(PretrainError, match="expected one of whole, box, detect"):
            faces_named("crop")
        with pytest.raises(ExtractError, match="there is no detector 'mtcnn'"):
            faces_named("detect", "mtcnn")

    @pytest.mark.parametrize("size", [48, 224])
    def test_a_found_face_is_what_stage_1_would_see(self, shared: Path, size: int) -> None:
        image = self.frame(shared)
        tracker, detector = Tracker(), load_detector("dlib")
        tracker.add(0, 0.0, detector(image))
        transform = face_arrays([0.0], tracker.main(), [image.shape[:2]], detector.layout)["transform"]
        shrink = resize_transform((CHIP_SIZE, CHIP_SIZE), (size, size))
        import torch

        expected = warp(image, compose(shrink, transform), size, torch.device("cpu"))[0].numpy()
        np.testing.assert_array_equal(Detected()(image, None, size), expected)

    def test_faces_are_found_by_threads_and_kept(self, shared: Path, tmp_path: Path) -> None:
        image = self.frame(shared)
        files = [tmp_path / f"{number}.png" for number in range(4)]
        for number, file in enumerate(files):
            turned = cv2.flip(image, 1) if number % 2 else image
            file.write_bytes(
                encoded("png", RNG.integers(0, 9, (80, 80, 3), np.uint8) if number == 3 else turned)
            )
        pictures = tuple(
            Picture(f.name, partial(read_image, f), one_hot(n % 2, 2), "", "", f) for n, f in enumerate(files)
        )
        found = PictureSet("s", ("a", "b"), pictures, faces="detect")
        packed = pack(found, 64, True, lambda: None, faces_named(found.faces), tmp_path / "cache")
        assert packed.skipped == (Skipped("3.png", "no face was found"),)
        assert isinstance(packed.pixels, np.memmap)  # finding them again would take longer than reading
        expected = cv2.cvtColor(Detected()(image, None, 64), cv2.COLOR_RGB2GRAY)
        np.testing.assert_array_equal(packed.pixels[0, ..., 0], expected)
        np.testing.assert_array_equal(packed.pixels[2], packed.pixels[0])
        assert packed.groups[2] == packed.groups[0] != packed.groups[1]

    @staticmethod
    def frame(shared: Path) -> np.ndarray:
        clip = shared / "data/java_sed/clips/01-01-01_01.mp4"
        if not clip.is_file():
            pytest.skip("needs a real clip, ../shared/data/java_sed, which is not here")
        return next(frame.image for number, frame in enumerate(Media(clip).frames()) if number == 30)
