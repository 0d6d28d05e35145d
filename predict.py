"""Label recordings with the networks of a run, or score a split of its data set."""

import hydra

from audiotag.command import check_command_line, job, register, reported
from audiotag.config import PredictConfig

register(PredictConfig, "predict_schema")


@hydra.main(version_base="1.3", config_path="conf", config_name="predict")
@job(PredictConfig)
def main(config: PredictConfig) -> None:
    """Write the most probable labels per recording and, for a split, its scores."""
    from audiotag.inference.predict import predict

    predict(config)


if __name__ == "__main__":
    reported(lambda: check_command_line(PredictConfig))
    reported(main)
