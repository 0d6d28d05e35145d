"""Ensembles of real runs: what is averaged is what members say alone, and none hears what it was trained on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from audiotag.config import Ensemble, Hardware, PredictConfig
from audiotag.errors import AudiotagError, DataError, LeakError, RunError
from audiotag.inference import predict as recipe
from audiotag.inference import spectrograms
from audiotag.inference.members import choose_members, held_out_votes
from audiotag.inference.predict import predict
from audiotag.run.folder import RunFolder
from tests.conftest import copy_to_change

HERE = Hardware(workers=0, threads=1)
pytestmark = pytest.mark.usefixtures("smoke_run", "small_run", "in_work_folder")


@pytest.fixture
def copied(smoke_run: Path, tmp_path: Path) -> Path:
    """A copy of the run of four folds, to change."""
    return copy_to_change(smoke_run, tmp_path / "runs" / "copied")


def settings_of(run: Any, **settings: Any) -> PredictConfig:
    return PredictConfig(run=run, hardware=HERE, **{"split": "test", "top": 8, "bootstrap": 0, **settings})


def posteriors(run: Any, out: Path, **settings: Any) -> pd.DataFrame:
    """Predict; return the posteriors, a row per recording and a column per class."""
    table = pd.read_csv(predict(settings_of(run, out=str(out / "p.csv"), **settings)))
    rows = [{row[f"label_{k}"]: row[f"probability_{k}"] for k in range(1, 9)} for row in table.to_dict("records")]
    return pd.DataFrame(rows, index=table["fname"]).sort_index(axis=1)


def scores_in(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "scores.json").read_text(encoding="utf-8")))


def test_ensemble_averages_runs_and_rounds(
    smoke_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two runs of different folds, one of them in two rounds: what they say alone, averaged by hand."""
    first, last, small = [
        posteriors(run, tmp_path / name)
        for name, run in (("a", "smoke@0"), ("b", str(smoke_run) + "@last"), ("c", "small"))
    ]
    heard = []
    compute = spectrograms._compute
    monkeypatch.setattr(
        spectrograms, "_compute", lambda path, features: (heard.append(path), compute(path, features))[1]
    )
    runs = ["smoke@0", f"{smoke_run}@2", "small"]
    capsys.readouterr()
    together = posteriors(runs, tmp_path / "mean")
    assert len(heard) == len(set(heard)) == len(together) == 16, "each spectrogram is computed once for all"
    np.testing.assert_allclose(together, (first + last + small) / 3, atol=2e-6)
    geometric = posteriors(runs, tmp_path / "geometric", ensemble=Ensemble(mean="geometric"))
    assert not np.allclose(geometric, together, atol=1e-3)

    scores = scores_in(tmp_path / "mean")
    best = json.loads((smoke_run.parent / "small" / "summary.json").read_text())["best_round"]
    assert [(m["run"], m["round"]) for m in scores["members"]] == [("smoke", 0), ("smoke", 2), ("small", best)]
    alone = [scores_in(tmp_path / name) for name in "abc"]
    assert [(m["accuracy"], m["map@3"]) for m in scores["members"]] == [(s["accuracy"], s["map@3"]) for s in alone]
    shown = capsys.readouterr().out
    printed = [line.split() for line in shown.splitlines() if line.rstrip().endswith(f"{alone[0]['map@3']:.4f}")]
    assert ["1", "smoke@0", f"{100 * alone[0]['accuracy']:.3f}", "%", f"{alone[0]['map@3']:.4f}"] in printed

    tops = [table.idxmax(axis=1) for table in (first, last, small)]
    expected = [[(one == other).mean() for other in tops] for one in tops]
    agreement = pd.read_csv(tmp_path / "mean" / "agreement.csv").set_index("member")
    assert list(agreement.index) == list(agreement.columns) == ["smoke@0", "smoke@2", f"small@{best}"]
    np.testing.assert_allclose(agreement, expected, atol=1e-6)
    assert not (tmp_path / "a" / "agreement.csv").exists()


def test_ensemble_of_rounds_of_one_run_is_a_setting_too(smoke_run: Path, tmp_path: Path) -> None:
    listed = posteriors("smoke", tmp_path / "a", round=[0, "last"])
    assert listed.equals(posteriors(["smoke@0", "smoke@2"], tmp_path / "b"))
    out = smoke_run / "predict" / "test-round0+2" / "predictions.csv"
    assert predict(settings_of("smoke", round=[0, 2])) == out
    shutil.rmtree(out.parent)


def test_ensemble_by_geometric_mean_is_over_all_networks(smoke_run: Path, tmp_path: Path) -> None:
    alone = [posteriors("smoke@0", tmp_path / str(f), fold=f) for f in range(4)]
    product = np.exp(np.mean([np.log(np.maximum(p, 1e-7)) for p in alone], axis=0))
    together = posteriors("smoke@0", tmp_path / "all", ensemble=Ensemble(mean="geometric"))
    np.testing.assert_allclose(together, product / product.sum(axis=1, keepdims=True), atol=1e-5)


def test_ensemble_asks_members_with_their_own_front_ends(copied: Path, tmp_path: Path) -> None:
    """The same networks in a run that trims nothing: another spectrogram, so another posterior."""
    config = (copied / "config.yaml").read_text().partition("\n")[2]
    (copied / "config.yaml").write_text(config.replace("trim: true", "trim: false"))
    one, other = posteriors("smoke@1", tmp_path / "a"), posteriors(f"{copied}@1", tmp_path / "b")
    assert not np.allclose(one, other, atol=1e-4)
    np.testing.assert_allclose(posteriors(["smoke@1", f"{copied}@1"], tmp_path / "c"), (one + other) / 2, atol=2e-6)


def test_ensemble_validates_a_clip_by_those_who_held_it_out(
    smoke_run: Path, small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of four and of two folds: each clip by one network of each run, as its own manifest says."""
    runs = ["smoke@1", "small@1"]
    assert RunFolder(smoke_run).train["fold"].ne(RunFolder(small_run).train["fold"]).any()
    alone = [posteriors(run, tmp_path / run, split="valid") for run in runs]
    together = posteriors(runs, tmp_path / "both", split="valid")
    np.testing.assert_allclose(together, (alone[0] + alone[1].loc[together.index]) / 2, atol=2e-6)
    folds = recipe.held_out_folds

    def mixed_up(*arguments: Any) -> list[pd.Series]:
        return [folds(*arguments)[0], (folds(*arguments)[1] + 1) % 2]

    monkeypatch.setattr(recipe, "held_out_folds", mixed_up)
    with pytest.raises(LeakError, match="was trained on"):
        posteriors(runs, tmp_path / "leak", split="valid")


def test_ensemble_learns_weights_from_clips_that_were_held_out(
    small_run: Path, smoke_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table of weights gives the posteriors from those of the members; the test clips have no part in it."""
    learned = Ensemble(weights="learned")
    members = choose_members(settings_of(["smoke@1", "small@1"]))
    votes = held_out_votes(members)
    verified = RunFolder(smoke_run).train.query("verified")
    assert votes.posteriors.shape == (2, len(verified), 8)
    stored = pd.concat([pd.read_parquet(f) for f in sorted(small_run.glob("round01/*/verified_posteriors.parquet"))])
    assert sorted(votes.posteriors[1, :, 0]) == sorted(stored[RunFolder(small_run).classes[0]].astype(float))

    alone = [posteriors(run, tmp_path / run) for run in ("smoke@1", "small@1")]
    together = posteriors(["smoke@1", "small@1"], tmp_path / "both", ensemble=learned)
    table = pd.read_csv(tmp_path / "both" / "weights.csv")
    weights = table[table["parameter"] == "weight"]
    assert weights["name"].tolist() == ["smoke@1", "small@1"]
    biases = table[table["parameter"] == "bias"].set_index("name")["value"][together.columns]
    scores = sum(w * np.log(p) for w, p in zip(weights["value"], alone, strict=True)) + biases
    expected = np.exp(scores).div(np.exp(scores).sum(axis=1), axis=0)
    np.testing.assert_allclose(together, expected, atol=1e-4)
    assert [m["weight"] for m in scores_in(tmp_path / "both")["members"]] == pytest.approx(weights["value"].tolist())
    assert f"Weights learned from {len(verified)} verified clips" in capsys.readouterr().out


def test_submission_has_a_row_for_every_test_clip(copied: Path, tmp_path: Path) -> None:
    """Ignored ones, without label, are predicted and not scored; and what is submitted scores what the run scored."""
    manifest = pd.read_csv(copied / "manifest.csv", dtype=str, keep_default_na=False)
    test = manifest.index[manifest["split"] == "test"]
    manifest.loc[test, "usage"] = ["Public"] * 4 + ["Private"] * 6 + ["Ignored"] * 6
    manifest.loc[test[10:], "label"] = ""
    manifest.to_csv(copied / "manifest.csv", index=False)
    out = tmp_path / "out" / "submission.csv"
    settings = {"usage": "Private", "top": 3, "out": str(out)}
    assert predict(settings_of(str(copied), format="submission", **settings)) == out
    lines = out.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "fname,label"
    assert [line.split(",")[0] for line in lines[1:]] == manifest.loc[test, "clip_id"].tolist()
    assert scores_in(out.parent)["clips"] == 6
    table = pd.read_csv(predict(settings_of(str(copied), **settings | {"out": str(tmp_path / "table.csv")})))
    joined = table[["label_1", "label_2", "label_3"]].agg(" ".join, axis=1)
    assert (table["fname"] + "," + joined).tolist() == lines[1:]
    classes = json.loads((copied / "classes.json").read_text())
    (copied / "classes.json").write_text(json.dumps([classes[0].replace("_", " ") + " x", *classes[1:]]))
    with pytest.raises(AudiotagError, match="have one in their names"):
        predict(settings_of(str(copied), format="submission", **settings))


def test_ensemble_refuses_runs_of_other_classes_or_other_data(copied: Path, tmp_path: Path) -> None:
    runs = ["smoke@0", f"{copied}@0"]
    out = tmp_path / "out"
    manifest = (copied / "manifest.csv").read_text()
    rows = manifest.splitlines()
    last = rows[-1].split(",")
    assert last[5] == "test"
    (copied / "manifest.csv").write_text("\n".join([*rows[:-2], ",".join([*last[:-1], "0" * 16])]) + "\n")
    with pytest.raises(DataError) as caught:
        posteriors(runs, out)
    gone = rows[-2].split(",")[0]
    assert caught.value.problems == [
        f"1 clips are in smoke@0 only: {gone}",
        f"1 clips have other audio in smoke@0 than in copied@0: {last[0]}",
    ]
    (copied / "manifest.csv").write_text(manifest)
    classes = json.loads((copied / "classes.json").read_text())
    (copied / "classes.json").write_text(json.dumps([*classes[:-1], "Yodel"]))
    with pytest.raises(RunError, match=f"only smoke@0 knows {classes[-1]}; only copied@0 knows Yodel"):
        posteriors(runs, out)
    with pytest.raises(RunError, match="named twice: smoke@2"):
        posteriors(["smoke@2", "smoke@last"], out)
    with pytest.raises(RunError, match=r"round=9: .* has no such round"):
        posteriors(["smoke@9", "small"], out)
    assert not out.exists()


def test_ensemble_refuses_to_learn_weights_without_common_clips(copied: Path) -> None:
    learned = settings_of(["smoke@0", f"{copied}@0"], ensemble=Ensemble(weights="learned"))
    for file in copied.glob("round00/*/verified_posteriors.parquet"):
        table = pd.read_parquet(file)
        table.assign(clip_id="other-" + table["clip_id"]).to_parquet(file)
    with pytest.raises(RunError, match="no verified clips in common"):
        predict(learned)
    config = (copied / "config.yaml").read_text().partition("\n")[2]
    config = config.replace("train_on_all: false", "train_on_all: true").replace(
        "\nfinetune_rounds: 2", "\nfinetune_rounds: 0"
    )
    (copied / "config.yaml").write_text(config)
    with pytest.raises(RunError, match="train_on_all=true, so no clip was held out to learn from"):
        predict(learned)
