"""Who labels sound: the networks of the runs that are named, or of what was exported.

Shapes: N recordings, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from audiotag.config import PredictConfig
from audiotag.distributed.processes import importing_pytorch
from audiotag.features.trimming import Wave
from audiotag.inference.exported import Exported, exported
from audiotag.inference.labelling import Fused, Key, Labelled
from audiotag.inference.members import choose_members
from audiotag.inference.onnx_tagger import OnnxTagger
from audiotag.inference.recordings import Recording
from audiotag.inference.tagger_folder import read_folder

if TYPE_CHECKING:  # they import PyTorch
    from audiotag.inference.spectrograms import WindowSpec
    from audiotag.inference.tagging import Asked


class Answering(Protocol):
    """Whoever labels sound: the networks of runs, or a file or folder that they were exported to."""

    @property
    def names(self) -> Sequence[str]:
        """Of the members, NAME@ROUND each."""

    @property
    def classes(self) -> Sequence[str]:
        """In the order of all posteriors."""

    @property
    def window_s(self) -> float:
        """How long a window of a stream is, if nobody says."""

    @property
    def window_frames(self) -> int:
        """The same in frames of the first group."""

    def label(self, recordings: Sequence[Recording]) -> Labelled:
        """Hear every recording."""

    @property
    def groups(self) -> Sequence[tuple[WindowSpec, Asked]]:
        """Networks that hear the same spectrograms, and how they hear recordings."""

    def fuse(self, answers: Sequence[dict[Key, NDArray[np.float64]]]) -> Fused:
        """Put together what all networks say to recordings or windows, at least one."""

    def together(self, labelled: Labelled) -> NDArray[np.float64]:
        """Return the posteriors (N, C) of what was labelled, at least one recording."""

    def posteriors(self, wave: Wave, sample_rate_hz: int) -> NDArray[np.float64]:
        """Return the posterior (C,) of a wave (samples,) in memory; raises AudioError if it is too short."""

    def networks(self) -> Mapping[Key, Any]:
        """Return the networks as PyTorch's modules; raises RunError if there are none."""


def load_tagger(config: PredictConfig, found: Exported | None = None) -> Answering:
    """Load what run= names; `found` is what `exported` has said of it, if it was asked before.

    Raises RunError if it is not there or damaged, ConfigError for what was settled when it was exported.
    """
    found = exported(config) if found is None else found
    if found is not None and found.is_onnx:
        return OnnxTagger(found.path, config.hardware)
    if found is not None:
        read_folder(found.path, config.trust)
        with importing_pytorch():  # after it has been looked at
            from audiotag.inference.folder_networks import FolderTagger

        return FolderTagger(found.path, config)
    members = choose_members(config)
    with importing_pytorch():  # after names have been checked
        from audiotag.inference.ensemble import EnsembleTagger

    return EnsembleTagger(members, config)
