"""A synthetic voice: glottal pulses filtered by formants, in the manner of an emotion.

A source-filter model (Fant 1960) speaks meaningless syllables. Pitch, its range and contour, tempo,
loudness, spectral tilt, jitter and breath follow the trends that Banse & Scherer (1996) and Juslin
& Laukka (2003) report for each emotion. In shapes, N is samples and T video frames.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, lfilter, sosfilt

Signal = NDArray[np.float64]

RATE = 16000  # Hz
PAUSE = 0.12  # seconds of silence before and after the syllables
# First three formants in Hz (Peterson & Barney 1952) and the opening of the mouth, for a man.
VOWELS = {
    "a": (730, 1090, 2440, 1.0),
    "e": (530, 1840, 2480, 0.6),
    "i": (270, 2290, 3010, 0.3),
    "o": (570, 840, 2410, 0.7),
    "u": (300, 870, 2240, 0.25),
}
UPPER_FORMANTS = (3400, 4300)
BANDWIDTHS = (80, 100, 140, 220, 300)


@dataclass(frozen=True)
class Manner:
    """How an emotion is spoken, relative to the speaker's neutral voice."""

    pitch: float  # semitones
    range: float  # semitones, standard deviation over syllables
    contour: float  # semitones from the first syllable to the last
    tempo: float  # syllables per second
    level: float  # decibels
    tilt: float  # Hz, cut-off of the low-pass on the glottal pulses: higher is brighter
    jitter: float  # fraction of a period
    breath: float  # noise relative to the pulses
    tremor: float  # semitones, at 7 Hz


# fmt: off
MANNERS = {
    #                  pitch range contour tempo level  tilt  jitter breath tremor
    "Angry":    Manner(4.0,  3.0,  -1.0,   5.2,   7.0, 2800, 0.020, 0.03, 0.0),
    "Disgust":  Manner(-2.5, 1.8,  -3.0,   3.2,  -3.0, 1000, 0.050, 0.12, 0.0),
    "Fear":     Manner(6.0,  1.5,   1.0,   5.8,   0.0, 1500, 0.020, 0.15, 0.8),
    "Happy":    Manner(4.0,  3.5,   2.0,   4.8,   3.0, 1800, 0.008, 0.04, 0.0),
    "Neutral":  Manner(0.0,  1.2,  -1.5,   4.2,   0.0, 1100, 0.006, 0.04, 0.0),
    "Sad":      Manner(-1.5, 0.8,  -2.5,   2.6,  -8.0,  450, 0.012, 0.15, 0.2),
    "Surprise": Manner(5.0,  2.5,   7.0,   3.6,   2.0, 1500, 0.006, 0.07, 0.0),
}
# fmt: on


@dataclass(frozen=True)
class Speaker:
    """A voice: its neutral pitch in Hz, and a factor on the formants of a man."""

    pitch: float
    formants: float


def cast(low: bool, rng: Generator) -> Speaker:
    """Draw a random speaker with a low voice (about 115 Hz) or a high one (about 205 Hz)."""
    return Speaker(
        pitch=(115 if low else 205) * 2 ** rng.uniform(-0.2, 0.2),
        formants=(1.0 if low else 1.16) * rng.uniform(0.94, 1.06),
    )


def speak(speaker: Speaker, emotion: str, frames: int, fps: int, rng: Generator) -> tuple[Signal, Signal]:
    """Return an utterance ``[N]`` at 16 kHz in -1..1, and the mouth's opening ``[frames]`` from 0 to 1."""
    samples = frames * RATE // fps
    manner = _vary(MANNERS[emotion], rng)
    edges = _syllable_edges(samples, manner.tempo, rng)
    vowels = [tuple(VOWELS)[index] for index in rng.integers(len(VOWELS), size=len(edges) - 1)]
    pulses = _glottis(speaker, manner, edges, samples, rng)
    voice, opening = np.zeros(samples), np.zeros(samples)
    for vowel, start, stop in zip(vowels, edges[:-1], edges[1:], strict=True):
        *formants, openness = VOWELS[vowel]
        onset, offset = np.interp((0.22, 0.92), (0, 1), (start, stop)).astype(int)
        envelope = _envelope(samples, onset, offset) * 10 ** (rng.normal(0, 1.5) / 20)
        voice += _vocal_tract(pulses * envelope, np.array([*formants, *UPPER_FORMANTS]) * speaker.formants)
        voice += _consonant(samples, start, rng) * 0.05
        opening += envelope * openness
    voice *= 0.08 * 10 ** (manner.level / 20) / np.sqrt(np.mean(voice**2))
    voice += rng.normal(0, 0.0008, samples)  # background noise
    return np.tanh(voice), opening.reshape(frames, -1).mean(axis=1).clip(0, 1)


def _vary(manner: Manner, rng: Generator) -> Manner:
    """Return the manner with its difference from neutral scaled by 0.7 to 1.2, plus some noise."""
    strength = rng.uniform(0.7, 1.2)
    neutral = MANNERS["Neutral"]
    blend = {
        field.name: (1 - strength) * getattr(neutral, field.name) + strength * getattr(manner, field.name)
        for field in fields(Manner)
    }
    blend["pitch"] += rng.normal(0, 0.7)
    blend["level"] += rng.normal(0, 1.0)
    blend["tempo"] *= rng.uniform(0.9, 1.1)
    return Manner(**blend)


def _syllable_edges(samples: int, tempo: float, rng: Generator) -> NDArray[np.int64]:
    pause = int(PAUSE * RATE)
    count = max(round((samples - 2 * pause) / RATE * tempo), 2)
    lengths = rng.uniform(0.7, 1.3, count).cumsum()
    edges = np.concatenate([[0], lengths / lengths[-1]]) * (samples - 2 * pause)
    return pause + edges.astype(np.int64)


def _glottis(
    speaker: Speaker, manner: Manner, edges: NDArray[np.int64], samples: int, rng: Generator
) -> Signal:
    """Return glottal pulses that open slowly and close abruptly, with breath noise, ``[N]``."""
    times = np.arange(samples) / RATE
    middles = (edges[:-1] + edges[1:]) / 2
    tune = (
        manner.range * rng.normal(0, 1, middles.size) + np.linspace(-0.5, 0.5, middles.size) * manner.contour
    )
    semitones = manner.pitch + np.interp(np.arange(samples), middles, tune)
    semitones = gaussian_filter1d(semitones, 0.03 * RATE) + manner.tremor * np.sin(2 * np.pi * 7 * times)
    jitter = 1 + manner.jitter * gaussian_filter1d(rng.normal(0, 1, samples), 40) * np.sqrt(
        80 * np.sqrt(np.pi)
    )
    phase = np.cumsum(speaker.pitch * 2 ** (semitones / 12) * jitter / RATE) % 1
    flow = np.where(phase < 0.6, np.sin(np.pi * phase / 1.2) ** 2, 0.0)
    pulses = np.diff(flow, prepend=0.0)
    pulses = sosfilt(butter(1, manner.tilt, fs=RATE, output="sos"), pulses)
    pulses /= pulses.std()
    return pulses + manner.breath * rng.normal(0, 1, samples)


def _envelope(samples: int, start: int, stop: int) -> Signal:
    """Return 0 outside a syllable and 1 inside, with soft edges that meet those of its neighbours."""
    steps = np.zeros(samples)
    steps[start:stop] = 1.0
    return gaussian_filter1d(steps, 0.018 * RATE)


def _vocal_tract(pulses: Signal, formants: Signal) -> Signal:
    """Filter pulses by a cascade of resonators with unit gain at 0 Hz (Klatt 1980)."""
    for formant, bandwidth in zip(formants, BANDWIDTHS, strict=True):
        radius = np.exp(-np.pi * bandwidth / RATE)
        feedback = [1.0, -2 * radius * np.cos(2 * np.pi * formant / RATE), radius**2]
        pulses = lfilter([sum(feedback)], feedback, pulses)
    return pulses


def _consonant(samples: int, start: int, rng: Generator) -> Signal:
    """Return a short hiss that begins a syllable, ``[N]``."""
    length = int(rng.uniform(0.015, 0.05) * RATE)
    low = rng.uniform(1500, 4500)
    hiss = sosfilt(butter(2, (low, low + 2500), "bandpass", fs=RATE, output="sos"), rng.normal(0, 1, samples))
    hiss *= np.exp(-(((np.arange(samples) - start) / length) ** 2))
    return np.asarray(hiss)
