"""What the reference level of a stream does to what networks hear: windows of test clips, one after the other.

usage: python -m benchmarks.live_reference RUN [clips=N] [levels_db=20] [gap_s=2] [every_frames=20] [noise_dbfs=-70]

The clips of the run's test split make one stream, with `gap_s` of noise between them; each is made quieter by up to
`levels_db`, drawn at random, as sounds are nearer and farther. Counted are windows that lie in a clip, or that a short
clip lies in, and windows between clips. Beside them: the files, each heard whole, and the clips one by one, each
relative to its own loudest moment, which a stream cannot know beforehand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

import audiotag
from audiotag.config import ReferenceLevel
from audiotag.features.spectrogram import Framing, Level, front_end_of
from audiotag.inference.recordings import split_recordings
from audiotag.run.folder import RunFolder

RATE_HZ = 32_000


@dataclass
class Clip:
    """A clip in the stream, from `begin_s` to `end_s`."""

    begin_s: float
    end_s: float
    label: str


def main() -> None:
    run, *settings = sys.argv[1:]
    given = {name: float(value) for name, value in (text.split("=") for text in settings)}
    levels_db, gap_s, noise_dbfs = given.get("levels_db", 20), given.get("gap_s", 2), given.get("noise_dbfs", -70)
    folder = RunFolder(audiotag.open_run(run).path)
    recordings = split_recordings(folder, "test", None, list(range(folder.config.folds)), None).recordings
    chosen = np.random.default_rng(0).permutation(len(recordings))[: int(given.get("clips", len(recordings)))]
    recordings = [recordings[number] for number in chosen]
    tagger = audiotag.load(run)
    table = tagger.predict([str(recording.path) for recording in recordings], top=1)
    by_name = dict(zip(table["fname"], table["label_1"], strict=True))
    whole = np.mean([by_name[recording.path.name] == recording.label for recording in recordings])
    stream, clips = compose(recordings, levels_db, gap_s, noise_dbfs)
    print(
        f"{len(clips)} clips, {len(stream) / RATE_HZ:.0f} s, quieter by 0 to {levels_db:g} dB; files whole: {whole:.3f}"
    )
    print("| reference | windows right | clips right | gaps above 0.5 |\n| --- | --- | --- | --- |")
    every_frames = int(given.get("every_frames", 20))
    alone = each_alone(tagger, stream, clips, every_frames)
    print(f"| its own, not streamed | {alone[0]:.3f} | {alone[1]:.3f} | - |", flush=True)
    for name, reference in references():
        live = tagger.live(RATE_HZ, every_frames=every_frames, reference=reference)
        print(f"| {name} | {' | '.join(f'{share:.3f}' for share in shares(live, stream, clips, gap_s))} |", flush=True)


def references() -> Iterator[tuple[str, ReferenceLevel]]:
    yield "window", ReferenceLevel(level="window", floor_dbfs=-200)
    yield "window, floor -60 dBFS", ReferenceLevel(level="window")
    for memory_s in (3, 10, 30, 3_600):
        yield f"running, {memory_s} s", ReferenceLevel(level="running", memory_s=memory_s)
    for dbfs in (0, -10, -20, -30):
        yield f"fixed, {dbfs} dBFS", ReferenceLevel(level="fixed", dbfs=dbfs)


def compose(recordings, levels_db: float, gap_s: float, noise_dbfs: float) -> tuple[np.ndarray, list[Clip]]:
    """Return the stream (samples,), and where its clips are."""
    from audiotag.features.audio import load

    generator = np.random.default_rng(0)
    parts, clips, at = [], [], 0
    gap = np.zeros(round(gap_s * RATE_HZ), np.float32)
    for recording in recordings:
        wave = load(recording.path, rate_hz=RATE_HZ).wave
        wave = wave * np.float32(10 ** (-generator.uniform(0, levels_db) / 20))
        at += len(gap)
        clips.append(Clip(at / RATE_HZ, (at + len(wave)) / RATE_HZ, recording.label))
        parts += [gap, wave]
        at += len(wave)
    stream = np.concatenate([*parts, gap])
    noise = 10 ** (noise_dbfs / 20) * generator.standard_normal(len(stream))
    return (stream + noise).astype(np.float32), clips


def each_alone(tagger, stream: np.ndarray, clips: list[Clip], every_frames: int) -> tuple[float, float]:
    """Return how many windows, and how many clips by the mean of their windows, are right if each is heard alone."""
    front_end = front_end_of(tagger._members[0].folder.config.features)
    right, by_clip = [], []
    for clip in clips:
        wave = stream[round(clip.begin_s * RATE_HZ) : round(clip.end_s * RATE_HZ)]
        framing = Framing(front_end)
        measured = [front_end.measure(one) for one in (framing.push(wave), framing.finish()) if one is not None]
        level = Level(*(max(float(getattr(m, name).max()) for m in measured) for name in ("peaks", "magnitudes")))
        windows = list(tagger.live(RATE_HZ, every_frames=every_frames, reference=level).over([wave]))
        right += [window.label == clip.label for window in windows]
        by_clip.append(tagger.classes[int(np.mean([w.posteriors for w in windows], axis=0).argmax())] == clip.label)
    return float(np.mean(right)), float(np.mean(by_clip))


def shares(live, stream: np.ndarray, clips: list[Clip], gap_s: float) -> tuple[float, float, float]:
    """Return how many windows in clips, and how many clips by the mean of their windows, have the right label, and in
    how many windows between them something is heard with a probability above 0.5."""
    right, in_gaps = [], []
    heard: list[list[np.ndarray]] = [[] for _ in clips]
    begins = np.array([clip.begin_s for clip in clips])
    for window in live.over(np.array_split(stream, len(stream) // 3_200)):
        number = int(np.searchsorted(begins, (window.begin_s + window.end_s) / 2)) - 1
        clip = clips[max(number, 0)]
        inside = min(window.end_s, clip.end_s) - max(window.begin_s, clip.begin_s)
        if inside >= 0.9 * min(window.end_s - window.begin_s, clip.end_s - clip.begin_s):
            heard[max(number, 0)].append(window.posteriors)
            right.append(window.label == clip.label)
        elif window.begin_s >= clip.end_s and window.end_s <= clip.end_s + gap_s:
            in_gaps.append(window.posteriors.max() > 0.5)
    by_clip = [
        live.classes[int(np.mean(own, axis=0).argmax())] == clip.label
        for own, clip in zip(heard, clips, strict=True)
        if own
    ]
    return float(np.mean(right)), float(np.mean(by_clip)), float(np.mean(in_gaps))


if __name__ == "__main__":
    main()
