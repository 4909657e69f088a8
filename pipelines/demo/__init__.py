"""The demo set: one photograph, animated by code, with a synthetic voice."""
