"""An ensemble: what its members say, what that makes together, and how far they agree. One run is an ensemble of one.

Shapes: M members, N recordings, C classes.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.text import Text
from torch import nn

from audiotag.config import Ensemble, Features, PredictConfig
from audiotag.console import console, print_columns
from audiotag.distributed.hardware import set_numerics
from audiotag.evaluation.metrics import Scores
from audiotag.evaluation.scores import figures
from audiotag.features.spectrogram import front_end_of
from audiotag.features.trimming import Wave
from audiotag.files import write_csv
from audiotag.inference.fusion import Fusion, agreement, average, cross_fitted_losses, learn
from audiotag.inference.labelling import Fused, Key, Labelled
from audiotag.inference.members import Member, held_out_votes
from audiotag.inference.recordings import Recording
from audiotag.inference.spectrograms import WindowSpec, wave_spectrogram
from audiotag.inference.tagging import Networks, label, load_networks


class NetworkTagger:
    """Networks by (member, fold), those with equal features sharing spectrograms; their posteriors become one."""

    def __init__(
        self,
        names: Sequence[str],
        classes: Sequence[str],
        heard: Sequence[tuple[Features, Mapping[Key, nn.Module]]],
        settings: Ensemble,
        fusion: Fusion | None,
        config: PredictConfig,
    ) -> None:
        """`heard` are the features and the networks of each member; `fusion` is None for equal weights."""
        self.names, self.classes, self.settings, self.fusion = list(names), list(classes), settings, fusion
        set_numerics(config.hardware)
        by_features: list[tuple[Features, dict[Key, nn.Module]]] = []
        for features, networks in heard:
            equal = next((others for other, others in by_features if other == features), None)
            if equal is None:
                by_features.append((features, dict(networks)))
            else:
                equal |= networks
        # A split is heard as validation and the original's evaluation hear it; of other recordings all is wanted.
        is_cut = config.split is not None if config.cut is None else config.cut
        self.groups = [
            (WindowSpec(features, config.windows, is_cut), Networks(networks, config.hardware))
            for features, networks in by_features
        ]

    @property
    def window_frames(self) -> int:
        """How long a training excerpt is, in frames."""
        return self.groups[0][0].features.excerpt_frames

    @property
    def window_s(self) -> float:
        """How long a training excerpt is."""
        return self.window_frames / front_end_of(self.groups[0][0].features).frames_per_second

    def networks(self) -> dict[Key, nn.Module]:
        """Return all networks by (member, fold)."""
        return {key: one for _, group in self.groups for key, one in group.by_key.items()}

    def label(self, recordings: Sequence[Recording], folds: Sequence[pd.Series] | None = None) -> Labelled:
        """Ask every member about every recording, all of its folds or, of each member, the one that `folds` names.

        `folds` holds a series by clip id for each member, -1 for all.
        """

        def may_ask(recording: Recording, key: Key) -> bool:
            return folds is None or folds[key[0]][recording.fname] in (-1, key[1])

        return label(recordings, self.groups, may_ask)

    def posteriors(self, wave: Wave, sample_rate_hz: int) -> NDArray[np.float64]:
        """Return the posterior (C,) of a wave (samples,) in memory; raises AudioError if it is too short."""
        answers: dict[Key, NDArray[np.float64]] = {}
        for spec, networks in self.groups:
            spectrogram = wave_spectrogram(wave, sample_rate_hz, spec.features)
            answers |= networks.posteriors(spectrogram, spec, list(networks.by_key))
        return self.fuse([answers]).posteriors[0]

    def together(self, labelled: Labelled) -> NDArray[np.float64]:
        """Return the posteriors (N, C) of all recordings that were labelled."""
        return self.fuse(labelled.posteriors).posteriors

    def fuse(self, answers: Sequence[dict[Key, NDArray[np.float64]]]) -> Fused:
        """Put together what the networks say to recordings, at least one."""
        return Fused(self._fused(self._by_member(answers)))

    def _by_member(self, answers: Sequence[dict[Key, NDArray[np.float64]]]) -> NDArray[np.float64]:
        """Return the posteriors (M, N, C) of each member, the mean over its folds."""
        by_member = [
            [self._mean(np.stack([p for (owner, _), p in own.items() if owner == m])) for own in answers]
            for m in range(len(self.names))
        ]
        return np.array(by_member)

    def _fused(self, by_member: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._mean(by_member) if self.fusion is None else self.fusion.fuse(by_member)

    def _mean(self, posteriors: NDArray[np.float64]) -> NDArray[np.float64]:
        return posteriors[0] if len(posteriors) == 1 else average(posteriors, self.settings.mean)


class EnsembleTagger(NetworkTagger):
    """The networks of runs.

    Learned weights come from what training stored, and what they bring on held-out clips is printed. Raises RunError if
    there is nothing to learn from, or weights of networks are damaged.
    """

    def __init__(self, members: Sequence[Member], config: PredictConfig) -> None:
        self.members, settings = members, config.ensemble
        fusion = None if settings.weights == "equal" else _learned(members, settings.l2)
        heard = [
            (member.folder.config.features, load_networks(member.folder, member.round, member.folds, m))
            for m, member in enumerate(members)
        ]
        names = [member.name for member in members]
        super().__init__(names, members[0].folder.classes, heard, settings, fusion, config)

    def fuse(self, answers: Sequence[dict[Key, NDArray[np.float64]]]) -> EnsembleAnswer:
        """Put together what the networks say to recordings, at least one, with what each member says."""
        by_member = self._by_member(answers)
        return EnsembleAnswer(self._fused(by_member), self.members, by_member, self.fusion, self.settings)


@dataclass(frozen=True)
class EnsembleAnswer(Fused):
    """What the members say, posteriors (M, N, C), and all together, (N, C); `fusion` is None for equal weights."""

    members: Sequence[Member]
    by_member: NDArray[np.float64]
    fusion: Fusion | None
    settings: Ensemble

    @functools.cached_property
    def agreement(self) -> NDArray[np.float64]:
        """Share (M, M) of recordings to which two members give the same top label."""
        return agreement(self.by_member)


def _learned(members: Sequence[Member], l2: float) -> Fusion:
    """Learn weights and biases from the members' consensus on verified clips that each of them held out."""
    votes = held_out_votes(members)
    fusion = learn(votes.posteriors, votes.targets, l2)
    equal, learned = cross_fitted_losses(votes.posteriors, votes.targets, votes.folds, l2)
    console.print(
        f"Weights learned from {len(votes.targets)} verified clips that every member held out; mean negative "
        f"log-likelihood there, each fold's by weights learned from the others: {learned:.4f} (equal: {equal:.4f})",
        soft_wrap=True,
    )
    if learned >= equal:
        console.print(
            Text("no gain:", "yellow"), "on clips they were not learned from, equal weights are as likely or likelier"
        )
    return fusion


def write_ensemble(folder: Path, answer: EnsembleAnswer) -> None:
    """Write and print `agreement.csv`, of several members, and `weights.csv`, where weights were learned."""
    names = [member.name for member in answer.members]
    if len(names) > 1:
        table = pd.DataFrame(answer.agreement, columns=names)
        table.insert(0, "member", names)
        write_csv(folder / "agreement.csv", table)
        numbers = [str(i + 1) for i in range(len(names))]
        cells = {"": numbers, "Same top label as": names}
        cells |= {
            n: [f"{share:.3f}" for share in column] for n, column in zip(numbers, answer.agreement.T, strict=True)
        }
        print_columns(cells, left=("Same top label as",))
    if answer.fusion is not None:
        write_csv(folder / "weights.csv", weights_table(answer.fusion, names, answer.members[0].folder.classes))
        shown = ", ".join(f"{n} {w:.3f}" for n, w in zip(names, answer.fusion.weights, strict=True))
        biases = answer.fusion.biases
        console.print(f"Weights: {shown}; biases of the classes: {biases.min():.3f} to {biases.max():.3f}")


def weights_table(fusion: Fusion, names: Sequence[str], classes: Sequence[str]) -> pd.DataFrame:
    """Return the rows of `weights.csv`: parameter (weight or bias), name (a member or a class), value."""
    weights = [("weight", name, value) for name, value in zip(names, fusion.weights, strict=True)]
    biases = [("bias", label, value) for label, value in zip(classes, fusion.biases, strict=True)]
    return pd.DataFrame([*weights, *biases], columns=["parameter", "name", "value"])


def print_members(answer: EnsembleAnswer, by_member: Sequence[Scores], scores: Scores) -> None:
    """Print accuracy and MAP@3 of each member, and of all together."""
    learned = answer.settings.weights == "learned"
    how = "learned weights" if learned else f"{answer.settings.mean} mean"
    rows = [*by_member, scores]
    cells = {
        "": [*(str(i + 1) for i in range(len(by_member))), ""],
        "Member": [*(member.name for member in answer.members), f"together ({how})"],
        "Accuracy": [f"{100 * own.accuracy:.3f} %" for own in rows],
        "MAP@3": [f"{own.map3:.4f}" for own in rows],
    }
    print_columns(cells, left=("Member",))


def ensemble_fields(answer: EnsembleAnswer, by_member: Sequence[Scores]) -> dict[str, Any]:
    """Return what `scores.json` says of an ensemble: how it averages, and each member's run, round and scores."""
    equal = np.full(len(answer.members), 1 / len(answer.members))
    weights = equal if answer.fusion is None else answer.fusion.weights
    return {
        "ensemble": {"mean": answer.settings.mean, "weights": answer.settings.weights},
        "members": [
            {"run": member.folder.path.name, "round": member.round, "weight": round(float(weight), 6), **figures(own)}
            for member, weight, own in zip(answer.members, weights, by_member, strict=True)
        ],
        "agreement": answer.agreement.round(6).tolist(),
    }
