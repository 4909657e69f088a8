"""Data sets of labelled face pictures."""
