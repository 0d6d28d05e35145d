"""The report of a real run: its files, its page read by a parser and by a real browser, runs that are odd."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from audiotag.arguments import CONF
from audiotag.errors import ConfigError, RunError, WorkError
from audiotag.experiment.run_folder import RunFolder
from audiotag.report.__main__ import main
from audiotag.report.finished import report_finished
from audiotag.report.reproduce import command
from audiotag.report.write import write_report

CHROMIUM = shutil.which("chromium")
HELD_IN_PAGE = ("accepted", "classes", "confused_most", "confusions", "consensus", "epochs", "reliability", "rounds")


class Page(HTMLParser):
    """What stands in a page: tags with their attributes, rows of each table, visible text."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.rows: dict[str, int] = {}
        self.text = ""
        self.source = file.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "table":
            self.rows[self.tags[-1][1]["id"]] = -1  # the header
        elif tag == "tr":
            self.rows[list(self.rows)[-1]] += 1

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        """Return the attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(smoke_run) -> Page:
    return Page(smoke_run / "report.html")


@pytest.fixture
def copied(smoke_run, tmp_path) -> Path:
    """A copy of the run without what is heavy or written again."""
    ignored = shutil.ignore_patterns("*.ckpt", "report*", "review*", "verify", "predict")
    return Path(shutil.copytree(smoke_run, tmp_path / "copied", ignore=ignored))


def test_page_asks_for_nothing_and_says_what_its_pictures_show(page):
    assert "http:" not in page.source.replace("http-equiv", "")
    assert "https:" not in page.source
    for _, attributes in page.tags:
        sources = [attributes[name] for name in ("src", "srcset", "data", "poster") if name in attributes]
        assert all(source.startswith("data:") for source in sources)
    assert not {"script", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    assert len(page.all("img")) == 6 + 10
    assert all(len(image["alt"]) > 30 for image in page.all("img"))
    targets = {attributes.get("id") for _, attributes in page.tags}
    assert {link["href"].lstrip("#") for link in page.all("a")} <= targets


def test_every_figure_has_its_numbers(page, smoke_run):
    for name in HELD_IN_PAGE:
        assert page.rows[f"table-{name}"] == len(pd.read_csv(smoke_run / "report" / f"{name}.csv")), name
    pictures = {file.stem for file in (smoke_run / "report").glob("*.png")}
    assert pictures - {f"disagreement-{i:02d}" for i in range(1, 11)} <= set(HELD_IN_PAGE)
    rounds = json.loads((smoke_run / "summary.json").read_text())["rounds"]
    pd.testing.assert_frame_equal(pd.read_csv(smoke_run / "report" / "rounds.csv"), pd.DataFrame(rounds))


def test_review_ranks_every_contradicted_label_of_the_best_round(page, smoke_run):
    review = pd.read_csv(smoke_run / "review.csv", keep_default_na=False)
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
    assert review["posterior_predicted"].is_monotonic_decreasing
    assert [sound["aria-label"].split()[1] for sound in page.all("audio")] == list(review["clip_id"][:10])


@pytest.mark.skipif(CHROMIUM is None, reason="there is no program chromium here (Debian: apt-get install chromium)")
def test_browser_shows_it_without_overflow_plays_it_and_asks_nobody(smoke_run):
    playwright = pytest.importorskip("playwright.sync_api")
    uri = (smoke_run / "report.html").as_uri()
    flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
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
            assert tab.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
            assert tab.evaluate(PLAYED_S) > 0
            assert [url for url in requests if not url.startswith("data:")] == [uri]
            assert said == []
            tab.close()
        browser.close()


PLAYED_S = """() => new Promise((done, fail) => {
    const sound = document.querySelector('audio')
    sound.ontimeupdate = () => sound.currentTime > 0 && done(sound.currentTime)
    sound.play().catch(fail)
    setTimeout(() => fail('nothing was played'), 10000)
})"""
# Elements that stick out of the window, but for what scrolls within a box of its own.
OVERHANGING = """() => [...document.querySelectorAll('body *')]
    .filter(one => !one.closest('.table, .picture') && one.getBoundingClientRect().right > innerWidth + 0.5)
    .map(one => one.outerHTML.slice(0, 80))"""


def finished_config(copied: Path):
    return dataclasses.replace(RunFolder(copied).config, run=str(copied))


def test_same_results_keep_the_report_and_others_renew_it(copied):
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


def test_unfinished_run_is_not_reported_by_training(copied):
    (copied / "round02" / "fold1" / "status.json").unlink()
    report_finished(finished_config(copied))
    assert not (copied / "report.html").exists()


def test_report_that_fails_leaves_the_run_and_says_so(copied):
    (copied / "report").write_text("in the way")
    with pytest.raises(
        WorkError, match=r"run is complete, but not its report; python -m audiotag.report run="
    ) as error:
        report_finished(finished_config(copied))
    assert error.value.exit_code == 1
    assert not (copied / "report.html").exists()
    assert (copied / "summary.json").is_file()


def test_command_makes_the_same_settings(smoke_run):
    config = RunFolder(smoke_run).config
    groups = "experiment=smoke data=synthetic features=v1 model=tiny verification=as_coded"
    with initialize_config_dir(str(CONF), version_base="1.3"):  # as at the end of a training
        assert command(config) == f"python train.py {groups}"
        assert compose("train").rounds == 2, "the job's own Hydra is there no more"
    changed = dataclasses.replace(
        config,
        seed=3,
        data=dataclasses.replace(config.data, classes=["a'b", "c$"]),
        verification=dataclasses.replace(config.verification, threshold=None, cap=7),
    )
    assert set(shlex.split(command(changed))) >= {"seed=3", "verification.cap=7", r"data.classes=['a\'b','c$']"}


def test_wrong_settings_are_refused_together():
    with pytest.raises(ConfigError) as error:
        main(["root=/nowhere/at/all"])
    assert error.value.problems == ["run=NAME is missing: the run folder to read", "root=/nowhere/at/all is no folder"]


def test_nothing_to_report_yet(copied):
    for name in ("metrics.csv", "status.json"):
        for file in copied.glob(f"round*/fold*/{name}"):
            file.unlink()
    with pytest.raises(RunError, match="nothing to report yet"):
        write_report(RunFolder(copied))


# A run that training would not make so soon: many oddly named classes, an unfinished round, no audio, no truth

ODD = ["<b>Bark</b>", "a$b", "Käuzchen & Söhne", "fold", "x_{2}$"]
CLASSES = sorted([*ODD, *(f"Acoustic_guitar_{i:02d}" for i in range(36))])


@pytest.fixture
def odd_run(smoke_run, tmp_path) -> Path:
    """A run folder of 41 classes: round 0 complete, round 1 without its last fold; 40 are contradicted."""
    run = tmp_path / "odd <run>"
    rows = [(f"{label}-{i}", f"audio/{i}.wav", label, str(i % 2), str(i // 2)) for label in CLASSES for i in range(4)]
    manifest = pd.DataFrame(rows, columns=["clip_id", "path", "label", "verified", "fold"])
    for round_ in range(2):
        for fold in range(2):
            cell = run / f"round{round_:02d}" / f"fold{fold}"
            cell.mkdir(parents=True)
            epochs = {"epoch": [0, 1], "train_loss": 1.0, "valid_loss": [1.0, 0.5], "valid_accuracy": 0.5}
            pd.DataFrame(epochs).to_csv(cell / "metrics.csv", index=False)
            status = {"valid_loss": 0.5, "valid_accuracy": 0.5, "valid_map3": 0.6}
            if (round_, fold) != (1, 1):
                (cell / "status.json").write_text(json.dumps(status))
            for name, verified in (("posteriors", "0"), ("verified_posteriors", "1")):
                clips = manifest[(manifest["fold"] == str(fold)) & (manifest["verified"] == verified)]
                right = np.array([CLASSES.index(label) for label in clips["label"]])
                votes = np.full((len(clips), 41), 0.01)
                votes[np.arange(len(clips)), (right + (right > 0)) % 41] = 0.6
                votes = pd.DataFrame(votes, columns=CLASSES).assign(clip_id=clips["clip_id"].to_numpy())
                votes[["clip_id", *CLASSES]].to_parquet(cell / f"{name}.parquet", index=False)
    manifest.assign(split="train", content_hash="0").to_csv(run / "manifest.csv", index=False)
    (run / "classes.json").write_text(json.dumps(CLASSES))
    config = OmegaConf.load(smoke_run / "config.yaml")
    config.update(folds=2, rounds=1)
    config.data.root = str(tmp_path / "moved")
    OmegaConf.save(config, run / "config.yaml")
    return run


def test_odd_names_many_classes_and_missing_audio_are_shown(odd_run):
    page = Page(write_report(RunFolder(odd_run)))
    assert "unfinished: 1 of 2 rounds are complete" in page.text
    assert page.text.count("No sound here: the file cannot be read: No such file or directory") == 10
    assert not page.all("audio")
    assert not page.all("b"), "a class name was read as markup"
    assert all(name in page.text for name in ODD)
    assert "odd <run>" in page.text
    assert page.rows["table-classes"] == 41
    assert len(pd.read_csv(odd_run / "review.csv")) == 2 * 40
    assert "precision" not in " ".join(pd.read_csv(odd_run / "report" / "classes.csv").columns[6:])


def test_run_that_held_nothing_out_is_reported_without_what_it_lacks(odd_run):
    config = OmegaConf.load(odd_run / "config.yaml")
    config.rounds, config.data.train_on_all = 0, True
    OmegaConf.save(config, odd_run / "config.yaml")
    main([f"run='{odd_run}'"])
    page = Page(odd_run / "report.html")
    assert page.text.count("Nothing was held out (data.train_on_all=true)") == 5
    assert "these figures flatter" in page.text
    assert not (odd_run / "review.csv").exists()
    assert {file.stem for file in (odd_run / "report").iterdir()} == {"epochs", "rounds"}


def test_run_without_unverified_clips_says_that_there_was_nothing_to_decide(odd_run):
    manifest = pd.read_csv(odd_run / "manifest.csv", dtype=str)
    manifest[manifest["verified"] == "1"].to_csv(odd_run / "manifest.csv", index=False)
    for file in odd_run.rglob("fold*/posteriors.parquet"):
        pd.read_parquet(file)[:0].to_parquet(file, index=False)
    config = OmegaConf.load(odd_run / "config.yaml")
    config.rounds = 0
    OmegaConf.save(config, odd_run / "config.yaml")
    page = Page(write_report(RunFolder(odd_run)))
    assert page.text.count("All training clips are verified: there was nothing to decide on.") == 2
    assert "No unverified clip was voted on" in page.text
    assert page.rows["table-reliability"] == 10
