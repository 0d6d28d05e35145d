"""Excerpts cut from the frames of a store, which is index arithmetic and no copy."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiotag.data.store import Excerpts
from tests.clips import EXAMPLES


@EXAMPLES
@given(st.data())
def test_store_cuts_as_repeating_and_cutting_does_for_any_lengths(data):
    lengths = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))
    n_frames = data.draw(st.integers(1, 30))
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=6))
    clip_frames = data.draw(st.integers(n_frames, 100))
    offsets = [data.draw(st.integers(0, clip_frames - n_frames)) for _ in rows]
    frames = np.random.default_rng(0).standard_normal((sum(lengths), 3)).astype(np.float16)
    starts = np.cumsum([0, *lengths[:-1]])
    held = Excerpts(*(torch.from_numpy(np.asarray(values)) for values in (frames, starts, np.asarray(lengths))))
    cut = held.crop(torch.tensor(rows), torch.tensor(offsets), n_frames)
    assert cut.shape == (len(rows), 1, 3, n_frames)
    assert cut.dtype == torch.float32
    for at, (row, offset) in enumerate(zip(rows, offsets, strict=True)):
        clip = frames[starts[row] : starts[row] + lengths[row]]
        long = np.concatenate([clip] * clip_frames)[:clip_frames]
        np.testing.assert_array_equal(cut[at, 0].numpy(), long[offset : offset + n_frames].T.astype(np.float32))
