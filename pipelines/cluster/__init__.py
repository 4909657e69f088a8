"""Work on many machines, by an engine that schedules it: Slurm, or Ray."""
