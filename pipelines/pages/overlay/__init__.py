"""Draws scores over time on a video."""
