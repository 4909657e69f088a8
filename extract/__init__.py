"""Stage 1: clips to face tracks, views, backbone features and spectrograms."""

DEFAULT_BACKBONE = "ferplusnet"
"""The face network that is used where none is named; its weights are in the package."""

CLIP_TIMEOUT = 300.0
"""Seconds without any progress after which a clip is given up: network disks stall for minutes, and go on."""
