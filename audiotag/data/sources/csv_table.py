"""Any folder of recordings and any table that names them."""

from __future__ import annotations

from pathlib import Path

from audiotag.config import Data
from audiotag.data.tables import TableSource


def sources(data: Data, root: Path) -> list[TableSource]:
    """Return the tables named in the configuration, looked for in the working folder, then in `root`."""
    assert data.table is not None  # the schema asks for it
    found = [TableSource(find(data.table, root), root, "train")]
    if data.test_table:
        found.append(TableSource(find(data.test_table, root), root, "test"))
    return found


def find(name: str, root: Path) -> Path:
    """Return the path of a table given on the command line: as given, else below the data set's folder."""
    path = Path(name).expanduser()
    return path.absolute() if path.is_file() else root / path
