"""What run= may name besides runs: a tagger that was exported, an ONNX file or a folder, here or on a hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiotag.config import Ensemble, PredictConfig
from audiotag.errors import ConfigError
from audiotag.inference.hub import HUB, NAMED, hub_folder
from audiotag.inference.tagger_folder import is_tagger_folder
from audiotag.run.naming import run_path


@dataclass(frozen=True)
class Exported:
    """An exported tagger: as it was asked for, and where its files lie."""

    name: str
    path: Path
    is_onnx: bool = False

    def beside(self, suffix: str) -> Path:
        """Return the path of what is written beside it; of a hub's, here."""
        named = NAMED.fullmatch(self.name)
        if named is not None:
            return Path(f"{named['repository'].rpartition('/')[2]}{suffix}").absolute()
        path = self.path.absolute()
        return path.with_name(f"{path.stem if self.is_onnx else path.name}{suffix}")


def exported(config: PredictConfig) -> Exported | None:
    """Return the exported tagger that run= names, fetched from a hub if it lies there, or None if it names runs.

    Raises ConfigError for settings that were settled when it was exported, RunError if the hub has no such tagger.
    """
    named = [str(one) for one in (config.run if isinstance(config.run, list) else [config.run])]
    found = next((name for name in named if name.startswith(HUB)), None)
    here = None if found else next((one for name in named if (one := _here(name, config.runs_dir))), None)
    if found is None and here is None:
        return None
    _refuse_settled(config, found or str(here.path if here else ""), len(named), here is not None and here.is_onnx)
    return here or Exported(str(found), hub_folder(str(found)))


def _here(name: str, runs_dir: str) -> Exported | None:
    path = Path(name).expanduser()
    if name.lower().endswith(".onnx") and not path.is_dir():
        return Exported(name, path, is_onnx=True)
    folder = next((place for place in (run_path(name, runs_dir), path) if is_tagger_folder(place)), None)
    return None if folder is None else Exported(name, folder)


def _refuse_settled(config: PredictConfig, name: str, n_named: int, is_onnx: bool) -> None:
    settled: dict[str, Any] = {"round": "best", "fold": None, "ensemble": Ensemble()}
    settled |= {"windows": 0, "cut": False} if is_onnx else {}
    given = [setting for setting, value in settled.items() if getattr(config, setting) not in (value, None)]
    problems = [f"{setting}= was settled when it was exported" for setting in given]
    if n_named > 1:
        problems.append(f"run={config.run}: several make an ensemble when they are exported, into one")
    if config.split is not None:
        problems.append(f"split={config.split}: only a run's folder tells its data set; give source=, or run=NAME")
    if is_onnx and (config.hardware.accelerator == "gpu" or config.hardware.precision not in ("auto", "32-true")):
        problems.append("hardware: an ONNX file is run on the CPU in single precision")
    if problems:
        raise ConfigError(f"{name} cannot be asked so:", problems)
