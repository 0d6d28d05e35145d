"""The three programs that take a composed configuration: train, verify, predict."""

from __future__ import annotations

import dataclasses

from hydra.core.hydra_config import HydraConfig

from audiotag import api
from audiotag.cli.arguments import refuse_forgotten_data
from audiotag.cli.program import announce, start
from audiotag.config import PredictConfig, TrainConfig, VerifyConfig
from audiotag.distributed.launch import leads
from audiotag.run.naming import run_name, run_path


def train() -> None:
    """Train a self-verified tagger: rounds of fitting, consensus and acceptance."""
    start(TrainConfig, _train)


def verify() -> None:
    """Decide again which unverified labels to accept, from a run's stored posteriors: no training, no network."""
    start(VerifyConfig, _verify)


def predict() -> None:
    """Label recordings with the networks of one or more runs, score a split of their data set, or a submission."""
    start(PredictConfig, _predict)


def _train(config: TrainConfig) -> float | None:
    """Run the loop, or its part that is missing; return the mean validation loss of the best round."""
    refuse_forgotten_data(config.data, HydraConfig.get().overrides.task)
    config = dataclasses.replace(config, run=run_name(config))
    if leads():
        folder = "" if config.data.root is None else f" in {config.data.root}"
        run = run_path(str(config.run), config.runs_dir)
        announce("train.py", f"run {run}, data {config.data.title}{folder}")
    return api.train(config).valid_loss


def _verify(config: VerifyConfig) -> None:
    """Apply the rule, print what is accepted per round, and write it under the run's `verify/`."""
    announce("verify.py", f"run {run_path(config.run, config.runs_dir)}")
    api.verify(config)


def _predict(config: PredictConfig) -> None:
    """Write the most probable labels per recording and, for a split or a submission, its scores."""
    announce("predict.py", _asked(config))
    api.predict(config)


def _asked(config: PredictConfig) -> str:
    if config.submission is not None:
        return f"submission {config.submission}, data {config.data.title}"
    runs = config.run if isinstance(config.run, list) else [config.run]
    if len(runs) == 1 and not str(runs[0]).startswith("hf://"):
        runs = [run_path(str(runs[0]), config.runs_dir)]
    what = f"source {config.source or 'mic'}" if config.split is None else f"split {config.split}"
    return f"run {', '.join(map(str, runs))}, {what}"
