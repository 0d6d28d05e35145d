"""ONNX files as `python -m audiotag.export` writes them: what one says of itself, and its session."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiotag.config import Features
from audiotag.console import as_called
from audiotag.errors import RunError
from audiotag.inference.labelling import Key

if TYPE_CHECKING:
    import onnxruntime

KEY = "audiotag"  # in the file's metadata
FORMAT = 1  # to be raised when the same fields or names come to mean something else
WRITER = "was not written by python -m audiotag.export"
AGAIN = "export it again with python -m audiotag.export"


@dataclass(frozen=True)
class About:
    """What an exported file says of itself, besides its graph."""

    version: str
    """Of audiotag, by which it was made."""
    runs: list[str]
    """Names of the members, NAME@ROUND each."""
    networks: list[list[Key]]
    """(member, fold) of the networks of each front end, in the order of the graph."""
    classes: list[str]
    sample_rate_hz: int
    trim: bool
    features: list[dict[str, Any]]
    """Settings of each front end, in the order of the graph."""
    windows: int
    cut: bool
    window_s: float
    """How long a window of a stream is, if nobody says."""
    ensemble: dict[str, Any]
    """How posteriors become one: mean, weights, l2."""
    int8: bool = False
    """Whether the networks are in 8 bits."""
    format: int = FORMAT

    def specs(self) -> list[Features]:
        """Return the settings of each front end."""
        return [Features(**one) for one in self.features]


def open_session(model: Path | bytes, threads: int | None) -> onnxruntime.InferenceSession:
    """Open a model, a file or its bytes; raises RunError if it is missing or damaged, or there is no ONNX Runtime."""
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as raised
    except ModuleNotFoundError as error:
        raise RunError(
            as_called("ONNX files need onnxruntime, which is not installed: pip install -e '.[onnx]'")
        ) from error
    if isinstance(model, Path) and not model.is_file():
        raise RunError(f"{model}: there is no such file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    # On cores that others use, threads that spin wait for each other.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors are raised
    try:
        given = str(model) if isinstance(model, Path) else model
        return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except (raised.Fail, raised.InvalidArgument, raised.InvalidGraph, raised.InvalidProtobuf, raised.NotImplemented,
            raised.RuntimeException, RuntimeError) as error:  # fmt: skip
        what = model if isinstance(model, Path) else "a part of it"
        raise RunError(
            f"{what} is damaged, or not an ONNX file ({type(error).__name__}): {as_called(AGAIN)}"
        ) from error


def read_about(path: Path, metadata: Mapping[str, str]) -> About:
    """Return what a file says of itself; raises RunError if audiotag did not write it, or another version did."""
    if KEY not in metadata:
        raise RunError(f"{path} {as_called(WRITER)}: it does not say what its classes are")
    try:
        fields = json.loads(metadata[KEY])
        if fields["format"] != FORMAT:
            raise RunError(f"{path} was written by audiotag {fields['version']}, in another format: {as_called(AGAIN)}")
        about = About(**{**fields, "networks": [[(m, fold) for m, fold in keys] for keys in fields["networks"]]})
        about.specs()
    except (ValueError, TypeError, LookupError) as error:
        raise RunError(
            f"{path} is damaged ({type(error).__name__} in what it says of itself): {as_called(AGAIN)}"
        ) from error
    return about
