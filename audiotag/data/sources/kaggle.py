"""A folder in the layout of the Kaggle challenge."""

from __future__ import annotations

from pathlib import Path

from audiotag.config import Data, ScoredData
from audiotag.data.sources.table_layout import LabelTable, TableLayout

TRAIN_TABLES = ("train.csv", "train_post_competition.csv")
TEST_TABLE = "test_post_competition.csv"


class Kaggle(TableLayout):
    """train.csv and audio_train/; test_post_competition.csv and audio_test/ if there is a test set."""

    def tables(self, root: Path, data: Data | ScoredData) -> list[LabelTable]:
        """Return the training table, and the test table if it is there."""
        train, test = self._both(root)
        return [train, test] if test.file.is_file() else [train]

    def scored_tables(self, root: Path, data: Data | ScoredData) -> list[LabelTable]:
        """Return the test table, after the training table if that is there."""
        train, test = self._both(root)
        return [train, test] if train.file.is_file() else [test]

    def _both(self, root: Path) -> tuple[LabelTable, LabelTable]:
        train = next((root / name for name in TRAIN_TABLES if (root / name).is_file()), root / TRAIN_TABLES[0])
        return LabelTable(train, root / "audio_train"), LabelTable(root / TEST_TABLE, root / "audio_test", "test")
