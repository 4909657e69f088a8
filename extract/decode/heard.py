"""Decodes the sound of a clip to one channel at 16 kHz, with every sample at its time stamp.

Gaps are filled with silence, overlaps are dropped, and packets that cannot be decoded are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError

from ..errors import ClipError
from .clock import Clock
from .mono import Mixer, Samples, channels_of, is_mono, mono_frame

SAMPLE_RATE = 16_000
SETTINGS = {"sound.channel": "mean of the front ones", "sound.gaps": "silence"}
"""Settings that affect the samples, for the keys of all streams computed from them."""

DRIFT = 0.1  # seconds by which sound may deviate from its time stamps, as in ffmpeg's own filter
LONGEST_GAP = 3600.0  # seconds; a longer gap is a broken time stamp
LOUDEST = 8.0  # lossy sound overshoots full scale slightly, never by 18 dB
BLOCK = 10 * SAMPLE_RATE
AHEAD = 32 << 20  # bytes of decoded sound to buffer until all is analysed: 87 s of stereo at 48 kHz
FRAME = 1 << 10  # upper bound of a frame's bytes besides its samples

OnRemark = Callable[[str], None]


def sound_stream(container: InputContainer) -> AudioStream | None:
    """Return the sound that FFmpeg would play: the default stream, of the same programme as the video."""
    best = container.streams.best("audio", related=container.streams.best("video"))
    return next((s for s in container.streams.audio if best is None or s.index == best.index), None)


class SoundDecoder:
    """Decodes the sound of a file.

    Args:
        open_file: function that opens the file.
        clock: clock of the file.
        warn: callback for each defect.
        note: callback for each remark on sound that is unusual but intact.
    """

    def __init__(
        self, open_file: Callable[[], InputContainer], clock: Clock, warn: OnRemark, note: OnRemark
    ) -> None:
        self._open = open_file
        self._clock = clock
        self._warn, self._note = warn, note
        self._lost = 0
        self._broken = ""

    def blocks(self) -> Iterator[Samples]:
        """Yield float32 samples from the start of the clip; full scale is 1.

        Raises:
            ClipError: nothing can be decoded, or the samples are not finite or far above full scale.
        """
        timeline = _Timeline()
        resampler = _Resampler()
        silent = True
        for frame, mixed in self._mixed():
            silence, skipped = timeline.place(self._clock.seconds(frame), frame)
            if silence:
                yield from resampler.rest()
                yield from _silence(silence)
            if skipped:
                rest = channels_of(mixed)[0, skipped:]
                if not len(rest):
                    continue
                mixed = mono_frame(rest, frame.sample_rate)
            silent = silent and not channels_of(mixed).any()
            yield from resampler(mixed)
        yield from resampler.rest()
        if timeline.end is None and (self._lost or self._broken):
            raise ClipError("has sound, but none of it can be decoded; replace the file")
        self._report_defects(timeline)
        if silent and timeline.end:
            self._note("has sound that is silent throughout")

    def _mixed(self) -> Iterator[tuple[av.AudioFrame, av.AudioFrame]]:
        """Yield each frame together with its mono mix.

        The mix depends on the whole sound, which is buffered if it fits into :data:`AHEAD` bytes and
        otherwise decoded twice.
        """
        frames = self._frames()
        for frame in frames:
            if is_mono(frame):
                yield frame, frame
                continue
            buffered, complete = _buffer(chain([frame], frames))
            second_decoder = SoundDecoder(self._open, self._clock, self._warn, self._note)
            mixer = self._mixer(buffered if complete else second_decoder._frames())
            for each in chain(buffered, frames):
                yield each, mixer(each)

    def _frames(self) -> Iterator[av.AudioFrame]:
        """Yield every frame that can be decoded; skip and count the packets that cannot."""
        self._lost, self._broken = 0, ""
        with self._open() as container:
            stream = sound_stream(container)
            if stream is None:
                return
            if stream.codec_context is None:
                raise ClipError("its sound is of a codec that this FFmpeg does not know; convert the file")
            stream.codec_context.thread_count = 1  # clips are processed in parallel
            try:
                for packet in self._clock.packets(container):
                    if packet.stream_index == stream.index:
                        yield from self._decoded(stream, packet)
            except FFmpegError as error:
                self._broken = str(error.strerror)

    def _decoded(self, stream: AudioStream, packet: av.Packet) -> list[av.AudioFrame]:
        try:
            return [frame for frame in stream.decode(packet) if frame.samples]
        except FFmpegError:
            self._lost += bool(packet.size)
            return []

    def _mixer(self, frames: Iterable[av.AudioFrame]) -> Mixer:
        """Return the mixer for the channels of these frames."""
        mixer = Mixer(frames)
        if mixer.cancelled:
            self._note(
                "has channels of sound that cancel out (opposite phase); the loudest one is used alone"
            )
        return mixer

    def _report_defects(self, timeline: _Timeline) -> None:
        if self._broken:
            self._warn(f"the sound breaks off after {timeline.end or 0:.1f} seconds ({self._broken})")
        if self._lost:
            packets = "packet" if self._lost == 1 else "packets"
            self._warn(f"{self._lost} damaged {packets} of sound cannot be decoded")
        if timeline.jumps:
            seconds = max(timeline.jumps)
            self._warn(f"the time stamps of the sound jump by {seconds:.0f} seconds, which is ignored")
        if timeline.gaps:
            self._note(f"has {_counted(timeline.gaps, 'gap')} in its sound, filled with silence")
        if timeline.overlaps:
            self._note(f"has {_counted(timeline.overlaps, 'overlap')} in its sound, heard once")


def _buffer(frames: Iterable[av.AudioFrame]) -> tuple[list[av.AudioFrame], bool]:
    """Return the first frames, up to :data:`AHEAD` bytes, and whether they are all."""
    buffered, size = [], 0
    for frame in frames:
        buffered.append(frame)
        size += FRAME + sum(plane.buffer_size for plane in frame.planes)
        if size > AHEAD:
            return buffered, False
    return buffered, True


class _Timeline:
    """Tracks the end of the sound so far, in seconds of the clip, and how time stamps deviate from it.

    Attributes:
        end: end of the sound; None before the first frame.
        gaps, overlaps, jumps: duration of each, in seconds.
    """

    def __init__(self) -> None:
        self.end: float | None = None
        self.gaps: list[float] = []
        self.overlaps: list[float] = []
        self.jumps: list[float] = []
        self._last: float | None = None
        self._overlaps = False  # the last frame was dropped entirely

    def place(self, stamp: float | None, frame: av.AudioFrame) -> tuple[int, int]:
        """Return the samples of silence (at 16 kHz) before a frame, and how many of its own to drop."""
        first, end = self.end is None, self.end or 0.0
        has_stamp = stamp is not None and stamp != self._last  # some programs give all frames the same stamp
        self._last = stamp
        late = stamp - sum(self.jumps) - end if has_stamp and stamp is not None else 0.0
        silence = skipped = 0
        if late > LONGEST_GAP:
            self.jumps.append(late)
        elif late > (0.0 if first else DRIFT):
            silence = round(late * SAMPLE_RATE)
            end += late
            if not first:
                self.gaps.append(late)
        elif late < (0.0 if self._overlaps else -DRIFT):
            skipped = min(round(-late * frame.sample_rate), frame.samples)
            if not self._overlaps:
                self.overlaps.append(0.0)
            self.overlaps[-1] += skipped / frame.sample_rate
        self._overlaps = skipped == frame.samples
        self.end = end + (frame.samples - skipped) / frame.sample_rate
        return silence, skipped


class _Resampler:
    """Resamples to 16 kHz, even if the format of the sound changes midway."""

    def __init__(self) -> None:
        self._format: tuple[str, int] | None = None
        self._resampler: av.AudioResampler | None = None

    def __call__(self, frame: av.AudioFrame) -> Iterator[Samples]:
        """Yield the samples that a mono frame completes."""
        format_ = (frame.format.name, frame.sample_rate)
        if format_ != self._format:
            yield from self.rest()
        if self._resampler is None:
            self._format = format_
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        yield from map(_checked_samples, self._resampler.resample(frame))

    def rest(self) -> Iterator[Samples]:
        """Flush the buffered samples; the next frame starts a new sound."""
        if self._resampler is not None:
            yield from map(_checked_samples, self._resampler.resample(None))
        self._resampler = None


def _checked_samples(frame: av.AudioFrame) -> Samples:
    samples: Samples = frame.to_ndarray()[0]
    peak = float(np.abs(samples).max(initial=0.0))
    if not np.isfinite(peak):
        raise ClipError("has sound with non-finite samples; decode it again, or replace it")
    if peak > LOUDEST:
        raise ClipError(f"has sound of up to {peak:.0f}, expected [-1, 1]: divide it and write it again")
    return samples


def _silence(samples: int) -> Iterator[Samples]:
    """Yield silence in blocks, so that memory does not grow with its length."""
    for start in range(0, samples, BLOCK):
        yield np.zeros(min(BLOCK, samples - start), np.float32)


def _counted(seconds: list[float], what: str) -> str:
    if len(seconds) == 1:
        return f"{'an' if what == 'overlap' else 'a'} {what} of {seconds[0]:.2f} seconds"
    return f"{len(seconds)} {what}s of {sum(seconds):.2f} seconds together"
