"""One ONNX graph of an ensemble: waves in, posteriors out, with front ends, windows, networks and means in between.

Shapes: M members, K networks, B clips, W windows, F bands, T frames, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from audiotag.errors import AudiotagError
from audiotag.export.front_ends import front_end_part
from audiotag.export.int8 import Windows, in_int8
from audiotag.export.nodes import Part, exported, model_of
from audiotag.features.spectrogram import front_end_of
from audiotag.inference.fusion import FLOOR, Fusion
from audiotag.inference.labelling import Key
from audiotag.inference.spectrograms import WindowSpec
from audiotag.models.network import ask

LARGEST_BYTES = 2_000_000_000  # of a file of ONNX

# `place_windows`: of a recording that is heard whole, and of evenly spaced excerpts.
WHOLE = """
rounded_up = Add(used, all_but_one)
count = Div(rounded_up, clip)
last = Squeeze(count)
numbers = Range(first, last, step)
begins = Mul(numbers, clip)
beyond = Sub(used, clip)
latest = Max(beyond, zero)
starts = Min(begins, latest)
all_ends = Add(begins, clip)
ends = Min(all_ends, used)
lengths = Sub(ends, begins)
lengths_float = Cast<to=1>(lengths)
used_float = Cast<to=1>(used)
weights = Div(lengths_float, used_float)
"""
EXCERPTS = """
repeated = Max(used, clip)
latest = Sub(repeated, excerpt)
latest_double = Cast<to=11>(latest)
exact = Mul(shares, latest_double)
rounded = Round(exact)
starts = Cast<to=7>(rounded)
weights = Identity(equal)
count = Identity(excerpts)
"""
CUT = """
frames = Shape<start=2, end=3>(spectrogram)
{used}
{placed}
starts_column = Unsqueeze(starts, one)
unrepeated = Add(starts_column, offsets)
positions = Mod(unrepeated, frames)
cut = Gather<axis=2>(spectrogram, positions)
in_order = Transpose<perm=[0, 2, 1, 3]>(cut)
windows = Reshape(in_order, shape)
"""
AVERAGED = """
by_window_shape = Concat<axis=0>(networks_and_clips, count, classes)
by_window = Reshape(each, by_window_shape)
weights_column = Unsqueeze(weights, one)
weighted = Mul(by_window, weights_column)
posteriors = ReduceSum<keepdims=0>(weighted, two)
"""


class _Posteriors(nn.Module):
    """What several networks say to windows (B, 1, F, T): posteriors (K, B, C)."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks, self.of = nn.ModuleList(networks), networks[0]

    def forward(self, x: Tensor) -> Tensor:
        """Return the posteriors."""
        return torch.stack([ask(network, x).softmax(dim=1) for network in self.networks])


Groups = Sequence[tuple[WindowSpec, Mapping[Key, nn.Module]]]  # networks by (member, fold), and what they hear


def ensemble_graph(
    groups: Groups, mean: str, fusion: Fusion | None, classes: int, calibration: Sequence[Windows] | None = None
) -> onnx.ModelProto:
    """Return the model of an ensemble, float32 networks on the CPU: `wave` (B, samples) to `posteriors` (B, C), and
    what its first front end makes of the wave, `spectrogram` (B, F, T).

    With `calibration`, windows (N, 1, F, T) for each group, the networks are in 8 bits.
    Raises AudiotagError if a front end or a network cannot be written as ONNX, or all of them are too large for a file.
    """
    keys = [key for _, networks in groups for key in networks]
    n_weights = sum(w.numel() for _, networks in groups for one in networks.values() for w in one.parameters())
    if 4 * n_weights > LARGEST_BYTES:
        raise AudiotagError(
            f"the networks have {4 * n_weights / 1e9:.1f} GB of weights, and a file of ONNX holds 2 GB: export fewer "
            "runs, or one fold, with fold="
        )
    made = Part([], [])
    for number, (spec, networks) in enumerate(groups):
        windows = None if calibration is None else calibration[number]
        made += _group_part(f"g{number}_", spec, list(networks.values()), classes, windows)
    names = ", ".join(f"g{number}_posteriors" for number in range(len(groups)))
    made += Part.of(f"each = Concat<axis=0>({names})\nspectrogram = Identity(g0_spectrogram)", {}, "")
    members = sorted({member for member, _ in keys})
    made += _fused([[i for i, key in enumerate(keys) if key[0] == member] for member in members], mean, fusion)
    bands = front_end_of(groups[0][0].features).bands
    outputs = {"posteriors": ["clips", classes], "spectrogram": ["clips", bands, "frames"]}
    model = model_of(made, {"wave": ["clips", "samples"]}, outputs)
    # For who takes the graph apart: recordings of hours are heard window by window.
    inner: dict[str, list[Any]] = {"each": [len(keys), "clips", classes]}
    for number, (spec, networks) in enumerate(groups):
        front_end = front_end_of(spec.features)
        inner[f"g{number}_windows"] = ["windows", 1, front_end.bands, _frames(spec)]
        inner[f"g{number}_each"] = [len(networks), "windows", classes]
    infos = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in inner.items()]
    model.graph.value_info.extend(infos)
    onnx.checker.check_model(model)
    return model


def _frames(spec: WindowSpec) -> int:
    return spec.features.excerpt_frames if spec.excerpts else spec.features.clip_frames


def _group_part(
    prefix: str, spec: WindowSpec, networks: list[nn.Module], classes: int, calibration: Windows | None
) -> Part:
    """Return the part from `wave` to `{prefix}posteriors` (K, B, C) of networks that hear the same spectrograms."""
    front_end = front_end_of(spec.features)
    length = _frames(spec)
    x, ends = torch.rand(2, 1, front_end.bands, length), (f"{prefix}windows", f"{prefix}each")
    asked = exported(_Posteriors(networks), x, {0: "windows"}, f"{prefix}n/", *ends)
    if calibration is not None:
        asked = in_int8(asked, *ends, [len(networks), "windows", classes], calibration)
    return (
        front_end_part(front_end, prefix)
        + Part.of(*_windows(spec, front_end.bands), prefix)
        + asked
        + Part.of(
            AVERAGED,
            {
                "networks_and_clips": np.array([len(networks), -1], np.int64),
                "classes": np.array([classes], np.int64),
                "two": np.array([2], np.int64),
            },
            prefix,
        )
    )


def _windows(spec: WindowSpec, bands: int) -> tuple[str, dict[str, Any]]:
    clip, length, n = spec.features.clip_frames, _frames(spec), spec.excerpts
    shares = np.array([0.5]) if n == 1 else np.arange(n) / (n - 1) if n else np.zeros(0)
    used = "used = Min(frames, clip)" if spec.cut else "used = Identity(frames)"
    constants: dict[str, Any] = {
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "clip": np.array([clip], np.int64),
        "offsets": np.arange(length),
        "shape": np.array([-1, 1, bands, length], np.int64),
    }
    if n:
        constants |= {"excerpt": np.array([length], np.int64), "shares": shares, "excerpts": np.array([n], np.int64)}
        constants |= {"equal": np.full(n, 1 / n, np.float32)}
    else:
        constants |= {"all_but_one": np.array([clip - 1], np.int64), "first": np.int64(0), "step": np.int64(1)}
    return CUT.format(used=used, placed=EXCERPTS if n else WHOLE), constants


def _fused(of_members: list[list[int]], mean: str, fusion: Fusion | None) -> Part:
    """Return the part from `each` (K, B, C) to `posteriors` (B, C): means over folds, then over members."""
    constants: dict[str, Any] = {"axis": np.array([0], np.int64), "floor": np.float32(FLOOR)}
    lines = []
    for m, networks in enumerate(of_members):
        constants[f"of{m}"] = np.array(networks, np.int64)
        lines += [f"own{m} = Gather<axis=0>(each, of{m})", *_mean(f"own{m}", f"member{m}", len(networks), mean)]
    lines.append(f"members = Concat<axis=0>({', '.join(f'member{m}' for m in range(len(of_members)))})")
    if fusion is None:
        lines += _mean("members", "fused", len(of_members), mean)
    else:
        constants |= {"weights": fusion.weights.astype(np.float32)[:, None, None]}
        constants |= {"biases": fusion.biases.astype(np.float32)}
        lines += ["members_floor = Max(members, floor)", "members_logs = Log(members_floor)"]
        lines += ["by_weight = Mul(members_logs, weights)", "scores = ReduceSum<keepdims=1>(by_weight, axis)"]
        lines += ["biased = Add(scores, biases)", "fused = Softmax<axis=-1>(biased)"]
    lines.append("posteriors = Squeeze(fused, axis)")
    return Part.of("\n".join(lines), constants, "fuse_", keep=("each", "posteriors"))


def _mean(of: str, name: str, n: int, mean: str) -> list[str]:
    """Return the lines of `audiotag.inference.fusion.average` over the first axis."""
    if n == 1:
        return [f"{name} = Identity({of})"]
    if mean == "arithmetic":
        return [f"{name} = ReduceMean<keepdims=1>({of}, axis)"]
    return [
        f"{name}_floor = Max({of}, floor)",
        f"{name}_logs = Log({name}_floor)",
        f"{name}_mean = ReduceMean<keepdims=1>({name}_logs, axis)",
        f"{name} = Softmax<axis=-1>({name}_mean)",
    ]
