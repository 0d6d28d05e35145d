"""Weights & Biases: online where it can be, else offline; never a question, never a hang.

What was measured of version 0.31 with servers that refuse or never answer is behind each limit: `wandb.init` waits for
90 s, `finish` for ever, and crash reports for 10 s after the program's end.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure

from audiotag.console import console, note
from audiotag.distributed.processes import environment
from audiotag.errors import AudiotagError
from audiotag.tracking.trackers import SUMMARY, TrackedRun, Tracker, first_line, given_up, need_packages

PROBE_S = 4.0  # for the server to say anything at all
INIT_S = 8.0  # for it to accept a run
CELL_FINISH_S = 8.0  # for the last of a cell's few numbers to leave
SUMMARY_FINISH_S = 300.0  # for tables and networks; the server has answered just before
ONLINE = "wandb online"  # in `given_up`: the server failed while a run was on, the rest is kept offline

# An agent of a sweep says by these which run its program is. That is the summary, not one of the cells.
SWEEP = ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH")

Mode = Literal["auto", "online", "offline", "disabled"]


class WandbTracker(Tracker):
    """A run of Weights & Biases per cell, and one for the experiment.

    `project` null: what WANDB_PROJECT says, else audiotag; `entity`, who owns it, null: the owner of the API key.
    `mode` auto: online where there is an API key and the server answers, else offline.
    """

    def __init__(
        self,
        project: str | None = None,
        entity: str | None = None,
        mode: Mode = "auto",
        tags: list[str] | None = None,
    ) -> None:
        self.project, self.entity, self.mode, self.tags = project, entity, mode, tags
        self.run: Any = None

    def check(self, folder: Path) -> None:
        """Print why W&B is kept offline, and how to send it; raises AudiotagError as `choose_mode` does."""
        need_packages(["wandb"], "wandb")
        mode, why = choose_mode(self.mode)
        if mode == "offline":
            console.print(f"W&B is kept offline: {why}; {_sync(folder)}", soft_wrap=True)

    def begin(self, run: TrackedRun) -> None:
        """Open a run, or one that was begun before."""
        self.is_summary = run.key == SUMMARY
        with contextlib.ExitStack() as stack:
            stack.enter_context(_session(run.folder, self.is_summary))
            self.opened, _ = choose_mode(self.mode)
            try:
                self._open(run)
            except Exception as error:
                if self.opened != "online":
                    raise
                # Whatever is wrong with the server, offline always works.
                given_up.add(ONLINE)
                note("tracking:", f"W&B is kept offline: {first_line(error)}; {_sync(run.folder)}")
                self.opened = "offline"
                self._open(run)
            self.stack = stack.pop_all()

    def _open(self, run: TrackedRun) -> None:
        import wandb

        swept = os.environ.get("WANDB_RUN_ID") if self.is_summary and "WANDB_SWEEP_ID" in os.environ else None
        self.run = wandb.init(
            project=self.project or os.environ.get("WANDB_PROJECT") or "audiotag",
            entity=self.entity,
            id=swept or run.kept_id(lambda: secrets.token_hex(4)),
            # Offline it only warns; `wandb sync` puts them together by id.
            resume="allow" if self.opened == "online" else None,
            group=run.folder.name,
            name=run.name,
            job_type=run.job_type,
            tags=self.tags,
            config=run.settings,
            dir=run.folder,
            mode=self.opened,
            reinit="create_new",  # a run that the caller may have open is not ours
            settings=wandb.Settings(
                silent=True,
                console="off",  # what is on the screen is ours, and about all cells
                init_timeout=INIT_S,
                finish_timeout=SUMMARY_FINISH_S if self.is_summary else CELL_FINISH_S,
                finish_timeout_raises=True,
            ),
        )
        axis = "round" if self.is_summary else "epoch"
        self.run.define_metric(axis)
        self.run.define_metric("*", step_metric=axis)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log a row of metrics; `step` is the epoch or round, so that what a resumed run repeats is not kept twice."""
        # W&B holds a step back until the next one begins; a cell's epochs would be lost by a kill.
        self.run.log(dict(values), step=step, commit=not self.is_summary)

    def table(self, name: str, table: pd.DataFrame, step: int) -> None:
        """Log a table."""
        import wandb

        self.run.log({name: wandb.Table(dataframe=table)}, step=step)

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """Log an image."""
        import wandb

        self.run.log({name: wandb.Image(figure)}, step=step)

    def files(self, name: str, kind: str, files: Mapping[str, Path]) -> None:
        """Log files as one artifact."""
        import wandb

        artifact = wandb.Artifact(re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{self.run.group}-{name}"), type=kind)
        for inner, path in files.items():
            artifact.add_file(str(path), name=inner)
        self.run.log_artifact(artifact)

    def end(self, failed: bool) -> None:
        """Finish the run; where its server has stopped answering, the runs after it are kept offline."""
        with self.stack:
            try:
                self.run.finish(exit_code=1 if failed else 0)
            except Exception as error:
                if self.opened != "online":
                    raise
                given_up.add(ONLINE)
                note(
                    "tracking:",
                    f"W&B has stopped answering ({type(error).__name__}); what it lacks is kept: "
                    f"wandb sync {self.run.settings.sync_dir}; all that follows is kept offline",
                )


def choose_mode(asked: Mode) -> tuple[Any, str]:
    """Return online, offline or disabled, and why it is offline; raises AudiotagError for online without a key."""
    import requests
    import wandb

    settings = wandb.Settings()  # what `wandb.setup` reads, without the process that it starts
    settings.update_from_system_settings()
    settings.update_from_env_vars(dict(os.environ))
    if asked == "auto" and settings.mode in ("offline", "dryrun", "disabled"):  # WANDB_MODE, or `wandb offline`
        kept = "disabled" if settings.mode == "disabled" else "offline"
        return kept, f"as W&B's own settings say (WANDB_MODE={settings.mode})"
    if asked in ("offline", "disabled"):
        return asked, "as logger.trackers.wandb.mode says"
    if not settings.api_key and requests.utils.get_netrc_auth(settings.base_url) is None:
        if asked == "online":
            raise AudiotagError(
                f"logger.trackers.wandb.mode=online needs an API key for {settings.base_url}: "
                "run `wandb login`, set WANDB_API_KEY, or leave the mode at auto"
            )
        return "offline", f"there is no API key for {settings.base_url}"
    if ONLINE in given_up:
        return "offline", "its server stopped answering"
    if not answers(settings.base_url):
        return "offline", f"{settings.base_url} does not answer"
    return "online", ""


@functools.cache
def answers(url: str) -> bool:
    """Return whether a server answers anything, in bounded time; asked once per process.

    In a thread, for nothing else bounds the time that looking up a name or a trickling answer can take.
    """
    import requests

    answered = threading.Event()

    def ask() -> None:
        with contextlib.suppress(requests.RequestException):
            requests.get(url, timeout=PROBE_S, stream=True, allow_redirects=False).close()
            answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_S)
    return answered.is_set()


@contextlib.contextmanager
def _session(folder: Path, is_summary: bool) -> Iterator[None]:
    """Keep what W&B writes inside the run folder, and it silent; in a sweep, keep cells from being the sweep's run."""
    inside = folder / "wandb"
    settings: dict[str, str | None] = {
        "WANDB_DATA_DIR": str(inside / "data"),
        "WANDB_CACHE_DIR": str(inside / "cache"),
        "WANDB_ARTIFACT_DIR": str(inside / "artifacts"),
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",  # else the program's end waits for it, 10 s where nobody answers
        "WANDB_SERVICE": os.environ.get("WANDB_SERVICE"),  # its own process; our children start their own
        **({} if is_summary else dict.fromkeys(SWEEP)),
    }
    in_sweep = "WANDB_SWEEP_ID" in os.environ
    with environment(settings):
        try:
            yield
        finally:
            if in_sweep:  # W&B reads the environment once per session: the next one must read its own
                import wandb

                wandb.teardown()


def _sync(folder: Path) -> str:
    return f"send it later by: wandb sync {folder}/wandb/offline-run-*"
