"""The model card of an exported folder: what the run knows of its data, its rounds, its scores and its training.

Markdown with the front matter of the Hugging Face hub. What no run knows is marked: to be filled in.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import yaml

import audiotag
from audiotag.config import PredictConfig, TrainConfig
from audiotag.config.leaf import TARGET, class_name
from audiotag.inference.members import Member
from audiotag.run.held_out import test_scores
from audiotag.run.summary import rate, valid_map3

TO_BE_FILLED_IN = "To be filled in."
FRONT_MATTER = {
    "library_name": "audiotag",
    "pipeline_tag": "audio-classification",
    "tags": ["audiotag", "audio", "audio-classification", "self-verification"],
    "license": "other",
    "license_name": "to-be-filled-in",
}
MOST_CLASSES = 200  # whose counts are listed


def card(members: Sequence[Member], asked: PredictConfig, n_weights: int, name: str, unknown: Sequence[str]) -> str:
    """Return the card of what members say together; `name` is the folder's, or OWNER/NAME of a hub.

    `n_weights` are those of all networks; `unknown` are classes that are not audiotag's own.
    """
    sections = [
        ("", _about(members, asked, n_weights)),
        ("Use", _use(name, unknown)),
        ("Intended use", f"{TO_BE_FILLED_IN} What it was trained for, and by whom."),
        ("Limits", _limits(members[0].folder.config, len(members[0].folder.classes))),
        ("Licence", f"{TO_BE_FILLED_IN} Mind those of the recordings, and of weights that training began with."),
    ]
    for member in _once(members):
        of_run = f", {escaped(member.name)}" if len(members) > 1 else ""
        sections += [
            (f"Data{of_run}", _data(member)),
            (f"Rounds{of_run}", _rounds(member)),
            (f"Scores{of_run}", _scores(member)),
            (f"Training{of_run}", _training(member.folder.config)),
        ]
    title = f"# {escaped(name.rpartition('/')[2])}"
    text = "\n\n".join(f"## {head}\n\n{body}" if head else f"{title}\n\n{body}" for head, body in sections)
    return f"---\n{yaml.safe_dump(FRONT_MATTER, sort_keys=False)}---\n\n{text}\n"


def escaped(text: Any) -> str:
    """Return a text as it is shown in a table of Markdown."""
    return html.escape(" ".join(str(text).split()), quote=False).replace("\\", "\\\\").replace("|", "\\|")


def table(rows: Sequence[Sequence[Any]]) -> str:
    """Return a table, the first row its head."""
    lines = [f"| {' | '.join(escaped(cell) for cell in row)} |" for row in rows]
    return "\n".join([lines[0], f"|{' --- |' * len(rows[0])}", *lines[1:]])


def _once(members: Sequence[Member]) -> Iterator[Member]:
    """Yield each member whose run and round has not come before."""
    seen = set()
    for member in members:
        if (member.folder.path, member.round) not in seen:
            seen.add((member.folder.path, member.round))
            yield member


def _about(members: Sequence[Member], asked: PredictConfig, n_weights: int) -> str:
    networks = sum(len(member.folds) for member in members)
    classes = members[0].folder.classes
    text = (
        f"Labels recordings with one of {len(classes)} classes: the mean of {networks} networks, {n_weights:,} weights "
        f"in all, trained with audiotag {audiotag.__version__} on verified and unverified labels."
    )
    if len(members) == 1:
        return text
    how = "learned weights" if asked.ensemble.weights == "learned" else f"{asked.ensemble.mean} mean"
    return f"{text} An ensemble ({how}) of {', '.join(escaped(member.name) for member in members)}."


def _use(name: str, unknown: Sequence[str]) -> str:
    named = f"hf://{name}" if "/" in name else name
    trust = f", trust={list(unknown)}" if unknown else ""
    classes = f"\n\nIts classes {', '.join(unknown)} are not audiotag's own: they are needed on the import path."
    return (
        f'```python\nimport audiotag\n\ntagger = audiotag.load("{named}"{trust})\ntagger.predict("clips/")\n```\n\n'
        "`pip install 'audiotag[hub]'`. Or `audiotag predict run=" + named + " source=clips`."
    ) + (classes if unknown else "")


def _limits(config: TrainConfig, n_classes: int) -> str:
    trimmed = " Silence at both ends is cut off before." if config.features.trim else ""
    return (
        f"Every recording gets a label, also one that belongs to none of the {n_classes} classes. Probabilities are "
        "those of a softmax, not calibrated. How good it is with recordings of other origin is not known: "
        f"score it on some of your own.{trimmed}"
    )


def _data(member: Member) -> str:
    """Return where clips came from, and how many of each class there are."""
    manifest, config = member.folder.manifest, member.folder.config
    train, test = manifest[manifest["split"] == "train"], manifest[manifest["split"] == "test"]
    verified = int(train["verified"].sum())
    hours = pd.to_numeric(train["duration_s"], errors="coerce").sum() / 3600
    text = (
        f"{len(train):,} training clips ({hours:.1f} h) of {escaped(config.data.title)} "
        f"({escaped(class_name(config.data.source))}): {verified:,} with labels that a person verified, "
        f"{len(train) - verified:,} without. {len(test):,} test clips, which were not trained on."
    )
    if config.data.noise.kind != "none":
        text += f" Wrong labels were put in on purpose (data.noise.kind={config.data.noise.kind})."
    if len(member.folder.corrections):
        text += f" A person decided on {len(member.folder.corrections)} labels afterwards."
    classes = member.folder.classes[:MOST_CLASSES]
    of_class = {
        "verified": train[train["verified"]]["label"].value_counts(),
        "unverified": train[~train["verified"]]["label"].value_counts(),
        "test": test["label"].value_counts(),
    }
    rows = [[label, *(int(counts.get(label, 0)) for counts in of_class.values())] for label in classes]
    more = len(member.folder.classes) - len(classes)
    counted = table([["class", *of_class], *rows])
    return f"{text}\n\n{counted}" + (f"\n\nand {more} more classes, in config.json" if more else "")


def _rounds(member: Member) -> str:
    """Return what each round accepted, and what was promised of it."""
    rounds = (member.folder.summary or {}).get("rounds", [])
    if not rounds:
        return "The run was not finished: there is no summary of its rounds."
    heads = ["round", "accepted", "of", "promised", "precision", "recall"]
    rows = [
        [f"{r['round']}{' (this one)' if r['round'] == member.round else ''}", r.get("accepted"), r.get("considered")]
        + [rate(r.get(name)) for name in heads[3:]]
        for r in rounds
    ]
    text = [
        "After each round the networks vote on the unverified clips that they held out; the next one is trained on the "
        "labels that are accepted. Precision and recall are known where right labels are. The networks here are those "
        f"of round {member.round}.",
        table([heads, *rows]),
    ]
    own: Mapping[str, Any] = next((r for r in rounds if r["round"] == member.round), {})
    if own.get("promised") is not None:
        text.append(f"Promised of the {own['accepted']} labels that this round accepted: {escaped(own['promise'])}.")
    elif own.get("promise"):
        text.append(f"Promise {escaped(own['promise'])}.")
    return "\n\n".join(text)


def _scores(member: Member) -> str:
    """Return how good the round's networks are where that is stored."""
    folder, round_ = member.folder, member.round
    own = next((r for r in (folder.summary or {}).get("rounds", []) if r["round"] == round_), None)
    rows: list[list[Any]] = [["clips", "accuracy", "MAP@3", "how"]]
    if own is not None and not folder.config.data.train_on_all:
        spread = f"{own['valid_accuracy']:.4f} ± {own['valid_accuracy_std']:.4f}"
        how = f"mean over all {folder.config.folds} folds, each network on verified clips that it was not trained on"
        rows.append(["validation", spread, f"{valid_map3(folder, round_):.4f}", how])
    test = test_scores(folder, round_)
    if test:
        between = test.get("accuracy_ci")
        accuracy = f"{test['accuracy']:.4f}" + (f" (95 %: {between[0]:.4f} to {between[1]:.4f})" if between else "")
        how = f"all folds together, {test['clips']} clips {test.get('usage') or ''}".strip()
        rows.append(["test", accuracy, f"{test['map@3']:.4f}", how])
    if len(rows) == 1:
        return "None are stored: nothing was held out, and no test clips were scored."
    advice = "" if test else "\n\nTest clips were not scored (`audiotag predict run=NAME split=test`)."
    return table(rows) + advice


def _training(config: TrainConfig) -> str:
    """Return the settings that a result depends on."""
    training, rule = config.training, config.verification.rule
    settings = {
        "network": _leaf(config.model.network),
        "front end": _leaf(config.features.front_end),
        "excerpts, frames": f"{config.features.excerpt_frames}, clips {config.features.clip_frames}",
        "trimmed": config.features.trim,
        "folds, fine-tuning rounds, seed": f"{config.folds}, {config.finetune_rounds}, {config.seed}",
        "loss": _leaf(training.loss),
        "augmentation": "none" if config.augment.transform is None else _leaf(config.augment.transform),
        "batch size": training.batch_size,
        "weights of accepted clips": training.weights,
        "rule": f"{_leaf(rule)}; {config.verification.excerpts} excerpts, calibrate={config.verification.calibrate}",
    }
    for name, phase in (("round 0", training.pretrain), ("fine-tuning", training.finetune)):
        settings[name] = (
            f"{phase.epochs} epochs, rate {phase.learning_rate:g}, decay from epoch {phase.decay_from_epoch}, mixup "
            f"{phase.mixup_alpha:g}"
        )
    return table([["setting", "value"], *settings.items()])


def _leaf(leaf: Mapping[str, Any]) -> str:
    """Return a class and its arguments, but not those that hold paths."""
    arguments = (f"{name}={value}" for name, value in leaf.items() if name != TARGET and "/" not in str(value))
    return f"{class_name(leaf)}({', '.join(arguments)})"
