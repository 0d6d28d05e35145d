"""Tables beside that of the clips: right labels, corrections, noise, submissions and the tables that score them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.clips import write_table
from tests.malformed.cases import DATA, SHORT, Case, Files

CLIPS = [(f"{label.lower()}{i:02d}.wav", label) for label in ("Bark", "Meow") for i in range(8)]
TRUTH = "fname,label\n" + "".join(f"{clip},{label}\n" for clip, label in CLIPS)
CORRECTIONS = "clip_id,label,decision\nbark05.wav,Bark,keep\nmeow06.wav,Meow,relabel Bark\nmeow07.wav,Meow,drop\n"
MATRIX = "label,Bark,Meow\nBark,0.9,0.1\nMeow,0.2,0.8\n"
TESTS = [(f"t{i}.wav", "Bark" if i % 2 else "Meow", "Public" if i < 3 else "Private") for i in range(6)]
SUBMISSION = "fname,label\n" + "".join(f"{name},{label} Bark\n" for name, label, _ in TESTS)

SPOILT: dict[str, tuple[str, Callable[[str], bytes]]] = {  # whatever table it is
    "empty": (":1: there is nothing in it", lambda _: b""),
    "header_alone": ("", lambda good: good.split("\n")[0].encode() + b"\n"),
    "utf_16": (":1: this is UTF-16", lambda good: good.encode("utf-16")),
    "cp1252": (":2: this is not UTF-8", lambda good: good.replace("\n", "\nGeräusch", 1).encode("cp1252")),
    "nul": (":2: there is a NUL", lambda good: good.replace("\n", "\n\0", 1).encode()),
    "open_quote": (":2: ", lambda good: good.replace("\n", '\n"', 1).encode()),
    "ragged": (":2: ", lambda good: good.replace("\n", "\nx,y,z,1,2,3\n", 1).encode()),
    "random": ("", lambda _: bytes(range(128, 256)) * 20),
    "of_other_columns": (":1: ", lambda good: good.replace(good.split("\n")[0], "a,b,c", 1).encode()),
    "html": ("", lambda _: b"<!DOCTYPE html>\n<html>404</html>\n"),
}
KINDS = {  # name: good text, settings that name the file, programs that read it
    "truth": (TRUTH, ("data.truth=given.csv",), ("plan", "train", "doctor")),
    "corrections": (CORRECTIONS, ("data.corrections=given.csv",), ("train", "doctor")),
    "matrix": (
        MATRIX,
        ("data.noise.kind=confusion", "data.noise.matrix=given.csv", "data.truth=truth.csv"),
        ("plan", "train"),
    ),
    "submission": (SUBMISSION, ("submission=given.csv",), ("predict",)),
}
FOUND = {kind: Files() for kind in KINDS}


def _closed(content: str, path: Path) -> None:
    path.write_text(content)
    path.chmod(0)


def add(kind: str, name: str, says: str | None, content: str | bytes) -> None:
    """Add a case of a kind of table."""
    written = content if isinstance(content, bytes) else content.encode()
    FOUND[kind].add(name, says, lambda path: path.write_bytes(written))


for kind, (good, _, _) in KINDS.items():
    add(kind, "good", None, good)
    add(kind, "crlf_and_bom", None, b"\xef\xbb\xbf" + good.replace("\n", "\r\n").encode())
    add(kind, "semicolons", None, good.replace(",", ";"))
    for name, (says, spoil) in SPOILT.items():
        is_matrix = (kind, name) == ("matrix", "of_other_columns")  # which names classes there
        add(kind, name, r"given\.csv.*" + ("unknown label b" if is_matrix else says), spoil(good))
    FOUND[kind].add("missing", r"given\.csv.*(not here|no such file)", lambda path: None)
    FOUND[kind].add("a_folder", r"given\.csv.*(not here|no such file)", Path.mkdir)
    FOUND[kind].add("no_permission", r"given\.csv.*Permission denied", partial(_closed, good))

add("truth", "of_other_clips", "names none of the clips", "fname,label\na.wav,Bark\nb.wav,Meow\n")
add("truth", "two_labels", r"given\.csv:18: bark00\.wav: duplicate id", TRUTH + "bark00.wav,Meow\n")
add("truth", "formula", r"given\.csv:18: .*as a formula", TRUTH + "x.wav,=1+1\n")
add("truth", "unknown_labels", None, TRUTH.replace("Meow", "Moo"))
add("truth", "nan", None, TRUTH.replace("Meow", "nan"))
add("truth", "of_a_few_clips", None, "".join(TRUTH.splitlines(keepends=True)[:5]))
add("truth", "without_labels", "names none of the clips", TRUTH.replace("Bark", "").replace("Meow", ""))
add("truth", "of_100000", None, TRUTH + "".join(f"x{i}.wav,Bark\n" for i in range(100_000)))
LABEL_TWICE = TRUTH.replace("\n", ",Bark\n").replace("label,Bark", "label,label", 1)
add("truth", "column_twice", r"given\.csv:1: there are 2 columns label", LABEL_TWICE)

for name, decision, says in (
    ("unknown_decision", "kep", r"unknown decision kep \(did you mean keep\?\)"),
    ("relabel_alone", "relabel", "relabel names no label"),
    ("relabel_misspelt", "relabel Brk", r"unknown label Brk \(did you mean Bark\?\)"),
    ("relabel_as_it_is", "relabel Bark", "relabel Bark: that is its label already"),
    ("relabel_formula", "relabel =1+1", "unknown label =1.1"),
    ("keep_and_more", "keep Bark", "unknown decision keep Bark"),
    ("a_number", "1", "unknown decision 1"),
    ("a_million_letters", "k" * 100_000, "unknown decision kkk"),
    ("markup", "[red]keep[/]", r"unknown decision \[red\]keep"),
):
    add("corrections", name, rf"given\.csv:2: bark05\.wav: {says}", CORRECTIONS.replace("keep", decision))
add("corrections", "in_capitals", None, CORRECTIONS.replace("keep", "KEEP"))
add("corrections", "no_decision", "no row has a decision", "clip_id,label,decision\nbark05.wav,Bark,\n")
add("corrections", "twice", r":5: bark05\.wav: decided twice", CORRECTIONS + "bark05.wav,Bark,drop\n")
add("corrections", "of_another_label", ":2: .*its label here is Moo", CORRECTIONS.replace("Bark,keep", "Moo,keep"))
add("corrections", "unknown_clip", ":5: bark99.wav: the data set has no such clip", CORRECTIONS + "bark99.wav,,drop\n")
add("corrections", "of_other_data", "names none of the clips", "clip_id,decision\nx.wav,keep\n")
add("corrections", "unknown_100000", "no such clip", CORRECTIONS + "".join(f"x{i},,drop\n" for i in range(100_000)))
ALL_OF_A_CLASS = "clip_id,decision\n" + "".join(f"{clip},drop\n" for clip, label in CLIPS if label == "Meow")
add("corrections", "a_class_dropped", "with data.corrections applied: ", ALL_OF_A_CLASS)
EVERY_CLIP = "clip_id,decision\n" + "".join(f"{clip},keep\n" for clip, _ in CLIPS)
add("corrections", "all_kept", "nothing left to verify", EVERY_CLIP)

for name, cell in (("negative", "-1"), ("nan", "nan"), ("infinite", "inf"), ("word", "much"), ("nothing", "")):
    add("matrix", name, r"given\.csv: must hold finite numbers of 0 or more", MATRIX.replace("0.1", cell))
add("matrix", "beyond_floats", r"given\.csv: must hold finite numbers of 0 or more", MATRIX.replace("0.1", "1e999"))
add("matrix", "of_1e308", None, MATRIX.replace("0.1", "1e308"))
add("matrix", "zeros", None, "label,Bark,Meow\nBark,0,0\nMeow,0,0\n")
add("matrix", "unknown_class", "unknown label Moo", MATRIX.replace("Meow", "Moo"))
add("matrix", "a_row_twice", "each class in one row", MATRIX + "Bark,0.5,0.5\n")
add("matrix", "a_column_twice", "each class in one row and one column", MATRIX.replace("Bark,Meow", "Bark,Bark", 1))
add("matrix", "one_row", None, "label,Bark,Meow\nBark,0.9,0.1\n")
add("matrix", "one_column", r"given\.csv: names no class", "label\nBark\nMeow\n")

for name, says, content in (
    ("a_row_less", "1 of the 6 scored clips have no row: t5.wav", SUBMISSION.rsplit("\n", 2)[0] + "\n"),
    ("unknown_clip", r"given\.csv:8: x\.wav: no clip of", SUBMISSION + "x.wav,Bark\n"),
    ("twice", r"given\.csv:8: t0\.wav: stands twice, first in line 2", SUBMISSION + "t0.wav,Bark\n"),
    ("without_a_label", r"given\.csv:2: t0\.wav: no label", SUBMISSION.replace("Meow Bark", "", 1)),
    ("labels_apart_by_commas", r"given\.csv:2: 3 values where", SUBMISSION.replace(" Bark", ",Bark")),
    ("unknown_labels", None, SUBMISSION.replace("Meow", "Moo")),
    ("label_of_a_million", None, SUBMISSION.replace("Meow Bark", "M" * 100_000, 1)),
    ("a_label_thrice", None, SUBMISSION.replace("Meow Bark", "Meow Meow Meow")),
    ("a_thousand_labels", None, SUBMISSION.replace("Meow Bark", "Bark " * 1000)),
    ("formulas_as_labels", None, SUBMISSION.replace("Meow Bark", "=1+1 @x")),
    ("markup_as_labels", None, SUBMISSION.replace("Meow Bark", "[red]Meow[/blue]")),
    ("unknown_clips_30000", "no clip of", SUBMISSION + "".join(f"x{i}.wav,Bark\n" for i in range(30_000))),
    ("a_clip_100000_times", "stands twice", SUBMISSION + "".join(f"t0.wav,Moo{i}\n" for i in range(100_000))),
    ("a_column_twice", r"given\.csv:1: there are 2 columns label", SUBMISSION.replace("fname,label", "label,label")),
):
    add("submission", name, says, content)


def _made(make: Callable[[Path], object], kind: str, folder: Path) -> None:
    (folder / "truth.csv").write_text(TRUTH)
    if kind == "submission":
        write_table(folder / "set/test_post_competition.csv", TESTS, ("fname", "label", "usage"))
    make(folder / "given.csv")


def cases() -> list[Case]:
    """Return a case for each table."""
    found = []
    for kind, (_, naming, programs) in KINDS.items():
        for name, says, make, _ in FOUND[kind].found:
            settings = ("data=kaggle", "data.root=set") if kind == "submission" else DATA
            given = {p: (*settings, *(SHORT if p == "train" else ()), *naming) for p in programs}
            found.append(Case(f"{kind}_{name}", partial(_made, make, kind), dict.fromkeys(given, says), given))
    return found
