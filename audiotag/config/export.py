"""Settings of `python -m audiotag.export`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from audiotag.config.checks import REPOSITORY, needs_run
from audiotag.config.predict import Ensemble
from audiotag.config.schema import Program, settings


@settings
class ExportConfig(Program):
    """Write the networks of one or more runs to a file, a page or a folder that needs the run no more."""

    run: Any = ""
    """Name of the run, the folder `runs/NAME` (a path works too); several make an ensemble: [A,B]. NAME@ROUND asks that
    round: [A@best,B@3]."""
    runs_dir: str = "runs"
    """Folder that holds the run folders."""
    to: Literal["onnx", "web", "folder"] = "onnx"
    """onnx: one file, waves in, posteriors out. web: a folder with a page that labels what a microphone hears, in the
    browser. folder: the networks as they are (safetensors), and a model card."""
    out: str | None = None
    """File to write, NAME.onnx, or the folder; null: below the run folder, in `export/`."""
    push: str | None = None
    """With to=folder: repository of the Hugging Face hub, OWNER/NAME, to which the folder is pushed; a README.md there
    stays."""
    public: bool = False
    """With push=: a repository that is made for it can be seen by all; false: by its owner."""
    int8: bool = False
    """With to=onnx: networks in 8 bits, front ends in float; what that costs is measured on the run's own clips."""
    root: str | None = None
    """With int8=true: folder of the data set, if it moved since the run was made."""
    round: Any = "best"
    """Round whose networks are exported, where run= does not say: best, last or a number."""
    fold: int | None = Field(None, ge=0, le=1000)
    """Export this fold's network only; null: the mean of all folds."""
    windows: int = Field(0, ge=0, le=10_000)
    """0: the whole recording is heard. N: N evenly spaced excerpts of features.excerpt_frames."""
    window_frames: int | None = Field(None, ge=1, le=1_000_000)
    """Frames of a window in which recordings are heard; null: features.clip_frames, as in validation, and with to=web
    features.excerpt_frames. What is shorter is repeated to it, so that a live tagger, whose windows are short, needs
    its own, such as 256."""
    cut: bool = False
    """Hear only the first features.clip_frames of longer recordings."""
    ensemble: Ensemble = Ensemble()
    """How the posteriors of several networks become one."""
    ort: str | None = None
    """With to=web: folder of ONNX Runtime Web, `node_modules/onnxruntime-web/dist`; null: that folder here."""

    def clashes(self, prefix: str) -> Iterator[str]:
        yield from needs_run(self.run)
        if isinstance(self.run, dict):
            yield f"run={self.run} does not name a run; several are given as run=[A,B]"
        if self.windows and self.window_frames is not None:
            yield "windows= are excerpts of features.excerpt_frames: leave window_frames= away"
        if self.cut and self.window_frames is not None:
            yield "cut= keeps the first features.clip_frames: leave window_frames= away"
        if self.ort is not None and self.to != "web":
            yield "ort= belongs to to=web"
        if self.out == "":
            yield "out= does not name a file"
        yield from self._of_folders()
        if self.int8 and self.to != "onnx":
            yield "int8= belongs to to=onnx"
        if self.root is not None and not self.int8:
            yield "root= belongs to int8=true"
        if self.to == "onnx" and self.out is not None and not self.out.lower().endswith(".onnx"):
            yield f"out={self.out}: name a file that ends with .onnx"

    def _of_folders(self) -> Iterator[str]:
        if self.push is not None and self.to != "folder":
            yield "push= belongs to to=folder"
        if self.push is not None and not REPOSITORY.fullmatch(self.push):
            yield f"push={self.push} does not name a repository: write OWNER/NAME"
        if self.public and self.push is None:
            yield "public= belongs to push="
        if self.to == "folder":
            settled = {"windows": self.windows, "window_frames": self.window_frames, "cut": self.cut}
            yield from (f"{name}= is for who asks a folder, as of a run" for name, said in settled.items() if said)
