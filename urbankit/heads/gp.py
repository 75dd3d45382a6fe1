"""A Gaussian process on the embedding with a length scale for each part of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from urbankit.heads import gp_kernel
from urbankit.heads.base import RegionData, RegionHead, label_columns
from urbankit.heads.gp_inducing import Inducing
from urbankit.heads.gp_kernel import JITTER, NOT_DEFINITE
from urbankit.heads.gp_likelihood import Likelihood, fit_parameters
from urbankit.heads.kriging import Kriging
from urbankit.registry import component
from urbankit.utils.errors import RunError

ROWS_AT_ONCE = 1024
NUMBERS_AT_ONCE = 1 << 24


class GP(RegionHead):
    """Gaussian-process regression; classes are regressed as indicators (Rasmussen and Williams, 2006, 2.2 and 6.5).

    The kernel is `s · Matérn₃⸝₂(√Σ_b |z_b - z'_b|² / l_b²)`, with `linear` plus `Σ_b c_b ⟨z_b, z'_b⟩`, b running over
    the blocks of the embedding (a modality, a view). Its parameters maximise the marginal likelihood of the training
    labels, with a weak prior, so that a block without information about the task gets a long length scale. Predictions
    are posterior means. Beyond `max_points` training regions they go through inducing points (`Inducing`).

    With a model of other cities as prior it is the head `kriging`, with the parameter `max_points` alone.
    """

    reads_features = False
    takes_prior = True

    class Params(component.Params):
        linear: bool = Field(
            False,
            description="Whether the kernel has linear terms. With them a trend, such as one in the coordinates, "
            "continues beyond the training regions; without them predictions return to the mean.",
        )
        steps: int = Field(60, ge=1, description="Steps of Adam on the marginal likelihood.")
        learning_rate: float = Field(0.1, gt=0, description="Learning rate of these steps.")
        search_points: int = Field(
            1000,
            ge=2,
            description="Number of training regions, drawn at random, that the kernel's parameters are fitted to.",
        )
        max_points: int = Field(
            4000,
            ge=2,
            description="Most training regions that the process is exact for; its cost grows with their cube.",
        )
        beyond: Literal["inducing", "sample"] = Field(
            "inducing",
            description="What predicts with more training regions than `max_points`: `inducing` uses all of them,"
            " approximately, through inducing points; `sample` uses `max_points` of them, drawn at random.",
        )
        inducing_points: int = Field(
            2000,
            ge=2,
            description="Number of inducing points, drawn at random from the training regions (cost grows with its"
            " square times the regions).",
        )

    params: Params

    @classmethod
    def approximations(cls, params: GP.Params, n: int) -> list[str]:
        if n <= params.max_points:
            return []
        how = f"uses {params.max_points:,} of them, drawn at random"
        if params.beyond == "inducing":
            how = f"uses all of them through {params.inducing_points:,} inducing points"
        return [f"the Gaussian process of {n:,} training regions {how}"]

    def fit_regions(self, embedding: Tensor, labels: Tensor, blocks: Sequence[int], regions: RegionData) -> None:
        if regions.prior is not None:
            params = Kriging.Params(max_points=self.params.max_points)
            self.kriging: Kriging = Kriging(params, self.in_dim, self.out_dim)
            self.kriging.fit_regions(embedding, labels, blocks, regions)
            return
        values = torch.as_tensor(label_columns(labels, self.out_dim), device=embedding.device)
        self.fit_values(embedding, values, blocks)

    def fit_values(self, embedding: Tensor, values: Tensor, blocks: Sequence[int]) -> None:
        """Fit the head to `values`, float64 [n, out_dim]; the rest as in `fit_regions`.

        With `embedding` [..., n, in_dim] and `values` [..., n, out_dim] of many training sets of one size, it holds a
        process for each of them, fitted at once. It then predicts [..., B, out_dim] for [B, in_dim] or
        [..., B, in_dim].
        """
        order = torch.randperm(embedding.shape[-2]).to(embedding.device)
        exact = len(order) <= self.params.max_points or self.params.beyond == "sample"
        self.order = order[: self.params.max_points if exact else self.params.inducing_points]
        used = self.order if exact else order
        self.block_widths = list(blocks)
        self.points = self._blocks(embedding[..., self.order, :])
        y = values[..., used, :]
        self.mean = y.mean(dim=-2, keepdim=True)
        residuals = y - self.mean
        n = min(self.params.search_points, len(self.order))
        searched = [block[..., :n, :] for block in self.points]
        likelihood = Likelihood(searched, residuals[..., :n, :], self.params.linear)
        self.theta = fit_parameters(likelihood, self.params.steps, self.params.learning_rate)
        if exact:
            self.factor = gp_kernel.cholesky(self._gram(self.points), torch.exp(self.theta["noise"]) + JITTER)
            self.weights = torch.cholesky_solve(residuals, self.factor)
        else:
            inducing = self._inducing(embedding[..., used, :])
            self.weights = inducing.project(inducing.solve(residuals))

    def _inducing(self, embedding: Tensor) -> Inducing:
        """The process on all rows of `embedding`, [..., n, in_dim], through the fitted points."""
        points = self._blocks(embedding)
        try:
            return Inducing(
                lambda part: self._gram([block[..., part, :] for block in points]).mT,
                self._gram(self.points),
                gp_kernel.diagonal(self.theta, points, self.params.linear),
                torch.exp(self.theta["noise"]) + JITTER,
            )
        except torch.linalg.LinAlgError:
            raise RunError(NOT_DEFINITE) from None

    def without_folds(self, folds: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Leave out one fold of the fitted points after another; kernel and mean stay those of all points.

        The solution is in closed form (Rasmussen and Williams, 2006, section 5.4.2).

        Args:
            folds: the fold of each fitted point, int64 [n], in the order of `order`.

        Yields:
            The points of the fold, int64 [m], their residuals [m, out_dim], and the weights [n, out_dim] without them.
        """
        inverse = torch.cholesky_inverse(self.factor)
        for fold in folds.unique():
            points = (folds == fold).nonzero().squeeze(1)
            columns = inverse[:, points]
            residuals = torch.linalg.solve(columns[points], self.weights[points])
            yield points, residuals, self.weights - columns @ residuals

    def left_out_residuals(self) -> Tensor:
        """Return the residual of each fitted point without its own label, [..., n, out_dim] in the order of `order`.

        Kernel and mean stay those of all points (Rasmussen and Williams, 2006, section 5.4.2).
        """
        return self.weights / torch.cholesky_inverse(self.factor).diagonal(dim1=-2, dim2=-1).unsqueeze(-1)

    @classmethod
    def fit_each(
        cls, params: Any, embedding: Tensor, rows: Tensor, labels: Tensor, out_dim: int, blocks: Sequence[int]
    ) -> Tensor:
        outputs = []
        for batch in cls.batches(len(rows), rows.shape[1], len(blocks)):
            head = cls(params, embedding.shape[1], out_dim)
            head.fit(embedding[rows[batch]], labels[batch], blocks)
            outputs.append(head(embedding))
        return torch.cat(outputs)

    @staticmethod
    def batches(sets: int, n: int, blocks: int) -> Iterator[slice]:
        """Yield slices of training sets of n points that are fitted at once, so that the memory has a bound."""
        size = max(1, NUMBERS_AT_ONCE // (blocks * n * max(n, ROWS_AT_ONCE)))
        return (slice(start, start + size) for start in range(0, sets, size))

    def predict_with(self, embedding: Tensor, weights: Tensor) -> Tensor:
        """Return predictions [B, out_dim] for `embedding` [B, in_dim] by `weights` of the fitted points."""
        parts = embedding.split(ROWS_AT_ONCE, dim=-2)
        return torch.cat([self._gram(self._blocks(part)) @ weights for part in parts], dim=-2) + self.mean

    def predict_regions(self, embedding: Tensor, regions: RegionData) -> Tensor:
        if regions.prior is not None:
            return self.kriging.predict_regions(embedding, regions)
        return self.predict_with(embedding, self.weights)

    def _gram(self, points: list[Tensor]) -> Tensor:
        """The kernel [n, m] of `points` with the fitted ones."""
        return gp_kernel.gram(self.theta, points, self.points, self.params.linear)

    def _blocks(self, embedding: Tensor) -> list[Tensor]:
        """The blocks in float64, each divided by the root of its width so that distances are comparable."""
        return [block.double() / block.shape[-1] ** 0.5 for block in embedding.split(self.block_widths, dim=-1)]
