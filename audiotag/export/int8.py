"""Networks in 8 bits: calibrated on the run's own training clips, and what that costs, measured on clips held out.

Weights and activations of convolutions and matrix products become whole numbers (QDQ, a scale per output channel of the
weights); the front end, the first convolution, which hears its decibels, and all means stay in float. Weights have 7
bits: processors without instructions for it (VNNI) would clip sums of products of 8.
Shapes: N windows, F bands, T frames, C classes.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from audiotag.console import console, print_columns
from audiotag.errors import DataError
from audiotag.evaluation.metrics import score_posteriors
from audiotag.export.nodes import Part, model_of
from audiotag.features.audio import AudioError
from audiotag.inference.ensemble import EnsembleTagger
from audiotag.inference.labelling import Labelled
from audiotag.inference.members import Member, held_out_folds
from audiotag.inference.onnx_tagger import OnnxTagger
from audiotag.inference.recordings import Recording, split_recordings, training_paths
from audiotag.inference.spectrograms import WindowSpec, cut_windows, file_spectrograms, place_windows
from audiotag.randomness import generator

CALIBRATED_ON = 100  # clips, a window of each
AT_ONCE = 8  # windows that a calibration's pass takes
KINDS = ["Conv", "Gemm", "MatMul", "MaxPool"]
Windows = NDArray[np.float32]  # (N, 1, F, T)


def calibration_windows(member: Member, spec: WindowSpec, root: str | None) -> Windows:
    """Return what networks hear of the beginnings of training clips: unverified ones, which validate nothing, if any.

    Raises DataError if recordings are missing, or none can be read.
    """
    clips = member.folder.train
    clips = clips[~clips["verified"]] if not clips["verified"].all() else clips
    order = generator("calibration", len(clips)).permutation(len(clips))[:CALIBRATED_ON]
    paths = training_paths(member.folder, clips.iloc[np.sort(order)], root)
    found = []
    for spectrogram in file_spectrograms(paths, spec.features, 0):
        if not isinstance(spectrogram, AudioError):
            windows = place_windows(spectrogram.n_frames, spec)
            found.append(next(cut_windows(spectrogram.pieces, spectrogram.n_frames, windows)).T)  # (F, T)
    if not found:
        raise DataError("None of the training clips can be read to calibrate on:", [str(paths[0])])
    return np.stack(found)[:, None].astype(np.float32)


class _Windows(CalibrationDataReader):
    """Gives out windows, a few at a time."""

    def __init__(self, name: str, windows: Windows) -> None:
        self._name = name
        self._left: Iterator[Windows] = iter(np.array_split(windows, -(-len(windows) // AT_ONCE)))

    def get_next(self) -> dict[str, Windows] | None:
        """Return the next ones, None if there are none."""
        windows = next(self._left, None)
        return None if windows is None else {self._name: windows}


def in_int8(part: Part, takes: str, gives: str, shape: list[Any], windows: Windows) -> Part:
    """Return the part that computes `gives` (`shape`) of `takes`, windows (N, 1, F, T), as networks do, in 8 bits."""
    model = model_of(part, {takes: ["windows", *windows.shape[1:]]}, {gives: shape})
    # The exporter has put batch norms into the convolutions already, which is what preparing would do.
    model = onnx.shape_inference.infer_shapes(model)
    add_pre_process_metadata(model)
    first = [node.name for node in part.nodes if takes in node.input]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            path,
            _Windows(takes, windows),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=KINDS,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=first,
        )
        graph = onnx.load(path).graph
    return Part(list(graph.node), list(graph.initializer))


class Comparison:
    """Clips that a file in 8 bits and the networks in float are both asked about: of validation and, if any, of test.

    Each network is asked about verified clips that it held out, all about test clips. Raises DataError if recordings
    are missing, or there is nothing to compare by.
    """

    def __init__(self, members: Sequence[Member], root: str | None) -> None:
        folder = members[0].folder
        splits = [] if any(member.folder.config.data.train_on_all for member in members) else ["valid"]
        splits += ["test"] if (folder.manifest["split"] == "test").any() else []
        self.splits = {
            split: (
                split_recordings(folder, split, None, members[0].folds, root).recordings,
                held_out_folds(members, split, None),
            )
            for split in splits
        }
        if not self.splits:
            advice = "what int8 costs cannot be measured, and nothing is written"
            raise DataError(f"{folder.path} held nothing out and has no test clips:", [advice])

    def print(self, tagger: EnsembleTagger, written: OnnxTagger) -> None:
        """Ask both, and print accuracy, MAP@3, and how much posteriors differ."""
        other = copy.copy(tagger)
        other.groups = written.groups  # type: ignore[assignment]
        cells: dict[str, list[str]] = {name: [] for name in COLUMNS}
        for split, (recordings, folds) in self.splits.items():
            sides = [_answers(one, recordings, folds) for one in (tagger, other)]
            for name, cell in zip(COLUMNS, _row(split, recordings, sides, tagger.classes), strict=True):
                cells[name].append(cell)
        print_columns(cells, left=("Split",))
        console.print("Difference: of posteriors, int8 against float; the largest of any clip and class, and the mean")


COLUMNS = ("Split", "Clips", "Accuracy", "in int8", "MAP@3", "int8's", "Same label", "Difference", "mean")


def _answers(tagger: EnsembleTagger, recordings: list[Recording], folds: Any) -> tuple[Labelled, NDArray[np.float64]]:
    labelled = tagger.label(recordings, folds)
    if labelled.problems:
        raise DataError(f"{len(labelled.problems)} clips cannot be read:", labelled.problems)
    return labelled, tagger.together(labelled)


def _row(split: str, recordings: list[Recording], sides: list[Any], classes: Sequence[str]) -> Iterator[str]:
    (_, own), (_, other) = sides
    scored = [i for i, recording in enumerate(recordings) if recording.scored]
    labels = [recordings[i].label for i in scored]
    yield from (split, str(len(recordings)))
    scores = [score_posteriors(one[scored], labels, classes) if scored else None for one in (own, other)]
    yield from ("-" if one is None else f"{one.accuracy:.4f}" for one in scores)
    yield from ("-" if one is None else f"{one.map3:.4f}" for one in scores)
    yield f"{(own.argmax(axis=1) == other.argmax(axis=1)).mean():.4f}"
    yield from (f"{np.abs(own - other).max():.4f}", f"{np.abs(own - other).mean():.5f}")
