"""The weights of a super learner, and the folds that they are computed from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

FOLDS = 5


def simplex_weights(
    predictions: NDArray[np.float64],
    truth: NDArray[np.float64],
    expected: NDArray[np.float64] | None = None,
    strength: float = 0.0,
) -> NDArray[np.float64]:
    """Return weights that are not negative, sum to one and minimise the squared error of the joined predictions.

    This is the super learner of van der Laan, Polley and Hubbard (2007). With D = P - y, least squares of (D, 1) w on
    (0, 1) over w >= 0 has the solution t·v, v being the best weights that sum to one: for a given direction the error
    is t²|Dv|² + (t - 1)², whose smallest value over t grows with |Dv|².

    Args:
        predictions: held-out predictions, [n, members].
        truth: what they predict, [n].
        expected: weights that are expected without any prediction, [members], sum 1; None expects nothing.
        strength: the number of predictions that `expected` counts as. `strength` times the mean squared error of the
            best member times |weights - expected|² is added to the squared error.
    """
    difference = predictions - truth[:, None]
    scale = np.sqrt(np.square(difference).sum(axis=0).min())
    if not scale > 0:  # a member without any error
        return np.eye(predictions.shape[1])[np.square(difference).sum(axis=0).argmin()]
    # The orthogonal factor keeps all sums of squares, in a matrix of members by members.
    rows = [np.linalg.qr(difference / scale, mode="r")]
    if expected is not None:
        # As weights sum to one, weights - expected is linear in them. Squared errors of the best member sum to one.
        pull = np.sqrt(strength / len(truth)) * (np.eye(len(expected)) - expected[:, None])
        rows.append(pull)
    matrix = np.vstack([*rows, np.ones((1, predictions.shape[1]))])
    weights, _ = nnls(matrix, np.append(np.zeros(len(matrix) - 1), 1.0))
    return weights / weights.sum()


def groups_of(n: int, groups: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Return the group of each of `n` regions; each is a group of its own without groups, or if there is only one."""
    return np.arange(n) if groups is None or len(np.unique(groups)) < 2 else groups


def inner_folds(n: int, groups: NDArray[np.int64] | None, random: np.random.Generator) -> NDArray[np.int64]:
    """Return the fold of each of `n` regions, int64 [n]: at most `FOLDS`, and fewer where there are fewer groups.

    Args:
        n: number of regions.
        groups: group of each region, [n]; a group is not divided, unless there is only one. None for none.
        random: draws the folds.
    """
    _, group = np.unique(groups_of(n, groups), return_inverse=True)
    sizes = np.bincount(group)
    order = random.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]  # large groups first, so that folds are of equal size
    filled = np.zeros(min(FOLDS, len(sizes)), dtype=np.int64)
    fold_of_group = np.empty(len(sizes), dtype=np.int64)
    for index in order:
        fold = int(filled.argmin())
        fold_of_group[index] = fold
        filled[fold] += sizes[index]
    return fold_of_group[group]
