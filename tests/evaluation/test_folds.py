"""The folds protocol against scikit-learn done by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, r2_score
from sklearn.model_selection import KFold

from urbankit.evaluation import floors as floors_module
from urbankit.evaluation.folds import check_folds, evaluate_fold_floors, evaluate_folds, make_folds
from urbankit.evaluation.raw_features import RawFeatures
from urbankit.evaluation.tasks import make_task
from urbankit.recipe.schema import Folds
from urbankit.utils.errors import UserError

SEEDS = [3, 5]
FLOORS = ["mean", "location", "raw-ridge", "raw-forest"]


@pytest.fixture(scope="module")
def embeddings(small: SimpleNamespace) -> np.ndarray:
    """Wide enough for the penalty to matter, of columns of different sizes."""
    rng = np.random.default_rng(1)
    return np.hstack([np.nan_to_num(small.raw.values), rng.normal(0, 5, (150, 30))]).astype(np.float32)


def values(scored, model: str, task: str, seed: int) -> dict[str, float]:
    rows = [r for r in scored.records if (r["model"], r["task"], r["seed"]) == (model, task, seed)]
    assert all(row["split"] == "folds" for row in rows)
    return {row["metric"]: row["value"] for row in rows}


def by_hand(x: np.ndarray, y: np.ndarray, folds: Folds) -> tuple[np.ndarray, np.ndarray]:
    """Pooled predictions and each fold's own R²."""
    pooled, r2_of_folds = np.zeros(len(y)), []
    for train, test in KFold(folds.number).split(x):
        pooled[test] = Ridge(alpha=folds.alpha).fit(x[train], y[train]).predict(x[test])
        if folds.clip:
            pooled[test] = np.maximum(pooled[test], 0)
        r2_of_folds.append(r2_score(y[test], pooled[test]))
    return pooled, np.array(r2_of_folds)


@pytest.mark.parametrize("folds", [Folds(), Folds(number=7, alpha=30.0, clip=False)])
def test_ridge_over_consecutive_folds_equals_a_direct_computation(small, embeddings, folds: Folds) -> None:
    y = small.tasks["y"].y
    labelled = ~np.isnan(y)
    pooled, r2_of_folds = by_hand(embeddings[labelled].astype(np.float64), y[labelled], folds)
    scored = evaluate_folds("m", embeddings, {"y": small.tasks["y"]}, folds, SEEDS)
    scores = values(scored, "m", "y", 3)
    assert scores["r2"] == pytest.approx(r2_score(y[labelled], pooled))
    assert scores["r2_fold_mean"] == pytest.approx(r2_of_folds.mean())
    assert scores["mae"] == pytest.approx(np.abs(pooled - y[labelled]).mean())
    assert (
        scores["rmse"] == pytest.approx(scores["mse"] ** 0.5) == pytest.approx(np.std(pooled - y[labelled]), rel=0.01)
    )
    assert values(scored, "m", "y", 5) == {}, "ridge has no seed: one record"
    table = scored.predictions
    np.testing.assert_array_equal(table["region"], np.flatnonzero(labelled))
    np.testing.assert_allclose(table["prediction"], pooled)
    np.testing.assert_array_equal(table["truth"], y[labelled])
    sizes = [len(test) for _, test in KFold(folds.number).split(pooled)]
    assert table["fold"].tolist() == np.repeat([str(k) for k in range(folds.number)], sizes).tolist()
    assert (table["seed"] == 3).all()


def test_pooled_and_fold_mean_r2_differ_if_folds_differ_in_level() -> None:
    rng = np.random.default_rng(0)
    x = np.repeat(np.arange(5.0), 20)[:, None]
    task = make_task("y", "regression", 100 * x[:, 0] + rng.normal(0, 1, 100))
    scores = values(evaluate_folds("m", x, {"y": task}, Folds(alpha=1e-6), [0]), "m", "y", 0)
    assert scores["r2"] > 0.99 > 0.1 > scores["r2_fold_mean"]


def test_predictions_are_clipped_at_zero_only_if_targets_are_not_negative() -> None:
    x = np.linspace(-1, 1, 50)[:, None]
    low = evaluate_folds("m", x, {"y": make_task("y", "regression", np.maximum(x[:, 0], 0))}, Folds(), [0])
    assert low.predictions["prediction"].min() == 0
    either = evaluate_folds("m", x, {"y": make_task("y", "regression", x[:, 0])}, Folds(), [0])
    assert either.predictions["prediction"].min() < 0
    unclipped = evaluate_folds(
        "m", x, {"y": make_task("y", "regression", np.maximum(x[:, 0], 0))}, Folds(clip=False), [0]
    )
    assert unclipped.predictions["prediction"].min() < 0


def test_classes_are_clustered_once_for_each_seed(small, embeddings) -> None:
    task = small.tasks["c"]
    scored = evaluate_folds("m", embeddings, {"c": task}, Folds(starts=2), SEEDS)
    for seed in SEEDS:
        clusters = KMeans(2, n_init=2, random_state=seed).fit_predict(embeddings.astype(np.float64))
        assert values(scored, "m", "c", seed) == {
            "nmi": pytest.approx(normalized_mutual_info_score(task.y, clusters)),
            "ari": pytest.approx(adjusted_rand_score(task.y, clusters)),
        }
    assert scored.predictions.empty


def test_clusters_read_no_label_and_labels_of_a_fold_do_not_reach_its_prediction(small, embeddings) -> None:
    y = small.tasks["y"].y
    test = make_folds(~np.isnan(y), 5)[2].test
    changed = y.copy()
    changed[test] = 1e6
    before, after = (
        evaluate_folds("m", embeddings, {"y": make_task("y", "regression", labels)}, Folds(), [0]).predictions
        for labels in (y, changed)
    )
    in_fold = (before["fold"] == "2").to_numpy()
    np.testing.assert_array_equal(before["prediction"][in_fold], after["prediction"][in_fold])
    assert not np.allclose(before["prediction"][~in_fold], after["prediction"][~in_fold])


def test_floors_use_the_same_folds(small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floors_module, "TREES", 20)
    task, folds = small.tasks["y"], Folds()
    rows = np.flatnonzero(task.labelled)
    scored = evaluate_fold_floors({"y": task}, small.raw, small.xy, FLOORS, folds, SEEDS)
    expected: dict[str, list[float]] = {floor: [] for floor in FLOORS}
    x = small.raw.filled(rows)
    x = (x - x[rows].mean(axis=0)) / x[rows].std(axis=0)
    for split in make_folds(task.labelled, 5):
        y = task.y[split.train]
        near = np.argsort(np.linalg.norm(small.xy[split.train] - small.xy[split.test, None], axis=2), axis=1)[:, :5]
        forest = RandomForestRegressor(20, min_samples_leaf=3, max_features=x.shape[1], max_samples=1.0, random_state=0)
        expected["mean"] += [y.mean()] * len(split.test)
        expected["location"] += y[near].mean(axis=1).tolist()
        expected["raw-ridge"] += (
            RidgeCV(alphas=floors_module.ALPHAS).fit(x[split.train], y).predict(x[split.test]).tolist()
        )
        expected["raw-forest"] += forest.fit(x[split.train], y).predict(x[split.test]).tolist()
    for floor in FLOORS:
        table = scored.predictions.query("model == @name", local_dict={"name": f"floor:{floor}"})
        np.testing.assert_array_equal(table["region"], rows)
        np.testing.assert_allclose(table["prediction"], expected[floor], rtol=1e-6)
        assert values(scored, f"floor:{floor}", "y", 3)["r2"] == pytest.approx(r2_score(task.y[rows], expected[floor]))


def test_floors_of_classes_cluster_their_features(small) -> None:
    task = small.tasks["c"]
    scored = evaluate_fold_floors({"c": task}, small.raw, small.xy, FLOORS, Folds(), [0])
    x = small.raw.filled(np.arange(150))
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    for floor, table in (("location", small.xy), ("raw-kmeans", x)):
        clusters = KMeans(2, n_init=10, random_state=0).fit_predict(table)
        scores = values(scored, f"floor:{floor}", "c", 0)
        assert scores["nmi"] == pytest.approx(normalized_mutual_info_score(task.y, clusters))
    assert {r["model"] for r in scored.records} == {"floor:location", "floor:raw-kmeans"}
    assert evaluate_fold_floors({"c": task}, small.raw, small.xy, ["mean"], Folds(), [0]).records == []


def test_folds_equal_those_of_scikit_learn_over_the_labelled_regions() -> None:
    labelled = np.random.default_rng(0).random(53) < 0.7
    regions = np.flatnonzero(labelled)
    for split, (train, test) in zip(make_folds(labelled, 4), KFold(4).split(regions), strict=True):
        np.testing.assert_array_equal(split.train, regions[train])
        np.testing.assert_array_equal(split.test, regions[test])
        assert split.validation.size == 0


def test_too_few_labels_for_the_folds_are_reported_for_every_task() -> None:
    tasks = {name: make_task(name, "regression", np.arange(12.0)) for name in ("a", "b")}
    check_folds(tasks, Folds(number=12))
    with pytest.raises(UserError) as caught:
        check_folds(tasks, Folds(number=13))
    assert [problem.key for problem in caught.value.problems] == ["tasks.a", "tasks.b"]
    assert "12 labelled regions cannot make 13 folds" in str(caught.value)


def test_ridge_without_any_valid_feature_predicts_the_mean() -> None:
    task = make_task("y", "regression", np.arange(20.0))
    raw = RawFeatures(np.full((20, 1), np.nan), ("nothing",))
    scored = evaluate_fold_floors({"y": task}, raw, np.zeros((20, 2)), ["mean", "raw-ridge"], Folds(), [0])
    mean, ridge = (values(scored, f"floor:{floor}", "y", 0) for floor in ("mean", "raw-ridge"))
    assert ridge == pytest.approx(mean)
