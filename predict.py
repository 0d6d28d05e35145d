"""Label recordings with the networks of one or more runs, score a split of their data set, or score a submission."""

import hydra

from audiotag.command import check_command_line, job, register, reported
from audiotag.config import PredictConfig

register(PredictConfig, "predict_schema")


@hydra.main(version_base="1.3", config_path="conf", config_name="predict")
@job(PredictConfig)
def main(config: PredictConfig) -> None:
    """Write the most probable labels per recording and, for a split or a submission, its scores."""
    if config.submission is not None:
        from audiotag.inference.submission import score_submission  # needs no PyTorch, and starts faster for it

        score_submission(config)
    else:
        from audiotag.inference.predict import predict

        predict(config)


if __name__ == "__main__":
    reported(lambda: check_command_line(PredictConfig))
    reported(main)
