"""One process of a job, on one device: does the work beside the others, and says how it ended.

Started by `audiotag.distributed.supervisor`: `worker PARENT_ID REPORT_FD`, the work on stdin.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from typing import Any

from audiotag.distributed.processes import end_at_once_by, end_with
from audiotag.errors import AudiotagError


def main() -> None:
    """Do the work that stands on stdin as one rank; the report says its result, or its error."""
    parent_id, report_fd = map(int, sys.argv[1:3])
    os.set_inheritable(report_fd, False)
    end_with(parent_id, signal.SIGKILL)
    end_at_once_by(signal.SIGTERM)
    report, code = _reported(json.loads(sys.stdin.buffer.read()))
    with os.fdopen(report_fd, "w", encoding="utf-8") as pipe:
        pipe.write(json.dumps(report) + "\n")  # without the end of the line, a kill has cut it short
    sys.stdout.flush()
    sys.stderr.flush()
    if code:
        os._exit(code)  # the interpreter's own way out may wait for ranks that are gone


def _reported(work: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Return what to report and the exit code; of an error also when it came, since it may be another one's echo."""
    try:
        return {"result": _done(work)}, 0
    except AudiotagError as error:
        return {"problem": str(error), "at_s": time.monotonic()}, error.exit_code
    except Exception:  # noqa: BLE001 - whatever it is, the job's screen shows it
        return {"traceback": "\n" + traceback.format_exc(), "at_s": time.monotonic()}, 1


def _done(work: dict[str, Any]) -> Any:
    # Here: they take seconds, in which the signals are to be heeded already.
    from omegaconf import OmegaConf

    from audiotag.config.schema import validate
    from audiotag.distributed.tasks import TASKS, run_as_rank

    schema, _ = TASKS[work["task"]]
    return run_as_rank(work["task"], validate(OmegaConf.create(work["config"]), schema))


if __name__ == "__main__":
    main()
