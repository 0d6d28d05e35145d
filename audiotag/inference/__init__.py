"""Labels for recordings, from the networks of a finished run."""
