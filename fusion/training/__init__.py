"""Training of members: batches, folds, grids, selection, and run folders."""
