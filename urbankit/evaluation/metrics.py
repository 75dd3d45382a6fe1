"""The metrics of a prediction, in the target's own units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, adjusted_rand_score, f1_score, normalized_mutual_info_score, recall_score

METRICS = {
    "regression": ("r2", "mae", "rmse", "mse"),
    "classification": ("macro_f1", "weighted_f1", "macro_recall", "accuracy"),
}
"""The metrics of each kind of task; the first is the one models are chosen and compared by."""

HIGHER_IS_BETTER = {"r2", "r2_fold_mean", "macro_f1", "weighted_f1", "macro_recall", "accuracy", "nmi", "ari"}

LABELS = {
    "r2": "R²", "r2_fold_mean": "fold-mean R²", "mae": "MAE", "rmse": "RMSE", "mse": "MSE",
    "macro_f1": "macro-F1", "weighted_f1": "weighted F1", "macro_recall": "macro recall", "accuracy": "accuracy",
    "nmi": "NMI", "ari": "ARI",
}  # fmt: skip


def score(kind: str, truth: NDArray, prediction: NDArray) -> dict[str, float]:
    """Every metric of `kind` ("regression" or "classification") of predictions [n] against the truth [n]."""
    return regression(truth, prediction) if kind == "regression" else classification(truth, prediction)


def regression(truth: NDArray[np.float64], prediction: NDArray[np.float64]) -> dict[str, float]:
    """`r2`, `mae`, `rmse`, `mse`. R² of a constant truth, or of fewer than two values, is NaN: it is not defined."""
    truth, prediction = np.asarray(truth, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    error = prediction - truth
    mse = float(np.mean(error**2))
    variance = float(np.var(truth)) if truth.min() < truth.max() else 0.0
    r2 = 1 - mse / variance if variance > 0 else float("nan")
    return {"r2": r2, "mae": float(np.mean(np.abs(error))), "rmse": mse**0.5, "mse": mse}


def classification(truth: NDArray, prediction: NDArray) -> dict[str, float]:
    """`macro_f1`, `weighted_f1`, `macro_recall`, `accuracy` of class codes or names.

    Macro means are over the classes that occur in the truth or in the prediction (scikit-learn's default): a class
    that is predicted but never true counts as 0. The weighted F1 weighs classes by how often they are true.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    return {
        "macro_f1": float(f1_score(truth, prediction, average="macro", zero_division=0)),
        "weighted_f1": float(f1_score(truth, prediction, average="weighted", zero_division=0)),
        "macro_recall": float(recall_score(truth, prediction, average="macro", zero_division=0)),
        "accuracy": float(accuracy_score(truth, prediction)),
    }


def clustering(truth: NDArray, cluster: NDArray) -> dict[str, float]:
    """`nmi` (normalised by the mean of both entropies) and `ari` of clusters [n] against the true classes [n]."""
    return {
        "nmi": float(normalized_mutual_info_score(truth, cluster)),
        "ari": float(adjusted_rand_score(truth, cluster)),
    }
