"""The screen shows names as they are, whatever they look like."""

from __future__ import annotations

import re

import pandas as pd

from audiotag.command import print_error
from audiotag.console import console, progress
from audiotag.inference.results import print_labels
from tests.clips import TOP

ODD = "a[/bold] [red]b :dog: [link=x]"
MARKUP = re.compile(r"""\[/\]|["'\[](?:bold|dim|italic|red|yellow|green|cyan)\]|rich\.markup""")


def test_names_that_look_like_markup_are_shown_as_they_are(capsys):
    console.print(f"Scores: {ODD}", soft_wrap=True)
    print_labels(pd.DataFrame([{"fname": ODD, "label_1": "[/]", "probability_1": 1.0}]))
    assert capsys.readouterr().out.count(ODD) == 2


def test_so_are_descriptions_of_progress():
    with progress() as bar:
        bar.add_task(ODD, total=1)
        assert bar.columns[0].render(bar.tasks[0]).plain == ODD


def test_nothing_is_written_as_markup():
    """The console would show it as it is: styled text is a rich.text.Text. Help has a console of its own."""
    modules = [path for path in (TOP / "audiotag").rglob("*.py") if path.name != "command.py"]
    found = [str(path.relative_to(TOP)) for path in modules if MARKUP.search(path.read_text(encoding="utf-8"))]
    assert not found


def test_the_line_of_a_problem_is_no_picture(capsys):
    """Rich draws a picture in place of :100: where it is not told otherwise."""
    print_error("train.csv:100: x.wav: there is no such file")
    assert "train.csv:100: x.wav" in capsys.readouterr().err
