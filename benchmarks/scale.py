"""Time, memory and disk against the size of a data set: `python -m benchmarks.scale OUT [SIZES [SECONDS]]`.

A data set of size 1 has the challenge's 9,473 clips of 41 classes, 3,710 of them verified, of 0.3 to 30 s, 6.8 s on
average; SECONDS, such as 0.3, makes all as long. Its sounds are made in place, under OUT. Every step is a program of
its own, as a person would start it. Writes OUT/scale.json and OUT/scale.svg, and prints the table. Time is by the
clock, and the processor's, of all processes, which others on the machine change little. Memory is that of the largest
process: what is its own, without mapped files, which the kernel can drop.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import soundfile

from benchmarks.startup import STEP, TRAIN

TOP = Path(__file__).resolve().parent.parent
CLIPS, VERIFIED, CLASSES, RATE_HZ, MEAN_S = 9473, 3710, 41, 44_100, 6.8
EVERY_S = 0.1
NETWORK = [
    "model=tiny_4",
    "features.excerpt_frames=192",
    "features.clip_frames=192",
    "verification.excerpts=2",
    "folds=4",
]
SHORT = ["finetune_rounds=0", "training.pretrain={epochs: 1, decay_from_epoch: 1, min_steps: 0}", "report=false"]


def make_data(folder: Path, size: float, seconds: float | None) -> None:
    """Write recordings and their table; each is noise of its own, with a tone of its class."""
    rng = np.random.default_rng(0)
    n = round(CLIPS * size)
    lengths = np.clip(rng.lognormal(np.log(MEAN_S) - 0.5, 1, n), 0.3, 30) if seconds is None else np.full(n, seconds)
    labels = np.arange(n) % CLASSES
    (folder / "clips").mkdir(parents=True)
    tones = [
        8000 * np.sin(2 * np.pi * 110 * 1.13**label * np.arange(30 * RATE_HZ) / RATE_HZ) for label in range(CLASSES)
    ]
    for at in range(n):
        samples = int(lengths[at] * RATE_HZ)
        wave = rng.integers(-3000, 3000, samples) + tones[labels[at]][:samples]
        soundfile.write(folder / "clips" / f"{at:06d}.wav", wave.astype(np.int16), RATE_HZ)
    verified = np.arange(n) // CLASSES * VERIFIED % CLIPS < VERIFIED  # as many of every class
    names = [f"clips/{at:06d}.wav" for at in range(n)]
    table = pd.DataFrame(
        {"fname": names, "label": [f"class{label:02d}" for label in labels], "manually_verified": verified.astype(int)}
    )
    table.to_csv(folder / "train.csv", index=False)


def measured(command: list[str]) -> dict[str, float]:
    """Run a program; return its seconds by the clock and the processor's and, of its largest process, private MB."""
    begun, largest, used_before_s = time.monotonic(), 0, processor_s()
    with subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        os.set_blocking(process.stdout.fileno(), False)  # type: ignore[union-attr]
        output = b""
        while process.poll() is None:
            output += process.stdout.read() or b""  # type: ignore[union-attr]
            for one in (psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)):
                largest = max(largest, own_memory(one.pid))
            time.sleep(EVERY_S)
        output += process.stdout.read() or b""  # type: ignore[union-attr]
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{output.decode()}")
    took = {"seconds": time.monotonic() - begun, "processor_s": processor_s() - used_before_s}
    return {name: round(value, 2) for name, value in took.items()} | {"memory_mb": round(largest / 1e6)}


def processor_s() -> float:
    """Return the processor's seconds of all processes that were started here and have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def own_memory(pid: int) -> int:
    """Return the bytes in memory that are a process's own: none of mapped files. 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def measure(out: Path, size: float, seconds: float | None) -> list[dict[str, Any]]:
    """Measure all steps at one size."""
    data, runs, cache = out / f"data{size}", out / f"runs{size}", out / f"cache{size}"
    for folder in (data, runs, cache):
        shutil.rmtree(folder, ignore_errors=True)
    make_data(data, size, seconds)
    python, at = sys.executable, ["data=csv", "data.table=train.csv", f"data.root={data}", f"cache_dir={cache}"]
    train = [python, "train.py", *at, *NETWORK, *SHORT]
    steps = {
        "manifest": [python, "-c", f"import audiotag; audiotag.read_manifest({at})"],
        "manifest again": [python, "-c", f"import audiotag; audiotag.read_manifest({at})"],
        "doctor": [python, "-m", "audiotag.doctor", *at],
        "store and one epoch": [*train, f"run={runs}/one"],
        "one epoch": [*train, f"run={runs}/two"],
        "to the first step": [python, "-c", TRAIN, *train[1:], f"run={runs}/three", "devices=1"],
        "finished run again": [*train, f"run={runs}/two"],
        "verify": [python, "verify.py", f"run={runs}/two", "verification.rule.precision=0.9"],
        "report": [python, "-m", "audiotag.report", f"run={runs}/two"],
    }
    rows: list[dict[str, Any]] = []
    for name, command in steps.items():
        rows.append({"size": size, "clips": round(CLIPS * size), "step": name, **measured(command)})
        print(rows[-1], flush=True)
    (TOP / STEP).unlink()
    of_store = sum(path.stat().st_size for path in (cache / "stores").rglob("*") if path.is_file())
    rows.append({"size": size, "clips": round(CLIPS * size), "step": "store", "disk_mb": round(of_store / 1e6)})
    shutil.rmtree(data)
    shutil.rmtree(cache)
    return rows


def plot(rows: pd.DataFrame, file: Path) -> None:
    """Draw seconds, memory and disk against the number of clips, both axes logarithmic."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 4.5), layout="constrained")
    for axis, column, title in zip(
        axes,
        ("processor_s", "memory_mb", "disk_mb"),
        ("the processor's time in s", "private memory in MB", "disk in MB"),
        strict=True,
    ):
        for step, group in rows.dropna(subset=[column]).groupby("step", sort=False):
            axis.loglog(group["clips"], group[column], "o-", label=step)
        axis.set(xlabel="clips", title=title)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    figure.savefig(file)


if __name__ == "__main__":
    out = Path(sys.argv[1]).absolute()
    sizes = [float(size) for size in (sys.argv[2] if len(sys.argv) > 2 else "0.05,0.2").split(",")]
    out.mkdir(parents=True, exist_ok=True)
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else None
    rows = pd.DataFrame([row for size in sizes for row in measure(out, size, seconds)])
    print(
        rows.pivot(index="step", columns="clips", values=["seconds", "processor_s", "memory_mb", "disk_mb"]).to_string()
    )
    (out / "scale.json").write_text(json.dumps(rows.to_dict("records"), indent=1))
    plot(rows, out / "scale.svg")
