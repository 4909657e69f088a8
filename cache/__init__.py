"""The feature store: immutable HDF5 shards, a journal of clip outcomes, provenance keys."""
