"""Corpora as they unpack: clips and pictures with their labels."""
