"""The command `audiotag`, also `python -m audiotag`: its first word is a program or one of the smaller commands."""

from __future__ import annotations

import os
import runpy
import sys

import audiotag
from audiotag.cli.program import print_error
from audiotag.console import CALLED
from audiotag.errors import Nearest

PROGRAMS = {
    "train": "rounds of fitting, consensus and acceptance: a tagger, and which unverified labels can be trusted",
    "verify": "decide again which labels of a run to accept; nothing is trained",
    "predict": "label recordings, a split, a stream; score a submission",
}
# Each is `python -m audiotag.NAME`, too.
COMMANDS = {
    "report": "the page of a run",
    "review": "hear the labels that networks contradict, in a page, and decide on them",
    "audit": "what the accepted labels of a run are worth, by ear",
    "export": "networks as an ONNX file, a page, or a folder to hand on",
    "compare": "a table of runs: their settings and figures",
    "doctor": "what is wrong with a data set",
    "plan": "which clips fall into which fold",
    "show": "a recording as the networks hear it",
}


def main(called: str = "audiotag") -> None:
    """Run what the first argument names, with the others; without one, list what there is.

    Hints, here and in the processes that are started from here, name commands as they were `called`.
    """
    os.environ[CALLED] = called
    if called == "audiotag":
        os.environ["PYTHONSAFEPATH"] = "1"  # no process imports from the working directory; this one does not
    name, *others = sys.argv[1:] or ["--help"]
    known = PROGRAMS | COMMANDS
    if name in ("--help", "-h"):
        print(f"usage: {called} COMMAND [SETTING=VALUE ...]      {called} COMMAND --help\n\n{_listed(known)}")
    elif name == "--version":
        print(f"audiotag {audiotag.__version__}")
    elif name not in known:
        print_error(f"audiotag has no command {name}{Nearest(known)(name)}; it has:\n{_listed(known)}")
        sys.exit(2)
    elif name in PROGRAMS:
        sys.argv = [f"audiotag {name}", *others]
        from audiotag.cli import programs

        getattr(programs, name)()
    else:
        sys.argv = [f"audiotag {name}", *others]
        runpy.run_module(f"audiotag.{name}", run_name="__main__")


def _listed(known: dict[str, str]) -> str:
    return "\n".join(f"  {name:<9}{what}" for name, what in known.items())
