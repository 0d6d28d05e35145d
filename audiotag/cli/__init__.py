"""The command line: composition, overrides, help, sweeps."""
