"""What scores are worth: metrics, calibration, priors, ensembles, significance, submissions."""
