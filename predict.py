"""Label recordings with the networks of one or more runs, score a split of their data set, or score a submission."""

from audiotag.cli.programs import predict

if __name__ == "__main__":
    predict()
