"""A report on runs and ensembles, as one HTML page."""
