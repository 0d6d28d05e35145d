"""The desk of a run: its contradicted labels in the order of what a decision is worth, and what was decided."""

from __future__ import annotations

import datetime
import functools
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from audiotag.config import ReviewConfig
from audiotag.console import note
from audiotag.data.checking import data_root
from audiotag.data.corrections import CORRECTION_COLUMNS, DROP, KEEP, RELABEL, decision_parts
from audiotag.data.paths import leading_out
from audiotag.data.scan import hash_of
from audiotag.errors import AudiotagError, RunError
from audiotag.files import check_folder, write_csv, write_json
from audiotag.report import review
from audiotag.report.clips import review_rows
from audiotag.report.data import read_report_data
from audiotag.report.rounding import posterior
from audiotag.review import verdicts
from audiotag.review.journal import Journal
from audiotag.review.recordings import Recording, read_recording
from audiotag.review.verdicts import Entry, State, Turn, UnfitError
from audiotag.run.folder import RunFolder

# Not the run's own corrections.csv, which says what it was trained with.
CORRECTIONS = review.DESK_FILE
JOURNAL, LISTENER = f"{review.DESK}/verdicts.jsonl", f"{review.DESK}/listener.json"
EXAMPLES = 2  # of a class
HELD = 24  # recordings that are ready to be sent
AGAIN = 100  # entries among which a message that comes again is looked for
RECENT = 50  # clips to which a new window can jump back


@dataclass(frozen=True)
class Item:
    """A clip in the queue; `number` is that of its sound."""

    number: int
    clip: str
    label: str
    predicted: str
    about: dict[str, Any]


class Desk:
    """What the page works on; may be asked by several threads at once.

    Raises RunError if nothing can be reviewed yet, or the desk is open already, DataError if its files are damaged.
    """

    def __init__(self, folder: RunFolder, config: ReviewConfig) -> None:
        check_folder("run", folder.path, "verdicts are written into the run: set run= to a copy of it")
        self.folder, self.config = folder, config
        self._data = read_report_data(folder)
        rows = review_rows(self._data)
        if rows is None:
            raise RunError(f"{folder.path}: there is nothing to review yet: no round is complete")
        kept = review.write_review(folder.path, rows)
        self.root = Path(config.root) if config.root is not None else data_root(folder.config)
        self.clips = list(folder.train.index)
        self._numbers = {clip: number for number, clip in enumerate(self.clips)}
        self._posteriors = pd.concat([self._data.posteriors, self._data.checked_posteriors])
        self.queue = [self._item(row) for row in rows[rows["reason"] != review.EARLIER].to_dict("records")]
        self._refuse_missing()
        self._earlier = verdicts.earlier_entries(self._decided_elsewhere(kept))
        self._lock, self._sound_lock = threading.RLock(), threading.Lock()
        self._journal = Journal(folder.path / JOURNAL)
        self._begun_with = len(self._journal.entries)
        self._read = functools.lru_cache(HELD)(self._read_recording)
        if self._journal.entries:
            self._write()  # a kill may have come between the journal and what is made of it

    def _item(self, row: Mapping[Any, Any]) -> Item:
        label_sure, predicted_sure = posterior(row["posterior_label"]), posterior(row["posterior_predicted"])
        about = {
            "rank": int(row["rank"]),
            "path": row["path"],
            "checked": row["reason"] == review.CHECKED,
            "label_sure": label_sure,
            "predicted_sure": predicted_sure,
            "right": None if pd.isna(row["p_right"]) else f"{row['p_right']:.0%}",
            "judge": f"round {row['round']}, fold {row['fold']}",
        }
        return Item(self._numbers[row["clip_id"]], row["clip_id"], row["label"], row["predicted"], about)

    def _refuse_missing(self) -> None:
        """Raise RunError if none of the first recordings is where the data set is said to be."""
        paths = [self.root / item.about["path"] for item in self.queue[:100]]
        if paths and not any(path.is_file() for path in paths):
            raise RunError(f"{self.root} has none of the run's recordings: if the data set moved, set root=DIR")

    def _decided_elsewhere(self, kept: Path) -> dict[str, str]:
        """Return decisions of the run's own corrections and of its review files, by clip id."""
        applied, train = self.folder.corrections, self.folder.train
        self._given = pd.concat(
            [applied[CORRECTION_COLUMNS], train.reset_index().query("clip_id not in @applied.clip_id")]
        ).set_index("clip_id")[["path", "label", "verified", "fold"]]
        labels = {str(clip): str(label) for clip, label in self._given["label"].items()}
        found = dict(zip(applied["clip_id"], applied["decision"], strict=True))
        for file in dict.fromkeys([self.folder.path / review.FILE, kept]):
            for clip, text in review.decisions(file, labels).items():
                word, label = decision_parts(text)
                if word in (KEEP, DROP) or (word == RELABEL and label in self.folder.classes and label != labels[clip]):
                    found[clip] = f"{word} {label}".strip()
                else:
                    note("passed over:", f"{file}: {clip}: {text} is no decision")
        return found

    @property
    def state(self) -> State:
        """What holds now."""
        return verdicts.replay([*self._earlier, *self._journal.entries])

    def start(self) -> dict[str, Any]:
        """Return what a window needs to begin with."""
        with self._lock:
            state = self.state
            places = {item.clip: i for i, item in enumerate(self.queue)}
            recent = [places[clip] for clip, entry in state.decided.items() if entry.n and clip in places]
            return {
                "run": self.folder.path.name,
                "classes": self.folder.classes,
                "file": str(self.folder.path / CORRECTIONS),
                "recent": recent[-RECENT:],
                "entries": len(self._journal.entries),
                "longest_s": self.config.longest_s,
                "progress": verdicts.progress(self.queue, state),
            }

    def next(self, at: int, only: str | None, later: int, after_verdict: bool) -> dict[str, Any]:
        """Return the clip that comes after the one at `at`, None at the end, and where the listener stands."""
        with self._lock:
            state = self.state
            share = self.config.repeats if after_verdict else 0.0
            seed = self.folder.config.seed
            turn = verdicts.next_turn(self.queue, state, at=at, only=only, later=later, repeats=share, seed=seed)
            answer: dict[str, Any] = {
                "item": None if turn is None else self.item(turn.index, state, turn.again),
                "at": at if turn is None or turn.again else turn.index,  # a repeat does not move the listener on
                "entries": len(self._journal.entries),
                "progress": verdicts.progress(self.queue, state),
            }
            if turn is None:
                answer["agreement"] = self._agreement(state)
            else:
                following = self._following(state, turn, only, later)
                answer["ahead"] = None if following is None else self.queue[following].number
            return answer

    def _following(self, state: State, turn: Turn, only: str | None, later: int) -> int | None:
        item = self.queue[turn.index]
        done = State(decided={**state.decided, item.clip: Entry(len(self._journal.entries) + 1, item.clip, KEEP)})
        found = verdicts.next_turn(self.queue, done, at=turn.index, only=only, later=later)
        return None if found is None else found.index

    def _agreement(self, state: State) -> dict[str, Any]:
        places = {item.clip: i for i, item in enumerate(self.queue)}
        found = verdicts.agreement(state)
        differ = [[places[clip], *texts] for clip, *texts in found["differ"] if clip in places]
        return {**found, "differ": differ}

    def item(self, index: int, state: State | None = None, again: bool = False) -> dict[str, Any]:
        """Return a clip of the queue for the page; raises UnfitError if there is none. A repeat shows no verdict."""
        item = self._at(index)
        state = self.state if state is None else state
        entry = None if again else state.decided.get(item.clip)
        order = pd.Series(self._posteriors.loc[item.clip]).sort_values(ascending=False, kind="stable")
        return {
            **item.about,
            "index": index,
            "number": item.number,
            "clip": item.clip,
            "label": item.label,
            "predicted": item.predicted,
            "again": again,
            "verdict": None if entry is None else entry.text,
            "menu": [[name, posterior(value)] for name, value in order.items() if name != item.label],
            "examples": [self._examples(name, item.clip) for name in (item.label, item.predicted)],
        }

    def _at(self, index: int) -> Item:
        if not 0 <= index < len(self.queue):
            raise UnfitError(f"there is no clip {index}")
        return self.queue[index]

    def _examples(self, label: str, clip: str) -> list[int]:
        """Return the numbers of verified clips of a class, those first that the networks hear most surely as it."""
        votes = self._data.checked_posteriors
        mine = votes.index[(self.folder.train.loc[votes.index, "label"] == label) & (votes.index != clip)]
        order = votes.loc[mine, label].sort_values(ascending=False, kind="stable").index[:EXAMPLES]
        return [self._numbers[name] for name in order]

    def decide(self, index: int, word: str, label: str, again: bool, tab: str, key: str) -> None:
        """Write a verdict; it is on the disk when this returns. Raises UnfitError for one that does not fit."""
        item = self._at(index)
        if word not in verdicts.WORDS or (word == RELABEL) != bool(label):
            raise UnfitError(f"{word} {label} is no verdict")
        if label and (label not in self.folder.classes or label == item.label):
            raise UnfitError(f"{label} is not another class")
        with self._lock:
            if self._sent(key) is not None:
                return
            self._journal.append(clip=item.clip, word=word, label=label, again=again, tab=tab, key=key, at=_now())
            self._write()

    def _sent(self, key: str) -> Entry | None:
        """Return the entry that was written for a message, if the answer to it was lost on the way."""
        recent = self._journal.entries[-AGAIN:]
        return next((entry for entry in recent if key and entry.key == key), None)

    def undo(self, tab: str, key: str) -> int | None:
        """Take back the last verdict of a window, and return where its clip stands; None if there is none."""
        with self._lock:
            sent = self._sent(key)
            entry = verdicts.last_of(self.state, tab, self._begun_with)
            if sent is not None:
                entry = self._journal.entries[sent.undo - 1]
            elif entry is not None:
                self._journal.append(undo=entry.n, tab=tab, key=key, at=_now())
                self._write()
            if entry is None:
                return None
            return next((i for i, item in enumerate(self.queue) if item.clip == entry.clip), None)

    def _write(self) -> None:
        """Write what training takes, and what the listener's verdicts amount to."""
        state = self.state
        entries = [entry for clip, entry in state.decided.items() if clip in self._given.index]
        table = self._given.loc[[entry.clip for entry in entries]].reset_index()
        table = table.assign(
            decision=[verdicts.decision_of(entry, self.config.not_predominant) for entry in entries],
            verdict=[entry.text for entry in entries],
            verified=table["verified"].astype(int),
        )
        write_csv(self.folder.path / CORRECTIONS, table[[*CORRECTION_COLUMNS, "verdict"]])
        write_json(self.folder.path / LISTENER, self.summary(state))

    def summary(self, state: State | None = None) -> dict[str, Any]:
        """Return what `listener.json` holds: progress, and how far the listener agrees with themselves."""
        state = self.state if state is None else state
        progress = verdicts.progress(self.queue, state)
        classes = {name: {"clips": n, "left": left} for name, left, n in progress.pop("classes")}
        return {**progress, "classes": classes, "repeats": verdicts.agreement(state)}

    def recording(self, number: int) -> Recording:
        """Return a training clip's sound; raises AudiotagError if it cannot be heard, UnfitError if there is none."""
        if not 0 <= number < len(self.clips):
            raise UnfitError(f"there is no clip {number}")
        with self._sound_lock:  # one at a time: a core is the listener's
            return self._read(number)

    def _read_recording(self, number: int) -> Recording:
        clip = self.folder.train.loc[self.clips[number]]
        path = self.root / clip["path"]
        if not self.folder.config.data.allow_outside and leading_out([path], self.root):
            raise AudiotagError("its file is not below the data set's folder (data.allow_outside)")
        try:
            if hash_of(path) != clip["content_hash"]:
                raise AudiotagError("the file has changed since the run read it")
        except OSError as error:
            raise AudiotagError(f"the file cannot be read: {error.strerror}") from error
        return read_recording(
            path, self.folder.config.features, self.config.longest_s, float(clip.get("duration_s") or 0)
        )

    def close(self) -> None:
        """Let another process open the desk."""
        self._journal.close()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
