"""Audio classifiers of transformers that take spectrograms, from a hub or a folder."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from audiotag.console import as_called
from audiotag.errors import AudiotagError, ConfigError
from audiotag.models.pretrained import load_head_less

SETTING = "model.network"
AST = "audio-spectrogram-transformer"
HEAD = ("classifier.",)


class HfNetwork(nn.Module):
    """A network of transformers: spectrograms (B, 1, F, T) to logits (B, C), of a single T.

    `config` says how it is built, as its config.json does; so it is built again without asking anybody. Training starts
    from the weights of `name`, a model on the hub or a folder as `save_pretrained` writes it, whose config.json must
    say the same; null: random ones.
    """

    starts = ("name",)

    def __init__(self, classes: int, config: dict[str, Any], name: str | None = None) -> None:
        super().__init__()
        try:
            from transformers import AutoConfig, AutoModelForAudioClassification
        except ModuleNotFoundError as error:
            raise AudiotagError(
                as_called("model.network: transformers is not installed: pip install -e '.[hf]'")
            ) from error
        kind = config.get("model_type")
        if kind != AST:
            raise ValueError(f"config.model_type={kind} does not take spectrograms; this one does: {AST}")
        known = AutoConfig.for_model(AST).to_dict().keys()
        unknown = sorted(config.keys() - known)
        if unknown:
            raise ValueError(f"config has {', '.join(unknown)}, which {AST} does not know")
        self.name, self.config = name, config
        built = AutoConfig.for_model(**config, num_labels=classes)
        self.fixed_frames = self.min_frames = int(built.max_length)
        self.bands = int(built.num_mel_bins)
        self.network = AutoModelForAudioClassification.from_config(built)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits; raises AudiotagError for another number of bands."""
        if x.shape[2] != self.bands:
            raise AudiotagError(
                f"the network takes {self.bands} bands, and spectrograms have {x.shape[2]}: set features=ast, or "
                "model.network.config.num_mel_bins"
            )
        logits: Tensor = self.network(x.squeeze(1).transpose(1, 2)).logits
        return logits

    def layers(self) -> list[nn.Module]:
        """Return the layers from the input to the head."""
        body = self.network.audio_spectrogram_transformer
        return [body.embeddings, *body.layers, body.layernorm, self.network.classifier]

    def load_pretrained(self) -> None:
        """Load the weights of `name`, all but the head's; raises ConfigError if they cannot be had, or do not fit."""
        if self.name is None:
            return
        from safetensors import SafetensorError
        from transformers import AutoConfig, AutoModelForAudioClassification
        from transformers.utils import logging

        logging.disable_progress_bar()
        try:
            theirs = AutoConfig.from_pretrained(self.name, trust_remote_code=False)
            self._check_same(theirs.to_dict())
            found, report = AutoModelForAudioClassification.from_pretrained(
                self.name, config=theirs, trust_remote_code=False, output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            reason = str(error).strip().splitlines()[0]
            raise _error([f"{SETTING}.name={self.name}: {reason}"]) from error
        missing = [f"{name} is missing in its file" for name in sorted(report["missing_keys"]) if not _of_head(name)]
        surplus = [f"{name} is in its file, but not in the network" for name in sorted(report["unexpected_keys"])]
        if missing or surplus:
            raise _error([f"{SETTING}.name={self.name}: {problem}" for problem in missing + surplus])
        load_head_less(self.network, found.state_dict(), HEAD, self.name)

    def _check_same(self, theirs: dict[str, Any]) -> None:
        """Raise ConfigError with every number of the configuration that is another one in config.json."""
        if theirs.get("model_type") != AST:
            raise _error(
                [
                    f"{SETTING}.name={self.name} is of model_type {theirs.get('model_type')}, which does not take "
                    f"spectrograms; this one does: {AST}"
                ]
            )
        from transformers import ASTConfig

        ours = self.network.config.to_dict()
        different = [name for name in ASTConfig.__annotations__ if name in theirs and theirs[name] != ours[name]]
        if different:
            raise _error(
                [
                    f"its config.json has {name}={theirs[name]}: set {SETTING}.config.{name}={theirs[name]} "
                    f"(it is {ours[name]})"
                    for name in sorted(different)
                ]
            )


def _of_head(name: str) -> bool:
    return name.startswith(HEAD)


def _error(problems: list[str]) -> ConfigError:
    return ConfigError("The network cannot be loaded:", problems)
