"""Stage 1: clips to face tracks, views, backbone features and spectrograms."""
