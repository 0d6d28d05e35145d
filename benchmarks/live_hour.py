"""An hour of sound through predict.py: how fast, and what the process holds meanwhile.

usage: python -m benchmarks.live_hour RUN live=true speed=max
       python -m benchmarks.live_hour RUN segments=true

The other settings are predict.py's. The sound is synthetic: tones that glide, at a new level each minute, in noise.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 32_000
TOP = Path(__file__).resolve().parent.parent


def main() -> None:
    run, *settings = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        path = write_hour(Path(folder) / "hour.wav")
        command = [sys.executable, str(TOP / "predict.py"), f"run={run}", f"source={path}", *settings]
        began_s = time.monotonic()
        process = subprocess.Popen([*command, f"out={folder}/out.csv"], stdout=subprocess.DEVNULL)
        sizes = []
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            sizes += [int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")]
            time.sleep(0.5)
        took_s = time.monotonic() - began_s
        rows = (Path(folder) / "out.csv").read_bytes().count(b"\n") - 1
    print(f"exit code {process.returncode}, {took_s:.0f} s, {3600 / took_s:.1f} times as fast as sound, {rows:,} rows")
    shares = (0.1, 0.25, 0.5, 0.75, 1.0)
    held = ", ".join(f"{100 * share:.0f} %: {sizes[round(share * (len(sizes) - 2))]:.0f}" for share in shares)
    print(f"resident MiB after a share of the time: {held}; most: {max(sizes):.0f}")


def write_hour(path: Path) -> Path:
    """Write an hour of sound."""
    generator = np.random.default_rng(0)
    t = np.arange(60 * RATE_HZ) / RATE_HZ
    with soundfile.SoundFile(path, "w", RATE_HZ, 1, "PCM_16") as file:
        for minute in range(60):
            tone = np.sin(2 * np.pi * (200 + 50 * minute + 300 * np.sin(t)) * t)
            file.write(generator.uniform(0.01, 0.4) * tone + 0.01 * generator.normal(size=len(t)))
    return path


if __name__ == "__main__":
    main()
