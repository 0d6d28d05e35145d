"""Tracking by real runs: what W&B, TensorBoard and MLflow keep is read back and compared with the run's own files."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import yaml
from matplotlib import get_cachedir
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from audiotag.config import Logger, TrainConfig
from audiotag.errors import AudiotagError
from audiotag.run.folder import Cell, RunFolder
from audiotag.tracking import wandb as wandb_tracker
from audiotag.tracking.trackers import cell_trackers, given_up
from audiotag.tracking.wandb import choose_mode
from tests.clips import TOP
from tests.job import Job
from tests.programs import import_from, run_program
from tests.wandb_files import OfflineRun, offline_runs

SMALL = ("experiment=smoke", "folds=2")
CELLS = [(0, 0), (0, 1), (1, 0), (1, 1)]
KEY = "0123456789" * 4  # as long as an API key


@pytest.fixture(scope="module")
def nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home folder of somebody who has no account anywhere; returns it."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
            patch.delenv(name)
        patch.setenv("MPLCONFIGDIR", get_cachedir())  # listing fonts takes longer than the run
        patch.setenv("HOME", str(home))
        patch.setenv("NETRC", str(home / ".netrc"))
        yield home


@pytest.fixture(scope="module")
def tracked_run(program, work_folder, nobody) -> Path:
    """A small run with everything on, begun by a person without an account."""
    output = program(
        "train.py", *SMALL, "finetune_rounds=1", "run=tracked", "logger=[csv,wandb,tensorboard,mlflow]",
        "logger.artifacts=[manifest,weights]",
    )  # fmt: skip
    assert "W&B is kept offline: there is no API key" in output
    assert "wandb sync" in output
    assert "tracking:" not in output, output
    return work_folder / "runs" / "tracked"


def cell_folder(run: Path, cell: tuple[int, int]) -> Path:
    return run / f"round{cell[0]:02d}" / f"fold{cell[1]}"


def table(path: Path) -> pd.DataFrame:
    content = json.loads(path.read_text())
    return pd.DataFrame(content["data"], columns=content["columns"])


# A real run, kept offline by W&B


@pytest.mark.parametrize("cell", CELLS)
def test_wandb_has_a_run_per_cell_with_the_rows_of_its_metrics(tracked_run, cell):
    (offline,) = offline_runs(tracked_run)[f"round {cell[0]}, fold {cell[1]}"]
    assert offline.run.run_group == tracked_run.name
    assert offline.run.job_type == ("finetune" if cell[0] else "pretrain")
    assert offline.run.project == "audiotag"
    assert offline.exit_codes == [0]
    metrics = pd.read_csv(cell_folder(tracked_run, cell) / "metrics.csv")
    logged = pd.DataFrame(offline.rows)[list(metrics.columns)]
    pd.testing.assert_frame_equal(logged, metrics, check_exact=False, atol=1e-6, rtol=0)
    configuration = yaml.safe_load((tracked_run / "config.yaml").read_text())
    assert {name: offline.config[name] for name in configuration} == configuration
    assert offline.config["cell"] == {"round": cell[0], "fold": cell[1]}
    kept = json.loads((tracked_run / "tracking.json").read_text())["wandb"]
    assert offline.run.run_id == kept[f"round{cell[0]:02d}/fold{cell[1]}"]


def test_wandb_has_a_summary_with_rounds_tables_images_and_files(tracked_run):
    (offline,) = offline_runs(tracked_run)[tracked_run.name]
    assert (offline.run.run_group, offline.run.job_type, offline.exit_codes) == (tracked_run.name, "summary", [0])

    summary = json.loads((tracked_run / "summary.json").read_text())
    for row, expected in zip(offline.rows, summary["rounds"], strict=True):
        assert {name: row[name] for name in expected} == expected
    best = min(summary["rounds"], key=lambda r: r["valid_loss"])
    assert offline.rows[-1]["best_valid_loss"] == best["valid_loss"]

    ledger = pd.read_csv(tracked_run / "ledger.csv")
    pd.testing.assert_frame_equal(table(offline.logged("ledger")), ledger, check_exact=False, atol=1e-6, rtol=0)
    per_class = table(offline.logged("per_class")).set_index("label")
    assert list(per_class.index) == summary["classes"]
    for label, expected in recounted(tracked_run, best["round"]).items():
        assert per_class.loc[label].to_dict() == pytest.approx(expected, abs=1e-9)

    for name in ("confusion_matrix", "curves_over_rounds"):
        with Image.open(offline.logged(name)) as image:
            assert image.format == "PNG"
            assert min(image.size) > 200
            assert len(image.convert("L").getcolors() or ()) > 10, "nothing is drawn"

    assert {e.path for e in offline.artifacts["tracked-manifest"].manifest.contents} == {"manifest.csv"}
    weights = offline.artifacts["tracked-weights"].manifest.contents
    for entry in weights:
        fold = int(entry.path.removeprefix("fold").removesuffix(".ckpt"))
        checkpoint = cell_folder(tracked_run, (best["round"], fold)) / "best.ckpt"
        assert Path(entry.local_path).read_bytes() == checkpoint.read_bytes()
        assert Path(entry.local_path).is_relative_to(tracked_run)
    assert len(weights) == summary["folds"]


def recounted(run: Path, round_: int) -> dict[str, dict[str, float]]:
    """Count what each class's row must say, from the files alone."""
    manifest = pd.read_csv(run / "manifest.csv", dtype=str, keep_default_na=False).set_index("clip_id")
    votes = pd.concat([pd.read_parquet(f) for f in run.glob(f"round{round_:02d}/fold*/verified_posteriors.parquet")])
    votes = votes.set_index("clip_id")
    predicted, actual = votes.idxmax(axis=1), manifest.loc[votes.index, "label"]
    ledger = pd.read_csv(run / "ledger.csv").query("round == @round_")
    found = {}
    for label in votes.columns:
        right = int(((predicted == label) & (actual == label)).sum())
        said, true = int((predicted == label).sum()), int((actual == label).sum())
        of_class = ledger[ledger["label"] == label]
        found[label] = {
            "count": true,
            "accuracy": right / true,
            "precision": right / said if said else 0.0,
            "recall": right / true,
            "f1": 2 * right / (said + true),
            "considered": len(of_class),
            "accepted": int(of_class["accepted"].sum()),
        }
    return found


def test_wandb_writes_inside_the_run_folder_alone(tracked_run, nobody, work_folder):
    assert not [path for path in nobody.rglob("*") if "wandb" in path.name]
    assert not (work_folder / "wandb").exists()
    assert list((tracked_run / "wandb" / "data").rglob("tmp*")), "where artifacts wait for `wandb sync`"


# The same run, in the other two


@pytest.mark.parametrize("cell", CELLS)
def test_tensorboard_has_the_rows_of_the_metrics(tracked_run, cell):
    events = events_of(tracked_run / "tensorboard" / cell_folder(Path(), cell))
    metrics = pd.read_csv(cell_folder(tracked_run, cell) / "metrics.csv")
    for name in metrics.columns:
        scalars = events.Scalars(name)
        assert [s.step for s in scalars] == list(metrics["epoch"])
        assert [s.value for s in scalars] == pytest.approx(list(metrics[name]), abs=2e-6)


def test_tensorboard_has_the_summary(tracked_run):
    events = events_of(tracked_run / "tensorboard" / "summary")
    rounds = json.loads((tracked_run / "summary.json").read_text())["rounds"]
    assert [s.value for s in events.Scalars("valid_loss")] == pytest.approx([r["valid_loss"] for r in rounds])
    for name in ("confusion_matrix", "curves_over_rounds"):
        assert events.Images(name)[0].encoded_image_string.startswith(b"\x89PNG")
    (text,) = events.Tensors("per_class/text_summary")
    shown = text.tensor_proto.string_val[0].decode()
    assert all(f"| {label} |" in shown for label in json.loads((tracked_run / "classes.json").read_text()))


def events_of(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    return events


def test_mlflow_has_the_summary_and_its_cells_below_it(tracked_run):
    client = mlflow.MlflowClient(f"sqlite:///{tracked_run.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("audiotag")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    summary = runs["tracked"]
    kept = json.loads((tracked_run / "tracking.json").read_text())["mlflow"]
    assert summary.info.run_id == kept["summary"]
    for cell in CELLS:
        run = runs[f"tracked, round {cell[0]}, fold {cell[1]}"]
        assert run.data.tags["mlflow.parentRunId"] == summary.info.run_id
        assert (run.info.status, run.data.params["model/network/width"]) == ("FINISHED", "4")
        metrics = pd.read_csv(cell_folder(tracked_run, cell) / "metrics.csv")
        history = sorted(client.get_metric_history(run.info.run_id, "valid_loss"), key=lambda m: m.step)
        assert [m.value for m in history] == pytest.approx(list(metrics["valid_loss"]), abs=1e-6)
    assert summary.info.status == "FINISHED"
    stored = Path(summary.info.artifact_uri.removeprefix("file://"))
    for name in ("ledger.csv", "manifest/manifest.csv"):
        assert (stored / name).read_bytes() == (tracked_run / Path(name).name).read_bytes()
    assert {p.name for p in stored.iterdir()} >= {"per_class.csv", "confusion_matrix.png", "curves_over_rounds.png"}
    assert len(list(stored.glob("weights/*/best.ckpt"))) == len({fold for _, fold in CELLS})


# The run goes on


def test_tracked_cell_that_is_resumed_keeps_its_ids_and_a_sweep_gets_the_summary(
    tracked_run, program, work_folder, monkeypatch, tmp_path
):
    """As `wandb agent` starts it: the environment says which run its program is."""
    run = work_folder / "runs" / "swept"
    shutil.copytree(tracked_run, run, ignore=shutil.ignore_patterns("wandb", "tensorboard"))
    (cell_folder(run, (1, 1)) / "status.json").unlink()
    kept = json.loads((run / "tracking.json").read_text())
    parameters = {"seed": {"value": 0}}
    (tmp_path / "parameters.yaml").write_text(yaml.safe_dump({"wandb_version": 1, **parameters}))
    for name, value in {
        "SWEEP_ID": "sweep7",
        "RUN_ID": "agents7",
        "SWEEP_PARAM_PATH": tmp_path / "parameters.yaml",
    }.items():
        monkeypatch.setenv(f"WANDB_{name}", str(value))
    monkeypatch.setenv("WANDB_PROJECT", "sweeps")
    command = ("train.py", *SMALL, "finetune_rounds=1", "run=swept", "logger=wandb")
    program(*command)

    found = offline_runs(run)
    assert set(found) == {"round 1, fold 1", "swept"}, "what was complete is not tracked again"
    (cell,), (summary,) = found["round 1, fold 1"], found["swept"]
    assert (cell.run.run_id, cell.run.sweep_id) == (kept["wandb"]["round01/fold1"], "")
    assert (summary.run.run_id, summary.run.sweep_id) == ("agents7", "sweep7")
    assert {r.run.project for r in (cell, summary)} == {"sweeps"}
    metric = yaml.safe_load((TOP / "docs" / "wandb_sweep.yaml").read_text())["metric"]["name"]
    assert any(metric in row for row in summary.rows)

    program(*command)
    assert len(list(run.glob("wandb/offline-run-*"))) == 2, "there was nothing new"


def test_wandb_sweep_file_starts_the_program(tmp_path):
    """Its command, built by W&B's own functions from parameters that it allows, and run with --cfg job."""
    sweep = yaml.safe_load((TOP / "docs" / "wandb_sweep.yaml").read_text())
    chosen = {name: p["values"][-1] if "values" in p else p["max"] for name, p in sweep["parameters"].items()}
    arguments = create_sweep_command_args({"args": {name: {"value": value} for name, value in chosen.items()}})
    known: dict[str, list[str]] = {**arguments, "env": ["/usr/bin/env"], "interpreter": [sys.executable]}
    known["program"] = [str(TOP / sweep["program"])]
    command: list[str] = []
    for part in create_sweep_command(sweep["command"]):
        command += known[part[2:-1]] if part.startswith("${") else [part]
    done = subprocess.run([*command, "--cfg", "job"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    composed: Any = yaml.safe_load(done.stdout)
    assert list(composed["logger"]["trackers"]) == ["wandb"]
    for name, value in chosen.items():
        node = composed
        for part in name.split("."):
            node = node[part]
        assert node == value


# Whatever happens


LEAVES: dict[str, dict[str, Any]] = {
    name: {"_target_": f"audiotag.tracking.{name}.{title}Tracker"}
    for name, title in (("wandb", "Wandb"), ("tensorboard", "TensorBoard"), ("mlflow", "Mlflow"))
}


@pytest.fixture
def folder(tmp_path, nobody, tracked_run) -> Iterator[RunFolder]:
    (tmp_path / "runs" / "broken").mkdir(parents=True)
    shutil.copy(tracked_run.parent / "mlflow.db", tmp_path / "runs")  # making an empty one takes seconds
    given_up.clear()
    yield RunFolder(tmp_path / "runs" / "broken")
    given_up.clear()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_tracked_cell_that_breaks_is_failed_and_goes_on_under_its_ids(folder, error):
    config, cell = TrainConfig(logger=Logger(trackers=LEAVES)), Cell(1, 2)
    environment = dict(os.environ)
    with pytest.raises(error), cell_trackers(config, folder, cell) as trackers:  # noqa: PT012 - the block is what raises
        assert trackers.trackers.keys() == LEAVES.keys()
        trackers.show("metrics", {"epoch": 0, "train_loss": 3.5}, 0)
        raise error
    kept = json.loads((folder.path / "tracking.json").read_text())
    client = mlflow.MlflowClient(f"sqlite:///{folder.path.parent / 'mlflow.db'}")
    mlflow_id = kept["mlflow"]["round01/fold2"]
    assert client.get_run(mlflow_id).info.status == client.get_run(kept["mlflow"]["summary"]).info.status == "FAILED"
    (broken,) = offline_runs(folder.path)[str(cell)]
    assert broken.exit_codes == [1]
    assert [row["train_loss"] for row in broken.rows] == [3.5]

    with cell_trackers(config, folder, cell) as trackers:
        trackers.show("metrics", {"epoch": 1, "train_loss": 2.5}, 1)
    assert json.loads((folder.path / "tracking.json").read_text()) == kept
    assert client.get_run(mlflow_id).info.status == "FINISHED"
    assert {m.step: m.value for m in client.get_metric_history(mlflow_id, "train_loss")} == {0: 3.5, 1: 2.5}
    again = [OfflineRun(path) for path in folder.path.glob("wandb/offline-run-*")]  # one folder within a second
    assert {r.run.run_id for r in again} == {kept["wandb"]["round01/fold2"]}
    assert [0] in [r.exit_codes for r in again]
    scalars = events_of(folder.path / "tensorboard" / "round01" / "fold2").Scalars("train_loss")
    assert [(s.step, s.value) for s in scalars] == [(0, 3.5), (1, 2.5)]
    assert dict(os.environ) == environment


def test_tracker_that_fails_is_said_once_and_left_alone(folder, capsys):
    config = TrainConfig(logger=Logger(trackers={name: LEAVES[name] for name in ("mlflow", "tensorboard")}))
    with cell_trackers(config, folder, Cell(0, 0)) as trackers:
        (folder.path.parent / "mlflow.db").write_bytes(b"not a database")
        for epoch in range(2):
            trackers.show("metrics", {"epoch": epoch}, epoch)
    with cell_trackers(config, folder, Cell(0, 1)) as trackers:
        assert list(trackers.trackers) == ["tensorboard"]
    assert capsys.readouterr().out.count("mlflow failed and is left out") == 1
    scalars = events_of(folder.path / "tensorboard" / "round00" / "fold0").Scalars("epoch")
    assert [s.step for s in scalars] == [0, 1]


def test_mlflow_server_that_is_not_there_costs_seconds(folder, capsys):
    leaf = {**LEAVES["mlflow"], "tracking_uri": f"http://127.0.0.1:{free_port()}"}
    begun_s = time.monotonic()
    with cell_trackers(TrainConfig(logger=Logger(trackers={"mlflow": leaf})), folder, Cell(0, 0)) as trackers:
        assert not trackers.trackers
    assert time.monotonic() - begun_s < 20
    assert "mlflow failed" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_tracked_job_that_is_ended_by_a_signal_finishes_its_runs(work_folder, nobody, tracked_run, number):
    run = work_folder / "runs" / f"ended-{number}"
    metrics = cell_folder(run, (0, 0)) / "metrics.csv"
    long = ["training.pretrain.epochs=200", f"run={run.name}", "devices=2", "logger=[wandb,mlflow]"]
    with Job([*SMALL, "finetune_rounds=0", *long], work_folder) as job:
        job.wait_until(lambda: metrics.is_file() and len(metrics.read_text().splitlines()) > 3)
        job.send(number, "job")
        code, output, _ = job.end()
    assert code == 128 + number, output
    (ended,) = offline_runs(run)["round 0, fold 0"]
    assert ended.exit_codes == [1]
    assert len(ended.rows) >= 3
    kept = json.loads((run / "tracking.json").read_text())["mlflow"]
    client = mlflow.MlflowClient(f"sqlite:///{run.parent / 'mlflow.db'}")
    assert client.get_run(kept["round00/fold0"]).info.status == "FAILED"


@pytest.mark.slow
def test_tracked_ranks_write_once(program, work_folder, nobody):
    program("train.py", *SMALL, "finetune_rounds=0", "fold=0", "run=ranked", "devices=2", "logger=tensorboard")
    cell = work_folder / "runs" / "ranked" / "tensorboard" / "round00" / "fold0"
    written = [file for file in cell.iterdir() if file.name.startswith("events")]
    assert len({file.name.rsplit(".", 2)[1] for file in written}) == 1, "events of several processes"
    epochs = pd.read_csv(cell_folder(work_folder / "runs" / "ranked", (0, 0)) / "metrics.csv")["epoch"]
    events = EventAccumulator(str(cell)).Reload()
    assert [event.step for event in events.Scalars("valid_loss")] == list(epochs)


def test_tracker_whose_package_is_missing_is_named_before_any_work(tmp_path):
    """All that is installed but W&B; a folder of its name, as it leaves one wherever it runs, is no package."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for path in (Path(p) for p in sys.path if p.endswith("site-packages")):
        for entry in path.iterdir():
            if not entry.name.startswith("wandb") and not (packages / entry.name).exists():
                (packages / entry.name).symlink_to(entry)
    (packages / "wandb").mkdir()
    (tmp_path / "work").mkdir()
    command = [*SMALL, "run=x", "logger=wandb"]
    code, output = run_program("train.py", command, tmp_path / "work", before=partial(import_from, packages))
    assert code == 2, output
    assert "pip install -e '.[wandb]'" in output
    assert not list((tmp_path / "work").iterdir())


# With and without a network


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """A server that accepts connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextlib.contextmanager
def answering_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def refusing_server() -> Iterator[str]:
    yield f"http://127.0.0.1:{free_port()}"


@pytest.mark.parametrize(
    ("server", "environment", "asked", "expected", "why"),
    [
        (answering_server, {}, "auto", "offline", "no API key"),
        (answering_server, {"WANDB_API_KEY": KEY}, "auto", "online", ""),
        (answering_server, {"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "auto", "offline", "WANDB_MODE=offline"),
        (answering_server, {"WANDB_API_KEY": KEY, "WANDB_MODE": "disabled"}, "auto", "disabled", ""),
        (answering_server, {"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "online", "online", ""),
        (answering_server, {"WANDB_API_KEY": KEY}, "offline", "offline", "logger.trackers.wandb.mode"),
        (refusing_server, {"WANDB_API_KEY": KEY}, "auto", "offline", "does not answer"),
        (silent_server, {"WANDB_API_KEY": KEY}, "online", "offline", "does not answer"),
    ],
)
def test_wandb_mode_follows_key_server_and_settings(nobody, monkeypatch, server, environment, asked, expected, why):
    given_up.clear()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if server is silent_server:
        monkeypatch.setattr(wandb_tracker, "PROBE_S", 1.0)
    with server() as url:
        monkeypatch.setenv("WANDB_BASE_URL", url)
        begun_s = time.monotonic()
        mode, reason = choose_mode(asked)
        assert time.monotonic() - begun_s < 2 * wandb_tracker.PROBE_S
    assert mode == expected
    assert why in reason


def test_wandb_key_may_stand_in_netrc_and_online_needs_one(nobody, monkeypatch):
    given_up.clear()
    with answering_server() as url:
        monkeypatch.setenv("WANDB_BASE_URL", url)
        with pytest.raises(AudiotagError, match="needs an API key"):
            choose_mode("online")
        (nobody / ".netrc").write_text(f"machine 127.0.0.1\nlogin user\npassword {KEY}\n")
        assert choose_mode("online")[0] == "online"
        (nobody / ".netrc").unlink()


@pytest.mark.slow
@pytest.mark.parametrize("server", [silent_server, refusing_server])
def test_wandb_without_a_network_costs_less_than_20_s(program, nobody, monkeypatch, server, tracked_run):
    """A hang comes every time, a busy machine does not: one of a few pairs of runs has to do it."""

    def seconds(name: str, *settings: str) -> float:
        begun_s = time.monotonic()
        program("train.py", *SMALL, "finetune_rounds=0", f"run={name}", *settings)
        return time.monotonic() - begun_s

    late_s = []
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with server() as url:
        monkeypatch.setenv("WANDB_BASE_URL", url)
        while len(late_s) < 3 and (not late_s or late_s[-1] >= 20):
            name = f"{server.__name__}-{len(late_s)}"
            without_s = seconds(f"without-{name}")
            late_s.append(seconds(name, "logger=wandb", "logger.trackers.wandb.mode=online") - without_s)
    assert late_s[-1] < 20, late_s
    found = offline_runs(tracked_run.parent / name)
    assert {name: [r.exit_codes for r in runs] for name, runs in found.items()} == {
        "round 0, fold 0": [[0]], "round 0, fold 1": [[0]], name: [[0]],
    }  # fmt: skip
