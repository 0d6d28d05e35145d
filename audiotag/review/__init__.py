"""The listening desk: a run's suspicious labels, clip after clip, decided by ear and by key."""
