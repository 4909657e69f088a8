"""Training members: batches, folds, grids, selection, and the folders that keep runs."""
