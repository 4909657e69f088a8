"""Stage 2: named features, attention, bilinear pooling, training, ensembles, evaluation."""
