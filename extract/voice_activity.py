"""Voice activity: from when to when there is speech in a clip (priyasad2019 §3.1).

Silence at both ends is trimmed, natural pauses within are kept. A detector decides window by window;
:func:`speech_span` makes the span of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from typing import Any, Protocol

import librosa
import numpy as np
from numpy.typing import NDArray

from .errors import ExtractError
from .sound import Doubles, Floats, ShortTimeSettings, checked, framed

Span = tuple[float, float]


@dataclass(frozen=True)
class Margins:
    """Seconds that are kept around speech: δ1 before the first of it and δ2 behind the last.

    priyasad2019 keeps them for the expressions that a face has just before and after speech, and does not
    print them. Here they are a segment's shift of 0.3 s each, so that there is one segment more either way.
    """

    before: float = 0.3
    after: float = 0.3


@dataclass(frozen=True)
class Activity:
    """Whether there is speech: ``active`` ``[W]``, window ``i`` being ``length`` seconds from ``i * hop``."""

    active: NDArray[np.bool_]
    length: float
    hop: float

    @property
    def speech(self) -> Span | None:
        """From the first window of speech to the end of the last one, in seconds; None without any."""
        windows = np.flatnonzero(self.active)
        if len(windows) == 0:
            return None
        return float(windows[0]) * self.hop, float(windows[-1]) * self.hop + self.length


class VoiceActivity(Protocol):
    """A named way to tell speech from all else."""

    margins: Margins

    def settings(self) -> dict[str, Any]:
        """What changes the values, for the key."""

    def __call__(self, blocks: Iterable[Floats]) -> Activity:
        """The decisions on a sound that comes in blocks ``[n]`` of any size, mono, 16 kHz, in [-1, 1]."""


def speech_span(voice: VoiceActivity, blocks: Iterable[Floats], seconds: float) -> Span | None:
    """The region of interest of a sound: speech with its margins, within the clip; None without speech.

    Args:
        voice: what tells speech.
        blocks: the sound, ``[n]`` each, mono, 16 kHz.
        seconds: how long it is. Speech that is still going on there ends there.
    """
    speech = voice(blocks).speech
    if speech is None:
        return None
    start, end = speech
    return max(0.0, start - voice.margins.before), min(seconds, end + voice.margins.after)


VOICE_ACTIVITY: dict[str, Callable[[], VoiceActivity]] = {}


def register(name: str) -> Callable[[Callable[[], VoiceActivity]], Callable[[], VoiceActivity]]:
    """Make a way to tell speech known under ``name``."""

    def add(build: Callable[[], VoiceActivity]) -> Callable[[], VoiceActivity]:
        VOICE_ACTIVITY[name] = build
        return build

    return add


@cache
def load_voice_activity(name: str) -> VoiceActivity:
    """The way to tell speech that is called ``name``.

    Raises:
        ExtractError: there is none of this name, or its package is not installed.
    """
    if name not in VOICE_ACTIVITY:
        raise ExtractError(f"there is no voice activity {name!r}; there are {', '.join(VOICE_ACTIVITY)}")
    return VOICE_ACTIVITY[name]()


@dataclass(frozen=True)
class EnergyShareSettings(ShortTimeSettings, Margins):
    """The numbers of eq. 1, of which priyasad2019 prints none.

    Windows of 20 ms every 10 ms, the threshold, and leaving out 0 Hz are a public implementation's of the
    same ratio. Its band begins at 300 Hz and its median filter has 25 taps: a low voice has most of its
    energy below 300 Hz, and of 308 recordings of acted emotions that lost more than 0.3 s of what Silero
    calls speech in 101. From 100 Hz on, which leaves the hum of 50 and 60 Hz out, and with 11 taps, it is 1
    of 331. eq. 1 says nothing of level: a window must also come within ``within_db`` of the loudest that
    passes it, or what a codec leaves of silence would count.
    """

    window: int = 320
    dft: int = 320
    low_hz: float = 100.0
    high_hz: float = 3000.0
    threshold: float = 0.6
    within_db: float = -35.0
    median: int = 11


ENERGY_SHARE_SETTINGS = EnergyShareSettings()


@register("energy")
class EnergyShare:
    """Speech is where the speech band has its share of the energy (eq. 1), smoothed by a median."""

    def __init__(self, settings: EnergyShareSettings = ENERGY_SHARE_SETTINGS) -> None:
        self._settings = settings
        self.margins: Margins = settings

    def settings(self) -> dict[str, Any]:
        return {"vad": "energy", **_prefixed(self._settings.settings())}

    def __call__(self, blocks: Iterable[Floats]) -> Activity:
        s = self._settings
        active = self.decide(*self.measure(blocks))
        return Activity(active, s.window / s.sample_rate, s.hop / s.sample_rate)

    def measure(self, blocks: Iterable[Floats]) -> tuple[Doubles, Doubles]:
        """Share of the speech band in each window's energy, 0-1, and its level in dB, ``[W]`` each.

        0 dB is a sine of amplitude 1. A window below ``floor_db``, as digital silence is, has the share 0.
        """
        s = self._settings
        hertz = librosa.fft_frequencies(sr=s.sample_rate, n_fft=s.dft)
        band = (hertz >= s.low_hz) & (hertz <= s.high_hz)
        speech, total = [np.zeros(0)], [np.zeros(0)]
        for stretch in framed(blocks, s, s.window):
            frames = librosa.util.frame(stretch, frame_length=s.window, hop_length=s.hop, axis=0)
            energy = np.abs(np.fft.rfft(frames) / (s.window / 2)) ** 2
            speech.append(energy[:, band].sum(axis=1))
            total.append(energy[:, 1:].sum(axis=1))
        energy = np.maximum(np.concatenate(total), s.floor)
        share = np.where(energy > s.floor, np.concatenate(speech) / energy, 0.0)
        return share, np.asarray(10 * np.log10(energy))

    def decide(self, share: Doubles, level: Doubles) -> NDArray[np.bool_]:
        """Which windows are speech, ``[W]``. Beyond the ends there is none, so a click there is smoothed."""
        s = self._settings
        active = share >= s.threshold
        if not active.any():
            return active
        from scipy.ndimage import median_filter

        active &= level >= level[active].max() + s.within_db
        smooth = median_filter(active.astype(np.uint8), size=s.median, mode="constant")
        return np.asarray(smooth, bool)


@register("silero")
class Silero:
    """Silero's network, which the package silero-vad brings; speech is what that package says is speech."""

    window = 512

    def __init__(self) -> None:
        import torch

        threads = torch.get_num_threads()
        try:
            from silero_vad import get_speech_timestamps_from_probs, load_silero_vad

            self._network = load_silero_vad(onnx=True)
        except ImportError as error:
            raise ExtractError(
                f"--vad silero needs the package {error.name}: pip install 'avemo[vad]'"
            ) from error
        finally:
            torch.set_num_threads(threads)  # importing it sets them to one
        self._timestamps = get_speech_timestamps_from_probs
        self.margins = Margins()

    def settings(self) -> dict[str, Any]:
        return {"vad": "silero", **_prefixed({"version": version("silero-vad"), **asdict(self.margins)})}

    def __call__(self, blocks: Iterable[Floats]) -> Activity:
        import torch

        rate = ENERGY_SHARE_SETTINGS.sample_rate
        windows = ShortTimeSettings(self.window, self.window, hop=self.window)
        self._network.reset_states()
        said: list[float] = []
        for stretch in framed(blocks, windows, self.window):
            frames = librosa.util.frame(stretch, frame_length=self.window, hop_length=self.window, axis=0)
            said += [float(self._network(f, rate)) for f in torch.from_numpy(frames.astype(np.float32))]
        active = np.zeros(len(said), bool)
        for speech in self._timestamps(said, sampling_rate=rate):
            active[speech["start"] // self.window : -(-speech["end"] // self.window)] = True
        return Activity(active, self.window / rate, self.window / rate)


@register("none")
class WholeClip:
    """The whole clip, as if all of it were speech."""

    margins = Margins(0.0, 0.0)
    step = 160

    def settings(self) -> dict[str, Any]:
        return {"vad": "none"}

    def __call__(self, blocks: Iterable[Floats]) -> Activity:
        samples = sum(len(block) for block in checked(blocks))
        seconds = self.step / ENERGY_SHARE_SETTINGS.sample_rate
        return Activity(np.ones(-(-samples // self.step), bool), seconds, seconds)


def _prefixed(settings: dict[str, Any]) -> dict[str, Any]:
    return {f"vad.{name}": value for name, value in settings.items()}
