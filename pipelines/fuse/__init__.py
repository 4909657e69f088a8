"""Commands over a feature store: train, cross-validate, score, ensemble, compare."""
