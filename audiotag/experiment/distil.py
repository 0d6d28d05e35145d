"""What runs teach another one (distillation, Hinton et al. 2015): what they say of its clips is what it learns.

Shapes: N clips, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from audiotag.console import console
from audiotag.data.datamodule import cell_clips
from audiotag.data.store import Store, build_store
from audiotag.distributed import context
from audiotag.experiment.prepare import Experiment
from audiotag.experiment.teachers import as_predicted, unheard
from audiotag.files import write_parquet
from audiotag.inference.ensemble import EnsembleTagger
from audiotag.inference.labelling import Key
from audiotag.inference.spectrograms import Frames
from audiotag.run.folder import TARGETS, Cell

OF_LABEL = 0.5  # how much of a verified clip's target its label is; a person has listened
PER_PASS = 25  # whole clips


def learn_from(experiment: Experiment, fold: int) -> pd.DataFrame | None:
    """Return the targets (N, C) of a fold's training clips, by clip id; None without `distil`. All ranks call it.

    They are made before its round 0, and kept with it. Each clip is heard whole, by the networks that have never heard
    what the fold holds out, or by all with `data.train_on_all`.
    """
    if not experiment.config.distil:
        return None
    folder, cell = experiment.folder, Cell(0, fold)
    if context.is_rank_zero() and not (file := folder.cell(cell) / TARGETS).is_file():
        names = ", ".join(teacher.name for teacher in experiment.teachers)
        console.print(f"fold {fold}: asking {names}", soft_wrap=True)
        write_parquet(file, _targets(experiment, fold))
    table = folder.table(cell, TARGETS).set_index("clip_id") if context.is_rank_zero() else None
    return context.broadcast(table)


def _targets(experiment: Experiment, fold: int) -> pd.DataFrame:
    config, teachers, manifest = experiment.config, experiment.teachers, experiment.manifest
    clips = cell_clips(manifest, 0, fold, None, config.data.train_on_all).train
    everything = config.data.train_on_all
    asked = {
        (m, own)
        for m, teacher in enumerate(teachers)
        for own in (teacher.folds if everything else unheard(teacher, manifest, fold))
    }
    tagger = EnsembleTagger(teachers, as_predicted(config))
    answers: list[dict[Key, NDArray[np.float64]]] = [{} for _ in range(len(clips))]
    for spec, networks in tagger.groups:
        store = build_store(manifest, spec.features, Path(config.cache_dir).absolute(), config.hardware.workers)
        keys = [key for key in networks.by_key if key in asked]
        heard = networks.each(_whole(store, clips, spec.features.clip_frames), PER_PASS, keys)
        posteriors = np.concatenate(list(heard), axis=1)  # (networks, N, C)
        for number, answer in enumerate(answers):
            answer |= dict(zip(keys, posteriors[:, number], strict=True))
    targets = pd.DataFrame(tagger.fuse(answers).posteriors, clips.index, manifest.classes)
    labels = pd.get_dummies(clips["label"], dtype=float).reindex(columns=manifest.classes, fill_value=0.0)
    targets = targets.where(~clips["verified"], OF_LABEL * labels + (1 - OF_LABEL) * targets, axis=0)
    return targets.astype(np.float32).rename_axis("clip_id").reset_index()


def _whole(store: Store, clips: pd.DataFrame, n_frames: int) -> Iterator[Frames]:
    """Yield the spectrogram (n_frames, F) of every clip, repeated or cut, as validation hears it."""
    for row in store.rows(clips):
        x = store.excerpts.crop(torch.tensor([row]), torch.zeros(1, dtype=torch.long), n_frames)  # (1, 1, F, n_frames)
        yield x[0, 0].T.half().numpy()
