"""The export: who is asked is checked, without PyTorch; a graph is made, compared with the networks, and written."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import audiotag
from audiotag.config import ExportConfig, PredictConfig
from audiotag.console import as_called, console
from audiotag.distributed.processes import importing_pytorch
from audiotag.errors import AudiotagError, RunError
from audiotag.export.folder import export_folder
from audiotag.export.sound import sound
from audiotag.export.web import MODEL, check_page, write_page
from audiotag.files import check_output, replacing
from audiotag.inference.members import Member, choose_members, default_folder
from audiotag.inference.onnx_file import KEY, About
from audiotag.inference.onnx_tagger import OnnxTagger

if TYPE_CHECKING:
    from audiotag.inference.ensemble import EnsembleTagger

NEEDED = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4  # between the graph's posteriors and the networks' own


def export(config: ExportConfig) -> Path:
    """Write what the configuration asks for, and return the file or folder.

    Raises RunError if a run, round or fold is not there or runs make no ensemble, AudiotagError if a network or a front
    end cannot be written as ONNX, or says something else there.
    """
    asked = _asked(config)
    members = choose_members(asked)
    out = _output(config, members)
    if config.to == "folder":
        export_folder(out, members, asked, config)
        return out
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise AudiotagError(as_called(f"to export, {', '.join(missing)} must be installed: pip install -e '.[onnx]'"))
    _check_fits(members)
    if config.to == "web":
        runtime = check_page(out, config.ort)
        frames = config.window_frames or (None if config.windows else members[0].folder.config.features.excerpt_frames)
        write_page(out, runtime, write_onnx(out / MODEL, members, asked, frames))
    else:
        check_output(out, "audiotag")
        write_onnx(out, members, asked, config.window_frames, config.int8, config.root)
    return out


def write_onnx(
    path: Path,
    members: Sequence[Member],
    asked: PredictConfig,
    window_frames: int | None,
    int8: bool = False,
    root: str | None = None,
) -> About:
    """Write the members' networks to a file, once its graph has said the same; return what it says of itself.

    With `int8`, it need not say the same: how good it is, beside the networks, is measured and printed. `root` is then
    the folder of the data set, if it moved.
    """
    with importing_pytorch():
        import onnx

        from audiotag.export.graph import ensemble_graph
        from audiotag.export.int8 import Comparison, calibration_windows
        from audiotag.inference.ensemble import EnsembleTagger

    comparison = Comparison(members, root) if int8 else None
    tagger = EnsembleTagger(members, asked)
    if window_frames is not None:
        _hear_in(tagger, window_frames)
    groups = [(spec, networks.by_key) for spec, networks in tagger.groups]
    firsts = [members[next(iter(networks))[0]] for _, networks in groups]
    calibration = None
    if int8:
        calibration = [calibration_windows(one, spec, root) for one, (spec, _) in zip(firsts, groups, strict=True)]
    model = ensemble_graph(groups, tagger.settings.mean, tagger.fusion, len(tagger.classes), calibration)
    about = _about(tagger, asked, window_frames, int8)
    onnx.helper.set_model_props(model, {KEY: json.dumps(dataclasses.asdict(about), ensure_ascii=False)})
    with replacing(path) as temporary:
        onnx.save(model, temporary)
        written = OnnxTagger(temporary, asked.hardware)
        if comparison is None:
            difference = _difference(tagger, written)
            console.print(f"The graph answers as {', '.join(tagger.names)}: posteriors differ by {difference:.0e}")
        else:
            comparison.print(tagger, written)
    size_mb = path.stat().st_size / 1e6
    console.print(f"Exported: {path} ({size_mb:.1f} MB)", soft_wrap=True)
    return about


def _asked(config: ExportConfig) -> PredictConfig:
    """Return the settings by which networks are loaded, in the precision of the file."""
    return PredictConfig(
        run=config.run,
        runs_dir=config.runs_dir,
        source=".",  # not looked at
        round=config.round,
        fold=config.fold,
        windows=config.windows,
        cut=config.cut,
        ensemble=config.ensemble,
        hardware={"accelerator": "cpu", "precision": "32-true", "workers": 0},  # type: ignore[arg-type]
    )


def _check_fits(members: Sequence[Member]) -> None:
    """Raise RunError unless all members hear the same wave."""
    heard = {(m.folder.config.features.trim, m.folder.config.features.front_end.get("sample_rate_hz")) for m in members}
    if len(heard) > 1:
        raise RunError(
            "One graph takes one wave: members must have the same features.trim and sample_rate_hz, and these have "
            f"{' and '.join(f'trim={trim} sample_rate_hz={rate}' for trim, rate in sorted(heard, key=str))}"
        )


def _output(config: ExportConfig, members: Sequence[Member]) -> Path:
    if config.out is not None:
        return Path(config.out).expanduser().absolute()
    folder = default_folder(members, config.runs_dir)
    name = members[0].folder.path.name if folder.name == "predict" else folder.name
    folder = folder.parent / "export" if folder.name == "predict" else folder
    return folder / {"web": "web", "folder": name, "onnx": f"{name}{'-int8' if config.int8 else ''}.onnx"}[config.to]


def _hear_in(tagger: EnsembleTagger, frames: int) -> None:
    """Have an ensemble hear recordings in windows of so many frames, where they are longer, and repeated to as many."""
    least = max(getattr(network, "min_frames", 1) for network in tagger.networks().values())
    if frames < least:
        raise AudiotagError(f"window_frames={frames}: the networks need {least} frames or more")
    tagger.groups = [
        (dataclasses.replace(spec, features=dataclasses.replace(spec.features, clip_frames=frames)), networks)
        for spec, networks in tagger.groups
    ]


def _about(tagger: EnsembleTagger, asked: PredictConfig, window_frames: int | None, int8: bool) -> About:
    from audiotag.features.spectrogram import front_end_of

    first = tagger.groups[0][0].features
    front_end = front_end_of(first)
    window_s = tagger.window_s
    if window_frames is not None:  # a sample more would be a frame more
        window_s = (window_frames * front_end.hop_samples - 1) / front_end.sample_rate_hz
    return About(
        version=audiotag.__version__,
        runs=tagger.names,
        networks=[list(networks.by_key) for _, networks in tagger.groups],
        classes=list(tagger.classes),
        sample_rate_hz=front_end.sample_rate_hz,
        trim=first.trim,
        features=[dataclasses.asdict(spec.features) for spec, _ in tagger.groups],
        windows=asked.windows,
        cut=bool(asked.cut),
        window_s=window_s,
        ensemble=dataclasses.asdict(asked.ensemble),
        int8=int8,
    )


def _difference(tagger: EnsembleTagger, written: OnnxTagger) -> float:
    """Return how much the posteriors of a sound differ; raises AudiotagError if they are not the same."""
    wave, rate_hz = sound(tagger.groups)
    found, expected = written.posteriors(wave, rate_hz), tagger.posteriors(wave, rate_hz)
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE:
        raise AudiotagError(
            f"{', '.join(tagger.names)} cannot be written as ONNX: the graph's posteriors differ by {difference:.2g} "
            "from the networks' own; a front end or network of your own may do what depends on its input's values"
        )
    return difference
