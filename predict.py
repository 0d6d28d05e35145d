"""Label recordings with the networks of one or more runs, score a split of their data set, or score a submission."""

from audiotag import api
from audiotag.cli.program import announce, start
from audiotag.config import PredictConfig
from audiotag.run.naming import run_path


def main(config: PredictConfig) -> None:
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


if __name__ == "__main__":
    start(PredictConfig, main)
