"""Train a self-verified tagger: rounds of fitting, consensus and acceptance. `train.py --help` says what to set."""

import dataclasses

from hydra.core.hydra_config import HydraConfig

from audiotag import api
from audiotag.cli.arguments import refuse_forgotten_data
from audiotag.cli.program import announce, start
from audiotag.config import TrainConfig
from audiotag.distributed.launch import leads
from audiotag.run.naming import run_name, run_path


def main(config: TrainConfig) -> float | None:
    """Run the loop, or its part that is missing; return the mean validation loss of the best round."""
    refuse_forgotten_data(config.data, HydraConfig.get().overrides.task)
    config = dataclasses.replace(config, run=run_name(config))
    if leads():
        folder = "" if config.data.root is None else f" in {config.data.root}"
        run = run_path(str(config.run), config.runs_dir)
        announce("train.py", f"run {run}, data {config.data.title}{folder}")
    return api.train(config).valid_loss


if __name__ == "__main__":
    start(TrainConfig, main)
