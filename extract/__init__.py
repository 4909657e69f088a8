"""Stage 1: from clips to face tracks, views, backbone features and spectrograms."""

DEFAULT_BACKBONE = "ferplusnet"
"""The default face network; its weights are part of the package."""

CLIP_TIMEOUT = 300.0
"""Seconds without progress after which a clip fails; network disks may stall for minutes, then continue."""
