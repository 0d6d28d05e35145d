"""Reading tables: what is in them, whatever wrote them, and every row that cannot be used, with its line."""

from __future__ import annotations

import csv
import io
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from audiotag.config import Columns
from audiotag.data.clips import ClipTable, check_clips
from audiotag.data.source import complete_rows
from audiotag.data.sources.csv_table import CsvTable
from audiotag.data.sources.table_layout import LabelTable, read_tables
from audiotag.data.tables import read_csv, read_labels
from audiotag.errors import COMPARISONS, DataError
from tests.clips import EXAMPLES, HEADER, no_rights, write_sound, write_table


def read(
    *tables: Path,
    columns: Columns | None = None,
    group: str | None = None,
    classes: list[str] | None = None,
    splits: tuple[str, ...] = ("train", "test"),
    allow_outside: bool = False,
) -> tuple[ClipTable, list[str]]:
    root = tables[0].parent
    named = [LabelTable(table, root / f"audio_{split}", split) for table, split in zip(tables, splits, strict=False)]
    rows = complete_rows(read_tables(named, columns or Columns(), group), root, CsvTable())
    return check_clips(rows, root, classes, allow_outside)


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def problems(rows: ClipTable) -> list[tuple[int, str, str]]:
    """Return (line, file name, why) of every problem."""
    return [(int(p.where.rpartition(":")[2]), p.path.rpartition("/")[2], p.why) for p in rows.problems]


PLAIN = "fname,label,manually_verified\na.wav,Bark,1\nb.wav,Meow,0\n"


def test_table_that_is_plain_is_read(tmp_path):
    rows, classes = read(write(tmp_path / "train.csv", PLAIN))
    assert classes == ["Bark", "Meow"]
    assert rows.problems == []
    assert rows.usable.to_dict("list") == {
        "clip_id": ["a.wav", "b.wav"],
        "path": ["audio_train/a.wav", "audio_train/b.wav"],
        "label": ["Bark", "Meow"],
        "verified": [True, False],
        "split": ["train", "train"],
        "usage": ["", ""],
        "group": ["", ""],
        "where": [f"{tmp_path}/train.csv:2", f"{tmp_path}/train.csv:3"],
    }


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        pytest.param(PLAIN, "utf-8-sig", id="byte order mark"),
        pytest.param(PLAIN.replace("\n", "\r\n"), "utf-8", id="CRLF"),
        pytest.param(PLAIN.replace("\n", "\r"), "utf-8", id="CR"),
        pytest.param(PLAIN.rstrip(), "utf-8", id="no line break at the end"),
        pytest.param(PLAIN.replace("\n", "\n\n \n,,\n"), "utf-8", id="blank lines and rows"),
        pytest.param(" fname , label,manually_verified\n a.wav,Bark ,1\n\tb.wav, Meow, 0", "utf-8", id="spaces"),
        pytest.param(
            '"fname","label","manually_verified"\n"a.wav","Bark","1"\n"b.wav","Meow","0"', "utf-8", id="quotes"
        ),
        pytest.param(PLAIN.replace("\n", ",\n"), "utf-8", id="a comma too many in every row"),
        pytest.param(
            "fname,label,manually_verified\na.wav,Bark,1,,\nb.wav,Meow,0,\n", "utf-8", id="empty values too many"
        ),
        pytest.param(
            "label,manually_verified,fname\nBark,1,a.wav\nMeow,0,b.wav", "utf-8", id="another order of columns"
        ),
    ],
)
def test_table_content_is_the_same_whatever_wrote_it(tmp_path, text, encoding):
    plain, _ = read(write(tmp_path / "plain.csv", PLAIN))
    other, _ = read(write(tmp_path / "other.csv", text, encoding))
    assert other.problems == []
    assert other.usable.drop(columns="where").equals(plain.usable.drop(columns="where"))


def test_table_names_may_hold_commas_quotes_line_breaks_and_unicode(tmp_path):
    names = ["a, b.wav", 'said "hello".wav', "zwei\nZeilen.wav", "Müller 🐕 犬.wav", "nan", "NA", "007", "1e5"]
    rows, classes = read(write_table(tmp_path / "train.csv", [(name, name, 1) for name in names]))
    assert list(rows.usable["clip_id"]) == names
    assert list(rows.usable["label"]) == names
    assert classes == sorted(names)


CELL = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n,\"'"), min_size=1, max_size=8)


@EXAMPLES
@example(["None", " None", "none", "None."], [0] * 6)
@given(st.lists(CELL, min_size=1, max_size=6), st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_table_values_and_lines_are_those_of_the_file(tmp_path_factory, cells, blank_lines):
    """Write any labels with blank lines between; the line reported is the one the row begins in.

    None stands for no label, in the challenge's tables.
    """
    text = "fname,label,manually_verified\n"
    expected = []
    for at, (cell, blanks) in enumerate(zip(cells, blank_lines, strict=False)):
        text += "\n" * blanks
        label = unicodedata.normalize("NFC", cell.strip())
        expected.append((f"{at}.wav", "" if label == "None" else label, text.count("\n") + 1))
        row = io.StringIO()
        csv.writer(row, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow([f"{at}.wav", cell, "1"])
        text += row.getvalue()
    table = write(tmp_path_factory.mktemp("table") / "train.csv", text)
    rows, _ = read(table)
    lines = [int(where.rpartition(":")[2]) for where in rows.frame["where"]]
    assert list(zip(rows.frame["clip_id"], rows.frame["label"], lines, strict=True)) == expected


def test_table_faults_are_all_named_with_their_lines(tmp_path):
    table = write(
        tmp_path / "train.csv",
        "fname,label,manually_verified\n"  # line 1
        "a.wav,Bark,1\n"
        "\n"  # blank lines count
        "a.wav,Bark,1\n"  # 4: again
        '"b\nb.wav",Bark,2\n'  # 5 and 6: a name of two lines, and no flag
        "c.wav,,1\n"
        "d.wav,None,0\n"
        ",Bark,1\n"
        "e.wav,Bark\n"  # 10
        "f.wav,Bark,1,Meow\n"
        "g.wav,Bork,maybe\n"  # two faults in a row
        "a.wav,Bark,0\n",
    )
    rows, _ = read(table, classes=["Bark", "Meow"])
    assert problems(rows) == [
        (4, "a.wav", f"duplicate id, first in {table}:2"),
        (5, "b\nb.wav", "verified must be 1 or 0, not 2"),
        (7, "c.wav", "a training clip without a label"),
        (8, "d.wav", "a training clip without a label"),
        (9, "audio_train", "no file name in this row"),
        (10, "e.wav", "2 values where the header names 3"),
        (11, "f.wav", "4 values where the header names 3"),
        (12, "g.wav", "unknown label Bork (did you mean Bark?); verified must be 1 or 0, not maybe"),
        (13, "a.wav", f"duplicate id, first in {table}:2"),
    ]
    assert list(rows.usable["clip_id"]) == ["a.wav"]


def test_table_problem_reads_as_file_line_path_reason(tmp_path):
    table = write(tmp_path / "train.csv", "fname,label,manually_verified\n\na.wav,,1\n")
    rows, _ = read(table)
    assert [str(problem) for problem in rows.problems] == [
        f"{table}:3: audio_train/a.wav: a training clip without a label"
    ]


@pytest.mark.parametrize("word", ["1", "1.0", "true", "TRUE", "yes", "verified"])
def test_verified_is_said_in_many_words(tmp_path, word):
    rows, _ = read(write_table(tmp_path / "train.csv", [("a.wav", "Bark", word)]))
    assert list(rows.usable["verified"]) == [True]


@pytest.mark.parametrize("word", ["0", "0.0", "false", "False", "no", "unverified", ""])
def test_unverified_is_said_in_many_words(tmp_path, word):
    rows, _ = read(write_table(tmp_path / "train.csv", [("a.wav", "Bark", word)]))
    assert list(rows.usable["verified"]) == [False]


@pytest.mark.parametrize("word", ["2", "-1", "0.5", "01", "nan", "None", "y", "1 0"])
def test_verified_in_no_known_word_is_a_fault(tmp_path, word):
    rows, _ = read(write_table(tmp_path / "train.csv", [("a.wav", "Bark", word)]))
    assert problems(rows) == [(2, "a.wav", f"verified must be 1 or 0, not {word}")]


def test_table_without_a_column_of_flags_is_all_verified(tmp_path):
    table = write_table(tmp_path / "train.csv", [("a.wav", "Bark"), ("b.wav", "Bark")], ("fname", "label"))
    rows, _ = read(table, columns=Columns(verified=None))
    assert list(rows.usable["verified"]) == [True, True]
    with pytest.raises(DataError, match=r"no column manually_verified \(data.columns.verified\)"):
        read(table)


def test_table_rows_of_the_test_split_may_lack_a_label_and_a_flag(tmp_path):
    train = write_table(tmp_path / "train.csv", [("a.wav", "Bark", 1)])
    rows = [
        ("t1.wav", "None", "Ignored"),
        ("t2.wav", "", ""),
        ("t3.wav", "Bark", "Public"),
        ("t4.wav", "Brak", "Public"),
    ]
    test = write_table(tmp_path / "test.csv", rows, ("fname", "label", "usage"))
    read_rows, classes = read(train, test, columns=Columns(usage="usage"))
    assert classes == ["Bark"]
    usable = read_rows.usable[read_rows.usable["split"] == "test"]
    assert list(usable["label"]) == ["", "", "Bark"]
    assert list(usable["usage"]) == ["Ignored", "", "Public"]
    assert not usable["verified"].any()
    assert problems(read_rows) == [(5, "t4.wav", "unknown label Brak (did you mean Bark?)")]


def test_table_label_unlike_any_class_is_a_fault(tmp_path):
    train = write_table(tmp_path / "train.csv", [("a.wav", "Bark", 1)])
    test = write_table(tmp_path / "test.csv", [("t.wav", "Glockenspiel")], ("fname", "label"))
    rows, _ = read(train, test)
    assert problems(rows) == [(2, "t.wav", "unknown label Glockenspiel, none of the classes")]


def test_table_id_in_both_splits_is_a_duplicate(tmp_path):
    train = write_table(tmp_path / "train.csv", [("a.wav", "Bark", 1)])
    test = write_table(tmp_path / "test.csv", [("a.wav", "Bark")], ("fname", "label"))
    rows, _ = read(train, test)
    assert problems(rows) == [(2, "a.wav", f"duplicate id, first in {train}:2")]
    assert list(rows.usable["split"]) == ["train"]


def test_table_may_have_a_column_of_splits(tmp_path):
    table = write_table(
        tmp_path / "all.csv",
        [
            ("a.wav", "Bark", "1", "train", "", "Ann"),
            ("b.wav", "Bark", "", "test", "Public", ""),
            ("c.wav", "Bark", "1", "tset", "", ""),
        ],
        ("fname", "label", "manually_verified", "part", "usage", "who"),
    )
    rows, _ = read(table, columns=Columns(split="part", usage="usage"), group="who")
    assert list(rows.usable["split"]) == ["train", "test"]
    assert list(rows.usable["group"]) == ["Ann", ""]
    assert list(rows.usable["usage"]) == ["", "Public"]
    assert problems(rows) == [(4, "c.wav", "split is neither train nor test: tset")]


def test_classes_are_not_made_by_labels_of_test_rows(tmp_path):
    rows = [("a.wav", "Bark", "1", "train"), ("b.wav", "Meow", "", "test")]
    table = write_table(tmp_path / "all.csv", rows, ("fname", "label", "manually_verified", "part"))
    _, classes = read(table, columns=Columns(split="part"))
    assert classes == ["Bark"]


def test_tables_that_are_missing_are_named_together(tmp_path):
    with pytest.raises(DataError) as caught:
        read(tmp_path / "train.csv", tmp_path / "test.csv")
    assert caught.value.problems == [f"{tmp_path}/{name}.csv: there is no such file" for name in ("train", "test")]
    assert "data.root" in str(caught.value)


def test_table_columns_that_are_missing_are_named_together_with_the_nearest(tmp_path):
    train = write_table(tmp_path / "train.csv", [], ("file", "labels", "manualy_verified", "speaker"))
    test = write_table(tmp_path / "test.csv", [], ("fname", "label", "usgae"))
    with pytest.raises(DataError) as caught:
        read(train, test, columns=Columns(usage="usage"), group="spaeker")
    there = "file, labels, manualy_verified, speaker"
    assert caught.value.problems == [
        f"{train}:1: no column fname (data.columns.clip); there are {there}",
        f"{train}:1: no column label (data.columns.label); there are {there}; did you mean data.columns.label=labels?",
        f"{train}:1: no column manually_verified (data.columns.verified); there are {there}; "
        "did you mean data.columns.verified=manualy_verified?",
        f"{train}:1: no column spaeker (data.group); there are {there}; did you mean data.group=speaker?",
        f"{test}:1: no column usage (data.columns.usage); there are fname, label, usgae; "
        "did you mean data.columns.usage=usgae?",
    ]


def test_table_column_named_twice_is_refused(tmp_path):
    table = write_table(
        tmp_path / "train.csv", [("a.wav", "Bark", "Meow", 1)], ("fname", "label", "label", HEADER_FLAG)
    )
    with pytest.raises(DataError, match="there are 2 columns label"):
        read(table)


HEADER_FLAG = "manually_verified"


@pytest.mark.parametrize(
    ("content", "place", "why"),
    [
        (b"", 1, "nothing in it"),
        (b"\n \n", 1, "nothing in it"),
        ("fname,label,manually_verified\na.wav,Bark,1\nMüll.wav,Bark,1\n".encode("latin-1"), 3, "not UTF-8"),
        (b'fname,label,manually_verified\na.wav,Bark,1\n"b.wav,Bark,1\nc.wav,Bark,1\n', 3, "unexpected end"),
        (b'fname,label,manually_verified\n\n"a".wav,Bark,1\n', 3, "expected after"),
        (PLAIN.encode("utf-16"), 1, "UTF-16"),
        (PLAIN.encode("utf-16-le"), 1, "NUL"),
        (PLAIN.replace("b.wav", "b\0.wav").encode(), 3, "NUL"),
        (b"PK\x03\x04...", 1, "spreadsheet's own file"),
    ],
    ids=[
        "empty",
        "blank",
        "latin-1",
        "a quote never closed",
        "text after a quote",
        "UTF-16",
        "UTF-16 unmarked",
        "NUL",
        "xlsx",
    ],
)
def test_table_that_is_none_is_refused_with_its_line(tmp_path, content, place, why):
    table = tmp_path / "train.csv"
    table.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(table)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{table}:{place}: ")
    assert why in problem
    assert "save it so, in Excel as 'CSV UTF-8'" in str(caught.value)


def test_table_of_windows_is_shown_as_windows_wrote_it(tmp_path):
    table = write(tmp_path / "train.csv", PLAIN.replace("b.wav", "Müll.wav"), "cp1252")
    with pytest.raises(DataError, match=r"not UTF-8 text; as cp1252, .* it says: Müll\.wav"):
        read(table)


def test_table_that_may_not_be_read_is_named(tmp_path):
    (tmp_path / "train.csv").write_text(PLAIN)
    with no_rights(tmp_path / "train.csv"), pytest.raises(DataError, match=r"train\.csv: Permission denied"):
        read_csv(tmp_path / "train.csv")


def test_tables_that_cannot_be_parsed_are_all_named(tmp_path):
    train, test = write(tmp_path / "train.csv", ""), write(tmp_path / "test.csv", '"')
    with pytest.raises(DataError) as caught:
        read(train, test)
    assert len(caught.value.problems) == 2


def test_table_paths_are_relative_to_the_root_where_they_can_be(tmp_path):
    outside = tmp_path.parent / "elsewhere" / "x.wav"
    inside = tmp_path / "audio_train" / "deep" / "y.wav"
    names = [outside, inside, "sub/z.wav", "./sub/../w.wav"]
    table = write_table(tmp_path / "train.csv", [(name, "A", 1) for name in names])
    rows, _ = read(table, allow_outside=True)
    below = [f"audio_train/{name}" for name in ("deep/y.wav", "sub/z.wav", "w.wav")]
    assert list(rows.usable["path"]) == [str(outside), *below]
    rows, _ = read(table)
    assert list(rows.usable["path"]) == below


def test_table_paths_outside_of_the_data_set_are_refused(tmp_path):
    root, elsewhere = tmp_path / "set", write_sound(tmp_path / "elsewhere" / "x.wav", 1)
    write_sound(root / "audio_train" / "a.wav", 2)
    (root / "audio_train" / "link.wav").symlink_to(elsewhere)
    (root / "audio_train" / "folder").symlink_to(elsewhere.parent)
    (root / "audio_train" / "twin.wav").symlink_to("a.wav")
    out = ["../../elsewhere/x.wav", "../../no.wav", "/etc/passwd", elsewhere, "link.wav", "folder/x.wav"]
    table = write_table(root / "train.csv", [(name, "A", 1) for name in [*out, "a.wav", "twin.wav"]])
    rows, _ = read(table)
    why = f"this file is not below {root}, links followed (data.allow_outside=true allows that)"
    assert [(line, reason) for line, _, reason in problems(rows)] == [(line, why) for line in range(2, 8)]
    assert list(rows.readable["clip_id"]) == ["a.wav", "twin.wav"], "the others are not even opened"
    assert problems(read(table, allow_outside=True)[0]) == [(5, "x.wav", f"the same file as in {table}:2")]


def test_table_path_named_in_two_ways_is_a_duplicate(tmp_path):
    nfd = unicodedata.normalize("NFD", "Größe.wav")
    names = ["a.wav", "./a.wav", "sub//b.wav", "sub/../sub/b.wav", "Größe.wav", nfd]
    table = write_table(tmp_path / "train.csv", [(name, "A", 1) for name in names])
    rows, _ = read(table)
    assert [(line, why) for line, _, why in problems(rows)] == [
        (3, f"the same file as in {table}:2"),
        (5, f"the same file as in {table}:4"),
        (7, f"duplicate id, first in {table}:6"),
    ]


def test_classes_of_either_normal_form_are_one(tmp_path):
    nfd = unicodedata.normalize("NFD", "Größe")
    columns = ("fname", nfd, "manually_verified")
    table = write_table(tmp_path / "train.csv", [("a.wav", "Müll", 1), ("b.wav", "Mu\u0308ll", 1)], columns)
    rows, classes = read(table, columns=Columns(label="Größe"))
    assert (rows.problems, classes) == ([], ["Müll"])
    assert read(table, columns=Columns(label=nfd), classes=["Mu\u0308ll"])[1] == ["Müll"]


@pytest.mark.parametrize("text", ["=cmd|'/C calc'!A0", "=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3+cmd|x", "-f(1)"])
def test_table_values_that_a_spreadsheet_would_run_are_refused(tmp_path, text):
    rows = [(text, "Bark", 1, ""), ("a.wav", text, 1, ""), ("b.wav", "Bark", 1, text), ("c.wav", "Bark", 1, "")]
    read_rows, classes = read(write_table(tmp_path / "train.csv", rows, (*HEADER, "who")), group="who")
    why = f"a spreadsheet would run {text} as a formula: give it another name"
    assert [(line, reason) for line, _, reason in problems(read_rows)] == [(line, why) for line in (2, 3, 4)]
    assert classes == ["Bark"]
    truth = write_table(tmp_path / "truth.csv", [("a.wav", text)], ("fname", "label"))
    with pytest.raises(DataError, match="as a formula"):
        read_labels(truth, "fname", "label")


def test_table_names_that_only_look_like_formulas_are_names(tmp_path):
    rows = [("-20dB noise.wav", "+", 1), ("+49 30.wav", "-", 1), ("a=b@c.wav", "1+1", 1)]
    assert read(write_table(tmp_path / "train.csv", rows))[0].problems == []


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_tables_of_spreadsheets_between_semicolons_or_tabs(tmp_path, delimiter):
    text = 'fname;"label, of all";manually_verified\r\na, b.wav;Bark;1\r\n"c;d.wav";Meow;0\r\n'
    text = text.replace(";", delimiter).replace(f"c{delimiter}d", "c;d")
    rows, _ = read(write(tmp_path / "train.csv", text, "utf-8-sig"), columns=Columns(label="label, of all"))
    assert rows.problems == []
    assert list(rows.usable["clip_id"]) == ["a, b.wav", "c;d.wav"]
    labels = read_labels(tmp_path / "train.csv", "fname", "label, of all")
    assert labels.to_dict() == {"a, b.wav": "Bark", "c;d.wav": "Meow"}


def test_label_table_is_by_clip(tmp_path):
    rows = [("a.wav", "Bark"), ("b.wav", ""), ("c.wav", "None"), ("d.wav", "Meow")]
    labels = read_labels(write_table(tmp_path / "truth.csv", rows, ("fname", "label")), "fname", "label")
    assert labels.to_dict() == {"a.wav": "Bark", "d.wav": "Meow"}, "a clip without a label is not known"


def test_label_table_that_is_ambiguous_is_refused(tmp_path):
    table = write(tmp_path / "truth.csv", "fname,label\na.wav,Bark\n\na.wav,Meow\nb.wav\n")
    with pytest.raises(DataError) as caught:
        read_labels(table, "fname", "label")
    assert caught.value.problems == [
        f"{table}:5: 1 values where the header names 2",
        f"{table}:4: a.wav: duplicate id",
    ]
    with pytest.raises(DataError, match=r"no column clip \(data.columns.clip\)"):
        read_labels(table, "clip", "label")


def test_table_names_unknown_labels_without_end_in_good_time(tmp_path, looked_up):
    """5,000 unknown labels, each of its own, against 400 classes: a look-up each would take minutes."""
    rows = [(f"{i}.wav", f"Class {i:06d}", 1) for i in range(5000)]
    read_rows, _ = read(write_table(tmp_path / "train.csv", rows), classes=[f"Class {i}" for i in range(400)])
    assert len(read_rows.problems) == 5000
    assert 400 * len(looked_up) <= COMPARISONS
