"""A page that labels what a microphone hears, in the browser: static files that ask for nothing elsewhere."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from audiotag.config import Features
from audiotag.console import console
from audiotag.errors import AudiotagError
from audiotag.files import check_folder, replacing, write_json
from audiotag.inference.onnx_file import About

ASSETS = Path(__file__).resolve().parent.parent / "web"
PAGE = ["live.html", "live.css", "live.js", "icon.svg", "main.js", "worker-source.js", "model-worker.js"]
PAGE += ["capture-worklet.js", "spectrogram.js", "trim.js", "wav.js"]
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
PACKAGE = "onnxruntime-web@1.30.0"  # the version that was tried
INSTALLED = Path("node_modules/onnxruntime-web/dist")
EVERY_FRAMES = 10  # a prediction
MODEL, ABOUT = "model.onnx", "about.json"


def check_page(out: Path, ort: str | None) -> Path:
    """Return the folder of ONNX Runtime Web; raises AudiotagError without it, or if no page can be written to `out`."""
    folder = INSTALLED if ort is None else Path(ort).expanduser()
    missing = [name for name in RUNTIME if not (folder / name).is_file()]
    if missing:
        raise AudiotagError(
            f"ort={folder}: {' and '.join(missing)} of ONNX Runtime Web are not there. Install it with "
            f"npm install {PACKAGE} (npm belongs to Node.js), and give ort=.../{INSTALLED} if that was elsewhere"
        )
    check_folder("out", out, "name another folder with out=")
    if out.is_dir() and any(out.iterdir()) and not (out / ABOUT).is_file():
        raise AudiotagError(f"out={out}: this folder holds what this command did not write; name another one")
    return folder


def write_page(out: Path, runtime: Path, about: About) -> None:
    """Write everything but the network to a folder: the page, ONNX Runtime Web, and what the network says of itself."""
    from audiotag.features.spectrogram import front_end_of  # which imports PyTorch

    front_end = front_end_of(Features(**about.features[0]))
    for source, name in [
        *((ASSETS / name, "index.html" if name == "live.html" else name) for name in PAGE),
        *((runtime / name, f"ort/{name}") for name in RUNTIME),
    ]:
        with replacing(out / name) as temporary:
            shutil.copyfile(source, temporary)
    samples = {"window_samples": round(about.window_s * about.sample_rate_hz), "hop_samples": front_end.hop_samples}
    samples["every_samples"] = EVERY_FRAMES * front_end.hop_samples
    bands_hz = {"bands_hz": [round(float(hz), 1) for hz in front_end.center_hz]}
    write_json(out / ABOUT, {**dataclasses.asdict(about), **samples, **bands_hz})
    size_mb = sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / 1e6
    console.print(f"Exported: {out / 'index.html'} ({size_mb:.1f} MB with all files)", soft_wrap=True)
    console.print(f"Serve it, for browsers open no such page from a disk: python -m http.server --directory {out}")
