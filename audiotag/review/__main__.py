"""The listening desk: hear the labels that a run's networks contradict, in a page, and decide on them by key.

usage: python -m audiotag.review run=NAME [root=DIR] [port=8000] [host=ADDRESS] [open=true] [audit=60] [repeats=0.05]
                                 [not_predominant=leave|keep|drop] [longest_s=60] [precision=0.95] [round=best]

Prints the address of the page; `?` in it shows the keys. Every verdict is written at once into the folder `desk` of the
run: `corrections.csv` is what `train.py data.corrections=` takes. Started again, it goes on where it was. With audit=60
it begins with 60 of the accepted labels, for `audit.csv`. Only this machine is answered, unless host= is given.
"""

from __future__ import annotations

from audiotag.cli.composition import compose_config
from audiotag.cli.program import announce, run_command
from audiotag.config import ReviewConfig
from audiotag.console import console
from audiotag.distributed.processes import importing_pytorch


def main(arguments: list[str]) -> None:
    """Serve the desk of a run until Ctrl-C, then say what was done."""
    config = compose_config(ReviewConfig, arguments)
    from audiotag.run.folder import find_run
    from audiotag.web.server import check_web, serve

    check_web()
    folder = find_run(config.run, config.runs_dir)
    announce("audiotag.review", f"run {folder.path}, data {folder.config.data.title}")
    with importing_pytorch():
        from audiotag.review.app import desk_app
        from audiotag.review.desk import CORRECTIONS, Desk
        from audiotag.review.sample import Sample

    desk = Desk(folder, config)
    sample = Sample(folder, config, {clip: number for number, clip in enumerate(desk.clips)})
    if config.audit is not None:
        sample.draw()  # what cannot be audited is refused before there is a page
    app = desk_app(desk, sample, audit_first=config.audit is not None)
    serve(app, "The desk", host=config.host, port=config.port, open_page=config.open)
    summary = desk.summary()
    desk.close()
    done = summary["total"] - summary["left"]
    console.print(f"{done} of {summary['total']} labels decided: {folder.path / CORRECTIONS}", soft_wrap=True)
    if summary["repeats"]["heard"]:
        console.print(
            f"Heard twice: {summary['repeats']['heard']}, of which {summary['repeats']['same']} decided alike."
        )


if __name__ == "__main__":
    run_command(main, __doc__, needs_arguments=True)
