"""Pages on this machine: a server that answers its own page, and nobody else."""
