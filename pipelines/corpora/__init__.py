"""Readers of unpacked data sets: clips and face pictures with their labels."""
