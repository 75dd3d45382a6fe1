"""A super learner: models combined by weights that minimise the held-out error (van der Laan et al., 2007)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from urbankit.heads.prior import Prior
from urbankit.heads.stacking import members
from urbankit.heads.stacking.features import Array, Bins, Scaler, Table
from urbankit.heads.stacking.members import Fit, Predict, Training
from urbankit.heads.stacking.weights import groups_of, inner_folds, simplex_weights
from urbankit.heads.transform import Transform

BALANCE = 0.5
"""Exponent of the shares that probabilities of classes are divided by: half-way between the likeliest class (0) and the
one whose probability exceeds its share most (1). Macro-F1 counts rare classes as much as others."""
PRIOR = "prior"
LABELS_TO_LEAVE = 60
"""How many labels the weights that are expected with a prior count as."""
GROUPS_TO_LEAVE = 40
"""How many groups of regions equal weights count as without a prior. The errors of a group's regions are alike."""
SMALLEST = 1e-6
"""Smallest probability of a class."""


@dataclass(frozen=True)
class Features:
    """Data of the regions.

    Attributes:
        tables: Tables by name.
        xy: Centres in metres, [n, 2], or None.
        prior: Predictions of a model of other cities in the learned form, or None.
        spacing: As in `RegionData`.
    """

    tables: Mapping[str, Table]
    xy: Array | None = None
    prior: Prior | None = None
    spacing: float | None = None


class _Member(NamedTuple):
    """A fitted member: what it reads (a key of `_Readings`), and whether it predicts the learned form."""

    reads: str
    predict: Predict
    learned_form: bool


class SuperLearner:
    """Ridge and Gaussian processes on every table, trees on those of features, a smoother on coordinates, and the mean.

    With a prior p there are more members: `level + slope · p`, and kriging with this drift on each table and the
    coordinates. It is expected that these share the weight, as `LABELS_TO_LEAVE` labels would say.

    Weights minimise the squared error of held-out predictions: of a regression in the target's own units, of classes
    that of the probabilities (the Brier score). Without a prior they are pulled towards equal weights of all members
    but the mean, as `GROUPS_TO_LEAVE` groups of regions would: the few blocks of a spatial split cannot tell good
    members apart. Ridge and the Gaussian process predict the learned form of the target, the others its own units, of
    which they give means. The predicted class is argmax p / share^`BALANCE`, with joined probabilities p and the
    shares of the classes.

    Attributes:
        weights: weight by member, such as `boosting on features`; none is negative, their sum is 1.
        log_shares: logarithms of the shares of the classes, [classes].
    """

    def __init__(
        self,
        features: Features,
        y: Array,
        *,
        classified: bool,
        groups: NDArray[np.int64] | None = None,
        transform: Transform | None = None,
        seed: int = 0,
    ) -> None:
        """Fit to training regions.

        Args:
            features: the training regions, n rows.
            y: learned form of the target, [n, 1], or a column of 0 and 1 for each class, [n, classes].
            classified: whether the columns of `y` are classes.
            groups: int64 [n]; regions of one group stay in one inner fold. None folds single regions.
            transform: how `y` was made from the target's own units; None if these are the same.
            seed: decides every random choice.
        """
        self.classified, self.transform = classified, None if classified else transform
        self.learned, self.original, self.prior = _Unit(0.0, 1.0), _Unit(0.0, 1.0), features.prior
        if not classified:
            self.learned, self.original = _Unit.of(y), _Unit.of(self._inverse(y))
        self.log_shares = log_shares(y)
        self.scalers: dict[str, Scaler] = {}
        self.bins: dict[str, Bins] = {}
        self._members: dict[str, _Member] = {}
        if self.prior is not None:
            level = self.learned.scaled(self.prior.level)
            self.prior = replace(self.prior, level=level, size=self.prior.size / self.learned.std)
        if (y == y[0]).all() and self.prior is not None:
            corrected = members.regression_from(self.prior.columns, self.learned.scaled(y), self.prior)
            self._members[PRIOR] = _Member(PRIOR, corrected, True)
            self.weights = {PRIOR: 1.0}
            return
        if (y == y[0]).all():  # nothing to learn, or a single region
            of_all = self.original.scaled(self._inverse(y[0]))
            self._members["mean"] = _Member("nothing", members.constant(of_all), False)
            self.weights = {"mean": 1.0}
            return
        folds = inner_folds(len(y), groups, np.random.default_rng(seed))
        learned = Training(self.learned.scaled(y), folds, classified, seed)
        original = Training(self.original.scaled(self._inverse(y)), folds, classified, seed)
        for name, table in features.tables.items():
            self.scalers[name] = Scaler(table)
            if not table.learned:
                self.bins[name] = Bins(self.scalers[name].scaled(table.values))
        held_out, expected = {}, []
        # The matrices are small: threads take longer to meet than to compute.
        with threadpool_limits(1):
            readings = self._readings(features)
            for name, reads, fit, in_learned_form in self._kinds(features):
                fitted = fit(readings[reads], learned if in_learned_form else original)
                self._members[name] = _Member(reads, fitted.predict, in_learned_form)
                held_out[name] = self._comparable(fitted.held_out, in_learned_form)
                expected.append(reads.startswith(PRIOR) if self.prior is not None else reads != "nothing")
        matrix = np.stack([predictions.ravel() for predictions in held_out.values()], axis=1)
        regions_a_group = len(y) / len(np.unique(groups_of(len(y), groups)))
        strength = LABELS_TO_LEAVE if self.prior is not None else GROUPS_TO_LEAVE * regions_a_group
        weights = simplex_weights(matrix, original.y.ravel(), np.array(expected) / sum(expected), strength * y.shape[1])
        self.weights = {name: float(weight) for name, weight in zip(held_out, weights, strict=True)}

    def predict(self, features: Features) -> Array:
        """Return the learned form of the target, [m, 1], or the joined probabilities of the classes, [m, classes]."""
        joined: Array = np.zeros(1)
        with threadpool_limits(1):
            readings = self._readings(features)
            for name, weight in self.weights.items():
                if weight > 0:
                    member = self._members[name]
                    predicted = self._comparable(member.predict(readings[member.reads]), member.learned_form)
                    joined = joined + weight * predicted
        if self.classified:
            return joined
        original = self.original.unscaled(joined)
        return original if self.transform is None else self.transform.transform(original)

    def logits(self, probabilities: Array) -> Array:
        """Return what is largest for the predicted class, [m, classes]: log p - b log share."""
        return balanced_logits(probabilities, BALANCE, self.log_shares)

    def _kinds(self, features: Features) -> list[tuple[str, str, Fit, bool]]:
        """Return for each member its name, its table, its fit function, and whether it predicts the learned form."""
        kinds: list[tuple[str, str, Fit, bool]] = [("mean", "nothing", members.mean, False)]
        for name, scaler in self.scalers.items():
            process = partial(members.gaussian_process, blocks=scaler.blocks)
            # Of population density in New York the trend adds 0.01 to R² between regions and takes 0.03 beyond them.
            kinds += [
                (f"ridge on {name}", name, members.ridge, True),
                (f"gp on {name}", name, partial(process, linear=False), True),
                (f"gp with trend on {name}", name, partial(process, linear=True), True),
            ]
            if name in self.bins:
                kinds.append((f"forest on {name}", f"{name} for trees", members.forest, False))
                kinds.append((f"boosting on {name}", f"{name} for trees", members.boosting, False))
        if self.prior is not None:
            kinds.append((PRIOR, PRIOR, partial(members.from_prior, prior=self.prior), True))
            located, spacing = features.xy is not None, features.spacing
            for name, scaler in self.scalers.items():
                kriging = partial(members.kriging, blocks=scaler.blocks, located=located, spacing=spacing)
                reads = f"{PRIOR} and {name}"
                kinds.append((reads, reads, partial(kriging, prior=self.prior), True))
        if features.xy is not None:
            kinds.append(("smoother on coordinates", "coordinates", members.smoother, False))
        return kinds

    def _readings(self, features: Features) -> dict[str, Array]:
        readings = {}
        for name, scaler in self.scalers.items():
            readings[name] = scaler.scaled(features.tables[name].values)
            if name in self.bins:
                readings[f"{name} for trees"] = self.bins[name](readings[name])
            if features.prior is not None:
                located = [] if features.xy is None else [features.xy]
                readings[f"{PRIOR} and {name}"] = np.hstack([features.prior.columns, *located, readings[name]])
        if features.xy is not None:
            readings["coordinates"] = features.xy
        if features.prior is not None:
            readings[PRIOR] = features.prior.columns
        n = len(next(iter(features.tables.values())).values)
        return {"nothing": np.empty((n, 0)), **readings}

    def _comparable(self, predictions: Array, learned_form: bool) -> Array:
        """Probabilities, or standardised values in the target's own units."""
        if self.classified:
            predictions = np.clip(predictions, SMALLEST, None)
            return predictions / predictions.sum(axis=1, keepdims=True)
        if not learned_form:
            return predictions
        return self.original.scaled(self._inverse(self.learned.unscaled(predictions)))

    def _inverse(self, y: Array) -> Array:
        return y if self.transform is None else self.transform.inverse(y)


def log_shares(y: Array) -> Array:
    """Return the logarithms of the shares of the classes in labels `y` [n, classes], columns of 0 and 1.

    A class without a label counts as one label. If all labels are of one class, they say nothing of shares: zeros.
    """
    shares = y.mean(axis=0)
    return np.log(np.maximum(shares, 1 / len(y))) if np.count_nonzero(shares) > 1 else np.zeros(len(shares))


def balanced_logits(probabilities: Array, balance: float, log_shares: Array) -> Array:
    """Return what is largest for the predicted class, [n, classes]: log p - b log share, with the exponent b."""
    return np.log(probabilities) - balance * log_shares


class _Unit(NamedTuple):
    """Mean and standard deviation of training labels."""

    mean: float
    std: float

    @classmethod
    def of(cls, y: Array) -> _Unit:
        mean, std = float(y.mean()), float(y.std())
        return cls(mean, std if std > 1e-12 * max(abs(mean), 1.0) else 1.0)

    def scaled(self, y: Array) -> Array:
        return (y - self.mean) / self.std

    def unscaled(self, y: Array) -> Array:
        return y * self.std + self.mean
