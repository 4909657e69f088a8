"""Selects the clips that a report shows one by one, and makes their pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING

from ..html import inlined

if TYPE_CHECKING:
    import numpy as np

    from ....cache.rows import Row
    from ....cache.store import FeatureStore
    from ....fusion.evaluation.scores import Scores

WRONG, SURE = 12, 8  # clips shown; each adds about 45 kB to the page
THUMBS, HEIGHT, SMALL = 7, 96, 56  # number of thumbnails, their height, and the height in the table
SHOWN_DB = 60.0  # dynamic range of a spectrogram
MOST_COLUMNS, MOST_BANDS = 480, 100  # largest size of its picture
DB_PER_NEPER = 4.342944819


@dataclass(frozen=True)
class ShownClip:
    """A clip shown in the report.

    Attributes:
        key: split and id.
        truth: true class; None if not known.
        predicted: predicted class.
        score: score of the predicted class, 0 to 1.
        truth_score: score of the true class; None if not known.
    """

    key: tuple[str, str]
    truth: str | None
    predicted: str
    score: float
    truth_score: float | None

    @property
    def name(self) -> str:
        """``split/id``."""
        return "/".join(self.key)

    @property
    def right(self) -> bool:
        return self.truth == self.predicted

    @property
    def why(self) -> str:
        """Why it is shown."""
        if self.truth is None:
            return "most confident"
        return "most confident" if self.right else "most wrong"


@dataclass(frozen=True)
class FilmStrip:
    """Frames and spectrogram of a clip, as data URLs.

    Attributes:
        seconds: duration of the clip; 1 if not known.
        thumbs: time → frame.
        small: the middle frame, smaller.
        reason: why there are no frames; empty if there are.
        spectrogram: spectrogram of the sound, if stored.
        top_hz: highest frequency of the spectrogram, if known.
    """

    seconds: float = 1.0
    thumbs: Mapping[float, str] = field(default_factory=dict)
    small: str = ""
    reason: str = ""
    spectrogram: str | None = None
    top_hz: float | None = None


def select_clips(scores: Scores) -> list[ShownClip]:
    """Select the most wrong clips (lowest score of the true class), then the most confident clips.

    The latter are, for each predicted class, the clip with the highest score that is right or of unknown
    class. Clips without scores are left out.
    """
    places = {name: place for place, name in enumerate(scores.classes)}
    columns = scores.clips, scores.truth, scores.predicted, scores.values, scores.scored
    clips = [
        ShownClip(clip, truth, name, float(row.max()), None if truth is None else float(row[places[truth]]))
        for clip, truth, name, row, scored in zip(*columns, strict=True)
        if scored
    ]
    wrong = [clip for clip in clips if clip.why == "most wrong"]
    best: dict[str, ShownClip] = {}
    for clip in sorted(clips, key=lambda clip: -clip.score):
        if clip.why != "most wrong":
            best.setdefault(clip.predicted, clip)
    return sorted(wrong, key=lambda clip: clip.truth_score or 0.0)[:WRONG] + list(best.values())[:SURE]


def pictures_of(store: FeatureStore, row: Row) -> FilmStrip:
    """Read frames of a clip from its file, and its spectrogram from the store."""
    from ....cache.errors import StoreError
    from ....extract.decode.media import Media
    from ....extract.errors import ClipError
    from ..drawing import jpeg

    try:
        spectrogram, top_hz, sound_seconds = _spectrogram(store, row)
        seconds = max(_pictures_end(store, row), sound_seconds) or 1.0
    except StoreError as error:
        return FilmStrip(reason=str(error))
    times = [seconds * (i + 0.5) / THUMBS for i in range(THUMBS)]
    try:
        if not row.clip.path:
            raise ClipError("the store has no path for it")
        images = Media(row.clip.path).pictures_at(times)
    except (ClipError, OSError) as error:
        return FilmStrip(seconds, reason=str(error), spectrogram=spectrogram, top_hz=top_hz)
    thumbs = {time: inlined(jpeg(image, HEIGHT)) for time, image in zip(times, images, strict=True)}
    small = inlined(jpeg(images[THUMBS // 2], SMALL))
    return FilmStrip(seconds, thumbs, small, "", spectrogram, top_hz)


def _pictures_end(store: FeatureStore, row: Row) -> float:
    """Return the time of the last frame plus one step, in seconds; 0 if no times are stored."""
    if not row.has("faces") or "times" not in row.entries["faces"].arrays:
        return 0.0
    times = store.read(row, "faces", ["times"])["times"]
    if not len(times):
        return 0.0
    return float(times[-1] + (times[-1] - times[0]) / max(1, len(times) - 1))


def _spectrogram(store: FeatureStore, row: Row) -> tuple[str | None, float | None, float]:
    """Return a picture of the stored spectrogram, its highest frequency in Hz and its duration in seconds."""
    stream = next(filter(row.has, ("spectrogram", "logmel")), None)
    if stream is None:
        return None, None, 0.0
    values = store.read(row, stream, [stream])[stream]
    settings = row.entries[stream].key.settings
    hop, rate, dft = settings.get("hop"), settings.get("sample_rate"), settings.get("dft")
    if stream == "logmel":
        values, dft = values[:, 0] * DB_PER_NEPER, None  # mel bands are not evenly spaced
    top = values.shape[1] * rate / dft if rate and dft else None
    return _picture(values), top, len(values) * hop / rate if hop and rate else 0.0


def _picture(decibels: np.ndarray) -> str:
    """Return a spectrogram ``[T, F]`` as a data URL, with low frequencies at the bottom."""
    import cv2
    import numpy as np
    from PIL import Image

    shares = np.clip((decibels - decibels.max()) / SHOWN_DB + 1, 0, 1)
    image = Image.fromarray(np.flipud(shares.T * 255).astype(np.uint8))
    size = (min(image.width, MOST_COLUMNS), min(image.height, MOST_BANDS))
    image = image.resize(size, Image.Resampling.BOX)
    ramp = cv2.applyColorMap(np.arange(256, dtype=np.uint8), cv2.COLORMAP_VIRIDIS).reshape(256, 3)[:, ::-1]
    levels = Image.fromarray(np.asarray(image) // 8 * 8)  # 32 levels: a third of the bytes
    levels.putpalette(ramp.tobytes())
    buffer = BytesIO()
    levels.save(buffer, "PNG", optimize=True)
    return inlined(buffer.getvalue(), "image/png")
