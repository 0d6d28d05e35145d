"""Makes what the first pages show and play, docs/pictures/, of the embedded data set and the run that is trained on it.

    python train.py
    python docs/pictures.py

The report and the listening desk are photographed by a Chromium; the extra `dev` has what drives it.
"""

from __future__ import annotations

import argparse
import io
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import soundfile
import torch
from matplotlib.figure import Figure
from PIL import Image
from playwright.sync_api import sync_playwright

from audiotag.config import Features
from audiotag.features import audio
from audiotag.features.spectrogram import front_end_of
from audiotag.run.folder import RunFolder, find_run

OUT = Path(__file__).parent / "pictures"
WIDTH, HEAD = 1080, 580  # of the picture of the report, px
DESK_HEIGHT = 766
TICKS_KHZ = [0.2, 0.5, 1, 2, 4, 8]
LONGEST_S = 2.5  # of the sound, so that it is a few KB
COLOURS: dict[Literal["light", "dark"], tuple[str, str]] = {"light": ("black", "white"), "dark": ("#e6e9ed", "#1e2129")}


def choose_clip(folder: RunFolder, features: Features) -> tuple[Path, pd.Series]:
    """Return the file and the row of the most surely contradicted label that is wrong indeed and has a short sound."""
    review = pd.read_csv(folder.path / "review.csv", keep_default_na=False)
    truth = pd.read_csv(folder.path / "truth.csv", index_col=0).iloc[:, 0]
    for _, row in review.iterrows():
        file = Path(str(folder.config.data.root)) / row["path"]
        right = truth[row["clip_id"]] == row["predicted"] != row["label"]
        if right and 1 < len(audio.load(file, features.trim).wave) / audio.SAMPLE_RATE_HZ < LONGEST_S:
            return file, row
    raise SystemExit(f"{folder.path / 'review.csv'} has no such label: train another run")


def draw_clip(file: Path, features: Features) -> None:
    """Write the sound and its spectrogram, as networks hear it."""
    wave = audio.load(file, features.trim).wave
    soundfile.write(OUT / "clip.mp3", 0.5 * wave / np.abs(wave).max(), audio.SAMPLE_RATE_HZ, compression_level=0.8)
    front_end = front_end_of(features)
    bands = torch.cat(list(front_end.stream([wave])), dim=1)  # (F, T)
    for scheme, (ink, ground) in COLOURS.items():
        figure = Figure(figsize=(7, 2.6), dpi=120, layout="constrained", facecolor=ground)
        axes = figure.subplots()
        extent = (0, len(wave) / audio.SAMPLE_RATE_HZ, -0.5, len(bands) - 0.5)
        axes.imshow(bands, cmap="magma", aspect="auto", origin="lower", extent=extent)
        ticks = np.interp(TICKS_KHZ, front_end.center_hz / 1000, np.arange(len(bands)))
        axes.set_yticks(ticks, [f"{khz:g}" for khz in TICKS_KHZ])
        axes.tick_params(colors=ink)
        axes.set_xlabel("seconds", color=ink)
        axes.set_ylabel("kHz", color=ink)
        figure.savefig(OUT / f"spectrogram-{scheme}.webp", pil_kwargs={"quality": 80})


def photograph(report: Path) -> None:
    """Write the head of the report and the first label to judge as a browser shows them, in both schemes."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for scheme in COLOURS:
            page = browser.new_page(viewport={"width": WIDTH, "height": 1600}, color_scheme=scheme)
            page.goto(report.resolve().as_uri())
            shots = {"report": page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": HEAD})}
            shots["review"] = page.locator("article").first.screenshot()
            for name, shot in shots.items():
                save(shot, f"{name}-{scheme}")
        browser.close()


def photograph_desk(folder: RunFolder) -> None:
    """Write the listening desk as a browser shows it, in both schemes; nothing is decided in it."""
    command = [sys.executable, "-m", "audiotag.review", f"run={folder.path}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as desk, sync_playwright() as playwright:
        assert desk.stdout is not None
        url = next(line for line in desk.stdout if "http://" in line).split()[-1]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for scheme in COLOURS:
            page = browser.new_page(viewport={"width": WIDTH, "height": DESK_HEIGHT}, color_scheme=scheme)
            page.goto(url)
            page.wait_for_selector("#picture[src]:not([hidden])")
            for key in ("o", *["ArrowRight"] * 8):  # in a loop, so that it does not end before
                page.keyboard.press(key)
            save(page.screenshot(), f"desk-{scheme}")
        browser.close()
        desk.send_signal(signal.SIGINT)


def save(shot: bytes, name: str) -> None:
    """Write a screenshot."""
    Image.open(io.BytesIO(shot)).convert("RGB").save(OUT / f"{name}.webp", quality=80, method=6)


def main() -> None:
    """Make all, and say what the sound is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", default="synthetic-tiny-v1-promise")
    parser.add_argument("--runs-dir", default="runs")
    given = parser.parse_args()
    folder = find_run(given.run, given.runs_dir)
    OUT.mkdir(exist_ok=True)
    file, row = choose_clip(folder, folder.config.features)
    draw_clip(file, folder.config.features)
    photograph(folder.path / "report.html")
    photograph_desk(folder)
    print(row.to_string())
    for picture in sorted(OUT.iterdir()):
        print(f"{picture.stat().st_size:7} {picture}")


if __name__ == "__main__":
    main()
