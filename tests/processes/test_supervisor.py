"""Which of several failed processes is the cause, what a job's tree inherits, and what is removed of killed ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from audiotag.distributed.supervisor import Rank, _first_failed
from tests.conftest import TOP

SAYS = "import json, os, sys, time; say = lambda text: os.write(int(sys.argv[1]), text.encode());"
FAILS = SAYS + "time.sleep(float(sys.argv[2])); say(json.dumps({'at_s': time.monotonic()}) + '\\n'); os._exit(1)"
KILLED = SAYS + "time.sleep(float(sys.argv[2])); os.kill(os.getpid(), 9)"


def started(number: int, code: str, *arguments: str) -> Rank:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    process = subprocess.Popen([sys.executable, "-c", code, str(writing), *arguments], pass_fds=[writing])
    os.close(writing)
    return Rank(number, process, reading)


def test_supervisor_finds_the_first_error_though_all_failed_before_it_looked():
    ranks = [started(0, FAILS, "0.2"), started(1, FAILS, "0")]
    for rank in ranks:
        os.waitid(os.P_PID, rank.process.pid, os.WEXITED | os.WNOWAIT)
    failed = _first_failed(ranks)
    assert failed is ranks[1]


def test_supervisor_finds_a_killed_process_the_cause_of_later_errors():
    killed = started(1, KILLED, "0")
    os.waitid(os.P_PID, killed.process.pid, os.WEXITED | os.WNOWAIT)
    ranks = [started(0, FAILS, "0"), killed]
    assert _first_failed(ranks) is killed
    assert killed.report() == {}
    assert ranks[0].report()["at_s"] > killed.alive_s


def test_supervisor_finds_a_killed_process_the_cause_though_it_was_seen_after_another_had_lost_it():
    ranks = [started(0, FAILS, "0.2"), started(1, KILLED, "0.3")]
    assert _first_failed(ranks) is ranks[1]
    assert ranks[0].report()["at_s"] < ranks[1].alive_s


def test_supervisor_finds_an_error_the_cause_of_a_later_abort():
    failed = started(1, FAILS, "0")
    os.waitid(os.P_PID, failed.process.pid, os.WEXITED | os.WNOWAIT)
    assert _first_failed([started(0, KILLED, "0.6"), failed]) is failed


def test_supervisor_reads_reports_longer_than_a_pipe_and_none_cut_short():
    code = SAYS + "say('\"'); [say('x' * 1000) for _ in range(300)]; os._exit(1)"
    cut = started(0, code)
    assert _first_failed([cut]) is cut
    assert len(cut.output) == 300_001
    assert cut.report() == {}


class EndsBetweenTwoLooks(Rank):
    """Alive when looked at; by the next look it has failed."""

    def ended(self) -> bool:
        if super().ended():
            return True
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        return False


def test_supervisor_sees_one_that_fails_between_two_looks():
    rank = started(0, FAILS, "0.5")
    between = EndsBetweenTwoLooks(0, rank.process, rank.pipe)
    assert _first_failed([between]) is between


def test_supervisor_sees_that_all_is_well():
    assert _first_failed([started(number, SAYS + "say('{}\\n')") for number in range(2)]) is None


@pytest.mark.parametrize("handled", ["", "signal.signal(signal.SIGTERM, lambda *_: time.sleep(60));"])
def test_process_ends_at_once_by_a_signal_whatever_handlers_are_set(handled):
    code = "import os, signal, time; from audiotag.distributed.processes import end_at_once_by;"
    code += " end_at_once_by(signal.SIGTERM);"
    process = subprocess.Popen(
        [sys.executable, "-c", code + handled + "print('ready', flush=True); time.sleep(60)"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(TOP)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    began_s = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 143
    assert time.monotonic() - began_s < 5
