"""Actors made from one photograph, which a thin-plate spline through its landmarks warps frame by frame.

In shapes, T is frames, P control points (68 landmarks, then the hair, then the still background) and A
action units. Points are in pixels of the enlarged photograph, x to the right and y down.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from .expressions import DEPTH, EXPRESSIONS, displacements, weights
from .photo import HAIR, Image, Photograph, Points, inside, photograph

Signal = NDArray[np.float64]

WIDTH, HEIGHT, FPS = 320, 240, 25
GRID_STEP = 4  # output pixels between two evaluations of the spline
NECK = np.array([449.0, 375.0])  # pivot of the head
STILL = np.array(
    [(x, y) for x in (100, 280, 450, 620, 800) for y in (-20, 480)]
    + [(x, y) for x in (100, 800) for y in (120, 240, 360)]
    + [(240, 400), (660, 400)]
)
HEAD = 68 + len(HAIR)  # control points that move with the head
INNER_LIPS = slice(60, 68)
UPPER_INNER, LOWER_INNER = [61, 62, 63], [67, 66, 65]
UPPER_LID, LOWER_LID = [37, 38, 43, 44], [41, 40, 47, 46]
LIP_GAP, LID_GAP = 1.0, 4.0  # points between closed lips or lids; the spline must not fold
SKULL = [27, 31, 33, 35, 36, 39, 42, 45]  # landmarks that move with the upper teeth
TEETH_SHOW = 0.08  # opening of the lips, in eye distances, from which the teeth are fully lit
RELAXED = weights({"lip corner puller": -1.3, "lid tightener": -0.3})  # removes the photograph's smile
HEAD_DROP = {"Sad": 7.0, "Surprise": -5.0, "Fear": -3.0, "Angry": 3.0}  # nose downwards, in points


@dataclass(frozen=True)
class Actor:
    """A face shape with its colours and camera view."""

    image: Image  # [H, W, 3] the photograph in this actor's colours, lips closed
    teeth: Image  # [H, W, 3] teeth, shown between open lips
    source: Points  # [P, 2] the control points in the image
    shape: Points  # [P, 2] the control points of this actor's face at rest
    zoom: float  # output pixels per point
    shift: NDArray[np.float64]  # [2] output pixels
    mirrored: bool
    bearded: bool

    @property
    def eye_distance(self) -> float:
        """Distance between the eyes' centres, in points."""
        return float(np.linalg.norm(self.shape[36:42].mean(axis=0) - self.shape[42:48].mean(axis=0)))


def cast(rng: Generator) -> Actor:
    """Draw a random actor: face shape, colours, distance from the camera, side of the parting."""
    photo = photograph()
    head = np.concatenate([photo.points, HAIR])
    bearded = bool(rng.random() < 0.4)
    zoom = rng.uniform(0.60, 0.70)
    aim = np.array([448, 225]) + rng.uniform(-12, 12, 2)
    return Actor(
        image=_recolour(photo, bearded, rng),
        teeth=photo.teeth,
        source=np.concatenate([head, STILL]),
        shape=np.concatenate([_reshape(head, rng), STILL]),
        zoom=zoom,
        shift=np.array([WIDTH, HEIGHT]) / 2 - zoom * aim,
        mirrored=bool(rng.random() < 0.5),
        bearded=bearded,
    )


def perform(actor: Actor, emotion: str, opening: Signal, rng: Generator) -> Iterator[Image]:
    """Yield RGB frames ``[240, 320, 3]`` of an actor showing an emotion while the mouth follows a voice.

    ``opening`` ``[T]`` is how far speech opens the mouth in each frame, from 0 to 1.
    """
    times = np.arange(opening.size) / FPS
    targets = _choreograph(actor, emotion, opening, times, rng)
    for target, gain in zip(targets, _light(times, rng), strict=True):
        noise = rng.normal(0, 2.5, (HEIGHT, WIDTH, 1))
        frame = (_render(actor, target) * gain + noise).clip(0, 255).astype(np.uint8)
        yield np.ascontiguousarray(frame[:, ::-1] if actor.mirrored else frame)


def _choreograph(actor: Actor, emotion: str, opening: Signal, times: Signal, rng: Generator) -> Points:
    """Return the position of each control point in each frame, ``[T, P, 2]``."""
    targets = actor.shape + np.zeros((opening.size, 1, 1))
    targets[:, :68] += _displace(actor, _act(emotion, opening, times, rng))
    for above, below, gap in ((UPPER_INNER, LOWER_INNER, LIP_GAP), (UPPER_LID, LOWER_LID, LID_GAP)):
        targets[:, below, 1] = np.maximum(targets[:, below, 1], targets[:, above, 1] + gap)
    targets[:, :HEAD] = _turn(targets[:, :HEAD], times, HEAD_DROP.get(emotion, 0.0), rng)
    return targets


def _reshape(head: Points, rng: Generator) -> Points:
    """Return the control points of a head with random proportions."""
    middle, chin = head[27], head[8]
    broad, long, jaw = rng.uniform((0.93, 0.94, -0.07), (1.09, 1.09, 0.09))
    below = ((head[:, 1] - middle[1]) / (chin[1] - middle[1])).clip(0, 1)
    shape = middle + (head - middle) * np.stack([broad + jaw * below, np.full(len(head), long)], axis=1)
    for part in (slice(36, 48), slice(17, 27), slice(31, 36), slice(48, 68)):  # eyes, brows, nose, lips
        centre = shape[part].mean(axis=0)
        shape[part] = centre + (shape[part] - centre) * rng.uniform((0.94, 0.92), (1.07, 1.1))
    shape[17:27, 1] += rng.uniform(-3, 4)
    shape[68:] = middle + (shape[68:] - middle) * rng.uniform(0.9, 1.06)
    return shape


def _recolour(photo: Photograph, bearded: bool, rng: Generator) -> Image:
    """Return the photograph with its regions randomly recoloured."""
    darkness = rng.uniform(0, 0.6)
    gains = {
        "hair": rng.uniform(0.3, 1.05) * rng.uniform((0.95, 0.85, 0.7), (1.1, 1.0, 1.1)),
        "skin": (1 - 0.5 * darkness) * np.array([1, 1 - 0.12 * darkness, 1 - 0.2 * darkness]),
        "brows": rng.uniform(0.5, 0.8) * np.array([1.0, 0.9, 0.8]),
        "beard": np.full(3, rng.uniform(0.7, 0.85) if bearded else 1.0),
        "backdrop": rng.uniform(0.5, 1.0) * rng.uniform(0.85, 1.1, 3),
    }
    picture = photo.image.astype(np.float64)
    for region, gain in gains.items():
        picture *= 1 + photo.regions[region][..., None] * (gain - 1)
    return picture.clip(0, 255).astype(np.uint8)


def _act(emotion: str, opening: Signal, times: Signal, rng: Generator) -> Signal:
    """Return the strength of each action unit in each frame, ``[T, A]``: onset and apex, speech, a blink.

    The apex contains a trace of another emotion, as real faces do, so that the classes overlap a little.
    """
    trace = EXPRESSIONS[rng.choice(list(EXPRESSIONS))]
    apex = rng.uniform(0.6, 1.1) * weights(EXPRESSIONS[emotion]) + rng.uniform(0, 0.3) * weights(trace)
    apex *= rng.uniform(0.75, 1.2, apex.size)
    rise = ((times - rng.uniform(-0.1, 0.2)) / rng.uniform(0.25, 0.5)).clip(0, 1)
    onset = 0.25 + 0.75 * rise**2 * (3 - 2 * rise)
    blink = np.exp(-(((times - rng.uniform(0, 2.5)) / 0.06) ** 2))
    return (
        RELAXED
        + np.outer(onset, apex)
        + np.outer(opening, weights({"jaw drop": 0.5, "upper lip raiser": 0.15}))
        + np.outer(blink, weights({"eye closure": 1.0}))
    )


def _displace(actor: Actor, strengths: Signal) -> Points:
    """Return the displacement of the landmarks by action units, ``[T, 68, 2]``."""
    return actor.eye_distance * np.tensordot(strengths, displacements(), axes=1)


def _turn(head: Points, times: Signal, drop: float, rng: Generator) -> Points:
    """Move the head ``[T, P, 2]``: lean and shift within the picture's plane, turn and nod out of it."""
    sizes = (np.radians(3), 6, 4, 0.02, 7, 4)
    lean, sideways, down, nearer, turn, nod = (size * _drift(times, rng)[:, None] for size in sizes)
    depth = np.concatenate([DEPTH, np.zeros(len(HAIR))])
    x, y = np.moveaxis(head - NECK, -1, 0)
    x, y = x + turn * depth, y + (nod + drop) * depth
    x, y = x * np.cos(lean) - y * np.sin(lean), x * np.sin(lean) + y * np.cos(lean)
    return np.stack([(1 + nearer) * x + sideways, (1 + nearer) * y + down], axis=-1) + NECK


def _drift(times: Signal, rng: Generator) -> Signal:
    """Return a smooth random motion ``[T]`` between about -1 and 1."""
    rates, phases, sizes = rng.uniform((0.2, 0, 0.2), (1.2, 2 * np.pi, 0.5), (3, 3)).T
    return np.sin(2 * np.pi * np.outer(times, rates) + phases) @ sizes


def _light(times: Signal, rng: Generator) -> Iterator[Signal]:
    """Yield the pixel gain of each frame, ``[1, 320, 3]``: a drifting coloured lamp to one side."""
    level = rng.uniform(0.75, 1.1) * (1 + 0.08 * _drift(times, rng))
    side = rng.uniform(-0.5, 0.5) + 0.15 * _drift(times, rng)
    colour = rng.uniform((0.92, 0.95, 0.85), (1.08, 1.02, 1.1))
    across = np.linspace(-0.5, 0.5, WIDTH)[:, None]
    for gain, slope in zip(level, side, strict=True):
        yield (gain * (1 + slope * across) * colour)[None]


def _render(actor: Actor, target: Points) -> Image:
    """Warp the image so that its control points are at ``target``; fill the open mouth with teeth."""
    sampled = _bend(actor, target)
    bent = cv2.remap(actor.image, sampled[..., 0], sampled[..., 1], cv2.INTER_CUBIC)
    skull = np.column_stack([target[SKULL] * actor.zoom + actor.shift, np.ones(len(SKULL))])
    to_source = np.linalg.lstsq(skull, actor.source[SKULL], rcond=None)[0].T
    teeth = cv2.warpAffine(
        actor.teeth, to_source, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    gap = np.max(target[LOWER_INNER, 1] - target[UPPER_INNER, 1]) - LIP_GAP
    lit = 0.15 + 0.75 * min(gap / (TEETH_SHOW * actor.eye_distance), 1.0)
    mouth = inside(target[INNER_LIPS] * actor.zoom + actor.shift, (HEIGHT, WIDTH), 0.7)[..., None]
    blended: Image = (bent + mouth * (lit * teeth - bent)).astype(np.uint8)
    return blended


def _bend(actor: Actor, target: Points) -> NDArray[np.float32]:
    """Return the position in the image at which each output pixel is sampled, ``[240, 320, 2]``."""
    step = GRID_STEP
    middle = (step - 1) / 2  # cv2.resize centres a coarse value on the pixels that it covers
    y, x = np.mgrid[-step : HEIGHT + step : step, -step : WIDTH + step : step] + middle
    points = (np.stack([x, y], axis=-1) - actor.shift) / actor.zoom
    spline = RBFInterpolator(target, actor.source - target, kernel="thin_plate_spline")
    coarse = points + spline(points.reshape(-1, 2)).reshape(points.shape)
    fine = cv2.resize(coarse.astype(np.float32), None, fx=step, fy=step, interpolation=cv2.INTER_LINEAR)
    return fine[step:-step, step:-step]
