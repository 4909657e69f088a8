"""The demo set: one photograph moved by code, with a synthetic voice."""
