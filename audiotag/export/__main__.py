"""Export the networks of runs, front end included: to ONNX, to a page that runs it in a browser, or to a folder.

usage: python -m audiotag.export run=NAME [to=onnx|web|folder] [out=FILE|FOLDER] [round=best] [fold=N]
       [window_frames=N] [int8=true] [push=OWNER/NAME]

to=onnx writes one file that turns waves into posteriors, in ONNX Runtime and whatever else reads ONNX;
`audiotag.load("NAME.onnx")` and `predict.py run=NAME.onnx` take it, too. to=web writes a folder of static files: a page
that labels what the microphone hears without sending it anywhere. to=folder writes the networks as they are and a model
card; push= sends it to the Hugging Face hub, and run=hf://OWNER/NAME takes it from there. run=[A,B] makes an ensemble,
as in predict.py.
"""

from __future__ import annotations

from audiotag.cli.composition import compose_config
from audiotag.cli.program import announce, run_command
from audiotag.config import ExportConfig


def main(arguments: list[str]) -> None:
    """Write the file or the folder."""
    config = compose_config(ExportConfig, arguments)
    from audiotag.export.write import export  # here: a wrong command is refused at once

    announce("audiotag.export", f"run {config.run}, to={config.to}")
    export(config)


if __name__ == "__main__":
    run_command(main, __doc__, needs_arguments=True)
