"""Train a self-verified tagger: rounds of fitting, consensus and acceptance. `train.py --help` says what to set."""

from audiotag.cli.programs import train

if __name__ == "__main__":
    train()
