"""Stages 1 and 2 on many machines, scheduled by Slurm or Ray."""
