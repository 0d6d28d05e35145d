"""Settings of trackers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from audiotag.config.leaf import Leaf
from audiotag.config.schema import Settings, settings


@settings
class Logger(Settings):
    """Where a run can be watched besides its own files, which are always written; nothing here changes a result."""

    trackers: Annotated[dict[str, dict[str, Any]], Leaf(several=True)] = Field({})
    """Trackers by name, each a class (audiotag.tracking.trackers.Tracker) and its settings; see logger=."""
    artifacts: list[Literal["manifest", "weights"]] | None = None
    """Files to hand to trackers when the experiment ends: [manifest,weights], or one of them."""
