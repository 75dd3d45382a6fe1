"""The sections `pretrain` and `finetune` of a recipe, which define the training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from urbankit.registry.component import Params

Rate = Annotated[float, Field(gt=0)]


class Optimization(Params):
    """The parameters that both sections share."""

    optimizer: Literal["adamw", "adam"] = Field("adamw", description="AdamW, or Adam as in the paper.")
    learning_rate: float = Field(1e-3, gt=0, description="Learning rate of every part that is not in `learning_rates`.")
    learning_rates: dict[str, Rate] = Field(
        default_factory=dict,
        description="Learning rates of parts of the method, such as {graph_encoder: 1e-4}.",
    )
    weight_decay: float = Field(1e-4, ge=0, description="Weight decay of the optimizer.")
    schedule: Literal["constant", "cosine"] = Field(
        "constant",
        description="Learning rate over the epochs: constant, or warm-up in the first tenth and cosine decay to 0.",
    )


class Supervised(Params):
    """Labels that pre-training learns from."""

    tasks: list[str] = Field(
        min_length=1,
        description="Tasks of the recipe whose labels are learned. Labels of cities in `hold_out` only decide when to"
        " stop; those of a city that is evaluated do not belong among the cities.",
    )
    weight: float = Field(1.0, gt=0, description="Weight of the mean loss of the tasks beside the method's own losses.")


class Pretrain(Optimization):
    """Training of the method before any head; without targets unless `supervised` names some."""

    epochs: int = Field(50, ge=0, description="Maximum number of passes over all regions; 0 skips pre-training.")
    batch_size: int = Field(256, ge=2, description="Number of regions in a mini-batch.")
    patience: int = Field(
        10,
        ge=0,
        description="Epochs without a better validation loss before training stops; 0 never stops early.",
    )
    validation_share: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of regions for the validation loss; with 0 all epochs run.",
    )
    hold_out: list[str] = Field(
        default_factory=list,
        description="Names of cities whose regions are the validation part instead of `validation_share`: training then"
        " stops where the loss on other cities is lowest.",
    )
    supervised: Supervised | None = Field(
        None, description="Labels of tasks that pre-training learns from, beside self-supervision; null learns none."
    )
    gradient_clip: float | None = Field(1.0, gt=0, description="Maximum norm of the gradient; null turns clipping off.")
    clip_by: Literal["model", "part"] = Field(
        "model",
        description="`model` clips the gradient of all parameters together, so that one part with a large gradient"
        " scales down those of all others; `part` clips that of each part of the method by itself.",
    )


class Finetune(Optimization):
    """Training of the heads of the tasks and of the parts in `update`, on the training part of each split."""

    paradigm: Literal["finetune", "linear_probe", "end_to_end"] = Field(
        "finetune",
        description="`finetune` trains the heads and the parts in `update` after pre-training; `linear_probe`"
        " trains linear heads on frozen embeddings; `end_to_end` also starts from the pre-trained weights and"
        " updates every part (with pretrain.epochs: 0 it starts from random weights).",
        json_schema_extra={"source": "section 5.3"},
    )
    update: list[str] = Field(
        default_factory=lambda: ["all"],
        description="Parts of the method that `finetune` updates in addition to the heads: [fusion], or [all].",
    )
    epochs: int = Field(200, ge=1, description="Maximum number of passes over the training regions.")
    batch_size: int | None = Field(
        None, ge=2, description="Number of regions in a mini-batch; null uses all regions at once."
    )
    patience: int = Field(
        30,
        ge=0,
        description="Epochs without a better validation loss before training stops; 0 never stops early.",
    )
    average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Decay per epoch of an exponential moving average of the weights, which is used to validate and"
        " predict; 0 uses the weights themselves.",
    )
    joint: bool = Field(
        True,
        description="Whether all tasks are fine-tuned together, on the sum of their losses; with false each task is"
        " fine-tuned by itself, from the same pre-trained weights.",
    )
    loss_weights: dict[str, Rate] = Field(
        default_factory=dict,
        description="Weights of the losses of tasks in the sum, such as {co: 2.0}; default 1. Only if `joint`.",
    )
    class_balance: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Exponent b of the class weights in the cross-entropy, (training regions of the class)^-b:"
        " with 0 all regions have equal weight, with 1 all classes.",
    )
