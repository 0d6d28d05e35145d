"""A run that takes round 0 over from another one: rules are compared on the same pre-trained networks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from audiotag.config import TrainConfig
from audiotag.config.result import is_among, refuse_other_settings
from audiotag.console import console
from audiotag.data.manifest import Manifest
from audiotag.data.manifest_file import manifest_text
from audiotag.errors import RunError
from audiotag.files import lines_that_differ, replacing, write_json
from audiotag.run.folder import Cell, RunFolder, find_run, taken

# Settings that round 0 knows nothing of. Its votes are means over K excerpts, so their number is none of these.
AFTER_ROUND_0 = ("verification", "training.finetune", "training.weights")
EXCERPTS = "verification.excerpts"
NOT_TAKEN = ("failure.txt", "status.json")


class WarmStart:
    """Round 0 of the run `warm_start`, for a run that differs from it in nothing that round 0 depends on.

    Raises ConfigError with the settings that differ, RunError where its round 0 is not complete. Nothing is asked of it
    where there is no `warm_start`, or the run has its own round 0 already.
    """

    def __init__(self, config: TrainConfig, folder: RunFolder) -> None:
        self.folder = folder
        self.cells = [Cell(0, fold) for fold in range(config.folds)]
        begun = folder.config_file.is_file() and all(folder.status(cell) for cell in self.cells)
        self.has_round_0 = begun or config.warm_start is not None
        self.base = None if config.warm_start is None or begun else find_run(config.warm_start, config.runs_dir)
        if self.base is None:
            return
        if self.base.path == folder.path:
            raise RunError(f"warm_start={config.warm_start} is this run itself: name the one to take round 0 over from")
        refuse_other_settings(
            self.base.config,
            config,
            f"warm_start={config.warm_start}: round 0 of {self.base.path} was trained with other settings:",
            "Set these as they were, or leave warm_start= out to train round 0 anew.",
            lambda name: name == EXCERPTS or not is_among(name, AFTER_ROUND_0),
        )
        missing = [str(cell.fold) for cell in self.cells if self.base.status(cell) is None]
        if missing:
            raise RunError(
                f"warm_start={config.warm_start}: round 0 of {self.base.path} is not complete (missing: fold "
                f"{', '.join(missing)}); the command that began it goes on from there"
            )

    def check_data(self, manifest: Manifest) -> None:
        """Raise RunError if the data set is not the one whose round 0 is taken over."""
        if self.base is None:
            return
        different = lines_that_differ(manifest_text(self.base.manifest), manifest_text(manifest.frame))
        if different or self.base.classes != manifest.classes:
            raise RunError(
                f"warm_start: {self.base.path} was trained on another data set ({different} rows of manifest.csv "
                "differ): leave warm_start= out to train round 0 on this one"
            )

    def take_over(self) -> None:
        """Link the cells of round 0 that are missing into the run, or copy them if the disk does not support links."""
        if self.base is None:
            return
        for cell in self.cells:
            with taken(self.folder, cell) as mine:
                if mine and self.folder.status(cell) is None:
                    self._take_over(cell)
        console.print(f"Round 0 is taken over from {self.base.path}", soft_wrap=True)

    def _take_over(self, cell: Cell) -> None:
        assert self.base is not None
        where = self.folder.cell(cell)
        for file in sorted(self.base.cell(cell).iterdir()):
            if file.is_file() and not file.name.startswith(".") and file.name not in NOT_TAKEN:
                _link(file, where / file.name)
        self.folder.failure(cell).unlink(missing_ok=True)
        status = self.base.status(cell) or {}
        # The last: with it, the cell is complete.
        write_json(where / "status.json", {**status, "taken_over_from": self.base.path.name})


def _link(file: Path, to: Path) -> None:
    """Give a file a second name, or copy it to another disk. Files of a run are replaced, never written into."""
    with replacing(to) as temporary:
        try:
            os.link(file, temporary)
        except OSError:  # another disk, or one without links; what else is wrong, copying will tell
            shutil.copyfile(file, temporary)
