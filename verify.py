"""Decide again which unverified labels to accept, from a run's stored posteriors: no training, no network."""

from audiotag.cli.programs import verify

if __name__ == "__main__":
    verify()
