"""The work behind ``avemo-fuse``: train, cross-validate, score, ensemble, compare."""
