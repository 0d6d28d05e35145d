"""Malformed inputs of every kind, to the programs that meet them: a result or a sentence, and nothing else changed."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import pytest

from audiotag.config import TrainConfig
from audiotag.errors import DataError
from audiotag.features.audio import AudioError, load
from audiotag.plan import compose_training, plan
from tests.clips import write_sound
from tests.malformed import archives, audio, labels, places, settings, tables
from tests.malformed.cases import DATA, Case, good_folder
from tests.malformed.harness import PROGRAMS, be_ordinary, tree
from tests.programs import run_program

ALL = [case for kind in (audio, tables, labels, settings, places, archives) for case in kind.cases()]
OF_RUNS = {"predict", "verify", "compare", "report"}
QUICK = {  # the others are among the slow tests
    "audio_a_pipe-show",
    "source_/dev/zero-show",
    "table_utf_16-train",
    "setting_data.classes=[[1],[2]]-train",
    "yaml_code-train",
    "out_over_a_table_of_the_same_clips-predict",
    "archive_encrypted-fetch",
    "archive_parent_folder-fetch",
}
# Read in the tests' own process, with all rights: what takes neither these away nor long.
RIGHTS_MATTER = ("no_permission", "without_permission", "rows_10000", "classes_5000", "million", "100000")
HERE = [case for case in tables.cases() if not any(name in case.name for name in RIGHTS_MATTER)][::3]
OTHERS_ARE_DONE = re.compile(r"the others are (labelled|drawn)")


def faults(case: Case, program: str, folder: Path) -> list[str]:
    """Make a case, run a program on it, and return what is wrong with what came of it."""
    given = [*case.given[program], *(case.make(folder) or ())]
    before = tree(folder)
    code, screen = run_program(PROGRAMS[program], given, folder, before=be_ordinary)
    after = tree(folder)

    says, said = case.says[program], " ".join(screen.split())
    found = []
    # 2: of the command itself, or of a folder that the doctor may not look into
    expected = [0] if says is None else [1, 2] if program == "doctor" and case.kept else [2]
    if code not in expected:
        found.append(f"exit code {code}, not {' or '.join(map(str, expected))}")
    if "Traceback" in said:
        found.append("a traceback")
    if says is not None and not re.search(says, said):
        found.append(f"does not say {says}")
    found += [f"{path} has changed" for path in before if after.get(path) != before[path]]
    if says is not None and not OTHERS_ARE_DONE.search(said):
        kept = [path for path in after if path not in before and not f"{path}/".startswith(case.kept)]
        found += [f"{path} is left" for path in kept]
    return [*found, screen] if found else []


@pytest.mark.parametrize(
    ("case", "of"),
    [
        pytest.param(case, of, id=name, marks=[] if name in QUICK else pytest.mark.slow)
        for case in ALL
        for of in case.given
        if (name := f"{case.name}-{of}")
    ],
)
def test_malformed_input_is_used_or_refused_by_name(
    request: pytest.FixtureRequest, tmp_path: Path, case: Case, of: str
) -> None:
    good_folder(tmp_path, request.getfixturevalue("small_run") if of in OF_RUNS else None)
    assert faults(case, of, tmp_path) == []


def test_malformed_recordings_are_read_or_refused_by_name(tmp_path: Path) -> None:
    """All of the corpus, as training reads them."""
    for name, says, make, more in audio.FILES.found:
        path = tmp_path / name / more.get("fname", f"bark07{more.get('suffix', '.wav')}")
        path.parent.mkdir(parents=True)
        if says in audio.OF_DECODING:
            write_sound(path.with_name("bark00.wav"), 0)  # a case links to it
            make(path)
            with pytest.raises(AudioError, match=f"{re.escape(path.name)}.*({says})") if says else nullcontext():
                load(path)


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    return compose_training(list(DATA))


@pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
def test_malformed_tables_are_planned_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config, case: Case
) -> None:
    good_folder(tmp_path, None)
    case.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    says = case.says["plan"]
    with pytest.raises(DataError, match=f"(?s){says}") if says else nullcontext():
        plan(config)
