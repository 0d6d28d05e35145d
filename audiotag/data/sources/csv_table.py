"""Any folder of recordings and any table that names them."""

from __future__ import annotations

from pathlib import Path

from audiotag.config import Data, ScoredData
from audiotag.data.sources.table_layout import LabelTable, TableLayout
from audiotag.data.tables import find


class CsvTable(TableLayout):
    """`data.table` and `data.test_table`, looked for in the working folder, then in `data.root`."""

    def tables(self, root: Path, data: Data | ScoredData) -> list[LabelTable]:
        """Return the tables that are named."""
        named = {"train": data.table, "test": data.test_table}
        return [LabelTable(find(name, root), root, split) for split, name in named.items() if name]
