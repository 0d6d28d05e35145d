"""Decide again which unverified labels to accept, from a run's stored posteriors: no training, no network."""

from audiotag import api
from audiotag.cli.program import announce, start
from audiotag.config import VerifyConfig
from audiotag.run.naming import run_path


def main(config: VerifyConfig) -> None:
    """Apply the rule, print what is accepted per round, and write it under the run's `verify/`."""
    announce("verify.py", f"run {run_path(config.run, config.runs_dir)}")
    api.verify(config)


if __name__ == "__main__":
    start(VerifyConfig, main)
