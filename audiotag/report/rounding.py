"""Figures as people read them: with as many digits as the number of clips behind them can bear."""

from __future__ import annotations

import math

FEW = 20  # clips, of which a percentage would say more than is known


def decimals(clips: int) -> int:
    """Return how many decimals a share of so many clips has, or the mean of something of that size: at least 2.

    From one clip to the next a share changes by 1 / clips, and by chance by the root of that.
    """
    return max(2, math.ceil(math.log10(max(clips, 1)) - 1))


def counted(part: int, whole: int) -> str:
    """Return "3 of 4", from `FEW` on with the percentage, and a dash of none."""
    if not whole:
        return "-"
    return f"{part} of {whole}" + (f" ({percent(part / whole, whole)})" if whole >= FEW else "")


def percent(share: float, clips: int) -> str:
    """Return a share of so many clips, or the mean of such shares, as a percentage."""
    return f"{100 * share:.{decimals(clips) - 2}f} %"


def posterior(value: float) -> str:
    """Return a probability with 2 decimals; what is not certain does not look so."""
    if 0 < value < 0.005:
        return "< 0.01"
    return "> 0.99" if 0.995 <= value < 1 else f"{value:.2f}"
