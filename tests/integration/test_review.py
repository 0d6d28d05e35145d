"""Review in the page of a report: decisions by button and key, kept by the browser, downloaded for training."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest

from audiotag.data.corrections import read_corrections
from audiotag.errors import DataError
from audiotag.report.write import write_report
from audiotag.run.folder import RunFolder
from tests.browser import chromium, needs_browser
from tests.report_run import ODD, Page, change_config, made_run

pytestmark = needs_browser
CLASSES = sorted(ODD)


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def heard_run(tmp_path_factory) -> Path:
    """A run of five oddly named classes, whose 16 contradicted clips can be heard."""
    folder = tmp_path_factory.mktemp("heard")
    run = made_run(folder / "heard", folder / "data", CLASSES, rounds=0, heard=True)
    write_report(RunFolder(run))
    return run


@pytest.fixture
def copied(heard_run, tmp_path) -> Path:
    return Path(shutil.copytree(heard_run, tmp_path / "copied"))


@pytest.fixture
def tab(browser):
    """A window of a browser that nobody has used, in which nothing may go wrong."""
    context = browser.new_context(accept_downloads=True, permissions=["clipboard-read", "clipboard-write"])
    tab = context.new_page()
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    yield tab
    context.close()
    assert said == []


def made(tab) -> list[str]:
    """Return what the page says of each clip."""
    return tab.locator("article .made").all_text_contents()


def press(tab, clip: int, word: str) -> None:
    tab.locator("article").nth(clip).locator(f"[data-do={word}]").click()


def wait(tab, condition: str) -> None:
    """Wait until a condition holds in the page, which forbids Playwright's own way of looking."""
    until = time.monotonic() + 30
    while not tab.evaluate(condition):
        assert time.monotonic() < until, f"not so after 30 s: {condition}"
        time.sleep(0.05)


def downloaded(tab, path: Path) -> Path:
    with tab.expect_download() as download:
        tab.click("#download")
    assert download.value.suggested_filename == "review.csv"
    download.value.save_as(path)
    return path


def read(run: Path, file: Path) -> dict[str, str]:
    """Return the decisions of a file as training reads them for this run's data."""
    folder = RunFolder(run)
    change_config(run, data__corrections=str(file))
    clips = folder.train.reset_index()[["clip_id", "label", "split"]]
    decided = read_corrections(RunFolder(run).config.data, clips, folder.classes, Path())
    return {} if decided is None else dict(zip(decided["clip_id"], decided["decision"], strict=True))


def test_review_by_key_is_kept_and_read_by_training(copied, tab, tmp_path):
    clips = pd.read_csv(copied / "review.csv")["clip_id"].tolist()
    assert len(clips) == 16
    tab.goto((copied / "report.html").as_uri())
    tab.keyboard.press("k")
    assert made(tab) == ["not decided"] * 16, "the first key only shows the clip"
    assert tab.evaluate("document.querySelector('article.current h3').textContent").startswith("1. ")
    tab.keyboard.press("k")
    tab.keyboard.press("d")
    tab.keyboard.press("r")  # the third: the most probable class, and the menu is open to others
    assert tab.evaluate("document.activeElement.tagName") == "SELECT"
    tab.keyboard.press("d")  # chooses in the menu, drops nothing
    tab.keyboard.press("k")
    assert not {"keep", "drop"} & {text.split(":")[0] for text in made(tab)[2:]}
    tab.keyboard.press("Escape")
    tab.keyboard.press("n")
    tab.keyboard.press("k")
    tab.keyboard.press("p")
    assert tab.text_content("#progress") == "4 of 16 decided"
    tab.keyboard.press("u")
    words = [text.split(":")[0] for text in made(tab)]
    assert words == ["keep", "drop", "relabel", *["not decided"] * 13]
    assert tab.text_content("#progress") == "3 of 16 decided"

    before = made(tab)
    tab.reload()
    assert made(tab) == before
    decided = read(copied, downloaded(tab, tmp_path / "review.csv"))
    assert list(decided)[:3] == clips[:3]
    assert (decided[clips[0]], decided[clips[1]]) == ("keep", "drop")
    assert decided[clips[2]].split(maxsplit=1)[0] == "relabel"
    assert decided[clips[2]].split(maxsplit=1)[1] in CLASSES


def test_review_by_button_takes_checked_clips_and_odd_classes(copied, tab, tmp_path):
    review = pd.read_csv(copied / "review.csv")
    tab.goto((copied / "report.html").as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    checked = review.index[review["reason"] == "verified, label differs"]
    assert len(checked) == 8
    cards = tab.locator("article")
    at = next(i for i in checked if review["label"][i] != "<b>Bark</b>")
    menu = cards.nth(at).locator("select")
    names = menu.locator("option").evaluate_all("all => all.map(one => one.value)")
    assert names[0] == review["predicted"][at]
    assert sorted([*names, review["label"][at]]) == CLASSES
    menu.select_option("<b>Bark</b>")
    press(tab, 0, "drop")
    press(tab, 1, "keep")
    press(tab, 1, "keep")  # taken back
    assert tab.text_content("#progress") == "2 of 16 decided"
    clip = review["clip_id"]
    decided = read(copied, downloaded(tab, tmp_path / "review.csv"))
    assert decided == {clip[0]: "drop", clip[at]: "relabel <b>Bark</b>"}


def test_review_with_nothing_decided_is_refused_by_training(copied, tab, tmp_path):
    tab.goto((copied / "report.html").as_uri())
    file = downloaded(tab, tmp_path / "review.csv")
    assert file.read_bytes() == (copied / "review.csv").read_bytes()
    with pytest.raises(DataError, match="no row has a decision"):
        read(copied, file)


def test_review_shows_decisions_of_the_file_and_a_file_changed_since_holds(copied, tab):
    file = copied / "review.csv"
    written = file.read_text()
    lines = written.splitlines(keepends=True)
    lines[1] = lines[1].rstrip("\n") + "keep\n"
    lines[2] = lines[2].rstrip("\n") + "relabel fold\n"
    file.write_text("".join(lines))
    page = write_report(RunFolder(copied)).as_uri()
    tab.goto(page)
    assert made(tab)[:3] == ["keep: the label is right", "relabel: it is fold", "not decided"]
    for i in range(3):
        press(tab, i, "drop")
    lines[2] = lines[2].replace("relabel fold", "keep")
    file.write_text("".join(lines))
    write_report(RunFolder(copied))
    tab.goto(page)
    assert [text.split(":")[0] for text in made(tab)[:3]] == ["drop", "keep", "drop"]
    assert not (copied / "review-new.csv").exists()


def test_review_download_has_decisions_of_an_older_ranking(copied, tab, tmp_path):
    file = copied / "review.csv"
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    right = RunFolder(copied).train.query("label == @CLASSES[0] and not verified").iloc[0]
    older = table[1:].assign(decision=["drop", *[""] * 14])
    more = {"clip_id": right.name, "label": right["label"], "decision": "keep"}
    pd.concat([older, pd.DataFrame([more])]).to_csv(file, index=False)
    tab.goto(write_report(RunFolder(copied)).as_uri())
    assert (copied / "review-new.csv").exists()
    assert made(tab)[1].startswith("drop")
    decided = read(copied, downloaded(tab, tmp_path / "review.csv"))
    assert decided == {table["clip_id"][1]: "drop", right.name: "keep"}


def test_review_keeps_decisions_that_this_run_was_trained_with(copied, tab, tmp_path):
    train = RunFolder(copied).train
    clip = train.index[train["verified"] & (train["label"] == "fold")][0]
    rows = [{"clip_id": clip, "path": train.at[clip, "path"], "label": "fold", "verified": "1", "fold": "0"}]
    pd.DataFrame(rows).assign(decision="keep").to_csv(copied / "corrections.csv", index=False)
    page = write_report(RunFolder(copied))
    review = pd.read_csv(copied / "review.csv", keep_default_na=False)
    assert review["decision"].tolist() == [*[""] * 15, "keep"]
    assert len(Page(page).all("article")) == 15, "what is decided is not asked again"
    write_report(RunFolder(copied))
    assert not (copied / "review-new.csv").exists(), "nobody has written into it"
    tab.goto(page.as_uri())
    press(tab, 0, "drop")
    decided = read(copied, downloaded(tab, tmp_path / "review.csv"))
    assert decided == {review["clip_id"][0]: "drop", clip: "keep"}


def test_review_keys_do_nothing_in_the_help_and_with_modifiers(copied, tab):
    tab.goto((copied / "report.html").as_uri())
    tab.keyboard.press("n")
    tab.keyboard.press("Control+d")
    tab.keyboard.press("?")
    assert tab.locator("#help").is_visible()
    tab.keyboard.press("k")
    tab.keyboard.press("Escape")
    assert not tab.locator("#help").is_visible()
    tab.evaluate("document.querySelector('h1').contentEditable = 'true'; document.querySelector('h1').focus()")
    tab.keyboard.press("d")
    assert set(made(tab)) == {"not decided"}


def test_review_plays_the_current_clip_and_no_other_by_space(copied, tab):
    tab.goto((copied / "report.html").as_uri())
    playing = "[...document.querySelectorAll('audio')].map((one, i) => one.paused ? -1 : i).filter(i => i >= 0)"
    tab.evaluate("document.querySelectorAll('audio').forEach(one => one.loop = true)")
    tab.keyboard.press("n")
    tab.keyboard.press("Space")
    wait(tab, "document.querySelector('audio').currentTime > 0")
    assert tab.evaluate(playing) == [0]
    tab.keyboard.press("n")
    tab.keyboard.press("Space")
    wait(tab, "document.querySelectorAll('audio')[1].currentTime > 0")
    assert tab.evaluate(playing) == [1]
    tab.keyboard.press("Space")
    assert tab.evaluate(playing) == []
    focus = "getComputedStyle(document.querySelector('article.current')).boxShadow"
    assert tab.evaluate(focus) != "none"


def test_review_in_a_browser_that_keeps_nothing_says_so(copied, tab, tmp_path):
    refuse = "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('', 'SecurityError') } })"
    tab.add_init_script(refuse)
    tab.goto((copied / "report.html").as_uri())
    assert "keeps nothing for this page" in tab.inner_text("#refused")
    press(tab, 0, "keep")
    assert len(read(copied, downloaded(tab, tmp_path / "review.csv"))) == 1


def test_page_copies_commands_whole(heard_run, tab):
    tab.goto((heard_run / "report.html").as_uri())
    for step in ("predict", "verify", "correct"):
        tab.locator(f"#step-{step} button").click()
        copy = tab.evaluate("navigator.clipboard.readText()")
        assert copy == tab.locator(f"#step-{step} code").text_content()
        assert copy.startswith("python ")
        assert str(heard_run) in copy


def test_page_that_would_be_too_large_has_its_sounds_beside_it(copied, tab):
    page = write_report(RunFolder(copied), largest_bytes=0)
    files = sorted(path.name for path in (copied / "report" / "clips").iterdir())
    assert files == sorted(f"{i:04d}.{kind}" for i in range(1, 17) for kind in ("mp3", "webp"))
    requests: list[str] = []
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(page.as_uri())
    tab.evaluate("document.querySelector('audio').play()")
    wait(tab, "document.querySelector('audio').currentTime > 0")
    beside = [url for url in requests if not url.startswith(("data:", page.as_uri()))]
    assert beside
    assert all(url.startswith((copied / "report" / "clips").as_uri()) for url in beside)
    assert sum(url.endswith(".webp") for url in beside) == 16
    write_report(RunFolder(copied))
    assert not list((copied / "report").glob("clips/*"))


def test_page_follows_dark_mode_and_shows_that_tables_scroll(copied, tab):
    tab.set_viewport_size({"width": 390, "height": 800})
    tab.goto((copied / "report.html").as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    ink = "[...document.querySelectorAll('.picture text')].map(one => getComputedStyle(one).fill)"
    line = "getComputedStyle(document.querySelector('.picture [style*=\"stroke: var(--blue)\"]')).stroke"
    colours = []
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        colours.append((set(tab.evaluate(ink)), tab.evaluate(line)))
    (light_ink, light_line), (dark_ink, dark_line) = colours
    assert light_line != dark_line
    assert light_ink - dark_ink
    box = tab.locator(".scroll:has(#table-epochs)")
    assert "after" in box.get_attribute("class").split()
    assert box.locator(".more").is_visible()
    box.locator(".table").evaluate("one => one.scrollLeft = one.scrollWidth")
    wait(tab, "document.querySelector('.scroll:has(#table-epochs)').classList.contains('before')")
    assert "after" not in box.get_attribute("class").split()


def test_page_of_a_rule_that_accepts_next_to_nothing_gives_the_command_for_others(copied):
    change_config(copied, verification__rule__threshold=0.95)
    page = Page(write_report(RunFolder(copied)))
    said = "The rule accepted next to nothing: 0 of 10 labels in round 0."
    command = f"python verify.py run={copied} -m verification.rule.threshold=0.1,0.2,0.3,0.4,0.5"
    assert f"{said} What other thresholds accept, without training: {command}" in page.text
    data = next(i for i, (tag, _) in enumerate(page.tags) if tag == "script")
    assert page.tags[data][1]["id"] == "review-data"
    text = page.source.partition('id="review-data">')[2].partition("</script>")[0]
    assert json.loads(text)["classes"] == CLASSES
    assert "<b>" not in text
