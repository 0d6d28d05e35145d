"""Tables of recordings, right labels, corrections and noise, and submissions, as people and programs spoil them."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.clips import write_sound, write_table
from tests.malformed.cases import DATA, SHORT, Case, Files

FILES = Files()  # of the training table: a function is given the path of a good one
TABLE = "set/train.csv"


def text(path: Path, change: Callable[[str], str], encoding: str = "utf-8") -> None:
    """Change a table's text."""
    path.write_bytes(change(path.read_bytes().decode("utf-8")).encode(encoding))


def add(name: str, says: str | None, change: Callable[[str], str], encoding: str = "utf-8", **more: object) -> None:
    """Add a case that changes the training table's text."""
    FILES.add(name, says, partial(text, change=change, encoding=encoding), **more)


def line(number: int, new: str) -> Callable[[str], str]:
    """Put another line in place of one, counted from 1."""
    return lambda table: "\n".join([*table.split("\n")[: number - 1], new, *table.split("\n")[number:]])


def at(number: int, why: str) -> str:
    """Return what an error says of a line of the table."""
    return rf"train\.csv:{number}: .*{why}"


# ---- what the table is

add("bom", None, lambda t: "\ufeff" + t)
add("utf_16", at(1, "UTF-16"), str, "utf-16")
add("utf_16_without_bom", at(1, "NUL character"), str, "utf-16-le")
add("utf_32", at(1, "UTF-16|UTF-32"), str, "utf-32")
add("cp1252", at(2, "cp1252"), lambda t: t.replace("bark00", "Geräusch"), "cp1252")
add("latin_1_in_line_10", at(10, "cp1252"), line(10, "über.wav,Bark,0"), "latin-1")
add("nul", at(3, "NUL character"), line(3, "bark\x0001.wav,Bark,1"))
add("empty", at(1, "nothing in it"), lambda _: "")
add("blank_lines_alone", at(1, "nothing in it"), lambda _: "\n \n\t\n\r\n")
add("separators_alone", at(1, "nothing in it"), lambda _: ",,\n,,\n")
add("header_alone", "no training clips|nothing to tell apart", lambda t: t.split("\n")[0] + "\n")
add("no_header", at(1, "no column fname"), lambda t: t.split("\n", 1)[1])
add("crlf", None, lambda t: t.replace("\n", "\r\n"))
add("cr", None, lambda t: t.replace("\n", "\r"))
add("mixed_ends", None, lambda t: t.replace("\n", "\r\n", 5))
add("no_end_of_line_at_the_end", None, lambda t: t.rstrip("\n"))
add("blank_lines_between", None, lambda t: t.replace("\n", "\n\n"))
add("semicolons", None, lambda t: t.replace(",", ";"))
add("tabs", None, lambda t: t.replace(",", "\t"))
add("pipes", at(1, "no column fname"), lambda t: t.replace(",", "|"))
add("colons", at(1, "no column fname"), lambda t: t.replace(",", ":"))
add("blanks_as_separators", at(1, "no column fname"), lambda t: t.replace(",", " "))
add("header_with_semicolons", at(2, "1 values where the header names 3"), lambda t: t.replace(",", ";", 2))
add("sep_line_of_excel", at(1, "no column fname"), lambda t: "sep=,\n" + t)
add("comment_first", at(1, "no column fname"), lambda t: "# my clips\n" + t)
add("json", at(1, "no column fname|expected after"), lambda _: '[{"fname": "bark00.wav", "label": "Bark"}]\n')
add("xlsx", at(1, "spreadsheet"), lambda _: "PK\x03\x04" + "\x01" * 100)
add("html_page", at(1, "no column fname|expected after"), lambda _: "<!DOCTYPE html>\n<html><body>404</body></html>\n")
add("open_quote", at(4, ""), line(4, '"bark02.wav,Bark,1'))
add("quote_inside", at(4, "3 values|expected after|no such file"), line(4, 'bark"02".wav,Bark,1'), plan=None)
add("text_after_a_quote", at(4, "expected after"), line(4, '"bark02.wav"x,Bark,1'))
add("all_quoted", None, lambda t: "\n".join(",".join(f'"{c}"' for c in r.split(",")) for r in t.strip().split("\n")))
add(
    "single_quotes",
    at(2, "no such file|unknown label|verified must"),
    lambda t: "\n".join(
        [t.split("\n")[0], *(",".join(f"'{c}'" for c in r.split(",")) for r in t.strip().split("\n")[1:])]
    ),
    plan=at(2, "verified must"),
)
add("line_break_in_a_name", at(4, "no such file"), line(4, '"bark\n02.wav",Bark,1'), plan=None)
add("line_break_in_a_label", at(4, "nothing|verified|class"), line(4, 'bark02.wav,"Ba\nrk",1'), plan="class Ba.rk: 1 ")
add("cell_of_a_million", at(4, "field larger|File name too long"), line(4, "a" * 1_000_000 + ",Bark,1"), plan=at(4, ""))
add("label_of_100000", at(4, "class|label|verified"), line(4, f"bark02.wav,{'x' * 100_000},1"))
add("a_million_separators", at(4, "values where the header names 3"), line(4, "bark02.wav,Bark,1" + ",x" * 500_000))
add("trailing_separators", None, lambda t: t.replace("\n", ",,,\n"))
add("trailing_blanks", None, lambda t: t.replace(",", " , ").replace("\n", "  \n"))
add("one_value_less", at(5, "2 values where the header names 3"), line(5, "bark03.wav,Bark"))
add("one_value_more", at(5, "4 values where the header names 3"), line(5, "bark03.wav,Bark,1,really"))
add("two_columns_of_a_name", at(1, "there are 2 columns label"), lambda t: t.replace("manually_verified", "label"))
add("a_column_less", at(1, "no column manually_verified"), lambda t: t.replace("manually_verified", "verified"))
add("header_in_capitals", at(1, "no column fname"), lambda t: t.replace("fname,label", "FNAME,LABEL"))
add("header_of_blanks", at(1, "no column fname"), line(1, " , , x"))
add("columns_in_another_order", None, lambda t: "\n".join(",".join(r.split(",")[::-1]) for r in t.strip().split("\n")))
add("a_column_of_ids_first", None, lambda t: "\n".join(f"{i},{r}" for i, r in enumerate(t.strip().split("\n"))))
add("header_twice", at(6, "no such file|unknown|verified must"), lambda t: line(6, t.split("\n")[0])(t), plan=at(6, ""))
add("a_sum_in_the_last_line", at(18, "no file name"), lambda t: t + ",Bark,16\n")

# ---- what stands in its rows

add("duplicate_id", at(5, "duplicate id, first in .*:4"), line(5, "bark02.wav,Bark,1"))
add("duplicate_id_of_another_label", at(5, "duplicate id"), line(5, "bark02.wav,Meow,1"))
add("the_same_file_by_another_name", at(5, "the same file as in"), line(5, "./bark02.wav,Bark,1"))
add("no_name", at(5, "no file name"), line(5, ",Bark,1"))
add("name_of_dots", at(5, "not a file|not below|the data set|folder"), line(5, "..,Bark,1"), plan=None)
add("name_of_a_slash", at(5, "not below"), line(5, "/,Bark,1"))
add("name_of_a_folder", at(5, "not a file"), line(5, ".,Bark,1"), plan=None)
add("parent_folder", at(5, "not below"), line(5, "../../../etc/passwd,Bark,1"))
add("parent_folder_and_back", None, line(5, "../audio_train/bark03.wav,Bark,1"))
add("absolute_path", at(5, "not below"), line(5, "/etc/passwd,Bark,1"))
add("device", at(5, "not below"), line(5, "/dev/zero,Bark,1"))
add("home", "audio_train/~: there is no such folder", line(5, "~/bark03.wav,Bark,1"), plan=None)
add("address", "audio_train/https:/x.com: there is no such folder", line(5, "https://x.com/a.wav,Bark,1"), plan=None)
add("windows_path", at(5, "no such file"), line(5, r"C:\clips\bark03.wav,Bark,1"), plan=None)
add("name_too_long", at(5, "too long"), line(5, "b" * 300 + ".wav,Bark,1"), plan=None)
add("missing_file", at(5, "no such file.*did you mean|no such file"), line(5, "bark33.wav,Bark,1"), plan=None)
add("case_twin", at(5, "no such file|the same file"), line(5, "BARK02.wav,Bark,1"), plan=None)
for number, cell in enumerate(("=1+1", "@SUM(A1)", "-2+3+cmd|' /C calc'!A0", "+SUM(1)", '"=HYPERLINK(""x"")"')):
    add(f"formula_{number}_as_name", at(5, "as a formula"), line(5, f"{cell},Bark,1"))
    add(f"formula_{number}_as_label", at(5, "as a formula"), line(5, f"bark03.wav,{cell},1"))
LABELS = {
    "misspelt": ("Brak", "class Brak: 1 "),
    "of_another_case": ("bark", "class bark: 1 "),
    "number": ("0", "class 0: 1 "),
    "nan": ("NaN", "class NaN: 1 "),
    "true": ("True", "class True: 1 "),
    "null": ("null", "class null: 1 "),
    "none": ("None", at(5, "without a label")),
    "empty": ("", at(5, "without a label")),
    "blank": (" ", at(5, "without a label")),
    "markup": ("[red]Bark[/]", r"class \[red\]Bark\[/\]: 1 "),
    "slash": ("../Bark", r"class \.\./Bark: 1 "),
    "clip_id": ("clip_id", "class clip_id: tables of posteriors"),
    "zero_width": ("Ba\u200brk", "class Ba.?rk: 1 "),
    "percent": ("%s%n", "class %s%n: 1 "),
}
for name, (label, says) in LABELS.items():
    add(f"label_{name}", says, line(5, f"bark03.wav,{label},1"))
for flag in ("1.0", "yes", "TRUE", "Verified", " 1 "):
    add(f"verified_{flag.strip()}", None, line(5, f"bark03.wav,Bark,{flag}"))
for flag in ("2", "-1", "maybe", "nan", "1e0", "None", "ja", "x" * 10_000):
    add(f"verified_{flag[:8]}", at(5, "verified must be 1 or 0"), line(5, f"bark03.wav,Bark,{flag}"))


def rows(path: Path, new: Sequence[Sequence[object]]) -> None:
    """Put other rows in place of the table's."""
    write_table(path, new)


@FILES.case("nothing to tell apart: 1 classes")
def one_class(path: Path) -> None:
    text(path, lambda t: t.replace("Meow", "Bark"))


@FILES.case("nothing to verify")
def all_verified(path: Path) -> None:
    text(path, lambda t: t.replace(",0\n", ",1\n"))


@FILES.case("class Bark: 0 verified clips, 2 folds|verified")
def none_verified(path: Path) -> None:
    text(path, lambda t: t.replace(",1\n", ",0\n"))


@FILES.case("class Bark: 1 verified clips, 2 folds")
def fewer_verified_than_folds(path: Path) -> None:
    rows(path, [(f"{c}0{i}.wav", c.title(), int(i < 1)) for c in ("bark", "meow") for i in range(8)])


@FILES.case("no training clips|verified clips")
def two_rows(path: Path) -> None:
    rows(path, [("bark00.wav", "Bark", 1), ("meow00.wav", "Meow", 0)])


@FILES.case("verified clips, 2 folds")
def a_class_for_every_clip(path: Path) -> None:
    rows(path, [(f"{c}0{i}.wav", f"{c}{i}", int(i < 4)) for c in ("bark", "meow") for i in range(8)])


@FILES.case(at(18, "no such file"), plan="class Sort0: 0 verified clips")
def classes_5000(path: Path) -> None:
    good = path.read_text(encoding="utf-8")
    path.write_text(good + "".join(f"bark{i}.wav,Sort{i},0\n" for i in range(5000)), encoding="utf-8")


@FILES.case(at(18, "duplicate id"))
def rows_10000_of_one_clip(path: Path) -> None:
    text(path, lambda t: t + "bark00.wav,Bark,1\n" * 10_000)


@FILES.case(at(18, "without a label|verified must"))
def rows_10000_bad(path: Path) -> None:
    text(path, lambda t: t + "".join(f"x{i}.wav,,maybe\n" for i in range(10_000)))


@FILES.case(None)
def labels_in_two_normal_forms(path: Path) -> None:
    forms = [unicodedata.normalize(form, "Geräusch") for form in ("NFC", "NFD")]
    names = [(f"bark0{i}.wav", forms[i % 2], int(i < 4)) for i in range(8)]
    rows(path, [*names, *((f"meow0{i}.wav", "Meow", int(i < 4)) for i in range(8))])


@FILES.case("the same file as in|duplicate id")
def names_in_two_normal_forms(path: Path) -> None:
    forms = [unicodedata.normalize(form, "Geräusch.wav") for form in ("NFC", "NFD")]
    write_sound(path.parent / "audio_train" / forms[0], 5)
    text(path, lambda t: t + "".join(f"{form},Bark,0\n" for form in forms))


@FILES.case("a folder|no such file|cannot be read")
def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@FILES.case(r"train\.csv: there is no such file")
def missing(path: Path) -> None:
    path.unlink()


@FILES.case(r"train\.csv.*(Permission denied|cannot be read)")
def no_permission(path: Path) -> None:
    path.chmod(0)


@FILES.case(r"set.*(Permission denied|no such file)")
def folder_without_permission(path: Path) -> None:
    path.parent.chmod(0)


@FILES.case(r"train\.csv.*(no such file|Too many)")
def a_link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


@FILES.case(r"audio_train: there is no such folder, and 16 rows", plan=None)
def no_audio(path: Path) -> None:
    (path.parent / "audio_train").rename(path.parent / "audio")


@FILES.case(r"audio_train.*(Permission denied|cannot be read)", plan=None)
def audio_without_permission(path: Path) -> None:
    (path.parent / "audio_train").chmod(0)


def cases() -> list[Case]:
    """Return a case for each table; the plan, which reads no audio, may say something else; the others take turns."""
    found = []
    for number, (name, says, make, more) in enumerate(FILES.found):
        given = {"plan": DATA, **({"train": (*DATA, *SHORT)} if number % 2 else {"doctor": DATA})}
        told = {**dict.fromkeys(given, says), **more}
        found.append(Case(f"table_{name}", lambda folder, make=make: make(folder / TABLE), told, given))
    return found
