"""Taggers handed on as folders: they say what the run says, here, moved, and through a hub; bad ones run nothing."""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import audiotag
from audiotag.config import Ensemble, ExportConfig
from audiotag.export.write import export
from audiotag.files import digest
from tests.conftest import TOP
from tests.hub import TOKEN, Hub, Repository, serving
from tests.integration.test_predict import sound
from tests.programs import run_program

safetensors = pytest.importorskip("safetensors.torch")
pytest.importorskip("huggingface_hub")

NAMES = ["README.md", "config.json", "model.safetensors"]
pytestmark = pytest.mark.usefixtures("small_run", "in_work_folder")


@pytest.fixture(scope="module")
def folder(small_run: Path, program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported folder that has moved to another place and name."""
    printed = program("-m audiotag.export", f"run={small_run}", "to=folder")
    made = small_run / "export" / "small"
    assert f"Exported: {made}" in printed
    return Path(shutil.move(made, tmp_path_factory.mktemp("elsewhere") / "bells"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("clips")
    for number, (seconds, rate_hz) in enumerate(((0.3, 32_000), (4.2, 44_100), (17.9, 8_000))):
        sound(made / f"{number}.wav", seconds, rate_hz, seed=number)
    return made


def changed(folder: Path, copy: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Copy a folder, its config.json changed."""
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    change(config)
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def with_tensors(folder: Path, copy: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    """Copy a folder, its tensors changed by who also writes the checksum."""
    tensors = safetensors.load_file(folder / "model.safetensors")
    change(tensors)
    copy.mkdir()
    safetensors.save_file(tensors, copy / "model.safetensors")
    shutil.copyfile(folder / "config.json", copy / "config.json")
    config = json.loads((copy / "config.json").read_text())
    config["sha256"]["model.safetensors"] = digest(copy / "model.safetensors")
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def refusal(folder: Path, **asked: Any) -> str:
    with pytest.raises(audiotag.RunError) as caught:
        audiotag.load(folder, **asked)
    return str(caught.value)


def test_folder_says_what_the_run_says_to_the_bit(folder, small_run, clips, program, tmp_path):
    """From Python, by the program, in parts and live."""
    run, other = audiotag.load(small_run), audiotag.load(folder)
    assert (other.runs, other.classes, repr(other)) == (run.runs, run.classes, repr(run))
    pd.testing.assert_frame_equal(other.predict(clips, 8), run.predict(clips, 8), check_exact=True)
    other, run = audiotag.load(folder, windows=3, cut=True), audiotag.load(small_run, windows=3, cut=True)
    pd.testing.assert_frame_equal(other.predict(clips, 8), run.predict(clips, 8), check_exact=True)
    for number, mode in enumerate(
        ([], ["live=true", "speed=max"], ["segments=true", "segment.on=0.01", "segment.off=0.005"])
    ):
        written = []
        for name, asked in (("folder", folder), ("run", small_run)):
            out = tmp_path / f"{name}{number}.csv"
            program("predict.py", f"run={asked}", f"source={clips / '1.wav'}", f"out={out}", *mode)
            written.append(out.read_text())
        assert written[0] == written[1]
        assert len(written[0].splitlines()) > 1
    program("predict.py", f"run={folder}", f"source={clips / '1.wav'}")
    assert folder.with_name("bells.predictions.csv").is_file()
    assert sorted(file.name for file in folder.iterdir()) == NAMES
    assert len({file.stat().st_mode for file in folder.iterdir()}) == 1, "who may read one may read all"


@pytest.mark.parametrize(
    "asked",
    [
        {"run": ["small@0", "small-v2", "small@1"], "mean": "geometric"},
        {"run": ["small@0", "small@1"], "weights": "learned"},
        {"run": "small", "fold": 1, "round": 1},
    ],
    ids=["two front ends", "learned weights", "one fold"],
)
def test_folder_holds_an_ensemble_as_it_is_asked(asked, v2_run, clips, tmp_path):
    others = {name: value for name, value in asked.items() if name not in ("mean", "weights")}
    ensemble = Ensemble(mean=asked.get("mean", "arithmetic"), weights=asked.get("weights", "equal"))
    path = export(ExportConfig(to="folder", ensemble=ensemble, out=str(tmp_path / "made"), **others))
    run = audiotag.load(**asked)
    pd.testing.assert_frame_equal(audiotag.load(path).predict(clips, 8), run.predict(clips, 8), check_exact=True)


def test_folder_names_nothing_of_the_machine(folder, small_run):
    config = json.loads((folder / "config.json").read_text())
    assert config["members"][0] | {"features": 0, "network": 0} == {
        "run": "small", "round": audiotag.open_run(small_run).best_round, "folds": [0, 1], "features": 0, "network": 0
    }  # fmt: skip
    tensors = safetensors.load_file(folder / "model.safetensors")
    assert {name.rpartition("features.")[0] for name in tensors} >= {"0/0/", "0/1/"}
    for name in NAMES:
        content = (folder / name).read_bytes()
        for place in (small_run.parent.parent, TOP, Path.home(), small_run.parent):
            assert str(place).encode() not in content
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: audiotag\n")
    assert "| Bell |" in card
    assert "To be filled in" in card


def test_folder_is_written_whole_over_its_own_only(small_run, tmp_path):
    out = tmp_path / "made"
    config = ExportConfig(run=str(small_run), to="folder", out=str(out))
    export(config)
    first = (out / "model.safetensors").read_bytes()
    export(config)  # again: it is this command's own
    assert (out / "model.safetensors").read_bytes() == first
    assert [one.name for one in tmp_path.iterdir()] == ["made"]
    (out / "README.md").write_text("licence: ours")
    with pytest.raises(audiotag.AudiotagError, match=r"README\.md was changed since"):
        export(config)
    (out / "LICENSE").write_text("ours")
    with pytest.raises(audiotag.AudiotagError, match="holds what this command did not write"):
        export(config)
    assert (out / "README.md").read_text() == "licence: ours"
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "config.json").write_text("{}")
    with pytest.raises(audiotag.AudiotagError, match="is not a folder that this command wrote"):
        export(ExportConfig(run=str(small_run), to="folder", out=str(theirs)))


def evil(mark: Path) -> list[dict[str, Any]]:
    """Leaves that would write a file, if anything of them were run."""
    command = f"touch {mark}"
    inner = {"leaf": {"_target_": "os.system", "command": command}, "setting": "x"}
    return [
        {"_target_": "os.system", "command": command},
        {"_target_": "subprocess.Popen", "args": ["touch", str(mark)]},
        {"_target_": "builtins.exec", "source": f"open({str(mark)!r}, 'w')"},
        {"_target_": "builtins.open", "file": str(mark), "mode": "w"},
        {"_target_": "audiotag.config.leaf.build", **inner},
        {"_target_": "audiotag.features.spectrogram.build", **inner},
        {"_target_": "audiotag.files.write_text", "path": str(mark), "text": "x"},
        {"_target_": "audiotag.files.os.system", "command": command},
        {"_target_": "evil.Net"},
        {"_target_": ["os.system"], "command": command},
        {"_target_": "audiotag.models.vgg_gap.VggGap\x00", "width": 4},
        {"_target_": {"_target_": "os.system"}},
        {},
        {
            "_target_": "audiotag.models.timm_network.TimmNetwork",
            "name": "resnet10t",
            "options": {"checkpoint_path": str(mark)},
        },
        {"_target_": "audiotag.models.timm_network.TimmNetwork", "name": "resnet10t", "pretrained": True},
    ]


@pytest.mark.parametrize("number", range(15))
@pytest.mark.parametrize("place", ["network", "front_end"])
def test_folder_of_a_stranger_runs_nothing(folder, tmp_path, monkeypatch, place, number):
    """Nor is a module imported, be it in the folder or where it is read from."""
    mark = tmp_path / "mark"
    leaf = evil(mark)[number]

    def change(config: dict[str, Any]) -> None:
        member = config["members"][0]
        (member if place == "network" else member["features"])[place] = leaf

    bad = changed(folder, tmp_path / "bad", change)
    for where in (bad, tmp_path):
        (where / "evil.py").write_text(f"open({str(mark)!r}, 'w')")
    monkeypatch.chdir(bad)
    monkeypatch.syspath_prepend(tmp_path)
    text = refusal(bad)
    assert not mark.exists()
    assert place in text
    if isinstance(leaf.get("_target_"), str):
        assert f"trust=[{leaf['_target_']}]" in text
        assert "--config-dir DIR" in text


def test_folder_interpolates_nothing(folder, tmp_path, monkeypatch):
    """What would read the environment, or resolve, is text."""
    monkeypatch.setenv("SECRET", "bells")
    bad = changed(folder, tmp_path / "bad", lambda config: config["classes"].__setitem__(0, "${oc.env:SECRET}"))
    assert audiotag.load(bad).classes[0] == "${oc.env:SECRET}"


NET = """
import torch
from torch import nn
from audiotag.models.vgg_gap import VggGap

class Net(VggGap):
    pass
"""


def test_folder_builds_a_class_of_ones_own_when_it_is_named(folder, clips, program, tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.mkdir()
    (own / "my_handed_net.py").write_text(NET)
    named = "my_handed_net.Net"
    path = changed(folder, tmp_path / "made", lambda c: c["members"][0]["network"].update({"_target_": named}))
    assert f"members.0.network is {named}, which is not one of audiotag's own" in refusal(path)
    out = tmp_path / "p.csv"
    asked = [f"run={path}", f"source={clips / '0.wav'}", f"out={out}"]
    assert f"trust=[{named}]" in program("predict.py", *asked, expected=2)
    assert "there is no module my_handed_net" in program("predict.py", *asked, f"trust={named}", expected=2)
    program("predict.py", *asked, f"trust={named}", "--config-dir", str(own))
    monkeypatch.syspath_prepend(own)
    trusted = audiotag.load(path, trust=[named])
    pd.testing.assert_frame_equal(trusted.predict(clips), audiotag.load(folder).predict(clips), check_exact=True)


def test_damaged_folders_are_refused_with_all_that_is_wrong(folder, tmp_path):
    weights = (folder / "model.safetensors").read_bytes()
    config = (folder / "config.json").read_bytes()
    for number, (name, content, message) in enumerate(
        [
            ("model.safetensors", weights[: len(weights) // 2], "is not the file that config.json was written with"),
            ("model.safetensors", b"", "is not the file that config.json was written with"),
            ("model.safetensors", None, "model.safetensors is missing"),
            ("config.json", None, "config.json is missing"),
            ("config.json", config[:100], "cannot be read"),
            ("config.json", b"[" * 100_000, "cannot be read"),
            ("config.json", b"\xff\xfe", "cannot be read"),
            ("config.json", b" " * 1_000_001, "too large"),
            ("config.json", b'{"architectures": ["BertModel"]}', "not written by audiotag"),
            ("config.json", config.replace(b'"format": 1', b'"format": 9'), "in another format"),
        ]
    ):
        bad = tmp_path / str(number)
        shutil.copytree(folder, bad)
        (bad / name).unlink() if content is None else (bad / name).write_bytes(content)
        text = refusal(bad)
        assert message in text
        assert "export it again" in text


def test_damaged_descriptions_are_refused_with_all_that_is_wrong(folder, tmp_path):
    def spoil(config: dict[str, Any]) -> None:
        del config["ensemble"]
        config["classes"] = "Bell"
        config["members"][0]["folds"] = []
        config["members"][0]["features"]["clip_frames"] = -1
        config["more"] = 1

    text = refusal(changed(folder, tmp_path / "1", spoil))
    assert all(f"  - {name}" in text for name in ("ensemble", "classes", "members.0.folds", "more"))
    assert "members.0.features.clip_frames" in text

    def disagree(config: dict[str, Any]) -> None:
        config["ensemble"]["weights"] = "learned"
        config["classes"][1] = config["classes"][0]
        config["members"][0]["folds"] = [0, 0]
        config["members"][0]["features"]["clip_frames"] = 1

    text = refusal(changed(folder, tmp_path / "2", disagree))
    for part in ("learned", "the same name", "names one twice", "is shorter than"):
        assert part in text

    def misfit(config: dict[str, Any]) -> None:
        config["members"][0]["network"] |= {"width": 0, "depth": 3}
        config["members"][0]["features"]["front_end"]["bands"] = "many"

    text = refusal(changed(folder, tmp_path / "3", misfit))
    for part in ("width", "depth", "bands"):
        assert part in text


def test_weights_of_another_shape_are_refused_with_all_that_is_wrong(folder, tmp_path):
    names: list[str] = []

    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        names[:] = sorted(name for name in tensors if name.startswith("0/1/") and tensors[name].ndim == 4)[:3]
        del tensors[names[0]]
        tensors[names[1]] = torch.zeros(3, 3)
        tensors[names[2]] = tensors[names[2]].double()
        tensors["0/7/extra"] = torch.zeros(1)

    text = refusal(with_tensors(folder, tmp_path / "bad", spoil))
    assert f"{names[0]} (" in text
    assert "is missing in model.safetensors" in text
    assert f"{names[1]} is (3, 3) float32 in model.safetensors" in text
    assert "float64 in model.safetensors" in text
    assert "0/7/extra (1,) float32 of model.safetensors belongs to none of the networks" in text
    width = changed(folder, tmp_path / "width", lambda c: c["members"][0]["network"].update(width=5))
    assert refusal(width).count("in the network") > 20


def test_folder_refuses_what_was_settled(folder, small_run, program):
    with pytest.raises(audiotag.ConfigError) as caught:
        audiotag.load([folder, "small"], round=1, fold=0, mean="geometric")
    text = str(caught.value)
    assert all(f"{name}= was settled when it was exported" in text for name in ("round", "fold", "ensemble"))
    assert "several make an ensemble when they are exported" in text
    printed = program("predict.py", f"run={folder}", "split=test", expected=2)
    assert "split=test: only a run's folder tells its data set" in printed
    for arguments, message in (
        (["windows=2"], "windows= is for who asks a folder"),
        (["push=nobody"], "does not name a repository"),
        (["public=true"], "public= belongs to push="),
        (["int8=true"], "int8= belongs to to=onnx"),
    ):
        assert message in program("-m audiotag.export", f"run={small_run}", "to=folder", *arguments, expected=2)
    assert audiotag.load(folder).network(fold=1) is not None


@pytest.fixture(scope="module")
def hub() -> Any:
    with serving() as made:
        yield made


def set_variables(environment: dict[str, str]) -> None:
    """Set them in a process that was forked, for huggingface_hub, which reads them as it is imported."""
    os.environ.update(environment)
    for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
        del sys.modules[name]


def asked(hub: Hub, cache: Path, work: Path, name: str, *arguments: str, expected: int = 0, **more: str) -> str:
    """Run a program for which the stand-in is the hub."""
    environment = hub.environment(cache, **more)
    code, printed = run_program(name, [*arguments], work, before=functools.partial(set_variables, environment))
    assert code == expected, printed
    return printed


def test_folder_goes_to_a_hub_and_comes_back(folder, small_run, clips, hub, work_folder, tmp_path):
    """Made private, as one commit; by branch, by commit, from the cache alone; what people wrote in the card stays."""
    pushing = ("-m audiotag.export", f"run={small_run}", "to=folder", f"out={tmp_path / 'made'}", "push=me/bells")
    assert "needs a token" in asked(hub, tmp_path / "a", work_folder, *pushing, expected=2, HF_TOKEN="")
    assert not (tmp_path / "made").exists()
    printed = asked(hub, tmp_path / "a", work_folder, *pushing, expected=2, HF_TOKEN="hf_wrong")
    assert "push=me/bells failed" in printed
    assert "is written, and whole" in printed
    printed = asked(hub, tmp_path / "a", work_folder, *pushing, HF_TOKEN=TOKEN)
    repository = hub.repositories["me/bells"]
    assert repository.private
    assert f"Pushed: hf://me/bells@{repository.head}" in printed
    first = repository.commits[repository.head]
    assert sorted(first) == [".gitattributes", *NAMES]
    assert all(first[name] == (tmp_path / "made" / name).read_bytes() for name in NAMES)

    old = repository.head
    repository.commit({"README.md": b"licence: ours", "evil.py": b"raise SystemExit", "config.json": b"{}"})
    out, cache = tmp_path / "p.csv", tmp_path / "b"
    expected = audiotag.load(folder).predict(clips / "1.wav")
    pulling = (f"source={clips / '1.wav'}", f"out={out}")
    printed = asked(hub, cache, work_folder, "predict.py", f"run=hf://me/bells@{old}", *pulling)
    assert f"by hf://me/bells@{old}, exported from" in printed
    np.testing.assert_allclose(pd.read_csv(out)["probability_1"], expected["probability_1"], atol=1e-6)
    assert "not written by audiotag" in asked(
        hub, cache, work_folder, "predict.py", "run=hf://me/bells", *pulling, expected=2
    )
    assert not list(cache.rglob("evil.py"))

    asked(hub, tmp_path / "a", work_folder, *pushing, HF_TOKEN=TOKEN)
    newest = repository.commits[repository.head]
    assert newest["README.md"] == b"licence: ours"
    assert newest["config.json"] == first["config.json"]
    asked(hub, cache, work_folder, "predict.py", "run=hf://me/bells", *pulling)
    hub.asked.clear()
    asked(hub, cache, work_folder, "predict.py", "run=hf://me/bells", *pulling, HF_HUB_OFFLINE="1")
    asked(hub, cache, work_folder, "predict.py", "run=hf://me/bells", f"source={clips / '1.wav'}", HF_HUB_OFFLINE="1")
    assert not hub.asked
    assert (work_folder / "bells.predictions.csv").is_file()


def empty() -> Repository:
    made = Repository(private=False)
    made.commit({".gitattributes": b""})
    return made


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("hf://me/none", {}, "hf://me/none cannot be had: RepositoryNotFoundError"),
        ("hf://me/bells@v9", {}, "hf://me/bells@v9 cannot be had: RevisionNotFoundError"),
        ("hf://me/other", {"HF_HUB_OFFLINE": "1"}, "cannot be had: LocalEntryNotFoundError"),
        ("hf://me/other", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "hf://me/other cannot be had: "),
        ("hf://me", {}, "hf://me is not a name of the hub"),
    ],
)
def test_hub_that_has_no_such_tagger_is_told(name, more, message, clips, hub, work_folder, tmp_path):
    if "bells" in name:
        hub.repositories.setdefault("me/bells", empty())
    printed = asked(
        hub, tmp_path, work_folder, "predict.py", f"run={name}", f"source={clips / '0.wav'}", expected=2, **more
    )
    assert message in printed
