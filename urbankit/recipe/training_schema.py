"""The sections of a recipe that say how to train: `pretrain` and `finetune`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from urbankit.registry.component import Params

Rate = Annotated[float, Field(gt=0)]


class Optimization(Params):
    """What both sections share."""

    optimizer: Literal["adamw", "adam"] = Field("adamw", description="AdamW, or Adam as in the paper.")
    learning_rate: float = Field(1e-3, gt=0, description="Learning rate of every part not named below.")
    learning_rates: dict[str, Rate] = Field(
        default_factory=dict,
        description="Learning rates of single parts of the method: {graph_encoder: 1e-4}.",
    )
    weight_decay: float = Field(1e-4, ge=0, description="Weight decay of the optimizer.")
    schedule: Literal["constant", "cosine"] = Field(
        "constant",
        description="Learning rates over the epochs: constant, or a rise over the first tenth, then a cosine to zero.",
    )


class Pretrain(Optimization):
    """Self-supervised training of the method; no target is seen."""

    epochs: int = Field(50, ge=0, description="Most passes over all regions; 0 skips pre-training.")
    batch_size: int = Field(256, ge=2, description="Regions in a mini-batch.")
    patience: int = Field(
        10,
        ge=0,
        description="Epochs without a better validation loss before training stops; 0 never stops early.",
    )
    validation_share: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of regions held out for the validation loss; with 0 all epochs run.",
    )
    gradient_clip: float | None = Field(1.0, gt=0, description="Largest norm of the gradient; null does not clip it.")


class Finetune(Optimization):
    """Training of the tasks' heads, and of what else is updated, on the training part of each split."""

    paradigm: Literal["finetune", "linear_probe", "end_to_end"] = Field(
        "finetune",
        description="`finetune` trains the heads and the parts in `update` after pre-training; `linear_probe`"
        " trains linear heads, on frozen embeddings; `end_to_end` starts from the pre-trained weights too and"
        " updates every part (pretrain.epochs: 0 makes it start from nothing).",
        json_schema_extra={"source": "section 5.3"},
    )
    update: list[str] = Field(
        default_factory=lambda: ["all"],
        description="Parts of the method that `finetune` updates beside the heads: [fusion], or [all].",
    )
    epochs: int = Field(200, ge=1, description="Most passes over the training regions.")
    batch_size: int | None = Field(None, ge=2, description="Regions in a mini-batch; null takes all at once.")
    patience: int = Field(
        30,
        ge=0,
        description="Epochs without a better validation loss before training stops; 0 never stops early.",
    )
    average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Validate and predict with the exponential moving average of the weights, of which every epoch"
        " keeps this share; 0 uses the weights themselves.",
    )
    loss_weights: dict[str, Rate] = Field(
        default_factory=dict, description="Weight of a task's loss in the sum: {co: 2.0}; 1 where not named."
    )
    class_balance: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Weight of a class in the cross-entropy: (its training regions) to the power of minus"
        " this. 0 counts every region alike, 1 every class alike.",
    )
