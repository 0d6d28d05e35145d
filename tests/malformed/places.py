"""Where the programs read from and write to: sources of every kind, and outputs that would destroy something."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.clips import write_sound
from tests.malformed.cases import DATA, ON_CPU, Case

AUDIO = "set/audio_train"
FILE = f"{AUDIO}/bark00.wav"

# Sources of predict.py and audiotag.show that are the same in every folder: what is said of them.
SOURCES: dict[str, str | None] = {
    "nowhere.wav": "nowhere.wav: there is no such file or folder",
    "/dev/zero": "/dev/zero is neither a file nor a folder",
    "/dev/null": "/dev/null is neither a file nor a folder",
    "/proc/self/mem": "/proc/self/mem",
    "set/train.csv": "train.csv: cannot be decoded",
    "set/train.csv/x.wav": "x.wav",
    f"{AUDIO}/*.flac": "no file has a name like this",
    f"{AUDIO}/[": "there is no such file or folder|no file has a name like this",
    "~nobody/x.wav": "x.wav: there is no such file",
    "x" * 5000: "no such file|too long",
    "https://example.com/a.wav": "no such file",
}


def deep_folders(folder: Path) -> None:
    here = folder / "given"
    for _ in range(60):
        here /= "deeper"
    write_sound(here / "a.wav", 1)


def empty_folder(folder: Path) -> None:
    (folder / "given").mkdir()


def hidden_files_alone(folder: Path) -> None:
    write_sound(folder / "given/.a.wav", 1)


def other_files_alone(folder: Path) -> None:
    for i in range(1000):
        (folder / "given").mkdir(exist_ok=True)
        (folder / f"given/{i}.txt").touch()


def one_that_cannot_be_read(folder: Path) -> None:
    write_sound(folder / "given/a.wav", 1)
    (folder / "given/b.wav").write_bytes(b"no sound")


def none_that_can_be_read(folder: Path) -> None:
    (folder / "given").mkdir()
    for name in "abc":
        (folder / f"given/{name}.wav").write_bytes(b"no sound")


def names_that_are_no_utf_8(folder: Path) -> None:
    write_sound(folder / "given/a.wav", 1)
    os.rename(folder / "given/a.wav", os.fsencode(folder) + b"/given/\xe4.wav")


def links_in_a_circle(folder: Path) -> None:
    write_sound(folder / "given/a.wav", 1)
    (folder / "given/again").symlink_to(".")
    (folder / "given/up").symlink_to("..")


def a_link_to_itself(folder: Path) -> None:
    (folder / "given").symlink_to("given")


def a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "given")


def a_pipe_among_files(folder: Path) -> None:
    write_sound(folder / "given/a.wav", 1)
    os.mkfifo(folder / "given/b.wav")


def no_permission(folder: Path) -> None:
    write_sound(folder / "given/a.wav", 1)
    (folder / "given").chmod(0)


def a_folder_in_it_without_permission(folder: Path) -> None:
    write_sound(folder / "given/a.wav", 1)
    write_sound(folder / "given/deep/b.wav", 2)
    (folder / "given/deep").chmod(0)


FOLDERS: dict[Callable[[Path], None], str | None] = {
    deep_folders: None,
    empty_folder: "there is no recording in this folder",
    hidden_files_alone: "there is no recording in this folder",
    other_files_alone: "there is no recording in this folder .1000 other files",
    one_that_cannot_be_read: r"1 of 2 recordings cannot be read .the others are .*b\.wav: cannot be decoded",
    none_that_can_be_read: r"a\.wav: cannot be decoded.*c\.wav: cannot be decoded",
    names_that_are_no_utf_8: "this name is not UTF-8",
    links_in_a_circle: None,
    a_link_to_itself: "given",
    a_pipe: "given is neither a file nor a folder",
    a_pipe_among_files: None,
    no_permission: "given: Permission denied",
    a_folder_in_it_without_permission: "given/deep: Permission denied",
}
OWN = {  # outputs that no program may write to: what is said
    "over_the_table": ("set/train.csv", "train.csv (is what this command reads|was not written by this command)"),
    "over_a_table_of_the_same_clips": ("labels.csv", "labels.csv was not written by this command"),
    "over_a_recording": (FILE, "bark00.wav"),
    "a_folder": ("set", "set is a folder|was not|out="),
    "below_a_file": ("set/train.csv/out.csv", "train.csv is not a folder"),
    "nothing": ("", "out="),
    "root": ("/", "out=|is a folder"),
    "device": ("/dev/full", "not a regular file|/dev/full"),
    "proc": ("/proc/out.csv", "/proc"),
    "too_long": ("x" * 300 + ".csv", "too long|more than 200 bytes"),
    "path_too_long": ("x/" * 3000 + "y.csv", "too long|more than 200 bytes"),
    "link_to_a_table": ("link.csv", "train.csv|link.csv"),
    "no_permission": ("closed/out.csv", "closed"),
    "to_a_pipe": ("pipe.csv", "pipe.csv"),
    "formula": ("=1+1.csv", None),
    "markup": ("[red]x[/].csv", None),
    "deep": ("a/b/c/d/e.csv", None),
    "blanks": ("my labels ü.csv", None),
    "twice": ("x.csv out=y.csv", "given once"),
}


def _spoil(folder: Path) -> None:
    (folder / "labels.csv").write_text("fname,label\nbark00.wav,Bark\n")
    (folder / "link.csv").symlink_to("set/train.csv")
    (folder / "closed").mkdir(mode=0o500)
    os.mkfifo(folder / "pipe.csv")


def cases() -> list[Case]:
    """Return a case for each source and output."""
    found = []
    for text, says in SOURCES.items():
        found.append(_source(f"source_{text[:30]}", lambda _: None, text, says))
    for make, says in FOLDERS.items():
        found.append(_source(f"source_{make.__name__}", make, "given", says))
    for name, (out, says) in OWN.items():
        outs = tuple(f"out={word}" for word in out.split(" out="))
        given = {
            "plan": (*DATA, *outs),
            "predict": ("run=small", f"source={FILE}", *ON_CPU, *outs),
            "compare": outs,
        }
        told = dict.fromkeys(given, says)
        if name == "twice":
            told |= {"predict": None, "compare": None}  # settings as any: the last one holds
        found.append(Case(f"out_{name}", _spoil, told, given))
    return found


def _source(name: str, make: Callable[[Path], object], text: str, says: str | None) -> Case:
    given = {
        "predict": ("run=small", f"source={text}", "out=out/labels.csv", *ON_CPU),
        "show": (text, "--out", "pictures"),
    }
    return Case(name, make, dict.fromkeys(given, says), given)
