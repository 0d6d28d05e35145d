"""Command lines: what is misspelt is refused by name, what is right passes, and help names every setting."""

from __future__ import annotations

import sys

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from audiotag.cli import arguments
from audiotag.cli.arguments import groups, quoted
from audiotag.cli.composition import check_command_line, print_help
from audiotag.cli.program import reported
from audiotag.config import PredictConfig, TrainConfig, VerifyConfig
from audiotag.config.schema import leaves, schema_fields
from audiotag.errors import ConfigError
from audiotag.plan import compose_training
from audiotag.plan import main as plan
from tests.clips import no_rights

SCHEMAS: dict[str, type] = {"train.py": TrainConfig, "verify.py": VerifyConfig, "predict.py": PredictConfig}


def refused(*arguments: str, schema: type = TrainConfig) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check_command_line(schema, list(arguments))
    return caught.value.problems


@pytest.mark.parametrize(
    ("argument", "near"),
    [
        ("fold=x", None),
        ("flod=1", "fold"),
        ("+flod=1", "fold"),
        ("++flod=1", "fold"),
        ("~flod", "fold"),
        ("~flod=1", "fold"),
        ("data.rot=x", "data.root"),
        ("dta.root=x", "data.root"),
        ("root=x", "data.root"),
        ("lr=1", "training.pretrain.learning_rate or training.finetune.learning_rate"),
        ("epochs=3", "training.pretrain.epochs or training.finetune.epochs"),
        ("batch_size=3", "training.batch_size"),
        ("training.finetune.lr=1", "training.finetune.learning_rate"),
        ("data.columns.lable=x", "data.columns.label"),
        ("data.columns.label.x=1", "data.columns.label"),
        ("verfication=as_coded", "verification"),
        ("experiments=smoke", "experiment"),
        ("hardware/thread=1", "hardware.threads"),
        ("training.pretrain.lerning_rate=1", "training.pretrain.learning_rate"),
        ("quite_unlike_anything=1", None),
    ],
)
def test_command_line_refuses_a_misspelt_setting_in_any_spelling(argument, near):
    (problem,) = refused(argument)
    if near is not None:
        assert f"did you mean {near}?" in problem


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("data=kagle", "did you mean kaggle?"),
        ("data=synthetic,kagle", "did you mean kaggle?"),
        ("model=null", "model is one of cnn14,"),
        ("data=[kaggle,csv]", "data is one of csv,"),
        ("verification=of_run", "verification is one of accept_all, as_coded"),
        ("features=3", "features is one of ast,"),
        ("logger=[csv,wand]", "logger is one of csv, mlflow, tensorboard, wandb (did you mean wandb?)"),
        ("logger=csv,[csv,wand]", "did you mean wandb?"),
        ("logger=[]", "logger is one of csv,"),
        ("+model=tiny", "write it without the +"),
        ("+seed=1", "write it without the +"),
        ("seed", "SETTING=VALUE"),
        ("=1", " is not a setting"),
        ("seed=[1", "seed=[1: "),
        ("hydra.run.dir=~/a", "need quotes: \"hydra.run.dir='~/a'\""),
        ("seed=x", "seed='x' is not a whole number"),
        ("training.pretrain.learning_rate=.nan", "learning_rate='.nan' is not a number"),
        ("training.batch_size=null", "training.batch_size=None"),
        ("hparams_search=optune", "did you mean optuna?"),
    ],
)
def test_command_line_refuses_what_hydra_would_less_clearly_or_not_at_all(argument, message):
    (problem,) = refused(argument)
    assert message in problem


@pytest.mark.parametrize(
    "several", [["seed=1,2"], ["model=tiny,vgg_gap_spec2"], ["data.root=a,b"], ["hparams_search=optuna"]]
)
def test_command_line_gives_one_name_to_one_run(several):
    (problem,) = refused("-m", "run=mine", *several)
    assert problem.startswith(f"run=mine names one run, but {several[0]} makes several")


@pytest.mark.parametrize("choice", arguments.SWEEP_PACKAGES)
def test_command_line_names_a_missing_package(monkeypatch, choice):
    monkeypatch.setitem(arguments.SWEEP_PACKAGES, choice, "hydra-no-such-plugin")
    (problem,) = refused(choice)
    assert problem == f"{choice} needs hydra-no-such-plugin, which is not installed: pip install -e '.[sweep]'"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["seed=1,2", "-m"], ["-m", "seed=1,2"]),
        (["fold=0,1", "seed=1", "round=0,1"], ["round=0,1", "fold=0,1", "seed=1"]),
        (["round=0,1", "seed=1", "fold=0,1"], ["round=0,1", "seed=1", "fold=0,1"]),
        (["finetune_rounds=3", "--config-dir", "x", "fold=1"], ["--config-dir", "x", "finetune_rounds=3", "fold=1"]),
    ],
)
def test_command_line_is_put_in_order(typed, meant):
    assert arguments.in_order(typed) == meant


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["seed=1", "experiment=smoke", "experiment=null", "data.root=/a b/c", "run='x=1, y'", "data.table='~/a(1)'"],
        ["-m", "round=range(0,4)", "fold=0,1,2,3"],
        ["-m", "verification.rule.threshold=0.5,0.8", "verification=as_coded,calibrated", "seed=choice(1,2)"],
        ["++seed=1", "~data.root", "~augment"],
        ["--cfg", "job", "-p", "hydra"],
        ["hydra.searchpath=[file://somewhere]", "experiment=not_ours"],
        ["hydra.verbose=true", "hydra/launcher=joblib"],
        ["data.classes=[Bark,'Meow or so']", "verification.rule.cap=null"],
        ["run=s${seed}"],
        ["-m", "run=s${seed}", "seed=1,2"],
        ["-m", "run=x", "fold=0,1", "round=range(0,3)", "hardware.threads=1,2"],
        ["hparams_search=optuna", "training.pretrain.learning_rate=tag(log, interval(0.001, 0.1))"],
        ["hparams_search=null", "run=x"],
        ["logger=[csv,wandb]", "-m", "logger=csv,[wandb,mlflow]"],
    ],
)
def test_command_line_passes_what_is_right(arguments):
    check_command_line(TrainConfig, arguments)


PATHS = ["/x/Größe", "/x/with blanks", "/x/rec (1)", "Anna's", "a, b", "犬.csv", "[x]", "{x}", "a=b", "x\\", "\\'"]
PATHS += ["#1 & more", "~/a'b\\", "1e5", "2024", "null.csv", "a;b", '"x"y', "100%", "x!"]


@pytest.mark.parametrize("value", PATHS)
def test_command_line_paths_need_quotes_for_the_shell_alone(tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    if "/" not in value:
        (tmp_path / value).mkdir()
    (argument,) = quoted([f"data.root={value}"], TrainConfig)
    assert OverridesParser.create().parse_override(argument).value() == value


@pytest.mark.parametrize("value", ["/x/rec (1)", "~/a'b\\", "2024"])
def test_command_line_paths_reach_the_settings_as_they_were_typed(tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2024").mkdir()
    config = compose_training(["data=csv", f"data.root={value}", "++data.table='given \\'so\\''"])
    assert (config.data.root, config.data.table) == (value, "given 'so'")


def test_program_that_may_not_read_something_says_so(tmp_path, capsys):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.csv").write_text("fname,label,manually_verified\n")
    compose_training(["data=kaggle", f"data.root={tmp_path / 'set'}"])  # imports what nobody may import
    with no_rights(tmp_path / "set"), pytest.raises(SystemExit) as ended:
        reported(lambda: plan(["data=kaggle", f"data.root={tmp_path / 'set'}"]))
    assert ended.value.code == 2
    assert "Permission denied" in capsys.readouterr().err


def test_program_whose_root_is_a_link_to_itself_says_so(tmp_path, capsys):
    (tmp_path / "set").symlink_to("set")
    with pytest.raises(SystemExit) as ended:
        reported(lambda: plan(["data=kaggle", f"data.root={tmp_path / 'set'}"]))
    assert ended.value.code == 2
    assert "there is no such file" in capsys.readouterr().err


def test_command_line_leaves_to_hydra_what_it_understands():
    given = ["seed=1", "data.root=a,b", "run='x y'", "data.root=null", "run=x-${seed}", "data.classes=[a,b]", "-m"]
    assert quoted(given, TrainConfig) == given
    assert quoted(["source=[a.wav,b.wav]"], PredictConfig) == ["source=[a.wav,b.wav]"]


def test_command_line_takes_every_setting_and_group_by_itself():
    for schema in SCHEMAS.values():
        for path, field in schema_fields(schema).items():
            for name, value in leaves({path: field.default}):
                check_command_line(schema, [f"{name}={'null' if value is None else value}"])
        for group, options in groups(schema).items():
            for option in options:
                check_command_line(schema, [f"{group}={option}"])


@pytest.mark.parametrize("columns", ["50", "80", "200"])
@pytest.mark.parametrize("program", SCHEMAS)
def test_help_names_every_setting_with_its_default_and_meaning(monkeypatch, capsys, program, columns):
    """At any width: no name is broken over two lines."""
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys, "argv", [program])
    print_help(SCHEMAS[program])
    output = capsys.readouterr().out
    lines = {line.strip() for line in output.splitlines()}
    text = " ".join(output.split())
    for path, field in schema_fields(SCHEMAS[program]).items():
        assert any(line.startswith((f"{path}=", f"{path}._target_=")) for line in lines)
        assert str(field.description) in text
    for group, options in groups(SCHEMAS[program]).items():
        assert f"{group}={'|'.join(options)}" in lines
    assert max(len(line) for line in output.splitlines() if line.startswith("      ")) <= int(columns)


def test_help_shows_what_runs_where_nothing_is_said(monkeypatch, capsys):
    """The defaults of conf/, not those of the schema: `python train.py` runs rounds 0 to 2."""
    monkeypatch.setattr(sys, "argv", ["train.py"])
    print_help(TrainConfig)
    lines = {line.strip() for line in capsys.readouterr().out.splitlines()}
    assert {"finetune_rounds=2", "verification.calibrate=True", "data.root=null", "model.network.width=8"} <= lines


def test_folder_of_options_is_there_and_its_options_are_known(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("name: mine\n")
    check_command_line(TrainConfig, ["--config-dir", str(tmp_path), "model=mine"])
    with pytest.raises(ConfigError, match=r"model=mien: model is one of .*mine.*did you mean mine"):
        check_command_line(TrainConfig, ["--config-dir", str(tmp_path), "model=mien"])
    with pytest.raises(ConfigError, match="--config-dir nowhere: there is no such folder"):
        check_command_line(TrainConfig, ["--config-dir", "nowhere", "model=mine"])
