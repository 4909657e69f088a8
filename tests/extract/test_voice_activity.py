"""Voice activity on tones, noise, silence and speech: decisions against the equation, spans by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from avemo.extract import sound
from avemo.extract.decode.media import Media
from avemo.extract.errors import ExtractError
from avemo.extract.sound import Doubles, Floats
from avemo.extract.voice_activity import (
    ENERGY_SHARE_SETTINGS,
    EnergyShare,
    Span,
    VoiceActivity,
    load_voice_activity,
    speech_span,
)
from avemo.pipelines.demo.voice import PAUSE, cast, speak

RATE = 16_000


def silence(seconds: float) -> Floats:
    return np.zeros(round(seconds * RATE), np.float32)


def tone(hz: float, seconds: float, amplitude: float = 0.5) -> Floats:
    times = np.arange(round(seconds * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def noise(seconds: float, level: float = 0.1, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(0, level, round(seconds * RATE)).astype(np.float32)


def joined(*parts: Floats) -> Floats:
    return np.concatenate(parts)


def speech(samples: Floats) -> Span | None:
    return EnergyShare()([samples]).speech


def span(samples: Floats, voice: VoiceActivity | None = None) -> Span | None:
    return speech_span(voice or EnergyShare(), [samples], len(samples) / RATE)


def share_by_loop(samples: Floats) -> Doubles:
    """eq. 1 for each window of 20 ms, from the definition of the DFT, 50 Hz a bin."""
    n = np.arange(320)
    shares = []
    for start in range(0, len(samples) - 319, 160):
        window = samples[start : start + 320].astype(np.float64)
        energy = [abs((window * np.exp(-2j * np.pi * k * n / 320)).sum()) ** 2 for k in range(161)]
        shares.append(sum(energy[2:61]) / sum(energy[1:]))  # 100-3000 Hz in all but 0 Hz
    return np.array(shares)


def test_the_share_is_that_of_the_equation() -> None:
    samples = joined(noise(0.1), tone(440, 0.1), noise(0.05) + tone(1000, 0.05)) + np.float32(0.2)
    share, level = EnergyShare().measure([samples])
    np.testing.assert_allclose(share, share_by_loop(samples), rtol=1e-9)
    assert level[15] == pytest.approx(20 * np.log10(0.5), abs=0.3)  # the tone alone, its 0 Hz left out


@pytest.mark.parametrize("hz", [150, 440, 1000, 2900])
def test_a_tone_in_the_band_counts_as_speech(hz: float) -> None:
    assert speech(tone(hz, 1)) == pytest.approx((0, 1))


@pytest.mark.parametrize(
    "samples",
    [
        silence(2),
        noise(2),
        tone(50, 2),
        tone(60, 2),
        tone(5000, 2),
        np.full(2 * RATE, 0.3, np.float32),
        np.full(2 * RATE, 1e-7, np.float32),
        tone(1000, 2, 5e-6),
        silence(0.001),
        silence(0),
    ],
    ids=[
        "silence",
        "noise",
        "50 Hz",
        "60 Hz",
        "5 kHz",
        "0 Hz",
        "digits",
        "below the floor",
        "short",
        "empty",
    ],
)
def test_what_is_no_speech(samples: Floats) -> None:
    with np.errstate(all="raise"):
        assert span(samples) is None


def test_the_span_by_hand() -> None:
    """A tone of 1-2 s is first heard in the window of 0.99-1.01 s and last in that of 1.99-2.01 s."""
    samples = joined(silence(1), tone(1000, 1), silence(1))
    assert speech(samples) == pytest.approx((0.99, 2.01))
    assert span(samples) == pytest.approx((0.69, 2.31))


def test_pauses_are_kept_and_the_ends_are_trimmed() -> None:
    samples = joined(silence(1), tone(500, 0.5), silence(1.5), tone(500, 0.5), silence(1))
    assert span(samples) == pytest.approx((0.69, 3.81))


def test_speech_from_the_first_to_the_last_sample() -> None:
    assert span(tone(500, 1.234)) == pytest.approx((0, 1.234))
    assert span(joined(noise(1, 0.01), tone(500, 1))) == pytest.approx((0.69, 2))


@pytest.mark.parametrize("at", [0.0, 1.0, 1.97])
def test_a_click_is_smoothed_away(at: float) -> None:
    samples = silence(2)
    samples[round(at * RATE) :][: RATE // 50] = tone(1000, 0.02)[: len(samples) - round(at * RATE)]
    assert span(samples) is None


def test_faint_remains_beside_speech_are_none() -> None:
    """The equation alone, which knows no level, takes them for speech."""
    samples = joined(tone(1000, 1, 0.003), tone(500, 1), tone(1000, 1, 0.003))
    assert speech(samples) == pytest.approx((0.99, 2.01))
    assert speech(samples[:RATE]) == pytest.approx((0, 1))


def test_a_loud_thump_does_not_silence_speech() -> None:
    thump = tone(40, 0.3, 0.9)
    assert speech(joined(thump, silence(0.5), tone(500, 1, 0.005))) == pytest.approx((0.79, 1.8), abs=0.011)


@pytest.mark.parametrize("name", ["energy", "none"])
@pytest.mark.parametrize("size", [1, 159, 321, 4097])
def test_decisions_do_not_depend_on_how_the_sound_is_cut(
    name: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = joined(noise(0.3), tone(700, 0.4), silence(0.31))
    whole = load_voice_activity(name)([samples]).active
    monkeypatch.setattr(sound, "FRAMES_AT_ONCE", 7)

    def blocks() -> Iterator[Floats]:
        return (samples[start : start + size] for start in range(0, len(samples), size))

    np.testing.assert_array_equal(load_voice_activity(name)(blocks()).active, whole)


@pytest.mark.parametrize("emotion", ["Angry", "Sad", "Neutral", "Fear"])
@pytest.mark.parametrize("low", [True, False])
def test_the_voice_of_the_demo(emotion: str, low: bool) -> None:
    rng = np.random.default_rng(1)
    voice, _ = speak(cast(low, rng), emotion, frames=50, fps=25, rng=rng)
    samples = joined(noise(1, 0.001), voice.astype(np.float32), noise(1, 0.001))
    found = speech(samples)
    assert found == pytest.approx((1 + PAUSE, 3 - PAUSE), abs=0.15)


def recordings(shared: Path) -> list[Path]:
    """Two of each speaker."""
    paths = sorted((shared / "data/java_sed/speech").glob("*.ogg"))
    assert paths
    return paths[:: len(paths) // 14]


@pytest.mark.parametrize(("name", "slack"), [("energy", 0.1), ("silero", 0.5)])  # Silero's speech dies away
def test_real_speech_between_silence_and_noise(shared: Path, name: str, slack: float) -> None:
    if name == "silero":
        pytest.importorskip("silero_vad", reason="needs the package silero-vad")
    voice = load_voice_activity(name)
    for path in recordings(shared):
        samples = np.concatenate(list(Media(path).sound()))
        seconds = len(samples) / RATE
        found = voice([joined(silence(2), samples, noise(2, 0.003))]).speech
        assert found is not None, path.name
        assert 2 - slack < found[0] < found[1] < 2 + seconds + slack, path.name
        within = samples[max(0, round((found[0] - 2 - 0.3) * RATE)) : round((found[1] - 2 + 0.3) * RATE)]
        assert (within**2).sum() > 0.99 * (samples**2).sum(), path.name


def test_the_whole_clip() -> None:
    assert span(noise(1.2345), load_voice_activity("none")) == pytest.approx((0, 1.2345))


def test_samples_that_are_no_numbers() -> None:
    samples = noise(1)
    samples[777] = np.nan
    for name in ("energy", "none"):
        with pytest.raises(ValueError, match="sample 777 of the sound is nan"):
            load_voice_activity(name)([samples])


def test_names_and_settings() -> None:
    with pytest.raises(
        ExtractError, match="no voice activity detector 'webrtc'; expected one of energy, silero, none"
    ):
        load_voice_activity("webrtc")
    settings = load_voice_activity("energy").settings()
    assert settings["vad"] == "energy"
    assert (settings["vad.threshold"], settings["vad.before"]) == (0.6, ENERGY_SHARE_SETTINGS.before)
    assert load_voice_activity("none").settings() == {"vad": "none"}
