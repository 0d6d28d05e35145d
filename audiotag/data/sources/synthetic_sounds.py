"""The sounds of the embedded data set, each made from random numbers alone.

Every function takes a generator, a length in samples and a sample rate in Hz, and returns one mono wave of any level.
Some pairs are near on purpose: the two chirps are mirror images, knocking and ticking differ in regularity, bells and
strings in whether their partials are multiples of one another.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len

Wave = NDArray[np.float64]
Rng = np.random.Generator


def log_uniform(rng: Rng, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform between those of `low` and `high`."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _tone(rng: Rng, frequency_hz: Wave, rate: int, harmonics: int) -> Wave:
    """Sum harmonics of a moving frequency, each weaker by a random roll-off, none above 45 % of the rate."""
    phase = 2 * np.pi * np.cumsum(frequency_hz) / rate
    roll_off = rng.uniform(0.8, 2.5)
    highest = max(1, int(0.45 * rate / frequency_hz.max()))
    wave: Wave = np.sin(phase)
    for k in range(2, min(harmonics, highest) + 1):
        wave += k**-roll_off * rng.uniform(0.3, 1.0) * np.sin(k * phase + rng.uniform(0, 2 * np.pi))
    return wave


def band_noise(rng: Rng, n: int, rate: int, low_hz: float, high_hz: float, tilt: float = 0.0) -> Wave:
    """Return Gaussian noise of unit deviation between two frequencies; its amplitude falls as frequency ** -tilt."""
    whole = next_fast_len(n, real=True)
    frequency = np.fft.rfftfreq(whole, 1 / rate)
    spectrum = rng.standard_normal(len(frequency)) + 1j * rng.standard_normal(len(frequency))
    # Edges an eighth of an octave wide: a brick wall would ring, and would be a cue of its own.
    position = np.log2(np.maximum(frequency, 1.0))
    spectrum *= 1 / (1 + np.exp(-24 * (position - np.log2(low_hz)))) / (1 + np.exp(24 * (position - np.log2(high_hz))))
    spectrum *= np.maximum(frequency, low_hz) ** -tilt
    wave: Wave = np.fft.irfft(spectrum, whole)[:n]
    return wave / (wave.std() + 1e-12)


def _ring(rng: Rng, rate: int, frequency_hz: float, decay_s: float, noise: float) -> Wave:
    """One struck resonance, 7 decay times long, a share of it noise."""
    t = np.arange(max(8, int(7 * decay_s * rate))) / rate
    frequency_hz = min(frequency_hz, 0.45 * rate)
    wave = (1 - noise) * np.sin(2 * np.pi * frequency_hz * t + rng.uniform(0, 2 * np.pi))
    wave += noise * rng.standard_normal(len(t))
    return wave * np.exp(-t / decay_s) * np.minimum(1, t / 0.001)


def _place(n: int, rate: int, onsets_s: list[float], event: Callable[[int], Wave]) -> Wave:
    """Add event(i) at every onset, cut where the wave ends."""
    wave = np.zeros(n)
    for i, onset_s in enumerate(onsets_s):
        start = int(onset_s * rate)
        if start < n:
            sound = event(i)[: n - start]
            wave[start : start + len(sound)] += sound
    return wave


def _onsets(rng: Rng, seconds: float, gap_s: Callable[[], float], first_s: float) -> list[float]:
    onsets = [rng.uniform(0, min(first_s, 0.2 * seconds))]
    while (latest := onsets[-1] + gap_s()) < seconds:
        onsets.append(latest)
    return onsets


def _chirps(rng: Rng, n: int, rate: int, rising: bool) -> Wave:
    seconds = n / rate
    length_s = min(log_uniform(rng, 0.12, 1.2), seconds)
    low_hz, ratio = log_uniform(rng, 250, 1600), rng.uniform(1.25, 2.8)
    harmonics, pause_s = int(rng.integers(1, 5)), rng.uniform(0.0, 0.5) * length_s
    curve = rng.uniform(0.6, 1.7)

    def event(_: int) -> Wave:
        t = np.linspace(0, 1, max(8, int(length_s * rng.uniform(0.8, 1.0) * rate)))
        position = t**curve if rising else (1 - t) ** curve
        # The envelope is the same forwards and backwards, so only the direction of the pitch tells the two apart.
        return _tone(rng, low_hz * ratio**position, rate, harmonics) * np.sin(np.pi * t) ** 0.6

    return _place(n, rate, _onsets(rng, seconds, lambda: length_s + pause_s * rng.uniform(0.5, 1.5), 0.02), event)


def _siren(rng: Rng, n: int, rate: int) -> Wave:
    t = np.arange(n) / rate
    cycle = log_uniform(rng, 0.3, 2.5) * t + rng.uniform()
    sine, triangle = np.sin(2 * np.pi * cycle), 4 * np.abs(cycle % 1 - 0.5) - 1
    bend = rng.uniform() * sine + rng.uniform() * triangle
    frequency = log_uniform(rng, 350, 1800) * 2 ** (rng.uniform(0.15, 0.6) * bend)
    return _tone(rng, frequency, rate, int(rng.integers(1, 5)))


def _bird_trill(rng: Rng, n: int, rate: int) -> Wave:
    t = np.arange(n) / rate
    speed_hz = log_uniform(rng, 5, 26)
    wobble = np.sin(2 * np.pi * speed_hz * t + rng.uniform(0, 2 * np.pi))
    drift = 2 ** (rng.uniform(-0.4, 0.4) * t / t[-1])
    wave = _tone(rng, log_uniform(rng, 900, 4200) * drift * 2 ** (rng.uniform(0.05, 0.3) * wobble), rate, 2)
    # Phrases and pauses; the phase lets the wave begin within a phrase, or a short one could be all pause.
    phrase = np.sin(2 * np.pi * log_uniform(rng, 0.5, 3.0) * t + rng.uniform(0, np.pi)) > rng.uniform(-0.95, 0.0)
    smooth = np.ones(max(1, int(0.012 * rate)))
    return wave * np.convolve(phrase, smooth / len(smooth), mode="same") * (1 + rng.uniform(0, 0.9) * wobble)


def _bell(rng: Rng, n: int, rate: int) -> Wave:
    seconds, base_hz = n / rate, log_uniform(rng, 180, 1200)
    # Partials of a bell, as ratios to the strike note: not multiples of one another, and a little out of tune.
    ratios = np.array([0.5, 1.0, 1.19, 1.5, 2.0, 2.62, 3.01, 4.17]) * rng.uniform(0.97, 1.03, 8)
    weights = rng.uniform(0.15, 1.0, 8)
    decays_s = log_uniform(rng, 0.15, 1.2) / ratios**0.7
    partials = [_ring(rng, rate, base_hz * r, d, 0.0) for r, d in zip(ratios, decays_s, strict=True)]
    strike = np.zeros(max(map(len, partials)))
    for weight, partial in zip(weights, partials, strict=True):
        strike[: len(partial)] += weight * partial
    gap_s = log_uniform(rng, 0.25, 2.0)
    onsets = _onsets(rng, seconds, lambda: gap_s * rng.uniform(0.8, 1.2), 0.1)
    return _place(n, rate, onsets, lambda _: strike * rng.uniform(0.5, 1.0))


def _plucked_string(rng: Rng, n: int, rate: int) -> Wave:
    """Karplus and Strong (1983): a burst of noise goes round a delay line and loses its treble on the way."""
    seconds, base_hz = n / rate, log_uniform(rng, 90, 700)
    loss, gap_s = rng.uniform(0.982, 0.9985), log_uniform(rng, 0.18, 1.5)

    def pluck(_: int) -> Wave:
        period = int(rate / (base_hz * 2 ** (rng.choice([-5, -3, 0, 0, 2, 4, 7]) / 12)))
        wave = np.zeros(min(int(2.5 * rate), n) + period + 1)
        wave[1 : period + 1] = band_noise(rng, period, rate, 60, rng.uniform(0.15, 0.45) * rate)
        for start in range(period + 1, len(wave), period):
            stop = min(start + period, len(wave))
            late, later = slice(start - period, stop - period), slice(start - period - 1, stop - period - 1)
            wave[start:stop] = loss * 0.5 * (wave[late] + wave[later])
        return wave * rng.uniform(0.5, 1.0)

    return _place(n, rate, _onsets(rng, seconds, lambda: gap_s * rng.uniform(0.7, 1.3), 0.1), pluck)


def _knocking(rng: Rng, n: int, rate: int) -> Wave:
    base_hz, decay_s = log_uniform(rng, 140, 1800), log_uniform(rng, 0.006, 0.03)
    gap_s, noise = log_uniform(rng, 0.1, 0.35), rng.uniform(0.1, 0.8)

    def gap() -> float:
        # One gap in five is a pause between groups of knocks.
        return gap_s * (rng.uniform(2.0, 4.0) if rng.uniform() < 0.2 else rng.uniform(0.5, 1.5))

    def knock(_: int) -> Wave:
        return rng.uniform(0.3, 1.0) * _ring(rng, rate, base_hz * rng.uniform(0.85, 1.18), decay_s, noise)

    return _place(n, rate, _onsets(rng, n / rate, gap, 0.05), knock)


def _clock_ticking(rng: Rng, n: int, rate: int) -> Wave:
    base_hz, decay_s = log_uniform(rng, 300, 3500), log_uniform(rng, 0.004, 0.02)
    gap_s, noise, tock = log_uniform(rng, 0.1, 0.6), rng.uniform(0.1, 0.8), rng.uniform(0.75, 1.0)

    def tick(i: int) -> Wave:
        return rng.uniform(0.85, 1.0) * _ring(rng, rate, base_hz * (tock if i % 2 else 1.0), decay_s, noise)

    return _place(n, rate, _onsets(rng, n / rate, lambda: gap_s * rng.uniform(0.99, 1.01), 0.05), tick)


def _rain(rng: Rng, n: int, rate: int) -> Wave:
    hiss = band_noise(rng, n, rate, log_uniform(rng, 80, 600), rng.uniform(0.2, 0.45) * rate, rng.uniform(0.0, 0.8))
    drops_hz, high_hz = log_uniform(rng, 4, 60), log_uniform(rng, 900, 5000)

    def drop(_: int) -> Wave:
        return rng.uniform(0.2, 1.0) * _ring(rng, rate, high_hz * rng.uniform(0.5, 1.5), rng.uniform(0.002, 0.012), 0.2)

    drops = _place(n, rate, _onsets(rng, n / rate, lambda: rng.exponential(1 / drops_hz), 0.1), drop)
    return hiss + log_uniform(rng, 1.0, 6.0) * drops


def _engine(rng: Rng, n: int, rate: int) -> Wave:
    t = np.arange(n) / rate
    drift = 1 + rng.uniform(0, 0.15) * np.sin(2 * np.pi * rng.uniform(0.1, 0.8) * t + rng.uniform(0, 2 * np.pi))
    firing_hz = log_uniform(rng, 22, 110) * drift
    stroke = 0.5 + 0.5 * np.sin(np.pi * np.cumsum(firing_hz) / rate)
    hum = _tone(rng, firing_hz, rate, int(rng.integers(12, 30)))
    rattle = band_noise(rng, n, rate, 80, log_uniform(rng, 600, 6000), rng.uniform(0.3, 0.9))
    depth = rng.uniform(0.2, 0.9)
    return (hum + log_uniform(rng, 0.2, 2.0) * rattle) * (1 - depth + depth * stroke)


def _drum_roll(rng: Rng, n: int, rate: int) -> Wave:
    gap_s, body_hz = 1 / log_uniform(rng, 9, 28), log_uniform(rng, 110, 400)
    decay_s, noise = log_uniform(rng, 0.012, 0.06), rng.uniform(0.3, 0.9)

    def hit(_: int) -> Wave:
        return rng.uniform(0.4, 1.0) * _ring(rng, rate, body_hz * rng.uniform(0.95, 1.05), decay_s, noise)

    swell = np.linspace(rng.uniform(0.3, 1.0), rng.uniform(0.3, 1.0), n)
    return swell * _place(n, rate, _onsets(rng, n / rate, lambda: gap_s * rng.uniform(0.85, 1.15), 0.02), hit)


def _whistle(rng: Rng, n: int, rate: int) -> Wave:
    t = np.arange(n) / rate
    vibrato = rng.uniform(0, 0.03) * np.sin(2 * np.pi * rng.uniform(3, 7) * t + rng.uniform(0, 2 * np.pi))
    glide = rng.uniform(-0.25, 0.25) * t / t[-1]
    wave = _tone(rng, log_uniform(rng, 600, 3000) * 2 ** (vibrato + glide), rate, 2)
    breath = band_noise(rng, n, rate, 500, 0.4 * rate)
    return (
        wave * (1 + rng.uniform(0, 0.4) * np.sin(2 * np.pi * rng.uniform(2, 6) * t)) + rng.uniform(0.01, 0.1) * breath
    )


# The first `classes` of them are used.
SOUNDS: dict[str, Callable[[Rng, int, int], Wave]] = {
    "Rising_chirp": functools.partial(_chirps, rising=True),
    "Falling_chirp": functools.partial(_chirps, rising=False),
    "Siren": _siren,
    "Bird_trill": _bird_trill,
    "Bell": _bell,
    "Plucked_string": _plucked_string,
    "Knocking": _knocking,
    "Clock_ticking": _clock_ticking,
    "Rain": _rain,
    "Engine": _engine,
    "Drum_roll": _drum_roll,
    "Whistle": _whistle,
}
