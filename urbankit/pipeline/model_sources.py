"""What a model is read from: a finished run, or a folder of `urbankit export RUN --to model`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from urbankit import registry
from urbankit.city.city import City
from urbankit.evaluation.carried_head import CarriedHead
from urbankit.evaluation.city_level import city_features
from urbankit.evaluation.splits import make_folds, sampled_protocols
from urbankit.pipeline.model_files import content_hash, read_facts, read_heads, read_weights
from urbankit.pipeline.outline import outline
from urbankit.pipeline.transfer.source import Source
from urbankit.recipe.schema import Predict
from urbankit.runs.data import centres, held_out_regions, load_tasks
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import hash_json

Embed = Callable[[City], NDArray[np.float32]]
"""Returns the embeddings [N, dim] of a city."""


class ModelSource(Protocol):
    """What a model is read from.

    Attributes:
        title: What messages call it.
        path: Its folder.
        facts: The recipe, what it reads, and what does not carry over, as `model.json` has them.
    """

    title: str
    path: Path
    facts: dict[str, Any]

    @property
    def content_hash(self) -> str:
        """The hash of all that its predictions depend on."""
        ...

    @property
    def outline(self) -> str | None:
        """The outline of the regions that it was trained on, as `outline` returns it; None if that is not known."""
        ...

    @property
    def state(self) -> Mapping[str, Tensor]:
        """The state of the method after pre-training."""
        ...

    def heads(self, embed: Embed) -> dict[str, CarriedHead]:
        """The heads by task; `embed` embeds regions as the model embeds those of other cities."""
        ...


class ModelFolder:
    """A folder of `urbankit export RUN --to model`.

    Raises `UserError` if another version wrote it, or it is damaged.
    """

    title = "the model"

    def __init__(self, path: Path) -> None:
        self.path, self.facts = path, read_facts(path)

    @property
    def content_hash(self) -> str:
        """As in `ModelSource`."""
        return content_hash(self.path)

    @property
    def outline(self) -> str | None:
        """As in `ModelSource`."""
        return self.facts.get("outline")

    @cached_property
    def state(self) -> Mapping[str, Tensor]:
        """As in `ModelSource`."""
        return read_weights(self.path)

    def heads(self, embed: Embed) -> dict[str, CarriedHead]:
        """As in `ModelSource`."""
        return read_heads(self.path)


class ModelOfRun:
    """A finished run as a model. Heads are fitted when they are first used, which needs the city of the run.

    Raises `UserError` if the run has no weights that another city can use.

    Attributes:
        notes: Tasks that have no head, and why, once `heads` was called.
    """

    title = "the run"

    def __init__(self, path: Path) -> None:
        self._source, self.path = Source(path, key=None), path
        self.notes: list[str] = []
        recipe, manifest = self._source.recipe, self._source.manifest
        modalities, views = self._source.modalities, self._source.views
        if not registry.get("method", recipe.method.name).inductive:
            message = f"the weights of {recipe.method.name} belong to the regions that it was trained on"
            raise UserError(Problem(f"{message}; it cannot embed another city", path, key="method.name"))
        self.facts = {
            "method": recipe.method.name,
            "city": manifest.get("city", "a city"),
            "city_hash": manifest.get("city_hash"),
            "regions": manifest.get("regions"),
            "supervised": list(recipe.pretrain.supervised.tasks) if recipe.pretrain.supervised else [],
            "held_out": list(recipe.pretrain.hold_out),
            "modalities": modalities,
            "views": views,
            "left_out": self._left_out(),
            **{key: manifest.get(key, {}) for key in ("describes", "bands", "pretrained")},
            "embedding_width": manifest.get("embedding_width"),
            "blocks": manifest.get("blocks", []),
            "recipe": {
                "name": recipe.name,
                "seed": recipe.seed,
                "modalities": {
                    name: recipe.modalities[name].model_dump(mode="json") for name in self._source.modalities
                },
                "views": {name: recipe.views[name].model_dump(mode="json") for name in views},
                "method": recipe.method.model_dump(mode="json"),
                "finetune": {"update": []},
                "evaluation": {"floors": []},
                "engine": recipe.engine,
            },
        }

    @property
    def content_hash(self) -> str:
        """As in `ModelSource`."""
        facts = self._source.facts()
        return hash_json({key: facts[key] for key in ("recipe_hash", "city_hash", "checkpoint")})

    @cached_property
    def outline(self) -> str | None:
        """As in `ModelSource`."""
        return outline(self._source.run.embeddings.geometry)

    @property
    def state(self) -> Mapping[str, Tensor]:
        """As in `ModelSource`."""
        return self._source.state

    def heads(self, embed: Embed) -> dict[str, CarriedHead]:
        """As in `ModelSource`."""
        recipe = self._source.recipe
        if not recipe.tasks:
            return {}
        city, evaluation = self._source.city(), recipe.evaluation
        vectors = embed(city) if self.facts["left_out"] else self._source.run.vectors
        protocol = sampled_protocols(evaluation.splits, recipe.predict.split)[-1]
        n_folds = recipe.predict.folds or Predict().folds
        modalities = {name: recipe.modalities[name] for name in self._source.modalities}
        left_out = self.facts["left_out"]
        several = len(city.members) > 1
        cities = [city_features(modalities, member, left_out) for member in city.members.values()] if several else None
        heads = {}
        for name, task in load_tasks(recipe, city).items():
            member = city.member[task.labelled]
            if task.parts:
                self.notes.append(f"{name}: no head: a distribution is predicted only in the city of the run")
                continue
            try:
                if len(np.unique(member)) > 1:  # a fold is of whole cities, as another city will be
                    order = np.random.default_rng(evaluation.seeds[0]).permutation(len(city.members))
                    fold = order[member] % min(n_folds, len(np.unique(member)))
                else:
                    fold = make_folds(
                        protocol, centres(city)[task.labelled], n_folds, evaluation.seeds[0], evaluation.blocks
                    )
            except UserError as error:
                self.notes.append(f"{name}: no head: {error}")
                continue
            unseen = self._unseen(name, city)
            if not (task.labelled & unseen).any():
                self.notes.append(
                    f"{name}: no head: pre-training has learned from all its labels, so none can tell how good it is;"
                    " hold out cities with pretrain.hold_out"
                )
                continue
            heads[name] = CarriedHead.fit(task, recipe.tasks[name], vectors, fold, city.member, unseen, cities)
        return heads

    def _unseen(self, task: str, city: City) -> NDArray[np.bool_]:
        """The regions whose label of a task pre-training has not learned from, bool [N]."""
        pretrain = self._source.recipe.pretrain
        if pretrain.supervised is None or task not in pretrain.supervised.tasks:
            return np.ones(city.n_regions, bool)
        held_out = held_out_regions(pretrain.hold_out, city)
        return np.isin(np.arange(city.n_regions), [] if held_out is None else held_out.numpy())

    def _left_out(self) -> dict[str, str]:
        """The modalities that do not carry over to another city, and why."""
        left_out = {}
        for name in self._source.modalities:
            use = self._source.recipe.modalities[name]
            encoder = registry.get("modality_encoder", use.name)
            if (reason := encoder.local(encoder.Params(**use.params))) is not None:
                left_out[name] = reason
        if left_out and len(left_out) == len(self._source.modalities):
            reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
            raise UserError(Problem(f"no modality of the run carries over to another city ({reasons})", self.path))
        return left_out
