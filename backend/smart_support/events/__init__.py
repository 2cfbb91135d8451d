"""The numbered log of each thread: what happened, in order, and nothing else."""
