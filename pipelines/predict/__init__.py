"""Expressions in any film, named by a face network's own classes; nothing is trained."""
