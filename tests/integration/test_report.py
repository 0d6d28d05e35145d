"""The report of a real run: its files, its page read by a parser and by a real browser, runs that are odd."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hydra import compose, initialize_config_dir

from audiotag.cli.arguments import CONF
from audiotag.data.scan import hash_of
from audiotag.errors import ConfigError, RunError
from audiotag.report.__main__ import main
from audiotag.report.finished import report_finished
from audiotag.report.reproduce import command
from audiotag.report.write import write_report
from audiotag.run.folder import RunFolder
from tests.browser import chromium, needs_browser
from tests.report_run import ODD, Page, change_config, made_run

CLASSES = sorted([*ODD, *(f"Acoustic_guitar_{i:02d}" for i in range(36))])
HELD_IN_PAGE = (
    "promise",
    "accepted",
    "classes",
    "confused_most",
    "confusions",
    "consensus",
    "epochs",
    "reliability",
    "rounds",
)


@pytest.fixture(scope="module")
def page(smoke_run) -> Page:
    return Page(smoke_run / "report.html")


@pytest.fixture
def copied(smoke_run, tmp_path) -> Path:
    """A copy of the run without what is heavy or written again."""
    ignored = shutil.ignore_patterns("*.ckpt", "report*", "review*", "verify", "predict")
    copy = Path(shutil.copytree(smoke_run, tmp_path / "copied", ignore=ignored))
    change_config(copy, data__root=str(tmp_path / "moved"))  # its sounds take time
    return copy


def test_page_asks_for_nothing_and_says_what_its_pictures_show(page):
    assert "http:" not in page.source.replace("http-equiv", "")
    assert "https:" not in page.source
    for _, attributes in page.tags:
        sources = [attributes[name] for name in ("src", "srcset", "data", "poster") if name in attributes]
        assert all(source.startswith("data:") for source in sources)
    assert all(image["href"].startswith("data:image/") for image in page.all("image"))
    assert not {"iframe", "object", "img"} & {tag for tag, _ in page.tags}
    assert [script.get("type") for script in page.all("script")] == ["application/json", None]
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    assert len(page.all("svg")) == 7 + len(page.all("article"))
    assert all(len(image["aria-label"]) > 30 for image in page.all("svg"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {attributes.get("id") for _, attributes in page.tags}
    assert {link["href"].lstrip("#") for link in page.all("a")} <= targets


def test_page_has_the_numbers_of_every_picture(page, smoke_run):
    for name in HELD_IN_PAGE:
        table = pd.read_csv(smoke_run / "report" / f"{name}.csv")
        shown = table[table["clips"] > 0] if name == "reliability" else table
        assert page.rows[f"table-{name}"] == len(shown), name
    assert {file.stem for file in (smoke_run / "report").glob("*.svg")} < set(HELD_IN_PAGE)
    rounds = json.loads((smoke_run / "summary.json").read_text())["rounds"]
    pd.testing.assert_frame_equal(pd.read_csv(smoke_run / "report" / "rounds.csv"), pd.DataFrame(rounds))


def test_review_ranks_every_contradicted_label_of_the_best_round(page, smoke_run):
    both = pd.read_csv(smoke_run / "review.csv", keep_default_na=False)
    review = both[both["reason"] == "label differs"]
    best = json.loads((smoke_run / "summary.json").read_text())["best_round"]
    ledger = pd.read_csv(smoke_run / "ledger.csv")
    differing = ledger[(ledger["round"] == best) & (ledger["reason"] == "label differs")].set_index("clip_id")
    assert set(review["clip_id"]) == set(differing.index)
    assert set(review["decision"]) == {""}
    for row in review.to_dict("records"):
        votes = pd.read_parquet(smoke_run / f"round{best:02d}" / f"fold{row['fold']}" / "posteriors.parquet")
        posteriors = votes.set_index("clip_id").loc[row["clip_id"]]
        assert posteriors.idxmax() == row["predicted"]
        assert posteriors.max() == pytest.approx(row["posterior_predicted"], abs=1e-6)
        assert posteriors[row["label"]] == pytest.approx(row["posterior_label"], abs=1e-6)
    p_right = review["p_right"].astype(float)
    doubt = p_right * (1 - p_right)
    assert doubt.is_monotonic_decreasing, "what a decision tells most of comes first"
    assert (p_right.to_numpy() == differing.loc[review["clip_id"], "p_right"].to_numpy()).all()
    assert [sound["aria-label"].split()[1] for sound in page.all("audio")] == list(both["clip_id"])


def test_review_has_checked_labels_that_held_out_networks_contradict(page, smoke_run):
    review = pd.read_csv(smoke_run / "review.csv", keep_default_na=False).set_index("clip_id")
    best = json.loads((smoke_run / "summary.json").read_text())["best_round"]
    labels = pd.read_csv(smoke_run / "manifest.csv", dtype=str).set_index("clip_id")["label"]
    expected = {}
    for fold in range(4):
        votes = pd.read_parquet(smoke_run / f"round{best:02d}" / f"fold{fold}" / "verified_posteriors.parquet")
        votes = votes.set_index("clip_id")
        predicted = votes.idxmax(axis=1)
        expected |= {clip: name for clip, name in predicted.items() if name != labels[clip]}
    checked = review[review["reason"] == "verified, label differs"]
    assert checked["predicted"].to_dict() == expected
    assert list(review.index[-len(checked) :]) == list(checked.index), "after the unverified ones"
    assert "were checked by a person" in page.text


@needs_browser
def test_page_fits_a_browser_plays_and_asks_nobody(smoke_run):
    uri = (smoke_run / "report.html").as_uri()
    with chromium() as browser:
        for width, scheme in ((1280, "light"), (390, "dark")):
            requests: list[str] = []
            said: list[str] = []
            tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            tab.on("request", lambda request, seen=requests: seen.append(request.url))
            tab.on("console", lambda message, seen=said: seen.append(message.text))
            tab.on("pageerror", lambda error, seen=said: seen.append(str(error)))
            tab.goto(uri)
            tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
            assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert tab.evaluate(OVERHANGING) == []
            letters = tab.evaluate(SMALLEST_LETTERS_PX)
            assert min(letters.values()) >= 8, letters
            assert tab.evaluate(PLAYED_S) > 0
            assert [url for url in requests if not url.startswith("data:")] == [uri]
            assert said == []
            tab.close()
        browser.close()


SMALLEST_LETTERS_PX = """() => Object.fromEntries([...document.querySelectorAll('.picture')].map(one => [
    one.querySelector('svg').getAttribute('aria-label').slice(0, 40),
    Math.min(...[...one.querySelectorAll('text')].map(text =>
        parseFloat(getComputedStyle(text).fontSize) * Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b)))]))"""
PLAYED_S = """() => new Promise((done, fail) => {
    const sound = document.querySelector('audio')
    sound.ontimeupdate = () => sound.currentTime > 0 && done(sound.currentTime)
    sound.play().catch(fail)
    setTimeout(() => fail('nothing was played'), 10000)
})"""
# Elements that stick out of the window, but for what scrolls within a box of its own.
OVERHANGING = """() => [...document.querySelectorAll('body *')]
    .filter(one => !one.closest('.scroll') && one.getBoundingClientRect().right > innerWidth + 0.5)
    .map(one => one.outerHTML.slice(0, 80))"""


def finished_config(copied: Path):
    return dataclasses.replace(RunFolder(copied).config, run=str(copied))


def test_report_is_kept_for_the_same_results_and_renewed_for_others(copied):
    report_finished(finished_config(copied))
    page, summary_file = copied / "report.html", copied / "summary.json"
    before = page.stat().st_mtime_ns
    summary = json.loads(summary_file.read_text())
    summary_file.write_text(json.dumps({**summary, "wall_s": summary["wall_s"] + 1}))
    report_finished(finished_config(copied))
    assert page.stat().st_mtime_ns == before
    summary_file.write_text(json.dumps({**summary, "skipped": [{"path": "<i>x.wav", "why": "a & b"}]}))
    report_finished(finished_config(copied))
    assert page.stat().st_mtime_ns != before
    assert "<i>x.wav" in Page(page).text


def test_report_is_not_made_of_an_unfinished_run_by_training(copied):
    (copied / "round02" / "fold1" / "status.json").unlink()
    report_finished(finished_config(copied))
    assert not (copied / "report.html").exists()


def test_report_that_fails_leaves_the_run_and_says_so(copied):
    (copied / "report").write_text("in the way")
    said = r"run is complete, but not its report; python -m audiotag.report run=(.|\n)*report is not a folder"
    with pytest.raises(RunError, match=said):
        report_finished(finished_config(copied))
    assert not (copied / "report.html").exists()
    assert (copied / "summary.json").is_file()


def test_report_command_makes_the_same_settings(smoke_run):
    config = RunFolder(smoke_run).config
    groups = "experiment=smoke data=synthetic features=v1 model=tiny_4 verification=as_coded"
    with initialize_config_dir(str(CONF), version_base="1.3"):  # as at the end of a training
        assert command(config) == f"python train.py {groups}"
        assert compose("train").finetune_rounds == 2, "the job's own Hydra is there no more"
    changed = dataclasses.replace(
        config,
        seed=3,
        data=dataclasses.replace(config.data, classes=["a'b", "c$"], corrections="review.csv"),
        verification=dataclasses.replace(config.verification, rule={**config.verification.rule, "cap": 7}),
    )
    assert set(shlex.split(command(changed))) >= {
        "seed=3",
        "data.corrections=review.csv",
        "verification.rule.cap=7",
        r"data.classes=['a\'b','c$']",
    }


def test_report_refuses_wrong_settings_together():
    with pytest.raises(ConfigError) as error:
        main(["root=/nowhere/at/all"])
    assert error.value.problems == [
        "run=NAME is missing: the run folder to read",
        "root=/nowhere/at/all is not a folder",
    ]


def test_report_says_that_there_is_nothing_to_report_yet(copied):
    for name in ("metrics.csv", "status.json"):
        for file in copied.glob(f"round*/fold*/{name}"):
            file.unlink()
    with pytest.raises(RunError, match="nothing to report yet"):
        write_report(RunFolder(copied))


# Runs that training would not make so soon: many oddly named classes, an unfinished round, no audio, no truth


@pytest.fixture
def odd_run(tmp_path) -> Path:
    """A run folder of five classes: round 0 complete, round 1 without its last fold; four are contradicted."""
    return made_run(tmp_path / "odd <run>", tmp_path / "moved", sorted(ODD))


def test_page_shows_odd_names_many_classes_and_missing_audio(tmp_path):
    odd_run = made_run(tmp_path / "odd <run>", tmp_path / "moved", CLASSES)
    page = Page(write_report(RunFolder(odd_run)))
    assert "unfinished: 1 of 2 rounds are complete" in page.text
    assert page.text.count("No sound here: the file cannot be read: No such file or directory") == 2 * 2 * 40
    assert not page.all("audio")
    assert not page.all("b"), "a class name was read as markup"
    assert all(name in page.text for name in ODD)
    assert "odd <run>" in page.text
    assert page.rows["table-classes"] == 41
    assert len(pd.read_csv(odd_run / "review.csv")) == 2 * 2 * 40
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert "precision" not in " ".join(pd.read_csv(odd_run / "report" / "classes.csv").columns[6:])


def test_page_takes_no_sound_from_outside_the_data_set(odd_run, tmp_path):
    outside = tmp_path / "moved" / ".." / "private.wav"
    (tmp_path / "moved").mkdir()
    soundfile.write(tmp_path / "private.wav", np.sin(np.arange(32_000) / 9), 32_000)
    (tmp_path / "moved" / "link.wav").symlink_to(tmp_path / "private.wav")
    manifest = pd.read_csv(odd_run / "manifest.csv", dtype=str)
    contradicted = manifest.index[manifest["verified"] == "0"]
    places = ["../private.wav", str(tmp_path / "private.wav"), "link.wav"]
    manifest.loc[contradicted[2:5], "path"] = places
    manifest.loc[contradicted[2:5], "content_hash"] = hash_of(outside)
    manifest.to_csv(odd_run / "manifest.csv", index=False)
    page = Page(write_report(RunFolder(odd_run)))
    assert not page.all("audio")
    assert page.text.count("is not below") == 3
    change_config(odd_run, data__allow_outside=True)
    assert len(Page(write_report(RunFolder(odd_run))).all("audio")) == 3


def test_report_of_a_run_that_held_nothing_out_leaves_out_what_it_lacks(odd_run):
    change_config(odd_run, finetune_rounds=0, data__train_on_all=True)
    main([f"run='{odd_run}'"])
    page = Page(odd_run / "report.html")
    assert page.text.count("Nothing was held out (data.train_on_all=true)") == 6
    assert "these figures flatter" in page.text
    assert not (odd_run / "review.csv").exists()
    assert {file.stem for file in (odd_run / "report").iterdir()} == {"epochs", "rounds"}


def test_report_of_a_run_without_unverified_clips_says_that_there_was_nothing_to_decide(odd_run):
    manifest = pd.read_csv(odd_run / "manifest.csv", dtype=str)
    manifest[manifest["verified"] == "1"].to_csv(odd_run / "manifest.csv", index=False)
    for file in odd_run.rglob("fold*/posteriors.parquet"):
        pd.read_parquet(file)[:0].to_parquet(file, index=False)
    change_config(odd_run, finetune_rounds=0)
    page = Page(write_report(RunFolder(odd_run)))
    assert page.text.count("All training clips are verified: there was nothing to decide on.") == 3
    assert "No unverified clip was voted on" in page.text
    assert page.rows["table-reliability"] == 1, "the others hold no clip"
