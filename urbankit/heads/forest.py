"""A random forest on the embedding, by scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

import joblib
import torch
from pydantic import Field
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from torch import Tensor

from urbankit.heads.base import FittedHead
from urbankit.registry import component


class Forest(FittedHead):
    """A random forest; the logits of classes are the logarithms of the trees' mean probabilities."""

    class Params(component.Params):
        trees: int = Field(300, ge=1, description="Number of trees.")
        min_leaf: int = Field(5, ge=1, description="Fewest training regions in a leaf.")
        class_weight: Literal["balanced", "none"] = Field(
            "balanced", description="`balanced` gives every class the same weight, `none` every region."
        )

    params: Params

    def fit(self, embedding: Tensor, labels: Tensor, blocks: Sequence[int]) -> None:
        p = self.params
        common = {
            "n_estimators": p.trees,
            "min_samples_leaf": p.min_leaf,
            "n_jobs": -1,
            "random_state": int(torch.randint(2**31, ())),
        }
        if labels.is_floating_point():
            self.model = RandomForestRegressor(max_features=1 / 3, **common)
        else:
            weight = None if p.class_weight == "none" else p.class_weight
            self.model = RandomForestClassifier(class_weight=weight, **common)
        # The threads that grow a forest share the list of warning filters and may leave it empty.
        with warnings.catch_warnings():
            self.model.fit(embedding.cpu().numpy(), labels.cpu().numpy())

    def forward(self, embedding: Tensor) -> Tensor:
        x = embedding.cpu().numpy()
        # Threads would add the trees' predictions in any order, which changes the last bits.
        with joblib.parallel_config(backend="sequential"):
            if not hasattr(self.model, "classes_"):
                return torch.as_tensor(self.model.predict(x), device=embedding.device).unsqueeze(1)
            shares = torch.as_tensor(self.model.predict_proba(x))
        outputs = torch.full((len(x), self.out_dim), -torch.inf, dtype=torch.float64)
        outputs[:, torch.as_tensor(self.model.classes_)] = shares.log()
        return outputs.to(embedding.device)
