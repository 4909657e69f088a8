"""Decoding of a clip's video and sound on a common clock."""
