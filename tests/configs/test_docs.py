"""The docs say what is there: every setting and option, commands that work, links that lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType, SimpleNamespace
from xml.etree import ElementTree

import pytest
from mkdocs.exceptions import BuildError

from audiotag.cli.arguments import argument_problems, groups
from audiotag.config import CompareConfig, ExportConfig, PredictConfig, TrainConfig, VerifyConfig
from audiotag.config.schema import is_key, schema_fields
from tests.clips import TOP

PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
SCHEMAS = {
    "train.py": TrainConfig,
    "verify.py": VerifyConfig,
    "predict.py": PredictConfig,
    "-m audiotag.compare": CompareConfig,
    "-m audiotag.export": ExportConfig,
    "-m audiotag.plan": TrainConfig,
    "-m audiotag.doctor": TrainConfig,
}
COMMAND = re.compile(rf"(?<!\$ )python ({'|'.join(map(re.escape, SCHEMAS))})((?:\\\n|[^`\n])*)")
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    """The module that makes pages of the site."""
    spec = importlib.util.spec_from_file_location("site_hooks", TOP / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def settings_page(hooks) -> str:
    return hooks.settings_page()


@pytest.mark.parametrize(
    "program", [name for name in SCHEMAS if name not in ("-m audiotag.plan", "-m audiotag.doctor")]
)
def test_docs_list_every_setting(settings_page, program):
    part = settings_page.split(f"\n## python {program}\n")[1].split("\n## ")[0]
    entries = re.findall(r"^`([\w.]+)=.*\n:   (\S.*)$", part, re.MULTILINE)
    assert sorted(name.removesuffix("._target_") for name, _ in entries) == sorted(schema_fields(SCHEMAS[program]))


def test_docs_give_the_values_where_nothing_is_said(settings_page):
    assert (
        "`finetune_rounds=2`{ #train-finetune_rounds } whole number\n:   Fine-tuning rounds after round 0"
        in settings_page
    )  # of conf/train.yaml
    assert (
        "`verification.calibrate=True`{ #train-verification.calibrate } true or false" in settings_page
    )  # of the group's
    assert "`data.root=null`{ #train-data.root } text or null" in settings_page  # of the schema
    assert "`out=null`{ #compare-out } text or null\n:   File for the table" in settings_page


def test_docs_list_every_option(hooks):
    page = hooks.options_page()
    for file in sorted((TOP / "conf").glob("*/**/*.yaml")):
        option = f"### {file.parent.relative_to(TOP / 'conf').as_posix()}={file.stem}\n\n```yaml\n"
        assert f"{option}{file.read_text(encoding='utf-8').strip()}\n```" in page


def commands() -> list[tuple[str, str, list[str]]]:
    found = []
    for page in PAGES:
        for program, rest in COMMAND.findall(page.read_text(encoding="utf-8")):
            text = shlex.split(re.sub(r"\s#.*|\\\n", " ", rest))
            if "--config-dir" not in text:  # options of the reader's own: each page that has some is tried by a test
                found.append((page.name, program, [a for a in text if "=" in a and not a.startswith("hydra.")]))
    return found


def test_docs_commands_have_settings_that_exist():
    problems = []
    assert len(commands()) > 60
    for page, program, arguments in commands():
        schema = SCHEMAS[program]
        if program in ("-m audiotag.plan", "-m audiotag.doctor"):  # their own, beside those of train.py
            arguments = [a for a in arguments if not a.startswith("out=")]
        places = [a for a in arguments if re.fullmatch(r"[A-Z_|]+|", a.partition("=")[2])]  # devices=N, model=
        names = [a.partition("=")[0] for a in places]
        problems += [f"{page}: {name}" for name in names if not is_key(name, schema) and name not in groups(schema)]
        shown = [a.split("|")[0] for a in arguments if a not in places]
        problems += [f"{page}: {problem}" for problem in argument_problems(shown, schema)]
    assert not problems


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [TOP / "README.md", TOP / "CHANGELOG.md"], ids=lambda page: page.name)
def test_docs_links_outside_the_site_lead_somewhere(page):
    # Those within it are checked when it is built: `make docs`.
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if not path.startswith("https://"):
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", '<script src="https://elsewhere.org/a.js"></script>'),
        ("a.html", '<p><img alt="" src=//elsewhere.org/a.png>'),
        ("a.html", '<link rel="stylesheet" href="https://elsewhere.org/a.css">'),
        ("a.html", '<link href="https://elsewhere.org" rel="preconnect">'),
        ("api/a.css", "@import 'https://elsewhere.org/a.css';"),
        ("api/a.css", "p { background: url(//elsewhere.org/a.png) }"),
    ],
)
def test_site_that_loads_from_elsewhere_is_not_built(hooks, tmp_path, name, text):
    site = SimpleNamespace(site_dir=str(tmp_path))
    (tmp_path / "api").mkdir()
    (tmp_path / "b.html").write_text('<a href="https://elsewhere.org">a link</a><script src="a.js"></script>')
    hooks.on_post_build(site)
    (tmp_path / name).write_text(text)
    with pytest.raises(BuildError, match=rf"{name}: .*//elsewhere\.org"):
        hooks.on_post_build(site)


@pytest.mark.parametrize(
    "tag", ["<source media=x srcset=b.webp>", '<audio controls src="b.mp3">', "<img src=c/b.webp#dark>"]
)
def test_site_that_shows_what_is_not_there_is_not_built(hooks, tmp_path, tag):
    site = SimpleNamespace(site_dir=str(tmp_path))
    (tmp_path / "a.webp").touch()
    (tmp_path / "a.html").write_text('<img src="a.webp#only-light"><img src=data:,>')
    hooks.on_post_build(site)
    (tmp_path / "a.html").write_text(tag)
    with pytest.raises(BuildError, match=r"a\.html: b\.(webp|mp3)"):
        hooks.on_post_build(site)


def test_docs_begin_the_settings_with_training(settings_page):
    commands = re.findall(r"^## python (.*)$", settings_page, re.MULTILINE)
    assert commands[:3] == ["train.py", "verify.py", "predict.py"]
    assert len(commands) == len(set(commands)) > 4


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_docs_give_the_first_commands_before_all_else(page):
    readme = (TOP / "README.md").read_text(encoding="utf-8")
    included = re.compile(r'{% include-markdown "../README.md" start="(.*?)" end="(.*?)" %}')
    text = included.sub(
        lambda marks: readme.partition(marks[1])[2].partition(marks[2])[0], (TOP / page).read_text(encoding="utf-8")
    )
    first = re.search(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert first is not None
    assert "pip install -e ." in first[1]
    assert re.search(r"^python train\.py\b", first[1], re.MULTILINE)
    before = text[: first.start()]
    assert not re.search(r"^## |!\[|<img|<picture", before, re.MULTILINE)
    assert len(before) < 800


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_docs_pictures_are_there_small_and_described(page):
    """Those in HTML, which MkDocs does not look for."""
    text = page.read_text(encoding="utf-8")
    for tag in re.findall(r"<(?:img|source|audio)\b[^>]*>", text):
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        file = page.parent / (attributes.get("src") or attributes["srcset"])
        assert 0 < file.stat().st_size < 150_000, file
        assert tag.startswith("<source") or len(attributes.get("alt") or attributes["aria-label"]) > 30, tag


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_docs_pictures_of_the_first_pages_are_for_both_schemes(page):
    text = (TOP / page).read_text(encoding="utf-8")
    assert "report-light.webp" in text
    assert "report-dark.webp" in text
    assert "loop-portrait.svg" in text


@pytest.mark.parametrize("name", ["loop.svg", "loop-portrait.svg"])
def test_docs_diagram_follows_the_readers_colours(name):
    root = ElementTree.parse(TOP / "docs" / name).getroot()
    text = (TOP / "docs" / name).read_text(encoding="utf-8")
    assert "@media (prefers-color-scheme: dark)" in text
    assert not re.search(r"<[^>]*\sfill=", text)  # a colour outside the style sheet would stay as it is
    assert len(root.get("aria-label", "")) > 30


def test_docs_list_the_variables_of_the_environment():
    sources = [*(TOP / "audiotag").rglob("*.py"), *(TOP / "notebooks").glob("*.ipynb"), *(TOP / "tests").rglob("*.py")]
    text = "\n".join(source.read_text(encoding="utf-8") for source in sources)
    read = set(re.findall(r"environ(?:\.get\(|\[)\\?\"(\w+)", text))
    assert {"AUDIOTAG_RUN", "AUDIOTAG_SHARED", "WANDB_RUN_ID", "CUDA_VISIBLE_DEVICES"} <= read
    page = (TOP / "docs" / "environment.md").read_text(encoding="utf-8")
    ours = {name for name in read if name.startswith(("AUDIOTAG_", "WANDB_", "MLFLOW_", "CUDA_"))}
    told_by_processes = {"AUDIOTAG_TEST_FAULT", "WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SERVICE"}
    assert not {name for name in ours - told_by_processes if f"`{name}`" not in page}
