"""Data sets of clips: finds the clips of a folder with their labels, subjects, sessions and splits."""
