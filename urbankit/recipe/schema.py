"""The keys of a recipe with their types, defaults and meanings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from urbankit import registry
from urbankit.recipe.training_schema import Finetune, Pretrain
from urbankit.recipe.transfer_schema import Transfer
from urbankit.registry.component import Name, Params, Seed, Use, uses
from urbankit.utils.errors import suggest


def _check_folder_name(name: str) -> str:
    if name in (".", "..") or any(sign in name for sign in "/\\:") or not name.isprintable():
        raise ValueError("names a folder of a run: it holds no '/', '\\', ':' or control character")
    if len(name.encode()) > 200:
        raise ValueError("names a folder of a run: it is longer than 200 bytes")
    return name


RunName = Annotated[str, AfterValidator(_check_folder_name)]


def _form_of_tracking(value: object) -> str:
    return "<list>" if isinstance(value, list) else "<Use>"


Tracking = Annotated[
    Annotated[list[Use], Tag("<list>")] | Annotated[Use, Tag("<Use>")], Discriminator(_form_of_tracking)
]


class RecipeSchema(Params):
    """A recipe: which city, which components with which parameters, how to train and how to evaluate.

    `urbankit.Recipe` adds reading and checking.
    """

    name: RunName = Field(min_length=1, description="Name of the run folder; default the file's name. Not inherited.")
    description: str = Field("", description="What the recipe is for, in a line or two. Not inherited.")
    seed: Seed = Field(0, description="Seed of pre-training: initial weights, batches, walks.")
    city: WhichCity | None = Field(None, description="Which city: exactly one of `demo`, `prepared` and `spec`.")
    cities: Cities | None = Field(
        None,
        description="Several cities instead of one: a list of cities, or a folder that has one folder a city.",
    )
    modalities: dict[Name, Use] = Field(
        default_factory=dict,
        max_length=100,
        description="Encoders by modality: {rsi: {name: vit}}. The name is the city's image source, `text`,"
        " `location` or what a plugin's encoder reads.",
        json_schema_extra={"component_kind": "modality_encoder"},
    )
    views: dict[Name, Use] = Field(
        default_factory=dict,
        max_length=100,
        description="Graphs over the regions, by name: {mobility: {name: mobility}}.",
        json_schema_extra={"component_kind": "view"},
    )
    method: Use = uses("method", description="The pre-training procedure and its parameters.")
    tasks: dict[Name, Task] = Field(
        default_factory=dict,
        max_length=1000,
        description="What is predicted from the embeddings; none yields embeddings only.",
    )
    allow_leak: list[str] = Field(
        default_factory=list,
        description="Columns of inputs that may equal a target or almost (rank correlation above 0.995): `income`, or"
        " `census.income`. Others of this kind are refused. `prior` allows a model of other cities whose regions lie in"
        " this city.",
    )
    pretrain: Pretrain = Field(default_factory=Pretrain, description=Pretrain.__doc__)
    finetune: Finetune = Field(default_factory=Finetune, description=Finetune.__doc__)
    transfer: Transfer | None = Field(
        None, description="What is taken over from a finished run on another city; null takes nothing."
    )
    prior: Path | None = Field(
        None,
        description="A model of other cities: a folder of `urbankit export RUN --to model`, or of a run, or the name of"
        " an installed model. Heads start from its predictions for the regions of this city, and labels correct them."
        " null starts from nothing.",
        json_schema_extra={"component_kind": "model"},
    )
    evaluation: Evaluation = Field(default_factory=lambda: Evaluation(), description="Splits, seeds and floors.")
    predict: Predict = Field(
        default_factory=lambda: Predict(), description="Predictions for every region, labelled or not."
    )
    report: Report = Field(default_factory=lambda: Report(), description="What is drawn at the end.")
    tracking: Tracking | None = Field(
        None,
        description="An experiment tracker, or a list of them, that gets losses, scores and files. It changes no"
        " number, so that a run may be resumed with another one.",
        json_schema_extra={"component_kind": "tracker"},
    )
    engine: Literal["auto", "dgl", "torch"] = Field(
        "auto",
        description="What computes graph layers; auto is torch on a processor, where it is faster, and dgl on another "
        "device that it supports.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Device to compute on; auto is cuda if available."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="What encoders compute in. auto is bf16 on a GPU that has it, otherwise fp32.",
    )

    @model_validator(mode="after")
    def _city_or_cities(self) -> RecipeSchema:
        if (self.city is None) == (self.cities is None):
            extra = ", not both" if self.city is not None else ""
            raise ValueError(f"give one of `city` and `cities`{extra}")
        return self


class WhichCity(Params):
    """The city a recipe runs on."""

    demo: Demo | None = Field(None, description="The synthetic city of this size and seed.")
    prepared: Path | None = Field(None, description="A folder that `urbankit prepare` wrote.")
    spec: Path | None = Field(None, description="A city YAML, which the run prepares first.")
    data: Path | None = Field(None, description="Folder of the sources of `spec`; default the folder of `spec`.")

    @model_validator(mode="after")
    def _one_source(self) -> WhichCity:
        sources = [name for name in ("demo", "prepared", "spec") if getattr(self, name) is not None]
        if len(sources) != 1:
            raise ValueError(f"give exactly one of demo, prepared and spec, not {' and '.join(sources) or 'none'}")
        if self.data is not None and self.spec is None:
            raise ValueError("`data` needs `spec`: it is the folder of the sources that the spec names")
        return self


class CityFolder(Params):
    """The cities in the folders of one folder; the name of a folder is the name of its city."""

    folder: Path = Field(description="The folder; each folder in it that `pattern` matches is a city.")
    spec: Path | None = Field(
        None,
        description="A city YAML that describes the sources of every folder; without it a folder is a prepared city or"
        " has a city.yaml.",
    )
    pattern: str = Field("*", min_length=1, description="Names of the folders that are read, such as `us-*`.")
    exclude: list[str] = Field(
        default_factory=list, description="Names of folders that are not read, such as cities kept for a test."
    )


def _form_of_cities(value: object) -> str:
    return "<list>" if isinstance(value, list) else "<CityFolder>"


Cities = Annotated[
    Annotated[list[WhichCity], Field(min_length=1, max_length=10_000), Tag("<list>")]
    | Annotated[CityFolder, Tag("<CityFolder>")],
    Discriminator(_form_of_cities),
]


class Demo(Params):
    """The synthetic city."""

    regions: int = Field(400, ge=1, le=1_000_000, description="How many regions.")
    seed: Seed = Field(7, description="Which city of this size.")


class Task(Params):
    """One target to predict."""

    target: str | None = Field(None, min_length=1, description="The city's target; default the task's name.")
    transform: Literal["none", "standard", "log", "soft-log"] = Field(
        "standard",
        description="Form in which a regression target is trained: as it is, standardised, log(1 + value)"
        " standardised, or the same of 20 times the value over the median. Metrics are in the target's own units;"
        " classes are not transformed.",
    )
    scale: Literal["own", "log"] = Field(
        "own",
        description="`log` makes log(1 + value) itself the target, learned and scored in that unit, where only"
        " the order of magnitude means something.",
    )
    head: Use = uses("head", "mlp", "The predictor on top of the region embedding.")
    prior: bool = Field(
        True, description="Whether the head starts from the predictions of the model that the key `prior` names."
    )


def _known_split(name: str) -> str:
    names = registry.names("split")
    if name not in names:
        raise ValueError(f"unknown split '{name}'.{suggest(name, names)}")
    return name


class Evaluation(Params):
    """How predictions are judged."""

    splits: list[Annotated[str, AfterValidator(_known_split)]] = Field(
        ["random", "spatial"],
        min_length=1,
        json_schema_extra={"component_names": "split"},
        description="Split protocols, reported side by side. `folds` is that of the region-graph papers: a fixed probe"
        " on the frozen embedding, without fine-tuning or a validation part. `few` and `few-spatial` train heads on"
        " a few labels.",
    )
    seeds: list[Seed] = Field(
        default_factory=lambda: [0, 1, 2, 3, 4],
        min_length=1,
        max_length=1000,
        description="One split a seed. At least 5 for a mean and standard deviation worth reporting. Of `folds` they"
        " are the seeds of k-means.",
    )
    fractions: tuple[float, float, float] = Field(
        (0.6, 0.2, 0.2), description="Shares of the regions for training, validation and test."
    )
    blocks: int = Field(10, ge=2, le=10_000, description="Blocks along each side of the grid of the spatial split.")
    folds: Folds = Field(default_factory=lambda: Folds(), description="The probe of the protocol `folds`.")
    few: Few = Field(default_factory=lambda: Few(), description="The protocols `few` and `few-spatial`.")
    floors: list[Literal["mean", "location", "raw-ridge", "raw-forest", "raw-gp", "raw-stack"]] = Field(
        ["mean", "location", "raw-ridge", "raw-forest", "raw-gp"],
        description="No-learning baselines that the results table carries.",
    )
    controls: list[Literal["untrained"]] = Field(
        ["untrained"],
        description="Models beside the floors that need the method: `untrained` is the method with its initial weights,"
        " with the same heads and splits.",
    )
    min_class_size: int = Field(
        10, ge=1, description="Classes with fewer labelled regions are left out of a classification task."
    )

    @model_validator(mode="after")
    def _sound(self) -> Evaluation:
        for name in ("splits", "seeds", "floors", "controls"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"`{name}` has a value twice: {values}")
        if min(self.fractions) <= 0 or abs(sum(self.fractions) - 1) > 1e-9:
            raise ValueError(f"`fractions` should be positive and sum to 1, not {list(self.fractions)}")
        return self


class Few(Params):
    """Few labels: heads on the frozen embedding, trained on k labelled regions and tested on the others."""

    labels: list[Annotated[int, Field(ge=2)]] = Field(
        default_factory=lambda: [5, 10, 20, 50, 100],
        min_length=1,
        max_length=50,
        description="Numbers of labelled regions to train on; at least 10 others must be left to test on.",
    )
    draws: int = Field(20, ge=1, le=1000, description="How often the training regions are drawn.")

    @model_validator(mode="after")
    def _distinct(self) -> Few:
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"`labels` has a value twice: {self.labels}")
        self.labels.sort()
        return self


class Folds(Params):
    """The protocol of the region-graph papers: ridge over folds in the regions' order, k-means for classes."""

    number: int = Field(
        5,
        ge=2,
        description="Folds, cut from the labelled regions in the order of the city's table, without shuffling.",
        json_schema_extra={"source": "KFold(n_splits=5) in HREP's task.py"},
    )
    alpha: float = Field(
        1.0,
        gt=0,
        description="Penalty of the ridge regression on the embedding as it is, unscaled.",
        json_schema_extra={"source": "1 in HREP's task.py"},
    )
    clip: bool = Field(
        True,
        description="Set predictions below 0 to 0 where no training label is negative.",
        json_schema_extra={"source": "HREP's task.py"},
    )
    starts: int = Field(10, ge=1, description="Starts of k-means. The tightest clustering is kept, one for each seed.")


def _sampled_split(name: str) -> str:
    if not registry.get("split", _known_split(name)).sampled:
        raise ValueError(f"`{name}` has no folds drawn by a seed; use `random` or `spatial`")
    return name


class Predict(Params):
    """Predictions for every region, with intervals or class probabilities."""

    interval: float = Field(
        0.9, gt=0, lt=1, description="Share of the regions that the interval of a prediction should cover."
    )
    split: Annotated[str, AfterValidator(_sampled_split)] = Field(
        "random",
        json_schema_extra={"component_names": "split"},
        description="What calibrates intervals and probabilities: `random` if regions without labels lie between"
        " labelled ones, `spatial` if they are districts of their own.",
    )
    folds: int = Field(
        5,
        ge=0,
        le=100,
        description="Folds of the labelled regions, at least 3; 0 makes no predictions for all regions.",
    )

    @model_validator(mode="after")
    def _enough_folds(self) -> Predict:
        if self.folds in (1, 2):
            raise ValueError("`folds` is 0 or at least 3")
        return self


class Report(Params):
    """What is drawn at the end of a run."""

    figures: bool = Field(True, description="Whether the figures are drawn: maps, curves, embeddings, clusters.")
    projection: Literal["tsne", "umap"] = Field(
        "tsne",
        description="What brings the embeddings to two dimensions; `umap` needs `pip install urbankit[umap]`.",
        json_schema_extra={"source": "t-SNE in figure 6"},
    )
    anchors: Annotated[list[str], Field(min_length=3, max_length=3)] | None = Field(
        None,
        description="Ids of the regions A, B and C whose place, function and flows are compared with their embeddings;"
        " default three that are found: A near B and unlike it, A far from C and like it, B and C tied by flows.",
        json_schema_extra={"source": "figure 7"},
    )
    cases: Annotated[list[str], Field(min_length=1, max_length=4)] | None = Field(
        None,
        description="Ids of up to four regions of the case study; default two pairs that look alike and differ.",
        json_schema_extra={"source": "figure 9"},
    )


RecipeSchema.model_rebuild()
