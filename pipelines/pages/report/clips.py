"""Clips in a report: those with the worst and those with the most confident predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..html import Html, element, percent
from .figures import drawn, looked_at

if TYPE_CHECKING:
    import numpy as np

    from ....cache.rows import Row
    from ....cache.store import FeatureStore
    from ....fusion.evaluation.insight import Attention
    from ....fusion.evaluation.scores import Scores

WRONG, SURE = 12, 8  # clips shown: each costs the page about 45 kB
THUMBS, HEIGHT, SMALL = 7, 96, 56  # pictures of a clip, their pixels, those of the one in the table
SHOWN_DB = 60.0  # below the loudest value of a spectrogram
MOST_COLUMNS, MOST_BANDS = 480, 100  # of its picture
DB_PER_NEPER = 4.342944819


@dataclass(frozen=True)
class Choice:
    """A clip to look at, and why; ``score`` is that of the predicted class, 0 to 1, ``of_truth`` that of the
    true one, None where it is not known."""

    clip: tuple[str, str]
    why: str
    truth: str | None
    predicted: str
    score: float
    of_truth: float | None

    @property
    def name(self) -> str:
        """As the store calls it."""
        return "/".join(self.clip)


@dataclass(frozen=True)
class Film:
    """The pictures and the spectrogram of a clip.

    Attributes:
        seconds: its length, as far as is known.
        thumbs: time → address of a picture.
        small: address of a smaller one of the middle.
        reason: why there are no pictures; empty where there are.
        spectrogram: address of a picture of its sound.
        top_hz: highest frequency of that, where known.
    """

    seconds: float = 1.0
    thumbs: Mapping[float, str] = field(default_factory=dict)
    small: str | None = None
    reason: str = ""
    spectrogram: str | None = None
    top_hz: float | None = None


def choose(scores: Scores) -> tuple[list[Choice], int]:
    """The clips whose true class has the least score, then the surest one right a class; and how many of all
    are wrong. Of clips whose class is not known, the surest of each predicted class. Clips without scores are
    counted, not shown."""
    places = {name: place for place, name in enumerate(scores.classes)}
    every = [
        Choice(clip, "", truth, name, float(row.max()), None if truth is None else float(row[places[truth]]))
        for clip, truth, name, row, scored in zip(
            scores.clips, scores.truth, scores.predicted, scores.values, scores.scored, strict=True
        )
        if scored
    ]
    guesses = scores.predicted
    unscored = [i for i in (~scores.scored).nonzero()[0] if scores.truth[i] not in (None, guesses[i])]
    wrong = [each for each in every if each.of_truth is not None and each.predicted != each.truth]
    others = [each for each in every if each.truth in (None, each.predicted)]
    best: dict[str, Choice] = {}
    for each in sorted(others, key=lambda choice: -choice.score):
        best.setdefault(each.predicted, each)
    sure = sorted(best.values(), key=lambda choice: -choice.score)[:SURE]
    worst = sorted(wrong, key=lambda choice: choice.of_truth or 0.0)[:WRONG]
    told = [_because(each, "most wrong") for each in worst]
    count = len(wrong) + len(unscored)
    return told + [_because(each, "surest right" if each.truth else "surest") for each in sure], count


def film(store: FeatureStore, row: Row) -> Film:
    """Pictures of a clip, from its file, and of its sound, from the store; or the reason why not."""
    from ....cache.errors import StoreError
    from ....extract.errors import ClipError
    from ..frame_pictures import frames_at, inlined, jpeg

    try:
        picture, top_hz, heard = _sound(store, row)
        seconds = max(_seen_until(store, row), heard) or 1.0
    except StoreError as error:
        return Film(reason=str(error))
    times = [seconds * (i + 0.5) / THUMBS for i in range(THUMBS)]
    try:
        if not row.clip.path:
            raise ClipError("the store does not know its file")
        images = frames_at(Path(row.clip.path), times)
    except (ClipError, OSError) as error:
        return Film(seconds, reason=str(error), spectrogram=picture, top_hz=top_hz)
    thumbs = {time: inlined(jpeg(image, HEIGHT)) for time, image in zip(times, images, strict=True)}
    small = inlined(jpeg(images[THUMBS // 2], SMALL))
    return Film(seconds, thumbs, small, "", picture, top_hz)


def viewer(
    choices: Sequence[Choice],
    wrong: int,
    films: Mapping[tuple[str, str], Film],
    attention: Mapping[tuple[str, str], Mapping[str, Attention]],
    missing: str,
) -> Html:
    """A table of clips, and what is known of the one picked.

    Args:
        choices: the clips.
        wrong: how many are wrong in all.
        films: of those that the store has.
        attention: of those that members looked at.
        missing: what is said of a clip without a film.
    """
    shown = sum(choice.why == "most wrong" for choice in choices)
    parts = [_table(choices, films)]
    if wrong > shown:
        parts.append(element("p", f"The {shown} most wrong of {wrong} wrong clips.", class_="faint"))
    options = [
        element("option", f"{choice.name}: {_verdict(choice)}", value=number)
        for number, choice in enumerate(choices)
    ]
    select = element("select", *options, aria_label="clip")
    parts.append(element("div", element("label", "Clip ", select), class_="picker"))
    for choice in choices:
        parts.append(_panel(choice, films.get(choice.clip), attention.get(choice.clip, {}), missing))
    return element("div", *parts, class_="clips")


def _because(choice: Choice, why: str) -> Choice:
    from dataclasses import replace

    return replace(choice, why=why)


def _verdict(choice: Choice) -> str:
    sure = f"{choice.predicted} {percent(choice.score)}"
    if choice.truth is None:
        return f"predicted {sure}"
    if choice.truth == choice.predicted:
        return f"{sure}, right"
    return f"truly {choice.truth} {percent(choice.of_truth or 0.0)}, predicted {sure}"


def _table(choices: Sequence[Choice], films: Mapping[tuple[str, str], Film]) -> Html:
    names = (("clip", ""), ("true", ""), ("predicted", ""), ("its score", "number"),
             ("score of the true class", "number extra"), ("why here", "extra"))  # fmt: skip
    head = [element("th", name, scope="col", class_=kind or None) for name, kind in names]
    rows = []
    for number, choice in enumerate(choices):
        found = films.get(choice.clip)
        image = _image(found.small, "") if found and found.small else ""
        cells = (
            element(
                "th",
                element("button", image, element("span", choice.name), type="button", title=choice.name),
                scope="row",
            ),
            element("td", choice.truth or "not known"),
            element("td", choice.predicted),
            _share(choice.score, "number"),
            _share(choice.of_truth, "number extra"),
            element("td", choice.why, class_="extra"),
        )
        rows.append(element("tr", *cells, data_clip=number))
    body = element("thead", element("tr", *head)), element("tbody", *rows)
    return element("div", element("table", *body, class_="sortable"), class_="wide")


def _share(value: float | None, kind: str) -> Html:
    if value is None:
        return element("td", "", class_=kind)
    return element("td", percent(value), class_=kind, data_value=f"{value:.6f}")


def _panel(choice: Choice, found: Film | None, attention: Mapping[str, Attention], missing: str) -> Html:
    title = element("p", element("b", choice.name), f": {_verdict(choice)}")
    if found is None:
        return element("div", title, element("p", missing, class_="faint"), class_="clip")
    strip = element("p", f"No pictures: {found.reason}", class_="faint")
    if found.thumbs:
        strip = element("div", *(_thumb(time, data) for time, data in found.thumbs.items()), class_="strip")
    figure = ""
    if attention or found.spectrogram:
        seconds = max(
            [found.seconds, *(float(one.times.max()) for one in attention.values() if len(one.times))]
        )
        figure = drawn(
            looked_at(attention, seconds, found.spectrogram, found.top_hz),
            f"Attention over the frames and the sound of {choice.name}",
        )
    return element("div", title, strip, figure, class_="clip")


def _thumb(time: float, data: str) -> Html:
    return element("figure", _image(data, f"the frame at {time:.1f} s"), element("figcaption", f"{time:.1f}"))


def _image(data: str, alternative: str) -> Html:
    return Html(f'<img src="{data}" {_attribute("alt", alternative)}>')


def _attribute(name: str, value: str) -> str:
    import html

    return f'{name}="{html.escape(value)}"'


def _seen_until(store: FeatureStore, row: Row) -> float:
    """Seconds up to the last frame and one step more; 0 where no times are stored."""
    if not row.has("faces") or "times" not in row.entries["faces"].arrays:
        return 0.0
    times = store.read(row, "faces", ["times"])["times"]
    if not len(times):
        return 0.0
    step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
    return float(times[-1] + step)


def _sound(store: FeatureStore, row: Row) -> tuple[str | None, float | None, float]:
    """A picture of the stored spectrogram, its highest frequency in Hz, and its seconds."""
    for stream, array in (("spectrogram", "spectrogram"), ("logmel", "logmel")):
        if not row.has(stream):
            continue
        values = store.read(row, stream, [array])[array]
        settings = row.entries[stream].key.settings
        if stream == "logmel":
            values = values[:, 0] * DB_PER_NEPER
        hop, rate = settings.get("hop"), settings.get("sample_rate")
        seconds = len(values) * hop / rate if hop and rate else 0.0
        linear = stream == "spectrogram" and rate and settings.get("dft")
        top = values.shape[1] * rate / settings["dft"] if linear else None
        return _picture(values), top, seconds
    return None, None, 0.0


def _picture(decibels: np.ndarray) -> str:
    """``[T, F]`` as the address of a picture, low frequencies below."""
    from io import BytesIO

    import cv2
    import numpy as np
    from PIL import Image

    from ..frame_pictures import inlined

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
