"""What the networks say to one window of a recording or stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Window:
    """What the networks hear in one window of a stream: `posteriors` (C,) from `begin_s` to `end_s`."""

    begin_s: float
    end_s: float
    posteriors: NDArray[np.float64]
    classes: Sequence[str]

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.classes[int(self.posteriors.argmax())]
