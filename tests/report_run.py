"""Run folders for reports, made without training: any classes, any part of them complete, with or without audio."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from audiotag.cli.arguments import CONF
from audiotag.cli.composition import register
from audiotag.config import TrainConfig
from audiotag.data.scan import hash_of
from tests.clips import write_sound

ODD = ["<b>Bark</b>", "a$b", "Käuzchen & Söhne", "fold", "x_{2}$"]


class Page(HTMLParser):
    """What stands in a page: tags with their attributes, rows of each table, visible text."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.rows: dict[str, int] = {}
        self.text = ""
        self.source = file.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "table":
            self.rows[self.tags[-1][1]["id"]] = -1  # the header
        elif tag == "tr":
            self.rows[list(self.rows)[-1]] += 1

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] and self.tags[-1][0] not in ("script", "style"):
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self.tags.append((f"/{tag}", {}))

    def all(self, tag: str) -> list[dict[str, str]]:
        """Return the attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]


def made_run(
    run: Path, root: Path, classes: Sequence[str], rounds: int = 1, complete: int = 1, heard: bool = False
) -> Path:
    """Make a run folder of two folds: of each class two verified and two unverified clips.

    Every clip but those of the first class is contradicted. Of the round after `complete` ones the last fold lacks.
    With `heard` the recordings are written below `root`.
    """
    rows = [
        (f"{label}-{i}", f"audio/{n}-{i}.wav", label, str(i % 2), str(i // 2))
        for n, label in enumerate(classes)
        for i in range(4)
    ]
    manifest = pd.DataFrame(rows, columns=["clip_id", "path", "label", "verified", "fold"])
    hashes = [hash_of(write_sound(root / path, seed)) if heard else "0" for seed, path in enumerate(manifest["path"])]
    for round_ in range(min(complete + 1, rounds + 1)):
        for fold in range(2):
            cell = run / f"round{round_:02d}" / f"fold{fold}"
            cell.mkdir(parents=True)
            epochs = {"epoch": [0, 1], "train_loss": 1.0, "valid_loss": [1.0, 0.5], "valid_accuracy": 0.5}
            pd.DataFrame(epochs).to_csv(cell / "metrics.csv", index=False)
            status = {"valid_loss": 0.5, "valid_accuracy": 0.5, "valid_map3": 0.6}
            if round_ < complete or fold == 0:
                (cell / "status.json").write_text(json.dumps(status))
            for name, verified in (("posteriors", "0"), ("verified_posteriors", "1")):
                clips = manifest[(manifest["fold"] == str(fold)) & (manifest["verified"] == verified)]
                _votes(clips, classes).to_parquet(cell / f"{name}.parquet", index=False)
    manifest.assign(split="train", content_hash=hashes).to_csv(run / "manifest.csv", index=False)
    (run / "classes.json").write_text(json.dumps(list(classes)))
    register(TrainConfig)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", ["experiment=smoke", "folds=2", f"finetune_rounds={rounds}"])
    config.data.root = str(root)
    OmegaConf.save(config, run / "config.yaml")
    return run


def _votes(clips: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    n = len(classes)
    right = np.array([classes.index(label) for label in clips["label"]])
    values = np.full((len(clips), n), 0.4 / (n - 1))
    values[np.arange(len(clips)), (right + (right > 0)) % n] = 0.6
    return pd.DataFrame(values, columns=list(classes)).assign(clip_id=clips["clip_id"].to_numpy())[
        ["clip_id", *classes]
    ]


def change_config(run: Path, **settings: object) -> None:
    """Change settings of a made run, by their dotted names with __ in place of dots."""
    config = OmegaConf.load(run / "config.yaml")
    for name, value in settings.items():
        OmegaConf.update(config, name.replace("__", "."), value)
    OmegaConf.save(config, run / "config.yaml")
