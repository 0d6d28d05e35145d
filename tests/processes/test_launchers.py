"""What a launcher's settings do in the shell that they are handed to."""

from __future__ import annotations

import os
import subprocess

import pytest
from hydra import compose, initialize_config_dir

from audiotag.cli.arguments import CONF
from audiotag.cli.composition import register
from audiotag.config import TrainConfig


@pytest.mark.parametrize(("outside", "inside"), [(None, "unset"), ("2,3", "2,3"), ("", "")])
def test_launcher_of_local_jobs_shows_the_gpus_that_their_user_does(monkeypatch, outside, inside):
    """The launcher's setup, by the shell that submitit hands it to, after submitit has hidden all GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if outside is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", outside)
    register(TrainConfig)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        whole = compose("train", ["hydra/launcher=submitit_local"], return_hydra_config=True)
    setup = list(whole.hydra.launcher.setup)
    hidden = {"PATH": os.environ["PATH"], "CUDA_VISIBLE_DEVICES": "0"}
    command = " && ".join([*setup, 'echo "${CUDA_VISIBLE_DEVICES-unset}"'])
    assert subprocess.check_output(command, shell=True, env=hidden, text=True) == f"{inside}\n"
