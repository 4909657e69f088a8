"""Draws the contact sheet of a clip: frames with the face, its chips, the face over time, and the sound.

From top to bottom, a sheet has title, frames, chips and timeline. The last two have the same height on all
sheets, so that a page can show the chips alone (:func:`strip`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from PIL import Image, ImageDraw

from ....extract.align import CHIP_SIZE, compose, window_transform
from ....extract.decode.heard import SAMPLE_RATE
from ....extract.decode.media import Media
from ....extract.errors import ClipError
from ....extract.voice_activity import EnergyShare
from ....extract.warp import warp
from ..drawing import elided, font
from ..palette import FACE, FAINT, GROUND, INK, LINE, NO_FACE, PANEL, POINT, SILENCE, SPEECH
from .facts import Subject, Track, jumps

WIDTH, MARGIN, GAP, GUTTER = 1280, 20, 6, 56
RIBBON, CAPTION, WAVE, AXIS = 34, 22, 72, 22
TIMELINE = RIBBON + CAPTION + WAVE + AXIS + 2 * GAP + MARGIN
LEAST_JUMP = 0.6  # smallest jump to mark; two of the discrete steps of dlib's boxes make 0.52

Drawing = tuple[Image.Image, ImageDraw.ImageDraw]
TimedFrames = list[tuple[float, np.ndarray]]  # seconds and RGB [H, W, 3]


@dataclass(frozen=True)
class SoundEnvelope:
    """A clip's sound in blocks of 10 ms.

    Attributes:
        envelope: ``[W, 2]`` smallest and largest sample of each block.
        speech: ``[W]`` whether a block is speech.
    """

    envelope: np.ndarray
    speech: np.ndarray

    step = SAMPLE_RATE // 100

    @property
    def seconds(self) -> float:
        return len(self.envelope) * self.step / SAMPLE_RATE


def draw(subject: Subject, track: Track | None, frames: int) -> Image.Image:
    """Draw the sheet of a clip. Parts that cannot be shown are replaced by a message.

    Args:
        subject: the clip and its statistics.
        track: its stored face track, arrays ``[T, ...]``.
        frames: number of evenly spaced frames to show; fewer if the track has fewer.
    """
    reasons = [text for text in (subject.problem, *subject.notes) if text]
    media, shown, sound = None, TimedFrames(), None
    if not subject.problem:
        try:
            media = Media(subject.clip.path)
            shown, sound = _pictures(media, track, frames), _read_sound(media)
            reasons += [text for text in dict.fromkeys(media.warnings) if f"damaged: {text}" not in reasons]
        except (ClipError, OSError) as error:
            reasons.append(str(error))
    no_pictures = "no pictures" if media is None or media.has_video else "no pictures, only sound"
    columns = _Columns(frames)
    parts = [
        _title(subject, media, shown, reasons),
        _frames(shown, track, columns) if shown else _message(no_pictures, columns.side // 2),
        _chips(shown, track, columns),
        _time_line(subject, track, [time for time, _ in shown], sound, silent=media is not None),
    ]
    sheet = Image.new("RGB", (WIDTH, sum(part.height for part in parts)), GROUND)
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def strip(frames: int) -> tuple[int, int]:
    """Return the heights in pixels of a sheet's chips and of the part below them."""
    return _Columns(frames).side + GAP, TIMELINE


class _Columns:
    """Positions of the frames in a row; all have the same width."""

    def __init__(self, count: int) -> None:
        self.side = (WIDTH - 2 * MARGIN - (count - 1) * GAP) // count

    def left(self, column: int) -> int:
        return MARGIN + column * (self.side + GAP)


def _pictures(media: Media, track: Track | None, count: int) -> TimedFrames:
    if not media.has_video:
        return []
    if track is None:
        times = [media.seconds() * (i + 0.5) / count for i in range(count)]
    else:
        times = [float(track["times"][row]) for row in _rows(track, count)]
    return list(zip(times, media.pictures_at(times), strict=True))


def _rows(track: Track, count: int) -> list[int]:
    """Return the indices of ``count`` evenly spaced rows of a track, or of all if there are fewer."""
    total = len(track["times"])
    return [int((i + 0.5) * total / count) for i in range(count)] if total > count else list(range(total))


def _read_sound(media: Media) -> SoundEnvelope | None:
    """Read the sound block by block, so that memory does not grow with the clip; None without sound."""
    if not media.has_sound:
        return None
    pieces: list[np.ndarray] = []

    def blocks() -> Iterator[np.ndarray]:
        rest = np.zeros(0, np.float32)
        for block in media.sound():
            rest = np.concatenate([rest, block])
            whole = rest[: len(rest) // SoundEnvelope.step * SoundEnvelope.step].reshape(
                -1, SoundEnvelope.step
            )
            if len(whole):
                pieces.append(np.stack([whole.min(1), whole.max(1)], 1))
            rest = rest[whole.size :]
            yield block
        if len(rest):
            pieces.append(np.array([[rest.min(), rest.max()]]))

    activity = EnergyShare()(blocks())
    if not pieces:
        return None
    envelope = np.concatenate(pieces)
    speech = np.zeros(len(envelope), bool)
    for window in np.flatnonzero(activity.active):
        start = window * activity.hop
        speech[round(start * 100) : round((start + activity.length) * 100)] = True
    return SoundEnvelope(envelope, speech)


def _title(subject: Subject, media: Media | None, shown: TimedFrames, reasons: Sequence[str]) -> Image.Image:
    clip, track = subject.clip, subject.track
    facts = [clip.label or "no label", *([f"subject {clip.subject}"] if clip.subject else [])]
    if shown:
        height, width = shown[0][1].shape[:2]
        facts.append(f"{width} x {height} px")  # the font has no multiplication sign
    if media is not None and media.frame_rate:
        facts.append(f"{media.frame_rate:.4g} frames/s")
    if track is not None:
        facts += [f"{track.seconds:.1f} s", f"{track.frames} frames examined"]
    if track is not None and track.confidence is not None:
        facts += [
            f"confidence {track.confidence:.2f} (lowest {track.lowest_confidence:.2f})",
            f"smallest face {track.smallest_face:.0f} px",
            f"largest jump {track.largest_jump:.0%}",
        ]
    lines = [line for text in reasons for line in _wrap(text, 17)]
    image, pen = _blank(MARGIN + 32 + 28 + 24 * len(lines) + GAP)
    rate = "no face track" if track is None else f"face in {track.rate:.0%} of frames"
    rate_left = WIDTH - MARGIN - font(24).getlength(rate)
    colour = NO_FACE if track is None or track.rate < 1 else FACE
    pen.text((rate_left, MARGIN - 4), rate, colour, font(24))
    pen.text((MARGIN, MARGIN - 4), elided(str(clip), 24, rate_left - 3 * MARGIN), INK, font(24))
    pen.text((MARGIN, MARGIN + 31), elided("  ·  ".join(facts), 17, WIDTH - 2 * MARGIN), FAINT, font(17))
    for number, line in enumerate(lines):
        pen.text((MARGIN, MARGIN + 58 + 24 * number), line, NO_FACE, font(17))
    return image


def _frames(shown: TimedFrames, track: Track | None, columns: _Columns) -> Image.Image:
    rows = [] if track is None else _rows(track, len(shown))
    small = [_shrink(image, columns.side) for _, image in shown]
    height = max(picture.height for picture, _ in small)
    image, pen = _blank(height + 26)
    for column, ((time, _), (picture, scale)) in enumerate(zip(shown, small, strict=True)):
        caption, colour = f"{time:.2f} s", FAINT
        if track is not None and track["has_face"][rows[column]]:
            _mark(ImageDraw.Draw(picture), track, rows[column], scale)
        elif track is not None:
            caption, colour = f"{caption}, no face", NO_FACE
        left = columns.left(column)
        image.paste(picture, (left + (columns.side - picture.width) // 2, height - picture.height))
        pen.text((left, height + 3), elided(caption, 15, columns.side), colour, font(15))
    return image


def _mark(pen: ImageDraw.ImageDraw, track: Track, row: int, scale: float) -> None:
    box = [float(edge) * scale for edge in track["box"][row]]
    pen.rectangle((box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1), outline=GROUND, width=4)
    pen.rectangle(tuple(box), outline=FACE, width=2)
    for x, y in track["points"][row] * scale:
        if np.isfinite(x):
            pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=POINT, outline=GROUND)


def _chips(shown: TimedFrames, track: Track | None, columns: _Columns) -> Image.Image:
    if not shown or track is None:
        return _message("no chips: they need pictures and a face track", columns.side + GAP)
    image, pen = _blank(columns.side + GAP)
    whole = window_transform((0, 0, 1), CHIP_SIZE, columns.side)
    for column, ((_, frame), row) in enumerate(zip(shown, _rows(track, len(shown)), strict=True)):
        left = columns.left(column)
        matrix = compose(whole, track["transform"][row])[None]
        chip = Image.fromarray(warp(frame, matrix, columns.side, torch.device("cpu"))[0].numpy())
        found = bool(track["has_face"][row])
        image.paste(chip if found else Image.eval(chip, lambda value: value // 2), (left, 0))
        if not found:
            pen.rectangle((left, 0, left + columns.side - 1, columns.side - 1), outline=NO_FACE, width=2)
            middle = (left + columns.side / 2, columns.side / 2)
            pen.text(middle, "no face", NO_FACE, font(min(20, columns.side // 5)), anchor="mm")
    return image


def _time_line(
    subject: Subject, track: Track | None, times: Sequence[float], sound: SoundEnvelope | None, silent: bool
) -> Image.Image:
    image, pen = _blank(TIMELINE)
    seconds = max(subject.track.seconds if subject.track else 0.0, sound.seconds if sound else 0.0, 1e-3)
    scale = _Scale(seconds)
    face_top, wave_top = GAP, GAP + RIBBON + CAPTION
    for top, height, name in ((face_top, RIBBON, "face"), (wave_top, WAVE, "sound")):
        pen.rectangle((scale.left, top, scale.right, top + height), fill=PANEL)
        pen.text((MARGIN, top + height / 2), name, FAINT, font(16), anchor="lm")
    if track is not None and len(track["times"]):
        _ribbon(pen, track, scale, face_top)
    for time in times:
        x = scale(time)
        pen.polygon([(x - 5, face_top - GAP), (x + 5, face_top - GAP), (x, face_top)], fill=INK)
    if sound is not None:
        _wave(pen, sound, scale, wave_top)
    elif silent:
        pen.text((scale.left + GAP, wave_top + WAVE / 2), "no sound", FAINT, font(16), anchor="lm")
    if seconds > 1e-3:
        _axis(pen, scale, wave_top + WAVE)
    return image


class _Scale:
    """Converts seconds to pixels."""

    left, right = MARGIN + GUTTER, WIDTH - MARGIN

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, time: float) -> float:
        return self.left + min(1.0, time / self.seconds) * (self.right - self.left)


def _ribbon(pen: ImageDraw.ImageDraw, track: Track, scale: _Scale, top: int) -> None:
    """Draw a bar per frame: the detector's confidence, or full height in another colour without a face."""
    times, confidence, jump = track["times"], track["confidence"], jumps(track)
    middles = (times[1:] + times[:-1]) / 2
    ends = [0.0, *middles.tolist(), scale.seconds]
    most = max(1.0, float(confidence.max()))
    for row, (start, end) in enumerate(pairwise(ends)):
        found = bool(track["has_face"][row])
        height = RIBBON * (max(0.06, float(confidence[row]) / most) if found else 1)
        area = (scale(start), top + RIBBON - height, max(scale(start), scale(end)), top + RIBBON)
        pen.rectangle(area, fill=FACE if found else NO_FACE)
    for after in np.flatnonzero(jump >= LEAST_JUMP):
        x = scale(float(middles[after - 1]))
        pen.line((x, top, x, top + RIBBON), fill=POINT, width=3)


def _wave(pen: ImageDraw.ImageDraw, sound: SoundEnvelope, scale: _Scale, top: int) -> None:
    """Draw the envelope, with speech in another colour, and print the start and end of speech."""
    first, last = round(scale(0)), round(scale(sound.seconds))
    edges = np.linspace(0, len(sound.envelope), last - first + 1).astype(int)
    loudest = max(float(np.abs(sound.envelope).max()), 0.05)
    middle, half = top + WAVE / 2, WAVE / 2 - 2
    for x, (start, end) in enumerate(pairwise(edges), first):
        part = slice(start, max(end, start + 1))
        low, high = sound.envelope[part, 0].min(), sound.envelope[part, 1].max()
        colour = SPEECH if sound.speech[part].any() else SILENCE
        pen.line((x, middle - half * high / loudest, x, middle - half * low / loudest), fill=colour)
    spoken = np.flatnonzero(sound.speech) / 100
    caption = f"speech {spoken[0]:.2f} to {spoken[-1] + 0.01:.2f} s" if len(spoken) else "no speech found"
    pen.text((scale.left, top - 3), caption, SPEECH if len(spoken) else FAINT, font(15), anchor="ld")


def _axis(pen: ImageDraw.ImageDraw, scale: _Scale, top: int) -> None:
    step = next(step for step in _steps() if scale.seconds / step <= 12)
    for tick in np.arange(0, scale.seconds + 1e-9, step):
        x = scale(float(tick))
        pen.line((x, top, x, top + 5), fill=LINE)
        caption = f"{tick:g} s"
        edge = x + font(14).getlength(caption) / 2 > scale.right
        pen.text(
            (scale.right if edge else x, top + 6), caption, FAINT, font(14), anchor="ra" if edge else "ma"
        )


def _steps() -> Iterator[float]:
    """Yield 0.1, 0.2, 0.5, 1, 2, 5, 10, … without end."""
    unit = 0.1
    while True:
        yield from (round(unit * factor, 6) for factor in (1, 2, 5))
        unit *= 10


def _shrink(frame: np.ndarray, width: int) -> tuple[Image.Image, float]:
    """Scale a frame to one column in width, or two in height if it is tall; return it and the scale."""
    scale = min(width / frame.shape[1], 2 * width / frame.shape[0])
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    return Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS, reducing_gap=2), scale


def _message(text: str, height: int) -> Image.Image:
    image, pen = _blank(height)
    pen.rectangle((MARGIN, 0, WIDTH - MARGIN, height - GAP), fill=PANEL)
    pen.text((WIDTH / 2, (height - GAP) / 2), text, FAINT, font(18), anchor="mm")
    return image


def _blank(height: int) -> Drawing:
    image = Image.new("RGB", (WIDTH, height), GROUND)
    return image, ImageDraw.Draw(image)


def _wrap(text: str, size: int) -> list[str]:
    """Wrap ``text`` to the width of the sheet, in at most three lines."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font(size).getlength(longer) > WIDTH - 2 * MARGIN:
            lines.append(word)
        else:
            lines[-1] = longer
    return [elided(line, size, WIDTH - 2 * MARGIN) for line in lines[:3]]
