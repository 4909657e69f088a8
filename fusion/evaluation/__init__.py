"""Evaluation of scores: metrics, calibration, priors, ensembles, significance, submissions."""
