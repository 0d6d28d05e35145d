"""A folder to the Hugging Face hub: a repository is made where there is none, and gets one commit."""

from __future__ import annotations

from pathlib import Path

import audiotag
from audiotag.console import console
from audiotag.errors import AudiotagError
from audiotag.inference.hub import HUB, reason
from audiotag.inference.tagger_folder import CARD, CONFIG, WEIGHTS


def check_token() -> None:
    """Raise AudiotagError if there is no token for the hub; whether it is good, the hub says."""
    from huggingface_hub import get_token

    if get_token() is None:
        raise AudiotagError("push= needs a token of the hub that may write: hf auth login, or HF_TOKEN=...")


def push(folder: Path, repository: str, public: bool) -> None:
    """Push the three files of a folder, all in one commit; a README.md that is there already, people's by now, stays.

    Raises AudiotagError if the hub refuses it, or cannot be reached; the folder stays.
    """
    import httpx2
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HFValidationError

    api = HfApi(library_name="audiotag", library_version=audiotag.__version__)
    try:
        api.create_repo(repository, private=not public, exist_ok=True)
        has_card = api.file_exists(repository, CARD)
        names = [CONFIG, WEIGHTS, *([] if has_card else [CARD])]
        done = api.create_commit(
            repository,
            [CommitOperationAdd(name, folder / name) for name in names],
            commit_message=f"Tagger exported by audiotag {audiotag.__version__}",
        )
    except (OSError, httpx2.HTTPError, HFValidationError) as error:  # the hub's own errors are OSErrors
        raise AudiotagError(f"push={repository} failed ({reason(error)}); {folder} is written, and whole") from error
    if has_card:
        console.print(f"{repository} has a {CARD}, which stays; {folder / CARD} is this run's", soft_wrap=True)
    console.print(f"Pushed: {HUB}{repository}@{done.oid}", soft_wrap=True)
