"""Taggers of the Hugging Face hub: hf://OWNER/NAME, or hf://OWNER/NAME@REVISION."""

from __future__ import annotations

import re
from pathlib import Path

import audiotag
from audiotag.config.checks import REPOSITORY
from audiotag.console import as_called
from audiotag.errors import RunError
from audiotag.inference.tagger_folder import CARD, CONFIG, WEIGHTS

HUB = "hf://"
NAMED = re.compile(rf"{HUB}(?P<repository>{REPOSITORY.pattern})(@(?P<revision>[\w./-]+))?")
INSTALL = "pip install -e '.[hub]'"


def hub_folder(name: str) -> Path:
    """Return the folder, in huggingface_hub's cache, of what a hub has under a name; it fetches what is not there yet.

    Only the three files of a tagger are fetched. Without a network, or with HF_HUB_OFFLINE=1, the cache alone is asked.
    Raises RunError if there is no such tagger, or it can be had neither from the hub nor from the cache.
    """
    found = NAMED.fullmatch(name)
    if found is None:
        raise RunError(f"{name} is not a name of the hub: write {HUB}OWNER/NAME, or {HUB}OWNER/NAME@REVISION")
    try:
        import httpx2
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError
    except ModuleNotFoundError as error:
        raise RunError(f"{name} needs {error.name}, which is not installed: {as_called(INSTALL)}") from error
    try:
        return Path(
            snapshot_download(
                found["repository"],
                revision=found["revision"],
                allow_patterns=[CONFIG, WEIGHTS, CARD],
                library_name="audiotag",
                library_version=audiotag.__version__,
            )
        )
    except (OSError, httpx2.HTTPError, HFValidationError) as error:  # the hub's own errors are OSErrors
        raise RunError(f"{name} cannot be had: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Return what the hub or the network said, in a line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no more is said'}"
