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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import requests
from matplotlib.figure import Figure
from pytorch_lightning.loggers import WandbLogger
from rich.text import Text

from audiotag.config import Wandb
from audiotag.console import console
from audiotag.errors import AudiotagError
from audiotag.run.folder import RunFolder
from audiotag.tracking.trackers import Kept, Tracked, Tracker, environment, give_up, given_up

PROBE_S = 4.0  # for the server to say anything at all
INIT_S = 8.0  # for it to accept a run
CELL_FINISH_S = 8.0  # for the last of a cell's few numbers to leave
SUMMARY_FINISH_S = 300.0  # for tables and networks; the server has answered just before
ONLINE = "wandb online"  # in `given_up`: the server failed while a run was on, the rest is kept offline

# An agent of a sweep says by these which run its program is. That is the summary, not one of the cells.
SWEEP = ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH")


class WandbTracker(Tracker, WandbLogger):
    """A run of Weights & Biases."""

    service = "wandb"

    def __init__(self, run: Any, online: bool, at_once: bool) -> None:
        super().__init__(experiment=run)
        self.run, self.online, self.at_once = run, online, at_once

    def row(self, metrics: dict[str, Any], step: int) -> None:
        """Log a row of metrics; `step` is the epoch or round, so that what a resumed run repeats is not kept twice."""
        # W&B holds a step back until the next one begins; a cell's epochs would be lost by a kill.
        self.attempt(self.run.log, dict(metrics), step=step, commit=self.at_once)

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """Log an image."""
        import wandb

        self.attempt(lambda: self.run.log({name: wandb.Image(figure)}, step=step))

    def table(self, name: str, table: pd.DataFrame, step: int) -> None:
        """Log a table."""
        import wandb

        self.attempt(lambda: self.run.log({name: wandb.Table(dataframe=table)}, step=step))

    def files(self, name: str, kind: str, files: dict[str, Path]) -> None:
        """Log files as one artifact."""
        self.attempt(lambda: self.run.log_artifact(_artifact(f"{self.run.group}-{name}", kind, files)))

    def finish(self, failed: bool) -> None:
        """Finish the run; where its server has stopped answering, the runs after it are kept offline."""
        try:
            self.run.finish(exit_code=1 if failed else 0)
        except Exception as error:  # noqa: BLE001 - services raise all kinds; none is worth the training
            if not self.online:
                give_up(self.service, error)
                return
            given_up.add(ONLINE)
            console.print(
                Text("tracking:", "yellow"),
                f"W&B has stopped answering ({type(error).__name__}); "
                f"what it lacks is kept: wandb sync {self.run.settings.sync_dir}; all that follows is kept offline",
                soft_wrap=True,
            )


def _artifact(name: str, kind: str, files: dict[str, Path]) -> Any:
    import wandb

    artifact = wandb.Artifact(re.sub(r"[^A-Za-z0-9_.-]+", "-", name), type=kind)
    for inner, path in files.items():
        artifact.add_file(str(path), name=inner)
    return artifact


def open_wandb(config: Wandb, folder: RunFolder, tracked: Tracked) -> WandbTracker | None:
    """Open a run, or one that was begun before; None where W&B is disabled."""
    mode, _ = wandb_mode(config)
    if mode == "disabled":
        return None
    if mode == "online":
        try:
            return _open(config, folder, tracked, "online")
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the server, offline always works
            given_up.add(ONLINE)
            said = (str(error).splitlines() or [""])[0]
            console.print(
                Text("tracking:", "yellow"), f"W&B is kept offline: {said[:300]}; {_sync(folder)}", soft_wrap=True
            )
    return _open(config, folder, tracked, "offline")


def _open(config: Wandb, folder: RunFolder, tracked: Tracked, mode: Any) -> WandbTracker:
    import wandb

    summary = tracked.key == "summary"
    swept = os.environ.get("WANDB_RUN_ID") if summary and "WANDB_SWEEP_ID" in os.environ else None
    run = wandb.init(
        project=config.project or os.environ.get("WANDB_PROJECT") or "audiotag",
        entity=config.entity,
        id=swept or Kept(folder).id("wandb", tracked.key, lambda: secrets.token_hex(4)),
        resume="allow" if mode == "online" else None,  # offline it only warns; `wandb sync` puts them together by id
        group=folder.path.name,
        name=tracked.name,
        job_type=tracked.job_type,
        tags=config.tags,
        config=tracked.hyperparameters,
        dir=folder.path,
        mode=mode,
        reinit="create_new",  # a run that the caller may have open is none of ours
        settings=wandb.Settings(
            silent=True,
            console="off",  # what is on the screen is ours, and about all cells
            init_timeout=INIT_S,
            finish_timeout=SUMMARY_FINISH_S if summary else CELL_FINISH_S,
            finish_timeout_raises=True,
        ),
    )
    axis = "round" if summary else "epoch"
    run.define_metric(axis)
    run.define_metric("*", step_metric=axis)
    return WandbTracker(run, online=mode == "online", at_once=not summary)


@contextlib.contextmanager
def wandb_session(folder: RunFolder, summary: bool) -> Iterator[None]:
    """Keep what W&B writes inside the run folder, and it silent; in a sweep, keep cells from being the sweep's run."""
    inside = folder.path / "wandb"
    settings: dict[str, str | None] = {
        "WANDB_DATA_DIR": str(inside / "data"),
        "WANDB_CACHE_DIR": str(inside / "cache"),
        "WANDB_ARTIFACT_DIR": str(inside / "artifacts"),
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",  # else the program's end waits for it, 10 s where nobody answers
    }
    sweep = "WANDB_SWEEP_ID" in os.environ
    settings["WANDB_SERVICE"] = os.environ.get("WANDB_SERVICE")  # its own process; our children start their own
    if not summary:
        settings |= dict.fromkeys(SWEEP)
    with environment(settings):
        try:
            yield
        finally:
            if sweep:  # W&B reads the environment once per session: the next one must read its own
                import wandb

                wandb.teardown()


def wandb_mode(config: Wandb) -> tuple[str, str]:
    """Return online, offline or disabled, and why it is offline; raises AudiotagError for online without a key."""
    import wandb

    settings = wandb.Settings()  # what `wandb.setup` reads, without the process that it starts
    settings.update_from_system_settings()
    settings.update_from_env_vars(dict(os.environ))
    asked = config.mode
    if asked == "auto" and settings.mode in ("offline", "dryrun", "disabled"):  # WANDB_MODE, or `wandb offline`
        asked = "disabled" if settings.mode == "disabled" else "offline"
        return asked, f"as W&B's own settings say (WANDB_MODE={settings.mode})"
    if asked in ("offline", "disabled"):
        return asked, "as logger.wandb.mode says"
    if not settings.api_key and requests.utils.get_netrc_auth(settings.base_url) is None:
        if config.mode == "online":
            raise AudiotagError(
                f"logger.wandb.mode=online needs an API key for {settings.base_url}: "
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
    """Say whether a server answers anything, in bounded time; asked once per process.

    In a thread, for nothing else bounds the time that looking up a name or a trickling answer can take.
    """
    heard = threading.Event()

    def ask() -> None:
        with contextlib.suppress(requests.RequestException):
            requests.get(url, timeout=PROBE_S, stream=True, allow_redirects=False).close()
            heard.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_S)
    return heard.is_set()


def _sync(folder: RunFolder) -> str:
    return f"send it later by: wandb sync {folder.path}/wandb/offline-run-*"


def say_where(config: Wandb, folder: RunFolder) -> None:
    """Say on one line that W&B is kept offline, why, and how to send it; raises as `wandb_mode` does."""
    mode, why = wandb_mode(config)
    if mode == "offline":
        console.print(f"W&B is kept offline: {why}; {_sync(folder)}", soft_wrap=True)
