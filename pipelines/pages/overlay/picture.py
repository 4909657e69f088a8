"""Draws the frames of an overlay: the picture with the face box, a bar for each class, and a time strip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw

from .. import palette
from ..drawing import elided, font
from ..palette import class_colours, rgb

Rectangle = tuple[int, int, int, int]
"""``left, top, right, bottom`` in pixels; right and bottom are exclusive."""
Colour = tuple[int, int, int]

GROUND, INK, FAINT, TRACK = map(rgb, (palette.GROUND, palette.INK, palette.FAINT, palette.TRACK))
MIN_SIDE = 240  # pixels of the shorter side; smaller pictures are enlarged, so that the text beside them fits
DIMMED = 0.35  # brightness of the time strip without a face


@dataclass(frozen=True)
class OverlayLayout:
    """Layout of the canvas. Its sides are even, as H.264 requires.

    Attributes:
        size: ``(width, height)`` of the canvas.
        picture: area of the video's picture.
        em: height of the text in pixels.
        panel: area of the heading and the bars: beside a wide picture, below a tall one.
        bars: area of each class's bar at a probability of 1.
        strip: area of the time strip.
    """

    size: tuple[int, int]
    picture: Rectangle
    em: int
    panel: Rectangle
    bars: tuple[Rectangle, ...]
    strip: Rectangle

    @classmethod
    def of(cls, width: int, height: int, classes: int) -> OverlayLayout:
        """Lay out a canvas for pictures of ``width`` × ``height`` pixels and a number of classes."""
        scale = max(1.0, MIN_SIDE / min(width, height))
        width, height = round(width * scale), round(height * scale)
        em = max(12, round(min(width, height) / 26))
        beside = width >= height
        head, row = round(4.3 * em), round(2.15 * em)
        needed = head + classes * row + em // 2
        panel_width = 15 * em if beside else width
        body = max(height, needed) if beside else height + needed
        total = _even(width + panel_width if beside else width)
        strip_height = 2 * em
        full = _even(body + strip_height)
        top = (body - height) // 2 if beside else 0
        panel = (width, 0, total, body) if beside else (0, height, total, body)
        spare = panel[3] - panel[1] - needed
        row += min(spare // classes, em)  # spread the bars in a tall panel, up to a limit
        first = panel[1] + head
        bars = tuple(
            (panel[0] + em, y + round(1.35 * em), panel[2] - em, y + round(1.35 * em) + max(6, em // 2))
            for y in range(first, first + classes * row, row)
        )
        picture = (0, top, width, top + height)
        return cls((total, full), picture, em, panel, bars, (0, body + em // 2, total, full))

    def bar(self, number: int, probability: float) -> Rectangle:
        """Return the filled part of a class's bar."""
        left, top, right, bottom = self.bars[number]
        return left, top, left + round(probability * (right - left)), bottom

    def box(self, box: np.ndarray, shape: tuple[int, ...]) -> Rectangle:
        """Map a face's ``x0 y0 x1 y1`` in a picture of ``shape`` (height, width, ...) to the canvas."""
        left, top, right, bottom = self.picture
        x, y = (right - left) / shape[1], (bottom - top) / shape[0]
        x0, y0, x1, y1 = (np.asarray(box, float) * (x, y, x, y) + (left, top, left, top)).tolist()
        clipped = max(left, x0), max(top, y0), min(right - 1, x1), min(bottom - 1, y1)
        return round(clipped[0]), round(clipped[1]), round(clipped[2]), round(clipped[3])


@dataclass(eq=False)
class Canvas:
    """Draws frames. Parts that do not change within a window are drawn once.

    Attributes:
        classes: class names.
        values: ``[n, C]`` probabilities of the windows.
        notes: text for each window.
        has_face: ``[n]`` whether a window has a face. Windows without one are grey, since their scores do not
            come from the picture.
        has_sound: ``[n]`` whether a window has sound; None if sound is not used, and windows without a face
            have values of zero.
        seconds: duration of the video.
        window_at: function from times in seconds to window indices.
        mark: short text shown in every frame, or empty.
    """

    classes: Sequence[str]
    values: np.ndarray
    notes: Sequence[str]
    has_face: np.ndarray
    has_sound: np.ndarray | None
    seconds: float
    window_at: Callable[[np.ndarray], np.ndarray]
    mark: str = ""

    def __post_init__(self) -> None:
        self._colours = [rgb(colour) for colour in class_colours(self.classes)]
        self._layout: OverlayLayout | None = None
        self._background = lru_cache(maxsize=2)(self._draw_background)

    def __call__(self, image: np.ndarray, box: np.ndarray | None, seconds: float) -> np.ndarray:
        """Draw a frame of the overlay, RGB ``[height, width, 3]``; all frames have the same size.

        Args:
            image: picture, RGB ``[H, W, 3]`` uint8; the size of the first one determines the layout.
            box: face box ``x0 y0 x1 y1`` in pixels, or None.
            seconds: time of the frame.
        """
        if self._layout is None:
            self._layout = OverlayLayout.of(image.shape[1], image.shape[0], len(self.classes))
        layout = self._layout
        window = int(self.window_at(np.array(seconds)))
        background, tag = self._background(layout, window)
        canvas = background.copy()
        left, top, right, bottom = layout.picture
        size = (right - left, bottom - top)
        fits = (image.shape[1], image.shape[0]) == size
        canvas[top:bottom, left:right] = image if fits else cv2.resize(image, size)
        if box is not None:
            self._draw_box(canvas, layout, layout.box(box, image.shape), tag, window)
        if self.mark:
            self._draw_mark(canvas, layout)
        self._draw_playhead(canvas, layout, seconds / self.seconds)
        return canvas

    def _draw_box(
        self, canvas: np.ndarray, layout: OverlayLayout, box: Rectangle, tag: np.ndarray, window: int
    ) -> None:
        x0, y0, x1, y1 = box
        thick = max(2, layout.em // 8)
        cv2.rectangle(canvas, (x0, y0), (x1, y1), (0, 0, 0), thick + 2)  # visible on any background
        cv2.rectangle(canvas, (x0, y0), (x1, y1), self._colour(window), thick)
        left, top, right, bottom = layout.picture
        height, width = tag.shape[:2]
        y = y0 - height if y0 - height >= top else min(y1, bottom - height)
        x = max(left, min(x0, right - width))
        if y >= top and width <= right - left:
            canvas[y : y + height, x : x + width] = tag

    def _colour(self, window: int) -> Colour:
        """Return the colour of a window's predicted class, or grey without a face."""
        return self._colours[int(self.values[window].argmax())] if self.has_face[window] else FAINT

    def _heading(self, window: int) -> str:
        if self.has_face[window]:
            return self.classes[int(self.values[window].argmax())]
        if self.has_sound is None:
            return "no face"
        return "no face: sound only" if self.has_sound[window] else "no face, no sound: a guess"

    def _draw_mark(self, canvas: np.ndarray, layout: OverlayLayout) -> None:
        left, top, right, bottom = layout.picture
        mark = _fitting_tag(self.mark, layout.em, FAINT, right - left)
        height, width = mark.shape[:2]
        if height <= bottom - top:
            canvas[bottom - height : bottom, left : left + width] = mark

    def _draw_playhead(self, canvas: np.ndarray, layout: OverlayLayout, share: float) -> None:
        left, top, right, bottom = layout.strip
        x = left + round(min(max(share, 0.0), 1.0) * (right - left - 1))
        half = max(1, layout.em // 10)
        canvas[top:bottom, max(left, x - half - 1) : x + half + 2] = 0
        canvas[top:bottom, max(left, x - half) : x + half + 1] = INK

    def _draw_background(self, layout: OverlayLayout, window: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the canvas without the picture, and the tag of the face box."""
        values = self.values[window]
        best = int(values.argmax())
        name, best_percentage = self.classes[best], f"{values[best]:.0%}"
        page = Image.new("RGB", layout.size, GROUND)
        draw = ImageDraw.Draw(page)
        left, top, right, _ = layout.panel
        em = layout.em
        width = right - left - 2 * em
        size = (1.7 if self.has_face[window] else 1.2) * em
        _write(draw, (left + em, top + em // 2), self._heading(window), size, self._colour(window), width)
        _write(draw, (left + em, top + round(2.5 * em)), self.notes[window], 0.9 * em, FAINT, width)
        for number, (x0, y0, x1, y1) in enumerate(layout.bars):
            has_face = bool(self.has_face[window])
            ink = INK if number == best and has_face else FAINT
            percentage = f"{values[number]:.0%}"
            room = width - font(em).getlength(percentage) - em // 2
            above = y0 - round(1.35 * em)
            _write(draw, (x0, above), self.classes[number], em, ink, room)
            draw.text((x1, above), percentage, ink, font(em), anchor="ra")
            draw.rectangle((x0, y0, x1 - 1, y1 - 1), TRACK)
            filled = layout.bar(number, float(values[number]))
            if filled[2] > filled[0]:
                colour = self._colours[number] if has_face else FAINT
                draw.rectangle((x0, y0, filled[2] - 1, y1 - 1), colour)
        canvas = np.array(page)
        x0, y0, x1, y1 = layout.strip
        columns = self.window_at((np.arange(x1 - x0) + 0.5) / (x1 - x0) * self.seconds)
        strip = strip_of_time(self.values[columns], self.has_face[columns], y1 - y0, self._colours)
        canvas[y0:y1, x0:x1] = strip
        return canvas, _tag(f"{name} {best_percentage}", em, self._colour(window))


def strip_of_time(
    values: np.ndarray, faces: np.ndarray, height: int, palette: Sequence[Colour]
) -> np.ndarray:
    """Draw probabilities over time as stacked colours in the order of the classes, the first on top.

    Args:
        values: ``[X, C]`` probabilities of each column; a column of zeros is black.
        faces: ``[X]`` whether there is a face; columns without one are darker.
        height: height of the strip in pixels.
        palette: colour of each class.

    Returns:
        RGB ``[height, X, 3]``.
    """
    edges = np.cumsum(values, axis=1)[:, :-1]
    levels = (np.arange(height) + 0.5) / height
    numbers = (levels[:, None, None] > edges).sum(axis=2)
    colours = np.array(palette, float)
    dimmed = np.where(faces, 1.0, DIMMED * values.any(axis=1))[None, :, None]
    return np.asarray(colours[numbers] * dimmed, dtype=np.uint8)


def _tag(text: str, em: int, colour: Colour) -> np.ndarray:
    letters = font(em)
    left, _, right, _ = letters.getbbox(text)
    page = Image.new("RGB", (round(right - left) + em, round(1.5 * em)), colour)
    ImageDraw.Draw(page).text((em // 2, page.height / 2), text, _ink_on(colour), letters, anchor="lm")
    return np.array(page)


def _fitting_tag(text: str, em: int, colour: Colour, width: int) -> np.ndarray:
    """Return a tag that is at most ``width`` pixels wide, in smaller text if necessary."""
    tag = _tag(text, em, colour)
    return tag if tag.shape[1] <= width else _tag(text, max(1, em * width // tag.shape[1]), colour)[:, :width]


def _ink_on(colour: Colour) -> Colour:
    """Return black or white, whichever is easier to read on a colour (by WCAG's relative luminance)."""
    linear = [(value / 255) ** 2.2 for value in colour]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (0, 0, 0) if luminance > 0.18 else (255, 255, 255)


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: float, ink: Colour, width: float
) -> None:
    """Write text at most ``width`` pixels wide: smaller, and cut off if that is not enough."""
    fitted = max(size * min(1.0, width / max(1.0, font(size).getlength(text))), 0.6 * size)
    draw.text(at, elided(text, fitted, width + 1), ink, font(fitted))


def _even(pixels: int) -> int:
    return pixels + pixels % 2
