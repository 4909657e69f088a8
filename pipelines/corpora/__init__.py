"""Corpora as unpacked: clips and pictures with their labels."""
