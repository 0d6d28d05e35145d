"""The notebooks, executed as Jupyter does, on small runs instead of the demonstration's."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

from tests.clips import TOP
from tests.conftest import SMALL

FOLDER = TOP / "notebooks"
NAMES = sorted(file.name for file in FOLDER.glob("*.ipynb"))


@pytest.fixture(scope="module")
def finished(small_run: Path, work_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with nothing but the small run and its data."""
    work = tmp_path_factory.mktemp("notebooks")
    (work / "runs").mkdir()
    (work / "runs" / "small").symlink_to(small_run)
    (work / "cache").symlink_to(work_folder / "cache")
    return work


@pytest.fixture(scope="module")
def executed(finished: Path):
    """Execute a notebook from its own folder; return all that it put out.

    In one kernel, for the time, which forgets what the notebook before has named.
    """
    client = NotebookClient(nbformat.v4.new_notebook(), timeout=300, resources={"metadata": {"path": str(FOLDER)}})

    def execute(name: str) -> list:
        client.nb = notebook = nbformat.read(FOLDER / name, as_version=4)
        notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
        for number, cell in enumerate(notebook.cells):
            client.execute_cell(cell, number)
        return [output for cell in notebook.cells for output in cell.get("outputs", [])]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIOTAG_WORK", str(finished))
        patch.setenv("AUDIOTAG_RUN", "small")
        patch.setenv("AUDIOTAG_SETTINGS", " ".join(SMALL))
        patch.setenv("PYTHONPATH", str(TOP))
        with client.setup_kernel():
            yield execute


def pictures(outputs: list) -> list[Image.Image]:
    found = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    return [Image.open(io.BytesIO(base64.b64decode(picture))).convert("L") for picture in found]


def printed(outputs: list) -> str:
    return "".join(output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in outputs)


def warnings(outputs: list) -> list[str]:
    return [output["text"] for output in outputs if output.get("name") == "stderr"]


def players(outputs: list) -> int:
    return sum("<audio" in output.get("data", {}).get("text/html", "") for output in outputs)


def test_notebook_explores_a_data_set(executed):
    outputs = executed("01_explore_data.ipynb")
    assert not warnings(outputs)
    assert len(pictures(outputs)) == 5  # labels, lengths, three clips
    assert players(outputs) == 3
    assert all(picture.getextrema()[0] < 128 < picture.getextrema()[1] for picture in pictures(outputs))
    # experiment=smoke: 8 classes of 8 verified and 8 unverified clips, three in ten of the latter wrong
    assert "128 training clips, 50% of their labels checked" in printed(outputs)
    assert "of 64 unverified labels are wrong" in printed(outputs)


def test_notebook_verifies_step_by_step(executed, small_run):
    outputs = executed("02_self_verification.ipynb")
    ledger = (small_run / "ledger.csv").read_text(encoding="utf-8").splitlines()
    accepted = sum(line.startswith("0,") and ",1,accepted," in line for line in ledger)
    assert not warnings(outputs)
    assert f"small, round 0: 64 unverified clips, {accepted} labels accepted" in printed(outputs)
    assert "largest difference to the stored consensus: 0.0" in printed(outputs)
    assert len(pictures(outputs)) >= 3
    assert players(outputs) >= 4


def test_notebook_compares_runs_and_thresholds(executed):
    outputs = executed("03_compare_runs.ipynb")
    assert not warnings(outputs)
    assert len(pictures(outputs)) == 3
    assert "small" in printed(outputs)
    for rule in ("as_documented", "as_coded", "calibrated", "accept_all"):
        assert rule in printed(outputs)


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_are_kept_without_outputs(name):
    notebook = nbformat.read(FOLDER / name, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell["cell_type"] == "code"]
    assert code
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
