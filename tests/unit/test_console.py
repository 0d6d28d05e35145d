"""The screen shows names as they are, whatever they look like."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from rich.progress import MofNCompleteColumn, TextColumn

from audiotag.cli.program import print_error
from audiotag.compare import RESULTS
from audiotag.compare import show as show_comparison
from audiotag.config import TrainConfig, Verification
from audiotag.console import console, progress
from audiotag.evaluation.metrics import score_ranked
from audiotag.evaluation.scores import print_scores
from audiotag.experiment.decisions import _print as _print_decisions
from audiotag.experiment.progress import _line
from audiotag.experiment.verify import _print
from audiotag.inference.results import print_labels
from audiotag.run.folder import Cell, RunFolder
from audiotag.run.summary import print_summary
from tests.clips import TOP

ODD = "a[/bold] [red]b :dog: [link=x]"
MARKUP = re.compile(r"""\[/\]|["'\[](?:bold|dim|italic|red|yellow|green|cyan)\]|rich\.markup""")


def test_console_shows_names_that_look_like_markup_as_they_are(capsys):
    console.print(f"Scores: {ODD}", soft_wrap=True)
    print_labels(pd.DataFrame([{"fname": ODD, "label_1": "[/]", "probability_1": 1.0}]))
    assert capsys.readouterr().out.count(ODD) == 2


def test_progress_shows_descriptions_that_look_like_markup_as_they_are():
    with progress("clips") as bar:
        bar.add_task(ODD, total=1)
        assert bar.columns[0].render(bar.tasks[0]).plain == ODD


def test_console_is_given_no_markup_anywhere():
    """The console would show it as it is: styled text is a rich.text.Text. Help has a console of its own."""
    modules = [path for path in (TOP / "audiotag").rglob("*.py") if path.name not in ("program.py", "composition.py")]
    found = [str(path.relative_to(TOP)) for path in modules if MARKUP.search(path.read_text(encoding="utf-8"))]
    assert not found


def test_problem_lines_are_no_emoji(capsys):
    """Rich draws a picture in place of :100: where it is not told otherwise."""
    print_error("train.csv:100: x.wav: there is no such file")
    assert "train.csv:100: x.wav" in capsys.readouterr().err


WORD = re.compile(r"[^\s━┏┓┃┡╇┩│└┘┴├┼┤─┳]+")
PATH = "/a/long/path/to/a/folder/of/runs/that/is/wider/than/any/terminal/of/eighty/columns/NAME/ledger.csv"


@pytest.fixture
def at_80(monkeypatch):
    """Return what is printed at a terminal of 80 columns, and what where there is room for everything."""

    def both(show: Callable[[], object]) -> tuple[str, str]:
        screens = []
        for width, terminal in ((80, True), (400, False)):
            monkeypatch.setattr(console, "_width", width)
            monkeypatch.setattr(console, "_force_terminal", terminal)
            monkeypatch.setattr(console, "no_color", True)
            with console.capture() as kept:
                show()
            screens.append(kept.get())
        return screens[0], screens[1]

    return both


ROUNDS = [
    {"round": 10, "valid_accuracy": 0.9387, "valid_accuracy_std": 0.0123, "valid_loss": 10.25, "considered": 5763,
     "accepted": 5712, "promised": 0.9512, "precision": 0.9876, "recall": 0.1234},
]  # fmt: skip
LABELS = {f"label_{k}": "Violin_or_fiddle_played_softly" for k in (1, 2, 3)}
LABELS |= {f"probability_{k}": 0.3 for k in (1, 2, 3)}
DECISION = "as_documented,agreement=False,threshold=0.95,cap=None,calibrate=True"
STATUS = {"trained_on": 9473, "valid_accuracy": 0.9, "valid_loss": 1.3, "best_epoch": 499, "wall_s": 1e5}


def summary_shown() -> None:
    folder = RunFolder(Path(PATH))
    folder.__dict__["config"] = TrainConfig()
    print_summary({"rounds": ROUNDS, "best_round": 10, "skipped": []}, folder, pd.DataFrame())


def comparison_shown() -> None:
    row = dict.fromkeys(RESULTS, 0.9387) | {"complete": 11, "rounds": 11, "state": "complete", "best_round": 10}
    row |= {"considered": 5763, "accepted": 1234, "wall_s": 123456, "last_round": 10, "labels_accepted": 1234}
    settings = {"verification.name": "calibrated_and_something", "training.pretrain.learning_rate": 0.001}
    show_comparison(pd.DataFrame([{"run": "a", **settings, **row}, {"run": "b", **settings, **row}]))


def scores_shown() -> None:
    right = ["Violin_or_fiddle_played_softly", "Bell"]
    print_scores(score_ranked([[name] for name in right], right, right), {}, "a run, test")


def printed(text: str) -> Callable[[], None]:
    return lambda: console.print(text, soft_wrap=True)


SCREENS: dict[str, Callable[[], None]] = {
    "summary": summary_shown,
    "comparison": comparison_shown,
    "scores": scores_shown,
    "labels": lambda: print_labels(pd.DataFrame([{"fname": "sub/folder/recording of a violin.wav", **LABELS}])),
    "decision": lambda: _print(pd.DataFrame(ROUNDS), Verification(calibrate=True), Path(PATH)),
    "decisions": lambda: _print_decisions(pd.DataFrame([{**ROUNDS[0], "decision": DECISION}]), "a-run"),
    "cell": printed(_line(Cell(10, 3), STATUS)),
    "prose": printed(f"silent: 12 clips are silent throughout and kept untrimmed: {PATH}"),
    "list": printed(f"Found:\n  - lr is not a setting; did you mean {'x.' * 20}lr or y?"),
}


@pytest.mark.parametrize("name", SCREENS)
def test_console_cuts_no_word_at_80_columns(at_80, name):
    narrow, wide = at_80(SCREENS[name])
    words = WORD.findall(wide)
    assert words
    assert not {*words} - {*WORD.findall(narrow)} - {"Recording", "Labels"}, "names above labels need no heads"
    long = [line.strip() for line in narrow.splitlines() if len(line) > 80]
    assert all(line.startswith((PATH, "python verify.py run=")) for line in long), "these are to be copied"


def test_console_shows_a_round_of_a_promise_in_one_line_of_80_columns(at_80):
    narrow, _ = at_80(SCREENS["summary"])
    (line,) = [line for line in narrow.splitlines() if "10 *" in line]
    shown = line.replace("│", " ").split()
    assert shown == ["10", "*", "0.9387", "±", "0.0123", "10.2500", "5712", "0.9512", "0.9876", "0.1234"]


def test_console_lines_go_on_where_the_first_began(at_80):
    narrow, _ = at_80(SCREENS["list"])
    assert [line[:5] for line in narrow.splitlines()] == ["Found", "  - l", "    o"]


def test_progress_bars_say_what_they_count():
    with progress("files") as bar:
        bar.add_task("Reading", total=7, completed=3)
        counting = (column for column in bar.columns if isinstance(column, MofNCompleteColumn | TextColumn))
        assert " ".join(column.render(bar.tasks[0]).plain for column in counting) == "Reading 3/7 files left"
