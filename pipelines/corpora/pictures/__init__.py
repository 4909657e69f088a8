"""Labelled pictures of faces, as their collections come."""
