"""Draws a run's scores on a video."""
