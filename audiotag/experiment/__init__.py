"""The run folder, cells, rounds and their summary."""
