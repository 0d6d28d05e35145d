"""audiotag as a library: train, decide again, read runs, and label sound with their networks.

    import audiotag

    run = audiotag.train(["experiment=smoke", "finetune_rounds=1"])
    tagger = audiotag.load(run)
    tagger.predict("clips/")

`import audiotag` offers all names of this module. The three programs are clients of it: `train`, `verify` and `predict`
do what train.py, verify.py and predict.py do. What is slow to import is imported when it is first needed.

Errors: AudiotagError, with a message for the person who made the call, and its kinds ConfigError (settings), DataError
(recordings and tables) and RunError (runs, rounds and folds that are not there); TypeError and ValueError if a call
makes no sense whatever the data.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from omegaconf import OmegaConf

from audiotag.cli.arguments import refuse_forgotten_data
from audiotag.cli.composition import compose_config
from audiotag.config import CompareConfig, Features, PredictConfig, ReferenceLevel, TrainConfig, VerifyConfig
from audiotag.config.leaf import pinned
from audiotag.config.schema import as_own, validate
from audiotag.errors import AudiotagError, ConfigError, DataError, RunError
from audiotag.inference.window import Window
from audiotag.run.naming import run_name, run_path

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch import nn

    from audiotag.data.manifest import Manifest
    from audiotag.features.spectrogram import Level
    from audiotag.inference.recordings import Recording
    from audiotag.live.stream import LiveStream
    from audiotag.run.folder import RunFolder

__all__ = ["AudiotagError", "ConfigError", "DataError", "Run", "RunError", "Spectrogram", "Stream", "Tagger", "Window"]
__all__ += ["compare_runs", "load", "open_run", "predict", "read_audio", "read_manifest", "spectrogram"]
__all__ += ["train", "verify"]

Config = TypeVar("Config", TrainConfig, VerifyConfig, PredictConfig)


def train(settings: Sequence[str] | TrainConfig = ()) -> Run:
    """Do what is missing of a run and, once it is complete, write its report, as `python train.py` does.

    `settings` are what would stand on the command line, such as `["data=csv", "data.root=clips", "seed=1"]`, or a
    finished configuration. Called again with the same ones, it goes on where it was. Raises ConfigError, DataError and
    RunError before any work, with everything that is wrong.
    """
    config = _config(TrainConfig, settings)
    if not isinstance(settings, TrainConfig):
        refuse_forgotten_data(config.data, settings)
        config = dataclasses.replace(config, run=run_name(config, settings))
    from audiotag.distributed.launch import devices_for, launch, leads
    from audiotag.experiment.checks import check_run_and_data

    front_end = pinned(config.features.front_end, "features.front_end")
    config = dataclasses.replace(config, features=dataclasses.replace(config.features, front_end=front_end))
    if config.devices is None and config.fold is None:
        devices = devices_for(config.folds, config.hardware)
        config = dataclasses.replace(config, devices=devices, parallel="folds" if devices > 1 else config.parallel)
    loop, apart = "audiotag.experiment.loop:run_experiment", config.parallel == "folds"  # by name: it needs PyTorch
    launch(loop, config, lambda: check_run_and_data(config), apart)
    if config.report and leads():
        from audiotag.report.finished import report_finished

        report_finished(config)
    return Run(run_path(str(config.run), config.runs_dir))


def verify(settings: Sequence[str] | VerifyConfig) -> pd.DataFrame:
    """Decide again which labels of a run to accept, print and write the decision, as `python verify.py` does.

    Returns the figures of each round: round, considered, accepted, precision, recall. `Run.verify` returns the decision
    itself, and writes nothing.
    """
    from audiotag.experiment.verify import verify as decide

    return decide(_config(VerifyConfig, settings))


def predict(settings: Sequence[str] | PredictConfig) -> Path | None:
    """Label recordings, a split or a stream, or score a submission, print and write it, as `python predict.py` does.

    Returns the file written: predictions, parts or, of a submission, scores; None of a page, or of a stream that is not
    written down.
    `Tagger.predict`, `Tagger.segments` and `Tagger.live` return what they hear, and write nothing.
    """
    config = _config(PredictConfig, settings)
    if config.submission is not None:
        from audiotag.inference.submission import score_submission

        return score_submission(config)
    if config.live:
        from audiotag.live.program import predict_live, serve_page

        if not config.web:
            return predict_live(config)
        serve_page(config)
        return None
    if config.segments:
        from audiotag.inference.predict_segments import predict_segments

        return predict_segments(config)
    from audiotag.inference.predict import predict as label

    return label(config)


def load(
    run: str | Path | Run | Sequence[str | Path | Run],
    *,
    round: int | str | Sequence[int | str] = "best",
    fold: int | None = None,
    windows: int = 0,
    cut: bool = False,
    mean: str = "arithmetic",
    weights: str = "equal",
    accelerator: str = "auto",
    precision: str = "auto",
    runs_dir: str | Path = "runs",
    trust: Sequence[str] = (),
) -> Tagger:
    """Load the networks of a run, or of several that make an ensemble, to label sound with.

    `run` is a name, the path of a run folder, or a Run; `round` is a number, "best" or "last" (a list asks them all),
    and NAME@ROUND says it for one run. All folds are asked, or only `fold`. A recording is heard whole, or by as many
    evenly spaced excerpts as `windows` says, with `cut` not beyond the first `features.clip_frames`. `mean` and
    `weights` are predict.py's `ensemble.mean` and `ensemble.weights`, `accelerator` and `precision` its `hardware`'s.
    Instead of a run, the path of a file that `python -m audiotag.export` wrote, MODEL.onnx, is loaded without PyTorch;
    or a folder that it wrote, here or on the Hugging Face hub, "hf://OWNER/NAME" or "hf://OWNER/NAME@REVISION"; whom
    they ask, and how their answers become one, was settled then. All of these may be a stranger's: only classes of
    audiotag are built (of a folder, those that do no harm whatever their arguments), and those that `trust` names, such
    as "my_net.Net". Raises RunError if a run, round or fold is not there, or its weights are damaged, and ConfigError
    for settings that do not exist and classes that are not trusted.
    """
    runs = list(run) if isinstance(run, list | tuple) else [run]
    for one in runs:
        if not isinstance(one, str | os.PathLike | Run):
            raise TypeError(f"a run is given by its name, its folder or a Run, not by {type(one).__name__}")
    settings = {
        "run": [str(one.path if isinstance(one, Run) else one) for one in runs],
        "runs_dir": str(runs_dir),
        "source": ".",  # not looked at
        "round": list(round) if isinstance(round, list | tuple) else round,
        "fold": fold,
        "windows": windows,
        "cut": cut,
        "trust": [trust] if isinstance(trust, str) else list(trust),
        "ensemble": {"mean": mean, "weights": weights},
        "hardware": {"accelerator": accelerator, "precision": precision, "workers": 0},
    }
    return Tagger(as_own(validate(OmegaConf.create(settings), PredictConfig)))


def open_run(run: str | Path, runs_dir: str | Path = "runs") -> Run:
    """Open a run, by its name or the path of its folder, to read its results; raises RunError if there is none."""
    found = Run(run_path(str(run), str(runs_dir)))
    found.config  # noqa: B018 - raises RunError if there is no run
    return found


def compare_runs(runs: Sequence[str | Path] | None = None, runs_dir: str | Path = "runs") -> pd.DataFrame:
    """Return a row per run with the settings in which they differ, and their figures, as `python -m audiotag.compare`.

    Left out, `runs` are all run folders in `runs_dir`. Raises RunError if none of them can be read.
    """
    from audiotag.compare import compare, find

    names = None if runs is None else [str(run) for run in runs]
    return compare(find(CompareConfig(run=names, runs_dir=str(runs_dir))))


def read_manifest(settings: Sequence[str] | TrainConfig = ()) -> Manifest:
    """Read a data set as training does: its clips, labels, folds and classes. Nothing is trained.

    `settings` are as of `train`. Raises DataError with every row and file that cannot be used.
    """
    from audiotag.data.manifest import build_manifest

    config = _config(TrainConfig, settings)
    if not isinstance(settings, TrainConfig):
        refuse_forgotten_data(config.data, settings)
    return build_manifest(config)


def read_audio(path: str | Path) -> tuple[NDArray[np.float32], int]:
    """Read a sound file: its mono wave (samples,), the mean of its channels, and its sample rate in Hz.

    Raises AudiotagError if it is missing, empty, or cannot be decoded.
    """
    from audiotag.features.audio import decode

    return decode(path)


@dataclass(frozen=True, eq=False)
class Spectrogram:
    """What networks hear of a recording: `frames` (T, F), `frames_per_second`, and where each band peaks, (F,) in Hz.

    It begins and ends at `begin_s` and `end_s` of the recording: silence at the ends has been trimmed.
    """

    frames: NDArray[np.float16]
    frames_per_second: float
    center_hz: NDArray[np.float64]
    begin_s: float
    end_s: float


def spectrogram(sound: str | Path | tuple[NDArray[np.floating], int], features: str | Features = "v1") -> Spectrogram:
    """Compute the spectrogram of a file, or of a wave in memory, `(wave, sample_rate_hz)`.

    `features` is an option of conf/features, such as "v2", or those of a run, `run.config.features`. Raises as
    `read_audio` and `Tagger.posteriors` do.
    """
    import numpy as np

    from audiotag.features.audio import AudioStream, WaveStream, checked_wave
    from audiotag.features.spectrogram import frames, front_end_of

    if isinstance(features, str):
        features = compose_config(TrainConfig, [f"features={features}"]).features
    front_end = front_end_of(features)
    rate_hz = front_end.sample_rate_hz
    if isinstance(sound, tuple):
        audio: AudioStream = WaveStream(checked_wave(*sound), int(sound[1]), features.trim, rate_hz)
    else:
        audio = AudioStream(sound, features.trim, rate_hz=rate_hz)
    whole = np.concatenate(list(frames(audio, front_end)))
    return Spectrogram(whole, front_end.frames_per_second, front_end.center_hz, *audio.kept_s)


class Tagger:
    """Networks to label sound with, made by `load`.

    `classes` are in the order of all posteriors, `runs` are the members' names, NAME@ROUND each. The networks of all
    folds and members are asked, and averaged as predict.py does.
    """

    def __init__(self, config: PredictConfig) -> None:
        from audiotag.inference.load import load_tagger

        self._tagger = load_tagger(config)
        self.runs, self.classes = list(self._tagger.names), list(self._tagger.classes)

    def __repr__(self) -> str:
        return f"Tagger({', '.join(self.runs)}: {len(self.classes)} classes)"

    def predict(self, source: Any, top: int = 3, skip_unreadable: bool = False) -> pd.DataFrame:
        """Return the `top` most probable labels of recordings: fname, label_1, probability_1, label_2, ...

        `source` is a file, a folder, a pattern such as "clips/**/*.wav", a list of those, or sound in memory, `(wave,
        sample_rate_hz)`, whose fname is "wave". A row each, in the order and with the names of predict.py. Raises
        DataError with every source that is not there and every recording that cannot be read; with `skip_unreadable`
        the latter are left out, and `.attrs["problems"]` of the table says why.
        """
        if top < 1:
            raise ValueError(f"top={top}: it must be 1 or more")
        names, posteriors, problems = self._label(source)
        if problems and not skip_unreadable:
            raise DataError(f"{len(problems)} recordings cannot be read:", problems)
        from audiotag.inference.results import predictions_table

        table = predictions_table(names, posteriors, self.classes, top)
        table.attrs["problems"] = problems
        return table

    def segments(
        self,
        source: Any,
        window_frames: int | None = None,
        every_frames: int | None = None,
        **segment: float,
    ) -> pd.DataFrame:
        """Return the parts of recordings: fname, start_s, end_s, label, probability, as `predict.py segments=true`.

        `source` is what `predict` takes; `segment` are the settings `segment.*` of predict.py: `on`, `off`,
        `shortest_s`, `gap_s`. Raises DataError as `predict` does.
        """
        from audiotag.inference.segments import COLUMNS, segment_recordings, segment_rows

        settings = {"window_frames": window_frames, "every_frames": every_frames, "segment": segment}
        given = {"run": self.runs, "source": ".", "segments": True, **settings}
        config = validate(OmegaConf.create(given), PredictConfig)
        if _is_wave(source):
            import pandas as pd

            sound = (self._checked(*source), int(source[1]))
            return pd.DataFrame(segment_rows("wave", sound, self._tagger, config, self.classes), columns=COLUMNS)
        recordings = self._find(source)
        table, unread = segment_recordings(recordings, self._tagger, config, self.classes)
        if unread:
            raise DataError(f"{len(unread)} recordings cannot be read:", list(unread.values()))
        return table

    def _find(self, source: Any) -> list[Recording]:
        from audiotag.inference.recordings import find_recordings

        sources = [source] if isinstance(source, str | os.PathLike) else list(source)
        return find_recordings([str(one) for one in sources], ()).recordings

    def _label(self, source: Any) -> tuple[list[str], NDArray[np.float64], list[str]]:
        """Return the names of recordings, their posteriors (N, C), and why others cannot be read."""
        if _is_wave(source):
            return ["wave"], self.posteriors(*source)[None], []
        labelled = self._tagger.label(self._find(source))
        if not labelled.recordings:
            raise DataError("None of the recordings can be read:", labelled.problems)
        names = [recording.fname for recording in labelled.recordings]
        return names, self._tagger.together(labelled), labelled.problems

    def posteriors(self, wave: NDArray[np.floating], sample_rate_hz: int) -> NDArray[np.float64]:
        """Return the posterior (C,) of each class, in the order of `classes`, for sound in memory.

        `wave` is (samples,) or (samples, channels), floats, full scale at 1, as soundfile reads them. It is trimmed and
        resampled as files are: the numbers are those of a file with these samples. Raises TypeError if it is not an
        array of floats, ValueError if it is empty, holds NaN or infinity, or has more dimensions, or the sample rate
        cannot be one.
        """
        return self._tagger.posteriors(self._checked(wave, sample_rate_hz), int(sample_rate_hz))

    def _checked(self, wave: NDArray[np.floating], sample_rate_hz: int) -> NDArray[np.float32]:
        from audiotag.features.audio import checked_wave

        checked = checked_wave(wave, sample_rate_hz)
        if not len(checked):
            raise ValueError("the wave is empty: it has no samples")
        return checked

    def stream(self, sample_rate_hz: int, window_s: float | None = None, hop_s: float | None = None) -> Stream:
        """Return a Stream that labels windows of `window_s` seconds, one every `hop_s`, of sound that comes in blocks.

        Left out, a window is as long as a training excerpt, or as an ONNX file says, and a hop half a window.
        """
        return Stream(self, sample_rate_hz, self._tagger.window_s if window_s is None else window_s, hop_s)

    def live(
        self,
        sample_rate_hz: int,
        window_frames: int | None = None,
        every_frames: int = 10,
        reference: ReferenceLevel | Level | None = None,
    ) -> LiveStream:
        """Return a LiveStream, as `predict.py live=true` uses it: each frame is computed once, nothing trimmed.

        A window has `window_frames` frames, left out: those of a training excerpt. `reference` says what they are
        relative to (settings `reference.*` of predict.py), or is the level of a moment that is known.
        """
        from audiotag.live.stream import LiveStream

        reference = ReferenceLevel() if reference is None else reference
        return LiveStream(self._tagger, self.classes, sample_rate_hz, window_frames, every_frames, reference)

    def network(self, fold: int, member: int = 0) -> nn.Module:
        """Return the network of a fold, in eval mode on its device: spectrograms (B, 1, F, T) in, logits (B, C) out.

        `member` says whose, of several runs or rounds. Raises RunError if no such network was loaded, as of an ONNX
        file.
        """
        networks = self._tagger.networks()
        if (member, fold) not in networks:
            raise RunError(f"fold {fold} of member {member} was not loaded; there are {', '.join(self.runs)}")
        return networks[member, fold]


class Stream:
    """Sliding windows over sound that comes in blocks, such as from a microphone; made by `Tagger.stream`.

    A window's posteriors are those that `Tagger.posteriors` gives for its samples: a window as long as the whole sound
    gives those of the whole. So each is trimmed by itself, unless the run has `features.trim=false`, and short ones are
    repeated; with `load(..., windows=1)` a network hears one excerpt of each, which takes the least time.

        with tagger.stream(sample_rate_hz=44_100) as stream:
            for block in blocks:  # arrays (samples,)
                for window in stream.push(block):
                    print(window.begin_s, window.label)
    """

    def __init__(self, tagger: Tagger, sample_rate_hz: int, window_s: float, hop_s: float | None = None) -> None:
        hop_s = window_s / 2 if hop_s is None else hop_s
        self.sample_rate_hz = sample_rate_hz
        self.window_samples, self.hop_samples = round(window_s * sample_rate_hz), round(hop_s * sample_rate_hz)
        if self.window_samples < 1 or self.hop_samples < 1:
            raise ValueError(f"window_s={window_s} and hop_s={hop_s} must be longer than a sample")
        self._tagger = tagger
        self._held: Any = None  # samples from `_held_from` on
        self._held_from = self._next = self._labelled_until = 0  # counted in samples; `_next` begins the next window

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._held = None

    def push(self, block: NDArray[np.floating]) -> list[Window]:
        """Take the next samples, and return the windows that they complete; raises as `Tagger.posteriors` does."""
        import numpy as np

        from audiotag.features.audio import checked_wave

        block = checked_wave(block, self.sample_rate_hz)
        self._held = block if self._held is None else np.concatenate((self._held, block))
        windows: list[Window] = []
        while True:
            skipped = min(self._next - self._held_from, len(self._held))
            self._held, self._held_from = self._held[skipped:], self._held_from + skipped
            if self._held_from < self._next or len(self._held) < self.window_samples:
                return windows
            windows.append(self._window(self._held[: self.window_samples]))
            self._next += self.hop_samples

    def finish(self) -> list[Window]:
        """Return the window of the samples at the end that no window has held yet, if there are any."""
        held, self._held = self._held, None
        if held is None or self._held_from + len(held) <= self._labelled_until:
            return []
        return [self._window(held)]

    def over(self, blocks: Iterable[NDArray[np.floating]]) -> Iterator[Window]:
        """Yield the windows of all blocks, and the last one."""
        for block in blocks:
            yield from self.push(block)
        yield from self.finish()

    def _window(self, wave: NDArray[np.float32]) -> Window:
        self._labelled_until = self._held_from + len(wave)
        begin_s, end_s = self._held_from / self.sample_rate_hz, self._labelled_until / self.sample_rate_hz
        return Window(begin_s, end_s, self._tagger.posteriors(wave, self.sample_rate_hz), self._tagger.classes)


class Run:
    """A run's folder, to read from; made by `train` and `open_run`. Nothing here needs the data set, but `report`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @functools.cached_property
    def _folder(self) -> RunFolder:
        from audiotag.run.folder import RunFolder

        return RunFolder(self.path)

    @property
    def config(self) -> TrainConfig:
        """The settings that the run was made with."""
        return self._folder.config

    @property
    def classes(self) -> list[str]:
        """The class list, in the order of all posteriors."""
        return self._folder.classes

    @property
    def rounds(self) -> list[int]:
        """The rounds that are complete."""
        return self._folder.complete_rounds()

    @property
    def summary(self) -> dict[str, Any]:
        """What `summary.json` holds: figures of each round, best_round and more; {} if it is not written yet."""
        return self._folder.summary

    @property
    def best_round(self) -> int | None:
        """The round with the lowest mean validation loss; None if none is complete yet."""
        best: int | None = self.summary.get("best_round")
        return best

    @property
    def valid_loss(self) -> float | None:
        """The best round's mean validation loss; None if none is complete yet."""
        summary = self.summary
        found = [float(r["valid_loss"]) for r in summary.get("rounds", []) if r["round"] == summary["best_round"]]
        return found[0] if found else None

    @property
    def manifest(self) -> pd.DataFrame:
        """Every clip of the data set (columns as in `manifest.csv`; `verified` is a bool)."""
        return self._folder.manifest

    @property
    def truth(self) -> pd.Series | None:
        """The right labels by clip id, if the run was given them."""
        from audiotag.run.ledgers import run_truth

        return run_truth(self._folder)

    def ledger(self, round: int | str = "best") -> pd.DataFrame:
        """Return the decisions of a round (columns as in `ledger.csv`): a number, "best" or "last"."""
        return self.verify(round=round)

    def posteriors(self, round: int | str = "best", calibrated: bool = False) -> pd.DataFrame:
        """Return each training clip's consensus: clip_id, fold, verified, then a column per class.

        It is that of the network of a fold that was never trained on the clip; `calibrated`: as the rule of the run
        sees it.
        """
        import pandas as pd

        from audiotag.run.ledgers import round_votes

        votes = self._folder.votes(self._round(round))
        if calibrated:
            votes = round_votes(self._folder, self._round(round), self.config.verification)
        parts = [
            table.assign(fold=fold, verified=verified)
            for fold, vote in votes.items()
            for verified, table in ((False, vote.unverified), (True, vote.verified), (True, vote.corrected))
        ]
        table = pd.concat([part for part in parts if len(part)], ignore_index=True)
        return table[["clip_id", "fold", "verified", *self.classes]].sort_values("clip_id", ignore_index=True)

    def metrics(self, round: int | str = "best") -> pd.DataFrame:
        """Return what each fold's network was worth after each epoch: fold, then the columns of its `metrics.csv`."""
        import pandas as pd

        from audiotag.run.folder import Cell

        number = self._round(round)
        tables = [self._folder.table(Cell(number, f), "metrics.csv").assign(fold=f) for f in range(self.config.folds)]
        table = pd.concat(tables, ignore_index=True)
        return table[["fold", *(name for name in table.columns if name != "fold")]]

    def recording(self, clip_id: str, root: str | Path | None = None) -> Path:
        """Return a clip's file; `root` is the folder of the data set, if it moved since the run was made."""
        from audiotag.data.checking import data_root

        paths = self.manifest.set_index("clip_id")["path"]
        if clip_id not in paths.index:
            raise RunError(f"{self.path} has no clip {clip_id}")
        return (data_root(self.config) if root is None else Path(root)) / paths[clip_id]

    def excerpts(self, clip_id: str, round: int | str = "best", root: str | Path | None = None) -> pd.DataFrame:
        """Ask again, for one training clip, the network that held it out: its posterior of each excerpt.

        A row per excerpt that was drawn for the consensus, in that order: first_frame, then a column per class; their
        mean is the consensus, but for the rounding of the precision that the run was trained in.
        """
        import numpy as np
        import pandas as pd

        from audiotag.config import Hardware
        from audiotag.inference.tagging import Networks, load_networks
        from audiotag.verification.consensus import excerpt_offsets

        number, features, verification = self._round(round), self.config.features, self.config.verification
        folds = self._folder.train["fold"].to_dict()
        if clip_id not in folds:
            raise RunError(f"{self.path} has no training clip {clip_id}")
        frames = spectrogram(self.recording(clip_id, root), features).frames
        starts = excerpt_offsets((self.config.seed, number), clip_id, features, verification.excerpts)
        excerpts = [frames[np.arange(start, start + features.excerpt_frames) % len(frames)] for start in starts]
        weights = load_networks(self._folder, number, [folds[clip_id]])
        networks = Networks(weights, Hardware(accelerator="cpu", precision="32-true"))
        (posteriors,) = np.concatenate(list(networks.each(excerpts, len(excerpts), list(weights))), axis=1)
        table = pd.DataFrame(posteriors, columns=self.classes)
        table.insert(0, "first_frame", starts)
        return table

    def verify(
        self,
        settings: Sequence[str] = (),
        *,
        round: int | str = "best",
        out: str | Path | None = None,
        calibrate: bool | None = None,
        **rule: Any,
    ) -> pd.DataFrame:
        """Decide again from the stored posteriors of a round; return the ledger of that decision.

        Keywords change the run's own rule, as `verification.rule.NAME=` of verify.py: `run.verify(precision=0.9)` where
        it is a promise, `run.verify(threshold=0.5, cap=None)` where it has a threshold; `calibrate` says whether it
        sees calibrated posteriors, None: as the run did.
        `settings` are others of verify.py, such as `["verification=as_coded"]` for a whole rule. Nothing is written,
        unless `out` names a folder for `ledger.csv` and `summary.json`. Raises ConfigError for settings that do not
        exist, RunError if the round is not complete.
        """
        from audiotag.experiment.verify import decide_again
        from audiotag.experiment.verify import verify as decide

        given = [f"run={self.path}", f"round={self._round(round)}", *settings]
        given += [f"verification.rule.{name}={json.dumps(value)}" for name, value in rule.items()]
        given += [] if calibrate is None else [f"verification.calibrate={json.dumps(calibrate)}"]
        config = compose_config(VerifyConfig, given if out is None else [*given, f"out={out}"])
        if out is not None:
            decide(config)
        return decide_again(config)

    def measure(self, ledger: pd.DataFrame, truth: pd.Series | None = None) -> dict[str, Any]:
        """Return how many labels a ledger considers and accepts and, against right ones, precision and recall.

        `truth` are right labels by clip id; left out, those that the run was given. None where nothing is known.
        """
        from audiotag.verification.ledger import measure

        return measure(ledger, self.truth if truth is None else truth)

    def report(self) -> Path:
        """Write the run's report, `report.html`, as far as the run is complete, and return the page."""
        from audiotag.report.write import write_report

        return write_report(self._folder)

    def _round(self, round_: int | str) -> int:
        from audiotag.inference.members import choose_folds, choose_round

        if isinstance(round_, bool) or not (isinstance(round_, int) or round_ in ("best", "last")):
            raise ValueError(f'round={round_!r} is not a round: give its number, "best" or "last"')
        return choose_round(self._folder, str(round_), choose_folds(self._folder, None))


def _is_wave(source: Any) -> bool:
    """Return whether a source is sound in memory, `(wave, sample_rate_hz)`."""
    return isinstance(source, tuple) and len(source) == 2 and not isinstance(source[0], str | os.PathLike)


def _config(schema: type[Config], settings: Sequence[str] | Config) -> Config:
    if isinstance(settings, schema):
        return settings
    if not isinstance(settings, list | tuple) or not all(isinstance(text, str) for text in settings):
        raise TypeError('settings are a list of texts, such as ["seed=1", "folds=2"]')
    return compose_config(schema, list(settings))
