"""Encoders that are transformers: where their weights come from, and which weights are trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import nn
from transformers import PreTrainedModel
from typing_extensions import TypeVar

from urbankit.modalities.base import B, ModalityEncoder
from urbankit.modalities.pretrained.checkpoints import local_weights, provenance
from urbankit.registry.component import Params, SourceFolder
from urbankit.utils.errors import Problem, UserError

# The projections of queries and values, as the models of transformers name them.
QUERY_AND_VALUE = (("q_proj", "v_proj"), ("query", "value"), ("q_lin", "v_lin"), ("q", "v"))


class CheckpointParams(Params):
    """The parameters of every encoder that can start from published weights."""

    pretrained: str | None = Field(None, description="Published weights.", json_schema_extra={"local_path": True})
    revision: str | None = Field(
        None,
        min_length=1,
        description="Commit (recommended), tag or branch of `pretrained` on the hub. The manifest records the commit.",
    )

    @model_validator(mode="after")
    def _revision_of_something(self) -> CheckpointParams:
        if self.revision is not None and self.pretrained is None:
            raise ValueError("`revision` is a version of `pretrained`; give that too")
        return self


class LoRA(Params):
    """Low-rank adapters: W + alpha / rank · B A beside fixed weights W, of which A and B are trained."""

    rank: int = Field(8, ge=1, description="Rank of the adapters.", json_schema_extra={"source": "Hu et al. 2021"})
    alpha: float = Field(
        16.0, gt=0, description="Their scale, divided by the rank.", json_schema_extra={"source": "Hu et al. 2021"}
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the adapters, in training.")
    targets: list[str] | None = Field(
        None,
        min_length=1,
        description="Names of the linear layers that get adapters. Default: projections of queries and values.",
        json_schema_extra={"source": "Hu et al. 2021, section 7.1"},
    )


class TransformerParams(CheckpointParams):
    """The parameters of every encoder that is a transformer."""

    trainable: Literal["all", "projection", "last_n", "lora", "none"] = Field(
        "all",
        description="What is trained: backbone and projection (`all`); only the projection; the projection and the "
        "last `last_n` layers with all that follows them; the projection and adapters beside the layers (`lora`, needs "
        "the package peft); or nothing. Outputs of a frozen backbone are computed once and stored.",
    )
    last_n: int = Field(2, ge=1, description="Number of layers that `trainable: last_n` trains, counted from the last.")
    lora: LoRA = Field(default_factory=LoRA, description=LoRA.__doc__)


C = TypeVar("C", bound=CheckpointParams, default=CheckpointParams)
T = TypeVar("T", bound=TransformerParams, default=TransformerParams)


class CheckpointEncoder(ModalityEncoder[C, B]):
    """An encoder whose backbone can start from published weights."""

    Params: ClassVar[type[Any]] = CheckpointParams
    training_only = (*ModalityEncoder.training_only, "pretrained", "revision", "last_n", "lora")
    _weights: Path | None = None
    """The folder or file that `pretrained` was read from; set in `__init__`."""

    @classmethod
    def reads(cls, params: Any, city: SourceFolder) -> Sequence[Path]:
        return [] if params.pretrained is None else local_weights(Path(params.pretrained).expanduser())

    def loaded(self) -> dict[str, str | None] | None:
        if self._weights is None or self.params.pretrained is None:
            return None
        revision = {} if self.params.revision is None else {"revision": self.params.revision}
        return {**provenance(self.params.pretrained, self._weights), **revision}


def settings_of(model: PreTrainedModel) -> dict[str, Any]:
    """Return a model's configuration, which holds the activations, norms and attention; the weights do not."""
    return {key: value for key, value in model.config.to_dict().items() if not key.startswith("_")}


class TransformerEncoder(CheckpointEncoder[T, B]):
    """An encoder with a transformer of the library transformers, its `model`."""

    Params = TransformerParams
    free_in_transfer = CheckpointEncoder.free_in_transfer | {"last_n"}
    model: PreTrainedModel

    def computed_by(self) -> dict[str, Any]:
        return {**super().computed_by(), "config": settings_of(self.model)}

    def unfreeze(self, trainable: str) -> None:
        key = f"modalities.{self.modality}"
        if trainable == "last_n":
            unfreeze_last(self.model, self.params.last_n, key)
        elif trainable == "lora":
            add_adapters(self.model, self.params.lora, key)


def unfreeze_last(model: nn.Module, n: int, key: str) -> None:
    """Unfreeze the last `n` layers of a transformer and what follows: final norm and pooling head.

    Raises `UserError` where it has fewer layers, or none of its own (ALBERT shares one).
    """
    path, layers = _layers(model)
    if layers is None or n > len(layers):
        has = "no list of layers of its own" if layers is None else f"{len(layers)} layers"
        raise UserError(Problem(f"is {n}, but {type(model).__name__} has {has}", key=f"{key}.last_n"))
    children = list(model.named_children())
    position = next(i for i, (name, _) in enumerate(children) if name == path.split(".")[0])
    for module in (*layers[len(layers) - n :], *(child for _, child in children[position + 1 :])):
        module.requires_grad_(True)


def add_adapters(model: nn.Module, settings: LoRA, key: str) -> None:
    """Put trainable low-rank adapters beside linear layers of `model`, in place; at first they change nothing.

    Raises `UserError` if peft is not installed or the model has no layer of the requested names.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model  # noqa: PLC0415 - optional
    except ImportError:
        message = "lora needs the package peft: pip install 'urbankit[lora]'"
        raise UserError(Problem(message, key=f"{key}.trainable")) from None
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # peft computes with any number
        lora_dropout=settings.dropout,
        target_modules=_targets(model, settings.targets, f"{key}.lora.targets"),
    )
    inject_adapter_in_model(config, model)


def _layers(model: nn.Module) -> tuple[str, nn.ModuleList | None]:
    """The transformer's layers and where they are in it; transformers names them differently from model to model."""
    number = getattr(model.config, "num_hidden_layers", None)
    lists = ((path, m) for path, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) == number)
    return next(lists, ("", None))


def _targets(model: nn.Module, requested: list[str] | None, key: str) -> list[str]:
    available = sorted(set(_linear_names(model)))
    if requested is None:
        targets = next((list(pair) for pair in QUERY_AND_VALUE if set(pair) <= set(available)), None)
        if targets is None:
            message = f"there is no default for the layers of {type(model).__name__} that get adapters; name some of"
            raise UserError(Problem(f"{message} {', '.join(available)}", key=key))
        return targets
    unknown = [name for name in requested if name not in available]
    if unknown:
        message = f"the model has no linear layers named {', '.join(unknown)}; it has {', '.join(available)}"
        raise UserError(Problem(message, key=key))
    return requested


def _linear_names(model: nn.Module) -> Iterator[str]:
    """The last names of the linear layers within the transformer's layers."""
    _, layers = _layers(model)
    for path, module in (layers if layers is not None else model).named_modules():
        if isinstance(module, nn.Linear):
            yield path.rpartition(".")[2]
