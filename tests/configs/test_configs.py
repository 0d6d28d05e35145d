"""Every configuration that ships composes, fits the schema, and says what it should; whatever does not is refused."""

from __future__ import annotations

import ast
import copy
import dataclasses
import functools
import inspect
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import submitit
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra_plugins.hydra_joblib_launcher.config import JobLibLauncherConf
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf, LocalQueueConf, SlurmQueueConf
from omegaconf import OmegaConf

from audiotag import config as schemas
from audiotag.cli.arguments import CONF, groups, refuse_forgotten_data
from audiotag.cli.composition import register
from audiotag.config import Data, PredictConfig, TrainConfig, VerifyConfig
from audiotag.config.schema import leaves, nested, schema_fields, to_dict, validate
from audiotag.errors import ConfigError
from audiotag.experiment.prepare import check_joints
from audiotag.run.naming import run_name
from audiotag.verification.promise import PromiseRule
from audiotag.verification.rules import AgreementRule, CleanlabRule, rule_of
from tests.tiny_networks import write_onnx

PROGRAMS: dict[str, type] = {"train": TrainConfig, "verify": VerifyConfig, "predict": PredictConfig}
NEEDED = {  # what a user must say besides the name of the option
    "data=csv": ["data.root=DIR", "data.table=FILE"],
    "data=kaggle": ["data.root=DIR"],
    "data=folders": ["data.root=DIR"],
    "features=embedding": ["features.front_end.file=FILE"],
    "model=embedding": ["features.front_end.file=FILE"],
    "experiment=small_data": ["features.front_end.file=FILE"],
    "verify": ["run=NAME"],
    "predict": ["run=NAME", "split=test"],
}


@functools.cache
def composed(*overrides: str, program: str = "train", conf: Path = CONF) -> Any:
    """Compose and validate as the programs do."""
    schema = PROGRAMS[program]
    register(schema)
    with initialize_config_dir(str(conf), version_base="1.3"):
        return validate(compose(program, list(overrides)), schema)  # type: ignore[type-var]


def problems(*overrides: str, program: str = "train", conf: Path = CONF) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        composed(*overrides, program=program, conf=conf)
    return caught.value.problems


@functools.cache
def defaults() -> Any:
    register(TrainConfig)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train")


def changed(*overrides: str) -> TrainConfig:
    """Validate the defaults with settings changed as Hydra would, many times faster: groups cannot be chosen."""
    config = copy.deepcopy(defaults())
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        OmegaConf.update(config, override.key_or_group, override.value())
    return validate(config, TrainConfig)


def options(program: str) -> list[str]:
    return [f"{group}={option}" for group, found in groups(PROGRAMS[program]).items() for option in found]


# What ships


@pytest.mark.parametrize("option", options("train"))
def test_config_composes_with_every_option_of_every_group(option):
    config = composed(option, *NEEDED.get(option, []))
    group, name = option.split("=")
    said = dict.fromkeys(("data", "features", "model", "verification"), "name").get(group)
    if said is not None:
        assert getattr(getattr(config, group), said) == name
    if group == "experiment":
        assert config.experiment == name
    if group == "logger":
        assert trackers(config) == {name} - {"csv"}


def trackers(config: TrainConfig) -> set[str]:
    return set(config.logger.trackers)


def test_config_chooses_trackers_together():
    assert trackers(composed()) == set()
    assert trackers(composed("logger=[csv,wandb]")) == trackers(composed("logger=[wandb,csv]")) == {"wandb"}
    assert trackers(composed("logger=[mlflow,tensorboard,wandb]")) == {"mlflow", "tensorboard", "wandb"}


@pytest.mark.parametrize("option", options("verify"))
def test_config_of_verify_composes_with_every_rule(option):
    config = composed(option, *NEEDED["verify"], program="verify")
    rule = option.split("=")[1]
    assert config.verification.name == (None if rule == "of_run" else rule)
    assert bool(config.verification.rule) == (rule != "of_run")


def test_config_leaves_a_source_of_ones_own_its_settings_of_data():
    own = {"source": {"_target_": "my_source.Table"}, "root": "DIR", "table": "t.csv", "download": True}
    assert TrainConfig(data=Data(**own)).data.title == "Table"
    with pytest.raises(ConfigError, match=r"data=Table needs data\.root=DIR"):
        TrainConfig(data=Data(**{**own, "root": None}))


@pytest.mark.parametrize("option", options("predict"))
def test_config_of_predict_composes_with_every_data_set(option):
    table = ["data.test_table=FILE"] if option == "data=csv" else []
    config = composed(option, "submission=FILE", "data.root=DIR", "usage=Private", *table, program="predict")
    assert (config.data.name, config.data.root, config.usage) == (option.split("=")[1], "DIR", "private")


def test_config_files_are_all_composed_by_a_test():
    shipped = {path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.rglob("*.yaml")}
    tried = {option.replace("=", "/") for program in PROGRAMS for option in options(program)}
    tried |= {f"hydra/launcher/{launcher}" for launcher in LAUNCHERS}
    assert shipped == tried | PROGRAMS.keys()


LAUNCHERS = {"joblib": JobLibLauncherConf, "submitit_local": LocalQueueConf, "submitit_slurm": SlurmQueueConf}


def hydra_of(*overrides: str, program: str = "train") -> Any:
    """Compose Hydra's own part of the configuration."""
    register(PROGRAMS[program])
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(program, list(overrides), return_hydra_config=True).hydra


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_launcher_composes_with_every_program(program, launcher, monkeypatch):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    hydra = hydra_of(f"hydra/launcher={launcher}", program=program)
    keys = {field.name for field in dataclasses.fields(LAUNCHERS[launcher])}
    assert keys <= set(hydra.launcher), "settings of the plugin cannot be reached"
    assert set(hydra.launcher) - keys <= {"setup"}, "settings that the plugin does not know"
    assert hydra.launcher._target_ == LAUNCHERS[launcher]._target_


def test_launcher_has_values_of_its_own_and_the_plugins():
    launcher = hydra_of("hydra/launcher=joblib").launcher
    assert (launcher.n_jobs, launcher.batch_size, launcher.prefer) == (4, 1, JobLibLauncherConf.prefer)
    assert hydra_of("hydra/launcher=joblib", "hydra.launcher.n_jobs=2").launcher.n_jobs == 2


def test_launcher_settings_for_slurm_are_taken_by_submitit(tmp_path, monkeypatch):
    """What sbatch would read, made by submitit itself; there is no cluster here."""
    monkeypatch.setattr(shutil, "which", lambda *_: "/usr/bin/srun")  # it looks whether there is a cluster
    settings = dict(hydra_of("hydra/launcher=submitit_slurm", "devices=2", "hydra.launcher.partition=gpu").launcher)
    del settings["_target_"], settings["submitit_folder"]
    executor = submitit.AutoExecutor(tmp_path, cluster="slurm", slurm_max_num_timeout=settings.pop("max_num_timeout"))
    shared = {field.name for field in dataclasses.fields(BaseQueueConf)}
    settings["name"] = "train"
    executor.update_parameters(**{k if k in shared else f"slurm_{k}": v for k, v in settings.items()})
    script = executor._executor._make_submission_file_text("true", "0")
    for line in ("--requeue", "--partition=gpu", "--gpus-per-node=2", "--signal=USR2@60", "--time=720", "--mem=32GB"):
        assert f"#SBATCH {line}\n" in script, script


def test_search_varies_settings_that_exist():
    hydra = hydra_of("hparams_search=optuna")
    assert hydra.mode.name == "MULTIRUN"
    varied = {name: OverridesParser.create().parse_override(f"{name}={v}") for name, v in hydra.sweeper.params.items()}
    assert all(override.is_sweep_override() for override in varied.values())
    assert set(varied) <= set(dict(leaves(OmegaConf.to_container(defaults()))))
    for name, override in varied.items():
        value = override.value()
        for end in value.list if override.is_choice_sweep() else (value.start, value.end):
            changed(f"{name}={end}")


def test_search_compares_whole_runs():
    assert "leave out round= and fold=" in problems("hparams_search=optuna", "fold=1")[0]


def test_search_trial_is_the_run_that_its_settings_make_by_hand():
    assert name_of("hparams_search=optuna", "seed=3") == name_of("seed=3")


@pytest.mark.parametrize("program", PROGRAMS)
def test_config_composes_without_any_choice(program):
    composed(*NEEDED.get(program, []), program=program)


@pytest.mark.parametrize("experiment", groups(TrainConfig)["experiment"])
def test_config_of_every_experiment_takes_another_model(experiment):
    option = f"experiment={experiment}"
    other = "vgg_gap_spec2" if composed(option, *NEEDED.get(option, [])).model.name == "tiny" else "tiny"
    config = composed(option, f"model={other}")
    assert (config.experiment, config.model.name) == (experiment, other)


def test_config_of_a_runs_own_rule_is_not_for_training():
    assert "of_run" not in groups(TrainConfig)["verification"]
    assert "of_run" in groups(VerifyConfig)["verification"]


def test_config_files_say_what_they_are_for():
    for path in CONF.rglob("*.yaml"):
        comments = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
        assert any("@package" not in line for line in comments), path


# The published code's numbers of each network: front end, width; batch size, mixup, fine-tuning rate.
CODE = {
    "vgg_gap_spec1_1": ("v1", 48, (100, 0.2, 0.0001)),
    "vgg_gap_spec1_2": ("v1", 64, (100, 0.3, 0.0001)),
    "vgg_gap_spec2": ("v2", 64, (50, 0.3, 0.0002)),
}
PAPER = (100, 0.3, 0.0002)  # section 3 and 4.2, of all its networks


@pytest.mark.parametrize("experiment", ["dcase2018", "dcase2018_paper"])
@pytest.mark.parametrize("model", CODE)
def test_config_holds_the_numbers_of_the_original(model, experiment):
    front_end, width, of_code = CODE[model]
    batch_size, mixup, rate = of_code if experiment == "dcase2018" else PAPER
    config = composed(f"experiment={experiment}", f"model={model}", "data.root=DIR")
    assert (config.experiment, config.model.name) == (experiment, model)
    assert (config.data.name, config.data.root) == ("fsdkaggle2018", "DIR")
    assert (config.features.name, config.features.trim) == (front_end, True)
    assert (config.features.excerpt_frames, config.features.clip_frames) == (384, 3000)
    network = {"width": width, "dropout": 0.3, "head_dropout": 0.5}
    assert config.model.network == {"_target_": "audiotag.models.vgg_gap.VggGap", **network}
    assert config.training.batch_size == batch_size
    pretrain, finetune = config.training.pretrain, config.training.finetune
    assert (pretrain.epochs, pretrain.decay_from_epoch, pretrain.learning_rate) == (500, 100, 0.001)
    assert pretrain.mixup_alpha == mixup
    assert (finetune.epochs, finetune.decay_from_epoch, finetune.learning_rate) == (30, 5, rate)
    assert finetune.mixup_alpha == 0
    assert pretrain.min_steps == finetune.min_steps == 0
    assert (config.finetune_rounds, config.folds) == (10, 4)
    rule = config.verification
    assert (rule.excerpts, rule.calibrate, rule_of(rule)) == (25, False, AgreementRule(0.95, 40, agreement=True))
    assert config.augment.transform is None
    assert (config.data.train_on_all, config.data.validate_unverified) == (False, False)


def test_rules_differ_in_what_their_names_say():
    rules = {name: composed(f"verification={name}").verification for name in groups(TrainConfig)["verification"]}
    assert {(rule.excerpts, name == rule.name) for name, rule in rules.items()} == {(25, True)}
    assert {name: (rule.calibrate, rule_of(rule)) for name, rule in rules.items()} == {
        "as_documented": (False, AgreementRule(0.95, 40, agreement=True)),
        "as_coded": (False, AgreementRule(None, 40)),
        "calibrated": (True, AgreementRule(0.95, 40)),
        "promise": (True, PromiseRule(0.95, 0.9, relabel=False, relabel_precision=0.8, fallback="calibrated")),
        "accept_all": (False, AgreementRule(None, None, agreement=False)),
        "cleanlab": (False, CleanlabRule(None, None, agreement=False, filter_by="prune_by_noise_rate")),
    }


def test_rule_of_the_default_is_a_promise_and_as_documented_in_the_papers_experiment():
    assert composed().verification.name == "promise"
    assert composed("experiment=cpu_small").verification.name == "promise"
    assert composed("experiment=small_data", *NEEDED["experiment=small_data"]).verification.name == "promise"
    assert composed("experiment=dcase2018").verification.name == "as_documented"


def test_rule_chosen_beside_an_experiment_is_the_whole_rule():
    assert composed("experiment=smoke").verification.rule["threshold"] is None
    assert composed("experiment=smoke", "verification=promise").verification.rule.keys() == {
        "_target_", "precision", "confidence", "relabel", "relabel_precision", "fallback",
    }  # fmt: skip


def test_command_line_has_the_last_word():
    config = composed(
        "experiment=smoke",
        "model.network.width=7",
        "training.pretrain.epochs=11",
        "features=v2",
        "verification=calibrated",
    )
    assert (config.model.network["width"], config.training.pretrain.epochs) == (7, 11)
    assert (config.features.name, config.verification.name) == ("v2", "calibrated")
    assert config.features.excerpt_frames == composed("experiment=smoke").features.excerpt_frames


# The schema


def classes() -> list[type]:
    found = [schema for _, schema in inspect.getmembers(schemas, dataclasses.is_dataclass)]
    assert {TrainConfig, VerifyConfig, PredictConfig} <= set(found)
    return found


@pytest.mark.parametrize("schema", classes())
def test_schema_has_a_docstring_for_every_setting(schema):
    """Read from the source anew: a string on the line after each field."""
    assert schema.__doc__
    assert not schema.__doc__.startswith(f"{schema.__name__}("), "dataclass's own, not ours"
    (definition,) = (
        node for node in ast.parse(inspect.getsource(inspect.getmodule(schema))).body
        if isinstance(node, ast.ClassDef) and node.name == schema.__name__
    )  # fmt: skip
    for field, after in zip(definition.body, [*definition.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign):
            name = ast.unparse(field.target)
            assert isinstance(after, ast.Expr), f"{schema.__name__}.{name} has no docstring"
            assert isinstance(after.value, ast.Constant), f"{schema.__name__}.{name} has no docstring"
            assert len(str(after.value.value)) > 10, f"{schema.__name__}.{name}: {after.value.value}"


@pytest.mark.parametrize("program", PROGRAMS)
def test_config_is_frozen_and_comes_back_from_a_file_as_it_was(program, tmp_path):
    config = composed(*NEEDED.get(program, []), program=program)
    OmegaConf.save(OmegaConf.create(to_dict(config)), tmp_path / "config.yaml")
    loaded = OmegaConf.load(tmp_path / "config.yaml")
    assert validate(loaded, PROGRAMS[program]) == config  # type: ignore[arg-type, type-var]
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.run = "other"


def test_config_has_the_values_of_the_schema_where_no_file_says_otherwise():
    said = {
        ".".join(path)
        for name in (
            "train",
            "data/synthetic",
            "features/v1",
            "augment/none",
            "training/short",
            "verification/promise",
        )
        for path in key_paths(yaml.safe_load((CONF / f"{name}.yaml").read_text()), name)
    }
    said |= {".".join(path) for path in key_paths(yaml.safe_load((CONF / "model/tiny.yaml").read_text()), "")}
    config = to_dict(composed())
    for path, field in schema_fields(TrainConfig).items():
        value: Any = config
        for name in path.split("."):
            value = value[name]
        if path not in said:
            assert value == field.default, path


def key_paths(content: dict[str, Any], name: str) -> list[list[str]]:
    section = [name.split("/")[0]] if "/" in name else []

    def walk(node: Any, path: list[str]) -> list[list[str]]:
        return [p for k, v in node.items() for p in walk(v, [*path, k])] if isinstance(node, dict) else [path]

    return walk({k: v for k, v in content.items() if k not in ("defaults", "hydra")}, section)


# What is refused


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("train.yaml", "\nfinetune_runds: 3\n", "finetune_runds is not a setting; did you mean finetune_rounds?"),
        ("training/short.yaml", "\npretrian: {epochs: 1}\n", "did you mean training.pretrain.epochs?"),
        ("model/tiny.yaml", "\ntrainng: {batch_size: 3}\n", "did you mean training.batch_size?"),
        ("data/synthetic.yaml", "\nsynthetic: {clases: 9}\n", "did you mean data.synthetic.classes?"),
        ("verification/promise.yaml", "\nexcerps: 9\n", "did you mean verification.excerpts?"),
        ("features/v1.yaml", "\nfrontend: v1\n", "did you mean features.front_end?"),
        ("augment/none.yaml", "\nzzz: 1\n", "augment.zzz is not a setting"),
    ],
)
def test_config_refuses_a_misspelt_key_in_any_file_with_the_nearest(tmp_path, file, text, message):
    shutil.copytree(CONF, tmp_path / "conf")
    path = tmp_path / "conf" / file
    kept = [line for line in path.read_text().splitlines() if not line.startswith(text.strip().split(":")[0] + ":")]
    path.write_text("\n".join(kept) + text)
    assert any(message in problem for problem in problems(conf=tmp_path / "conf"))


def test_config_lists_unknown_keys_wrong_types_and_misfits_together():
    assert set(problems("+sed=1", "+model.widht=3", "finetune_rounds=many", "training.batch_size=1.5", "seed=x")) == {
        "sed is not a setting; did you mean seed?",
        "model.widht is not a setting; did you mean model.network.width?",
        "seed='x' is not a whole number",
        "finetune_rounds='many' is not a whole number",
        "training.batch_size=1.5 is not a whole number",
    }
    assert problems("+sed=1", "finetune_rounds=-1", "folds=1", "training.batch_size=1") == [
        "sed is not a setting; did you mean seed?",
        "finetune_rounds=-1 must be 0 or more",
        "folds=1 must be 2 or more",
        "training.batch_size=1 must be 2 or more",
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=1.5", "seed=1.5 is not a whole number"),
        ("finetune_rounds=true", "finetune_rounds=True is not a whole number"),
        ("features.trim=perhaps", "features.trim='perhaps' is not true or false"),
        ("training.pretrain.learning_rate=fast", "learning_rate='fast' is not a number"),
        ("training.pretrain.learning_rate=nan", "is not a finite number"),
        ("training.pretrain.mixup_alpha=inf", "is not a finite number"),
        ("verification.rule.fallback=none", None),
        ("verification.excerpts=null", "verification.excerpts=None"),
        ("data.classes=Bark", "data.classes='Bark'"),
        ("data.classes=[Bark,Meow]", None),
        ("data.root=[a]", "data.root"),
        ("run=???", "run is not given"),
        ("run=${nowhere}", "'nowhere' not found"),
        ("run=s${seed}", None),
        ("data.columns=null", "data.columns=None"),
    ],
)
def test_config_refuses_values_of_the_wrong_type(override, message):
    if message is None:
        changed(override)
    else:
        with pytest.raises(ConfigError, match=re.escape(message)):
            changed(override)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=kaggle"], "data=kaggle needs data.root=DIR"),
        (["data=csv", "data.root=DIR"], "data=csv needs data.table=FILE"),
        (["data.table=t.csv"], "data.table=t.csv belongs to data=csv"),
        (["data.test_table=t.csv"], "data.test_table=t.csv belongs to data=csv"),
        (["data=kaggle", "data.root=DIR", "data.download=true"], "data=kaggle cannot be downloaded"),
        (["run='=cmd|x'"], "run: a spreadsheet would run =cmd|x as a formula"),
        (["data.classes=[a,'@SUM(1)']"], "data.classes: a spreadsheet would run @SUM(1) as a formula"),
        (["data.on_bad_clip=skp"], "(did you mean skip?)"),
        (["data.classes=[Bark,Bark]"], "two or more different labels"),
        (["data.classes=[Bark]"], "two or more different labels"),
        (["data.synthetic.classes=3"], "data.synthetic.classes=3 must be 8 or more"),
        (
            ["data.synthetic.verified_per_class=0", "data.synthetic.unverified_per_class=0"],
            "data.synthetic.unverified_per_class=0 leave no training clips",
        ),
        (["data.synthetic.wrong_share=1.5"], "data.synthetic.wrong_share=1.5 must lie in 0 to 1"),
        (["data.train_on_all=true"], "set finetune_rounds=0"),
        (["features.clip_frames=191"], "features.clip_frames=191 is shorter than features.excerpt_frames"),
        (["training.batch_size=1"], "training.batch_size=1 must be 2 or more"),
        (["training.valid_batch_size=0"], "training.valid_batch_size=0 must be 1 or more"),
        (
            ["training.pretrain.epochs=0", "training.pretrain.decay_from_epoch=0"],
            "training.pretrain.epochs=0 must be 1 or more",
        ),
        (
            ["training=frozen", "training.finetune.layer_decay=0.8"],
            "training.finetune.layer_decay=0.8 has no effect with training.finetune.head_share=1, by which",
        ),
        (["training.average_decay=0.9"], "training.average_decay=0.9 has no effect without training.average=ema"),
        (
            ["training.average=swa", "hardware.precision=bf16-true"],
            "training.average=swa stands still in hardware.precision=bf16-true",
        ),
        (["training.finetune.decay_from_epoch=99"], "training.finetune.decay_from_epoch=99 must lie in 0 to"),
        (
            ["training.finetune.epochs=1", "training.finetune.decay_from_epoch=0"],
            "training.finetune.decay_from_epoch=0 leaves the only epoch a learning rate of 0: set it to 1",
        ),
        (["training.finetune.learning_rate=0"], "training.finetune.learning_rate=0.0 must be above 0"),
        (["training.pretrain.mixup_alpha=-0.1"], "training.pretrain.mixup_alpha=-0.1 must be 0 or more"),
        (["verification.excerpts=0"], "verification.excerpts=0 must be 1 or more"),
        (["round=3", "finetune_rounds=2"], "round=3 must lie in 0 to finetune_rounds=2"),
        (["fold=4"], "fold=4 must lie in 0 to 3"),
        (["hardware.accelerator=gpus"], "(did you mean gpu?)"),
        (["hardware.workers=-1"], "hardware.workers=-1 must be 0 or more"),
        (["hardware.threads=0"], "hardware.threads=0 must be 1 or more"),
        (["hardware.precision=bf16"], "hardware.precision=bf16 is not one of auto,"),
        (["logger.artifacts=[manifest,wieghts]"], "logger.artifacts=wieghts is not one of manifest, weights"),
        (["run=''"], "run= is not a name"),
        (["run=.."], "run=.. is not a name"),
    ],
)
def test_config_refuses_what_does_not_go_together(overrides, message):
    in_groups = any(override.split("=")[0] in groups(TrainConfig) for override in overrides)
    with pytest.raises(ConfigError) as caught:
        (composed if in_groups else changed)(*overrides)
    (problem,) = caught.value.problems
    assert message in problem


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["features.front_end=v3"], "features.front_end='v3' is not a section"),
        (["features.front_end.bands=0"], "features.front_end.bands=0 must be 1 or more"),
        (["features.excerpt_frames=190"], "needs 191 frames or more: features.excerpt_frames=190 is too short"),
        (
            ["augment=masking", "augment.transform.time_mask_frames=193"],
            "augment.transform: time_mask_frames=193 is longer than an excerpt, 192 frames",
        ),
        (
            ["augment=masking", "augment.transform.time_mask_frames=0"],
            "augment.transform: a mask without a width masks nothing: set time_mask_frames",
        ),
        (["augment=masking", "augment.transform.band_masks=-1"], "augment.transform.band_masks=-1 must be 0 or more"),
        (["model.network.dropout=1.5"], "model.network.dropout=1.5 must lie in 0 to 1"),
        (["model.network.width=100000"], "model.network.width=100000 is out of all proportion"),
        (["+model.network.depth=3"], "model.network.depth is not an argument of audiotag.models.vgg_gap.VggGap"),
        (["+training.loss.label_smoothing=1.5"], "training.loss.label_smoothing=1.5"),
        (["training.loss._target_=torch.nn.Hardtanh"], "torch.nn.Hardtanh does not take reduction"),
        (
            ["verification=calibrated", "verification.rule.threshold=95"],
            "verification.rule.threshold=95 must lie in 0 to 1",
        ),
        (["verification=calibrated", "verification.rule.cap=-1"], "verification.rule.cap=-1 must be 0 or more"),
        (["+verification.rule.threshold=0.5"], "PromiseRule, which takes confidence, fallback, precision, relabel"),
        (["verification=cleanlab", "verification.rule.filter_by=bth"], "(did you mean both?)"),
    ],
)
@pytest.mark.filterwarnings("ignore:Empty filters")
def test_joints_refuse_what_their_classes_do_not_take(overrides, message):
    with pytest.raises(ConfigError) as caught:
        check_joints(composed(*overrides))
    (problem,) = caught.value.problems
    assert message in problem


# An extra that an option needs, and what makes it small enough to be tried.
EXTRAS = {"model=timm": ("timm", []), "model=hf": ("transformers", ["model.network.config.num_hidden_layers=1"])}
WITH_JOINTS = ("model=", "features=", "augment=", "training=", "verification=")


@pytest.mark.parametrize("option", [option for option in options("train") if option.startswith(WITH_JOINTS)])
def test_joints_of_every_option_keep_their_contract(option, tmp_path):
    extra, overrides = EXTRAS.get(option, ("torch", []))
    pytest.importorskip(extra)
    if option.endswith("=embedding"):
        file = write_onnx(tmp_path / "net.onnx", [1, 800], 800, sample_rate="8000")
        option, overrides = "model=embedding", [f"features.front_end.file={file}"]
    check_joints(composed(option, *overrides))


@pytest.mark.parametrize("experiment", groups(TrainConfig)["experiment"])
@pytest.mark.parametrize("option", [option for option in options("train") if option.startswith(("augment=", "verif"))])
def test_joints_chosen_beside_an_experiment_keep_their_contract(experiment, option):
    """What an experiment sets of a class stays behind when another one is chosen."""
    check_joints(composed(f"experiment={experiment}", "model=tiny", "features=v1", option))


def test_config_of_programs_that_need_a_run_says_so():
    assert "run=NAME is missing: the run folder to read" in problems(program="verify")
    assert "run=NAME is missing: the run folder to read" in problems("split=test", program="predict")


# Names of runs


@functools.cache
def name_of(*overrides: str) -> str:
    register(TrainConfig)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        whole = compose("train", list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(whole)
        settings = OmegaConf.masked_copy(whole, [name for name in whole if name != "hydra"])
        return run_name(validate(settings, TrainConfig))


def test_run_name_is_made_from_what_was_chosen():
    assert name_of("run=mine") == "mine"
    assert name_of() == name_of("hardware.threads=1", "cache_dir=elsewhere", "runs_dir=there")
    assert name_of() == name_of("round=1", "fold=2"), "a sweep over rounds and folds is one run"
    assert name_of() == name_of("finetune_rounds=7"), "more rounds continue a run"
    watched = ("logger=[csv,wandb]", "logger.trackers.wandb.tags=[a]")
    assert name_of() == name_of(*watched), "where it is watched makes no other run"
    assert name_of("seed=3", "model.network.width=5") == name_of("model.network.width=5", "seed=3")
    choices = [
        [], ["seed=3"], ["experiment=smoke"], ["verification=as_coded"], ["training=paper"], ["augment=masking"],
        ["data=kaggle", "data.root=a/set"], ["data=kaggle", "data.root=other"], ["verification.rule.precision=0.9"],
        ["loss=generalised"],
    ]  # fmt: skip
    names = {name_of(*choice) for choice in choices}
    assert len(names) == len(choices)
    assert all(len(name) <= 120 and "/" not in name and " " not in name for name in names)


def test_run_name_that_is_long_is_shortened_without_meeting_another():
    many = [f"training.pretrain.{name}=7" for name in ("epochs", "decay_from_epoch", "min_steps")]
    many += ["model.network.width=5", "verification.excerpts=12", "data.synthetic.verified_per_class=9"]
    names = {name_of(*many, f"seed={seed}") for seed in range(3)}
    assert len(names) == 3
    assert all(len(name) <= 120 for name in names)


def numbers(schema: type) -> list[str]:
    return [
        name
        for name, field in schema_fields(schema).items()
        if {"int", "float"} & set(re.split(r"\W+", str(field.annotation)))
    ]


@pytest.mark.parametrize(
    ("schema", "name"), [(s, name) for s in (TrainConfig, VerifyConfig, PredictConfig) for name in numbers(s)]
)
@pytest.mark.parametrize("value", [10**30, -(10**30)])
def test_config_refuses_numbers_out_of_all_proportion(schema, name, value):
    given = {"run": "x"} if name != "run" else {}
    with pytest.raises(ConfigError, match=rf"{name}=.*(out of all proportion|must )"):
        validate(OmegaConf.merge(given, nested([(name, value)])), schema)


def test_config_refuses_to_make_the_embedded_data_where_ones_own_was_meant(tmp_path):
    data = dataclasses.replace(Data(), root=str(tmp_path / "x"))
    with pytest.raises(ConfigError, match=r"Did you mean data=kaggle data\.root="):
        refuse_forgotten_data(data, ["data.root=x"])
    refuse_forgotten_data(data, ["data=synthetic", "data.root=x"])
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "synthetic.json").touch()
    refuse_forgotten_data(data, ["data.root=x"])
