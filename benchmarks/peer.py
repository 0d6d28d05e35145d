"""Beside a peer, autrainer 0.10, on DATA in the challenge's layout: `python -m benchmarks.peer DATA [EPOCHS [TURNS]]`.

Both train the very same network, audiotag's of width 8, on the clips of three folds, measure it after every epoch on
the verified clips of the fourth, and label the test set with its best epoch; one thread each, in float32, in turn. The
peer has an environment of its own, made under build/peer. Clips/s are what EPOCHS epochs take beyond one, in the
processor's time, so that starts do not count; memory is the largest process's own at its peak, without mapped files.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
from rich.console import Console
from rich.table import Table

import audiotag
from audiotag.files import write_json
from benchmarks.scale import own_memory
from benchmarks.timing import FOLDER, processor

TOP = Path(__file__).resolve().parent.parent
WORK = Path("build/peer").absolute()
PYTHON = WORK / "env" / "bin" / "python"
PEER = ["autrainer==0.10.*", "torch==2.11.0", "torchaudio==2.11.0", "pydantic"]
RATE, BATCH, FRAMES = 0.003, 32, 192
# What a person writes: the data set, its features, the network, and what to train.
FILES = {
    "conf/dataset/Clips.yaml": f"""
id: Clips
_target_: autrainer.datasets.BaseClassificationDataset
path: data
features_subdir: mel
index_column: filename
target_column: label
file_type: npy
file_handler: autrainer.datasets.utils.NumpyFileHandler
criterion: autrainer.criterions.CrossEntropyLoss
metrics: [autrainer.metrics.Accuracy]
tracking_metric: autrainer.metrics.Accuracy
transform:
  type: grayscale
  base:
    - autrainer.transforms.RandomCrop: {{size: {FRAMES}, method: replicate, axis: -2}}
""",
    "conf/preprocessing/mel.yaml": """
file_handler: {autrainer.datasets.utils.AudioFileHandler: {target_sample_rate: 32000}}
pipeline:
  - autrainer.transforms.StereoToMono
  - autrainer.transforms.PannMel:
      {sample_rate: 32000, window_size: 1024, hop_size: 192, mel_bins: 128, fmin: 0, fmax: 16000, ref: 1.0,
       amin: 1e-10, top_db: null}
""",
    "conf/model/Vgg.yaml": """
id: Vgg
_target_: vgg.Vgg
width: 8
transform: {type: grayscale}
""",
    "conf/config.yaml": f"""
defaults: [_autrainer_, _self_]
results_dir: results
experiment_id: ???
iterations: ???
device: cpu
hydra:
  sweeper:
    params:
      +seed: 1
      +batch_size: {BATCH}
      +learning_rate: {RATE}
      dataset: Clips
      model: Vgg
      optimizer: Adam
""",
    "vgg.py": """
from autrainer.models import AbstractModel
from audiotag.models.vgg_gap import VggGap


class Vgg(AbstractModel):
    def __init__(self, output_dim, width):
        super().__init__(output_dim)
        self.width = width
        self.network = VggGap(output_dim, width, dropout=0.0, head_dropout=0.1)

    def embeddings(self, features):
        return self.network.features(features.transpose(-1, -2))

    def forward(self, features):
        return self.network(features.transpose(-1, -2))
""",
}
OURS = ["experiment=cpu_small", "data=kaggle", "augment=none", "features.clip_frames=192", "finetune_rounds=0"]
OURS += ["hardware.precision=32-true", "hardware.threads=1", "verification.excerpts=1", "devices=1"]


def prepare(data: Path) -> dict[str, int]:
    """Make the peer's environment, project and features once; return how many clips are trained and validated on."""
    if not PYTHON.is_file():
        subprocess.run([sys.executable, "-m", "venv", WORK / "env"], check=True)
        subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", *PEER], check=True)
    for name, text in FILES.items():
        (WORK / name).parent.mkdir(parents=True, exist_ok=True)
        (WORK / name).write_text(text.lstrip(), encoding="utf-8")
    clips = audiotag.read_manifest([*OURS, f"data.root={data}"]).frame
    train = clips[clips["split"] == "train"]
    parts = {
        "train": train[train["fold"] != "0"],
        "dev": train[(train["fold"] == "0") & train["verified"]],
        "test": clips[(clips["split"] == "test") & (clips["label"] != "")],
    }
    (WORK / "data" / "default").mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        part.rename(columns={"path": "filename"})[["filename", "label"]].to_csv(
            WORK / "data" / f"{name}.csv", index=False
        )
        for path in part["path"]:
            linked = WORK / "data" / "default" / path
            linked.parent.mkdir(parents=True, exist_ok=True)
            if not linked.exists():
                linked.symlink_to(data / path)
    return {name: len(part) for name, part in parts.items()}


def measured(command: list[str | Path], folder: Path) -> tuple[float, float]:
    """Run a program on one thread; return the processor's seconds that it took, and its peak memory in MB."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": f"{TOP}:{WORK}"}
    log, largest, seconds = WORK / "log.txt", 0, 0.0
    with (
        open(log, "wb") as output,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output) as job,
    ):
        while job.poll() is None:
            of_all = 0.0
            for one in (psutil.Process(job.pid), *psutil.Process(job.pid).children(recursive=True)):
                try:
                    largest = max(largest, own_memory(one.pid))
                    of_all += sum(one.cpu_times()[:2])
                except psutil.Error:  # ended meanwhile
                    continue
            seconds = max(seconds, of_all)
            time.sleep(0.05)
    if job.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{log.read_text(encoding='utf-8')[-3000:]}")
    return seconds, largest / 1e6


def peer(epochs: int, turn: int) -> tuple[float, float, float]:
    """Train with the peer; return seconds, MB and the test accuracy."""
    name = f"e{epochs}-{turn}"
    shutil.rmtree(WORK / "results" / name, ignore_errors=True)
    program = PYTHON.with_name("autrainer")
    taken = measured([program, "train", f"experiment_id={name}", f"iterations={epochs}", "progress_bar=false"], WORK)
    scores = next((WORK / "results" / name).rglob("_test/test_holistic.yaml"))
    return *taken, _accuracy(scores)


def _accuracy(file: Path) -> float:
    import yaml

    found = yaml.safe_load(file.read_text(encoding="utf-8"))["accuracy"]
    return float(found["all"] if isinstance(found, dict) else found)


def ours(data: Path, epochs: int, turn: int) -> tuple[float, float, float]:
    """Train with audiotag; return seconds, MB and the test accuracy."""
    run = WORK / "runs" / f"e{epochs}-{turn}"
    shutil.rmtree(run, ignore_errors=True)
    schedule = (
        f"{{epochs: {epochs}, decay_from_epoch: {epochs}, learning_rate: {RATE}, mixup_alpha: 0.0, min_steps: 0}}"
    )
    settings = [f"data.root={data}", f"run={run}", "fold=0", f"training.pretrain={schedule}", "report=false"]
    taken = measured([sys.executable, TOP / "train.py", *OURS, *settings, f"cache_dir={WORK / 'cache'}"], WORK)
    audiotag.predict([f"run={run}", "split=test", "fold=0", "round=0", f"out={run}/test.csv"])
    scores = pd.read_json(run / "scores.json", typ="series")
    return *taken, float(scores["accuracy"])


def main(data: Path, epochs: int = 10, turns: int = 3) -> None:
    """Train with both in turn, and print the table."""
    counts = prepare(data)
    print(f"clips: {counts}")
    mel = WORK / "data" / "mel"
    if not mel.is_dir():
        command = [PYTHON.with_name("autrainer"), "preprocess", "-u", "0", "experiment_id=none", "iterations=1"]
        print(f"autrainer, features: {measured(command, WORK)[0]:.0f} s")
    ways = {"autrainer": peer, "audiotag": lambda e, turn: ours(data, e, turn)}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    for turn in range(turns):
        for name, way in ways.items():
            one, (many, memory, accuracy) = way(1, turn)[0], way(epochs, turn)
            speed = (epochs - 1) * counts["train"] / (many - one)
            rows[name].append({"clips_per_s": speed, "one_epoch_s": one, "memory_mb": memory, "accuracy": accuracy})
            print(name, rows[name][-1], flush=True)
    table = Table("", *ways, title=f"{epochs} epochs, {counts['train']} clips\n{processor()}")
    for figure in ("clips_per_s", "one_epoch_s", "memory_mb", "accuracy"):
        cells = []
        for each in rows.values():
            values = [row[figure] for row in each]
            cells.append(f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})")
        table.add_row(figure, *cells)
    lines = sum(len(text.strip().splitlines()) for text in FILES.values())
    table.add_row("lines a person writes", str(lines), "1")
    Console().print(table)
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_json(FOLDER / "peer.json", {"processor": processor(), "epochs": epochs, "clips": counts, "rows": rows})


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), *map(int, sys.argv[2:]))
