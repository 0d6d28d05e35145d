"""A folder in the layout of the Kaggle challenge."""

from __future__ import annotations

from pathlib import Path

from audiotag.data.tables import TableSource

TRAIN_TABLES = ("train.csv", "train_post_competition.csv")
TEST_TABLE = "test_post_competition.csv"


def sources(root: Path) -> list[TableSource]:
    """Return the tables of `root`: training, and test where there is one."""
    train = next((root / name for name in TRAIN_TABLES if (root / name).is_file()), root / TRAIN_TABLES[0])
    found = [TableSource(train, root / "audio_train", "train")]
    if (root / TEST_TABLE).is_file():
        found.append(TableSource(root / TEST_TABLE, root / "audio_test", "test"))
    return found
