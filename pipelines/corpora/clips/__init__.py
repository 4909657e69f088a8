"""Data sets: the clips of a folder with their labels, subjects, sessions and splits."""
