"""Processes, devices and locks; knows nothing of audio."""
