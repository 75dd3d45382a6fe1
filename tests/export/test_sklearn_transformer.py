"""`UrbanEmbedding` as scikit-learn uses it."""

import inspect
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from helpers.small_run import ODD, squares
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from urbankit import Run, UrbanEmbedding, UserError

# scikit-learn makes the input of an estimator that takes one column 1-D, and these checks then index it as a matrix.
MATRIX = "indexes the one column of ids as a matrix"
NOT_APPLICABLE = {
    "check_dont_overwrite_parameters": MATRIX,
    "check_n_features_in_after_fitting": MATRIX,
    "check_n_features_in": MATRIX,
    "check_f_contiguous_array_estimator": MATRIX,
    "check_transformer_data_not_an_array": MATRIX,
    "check_transformer_general": MATRIX,
    "check_methods_sample_order_invariance": MATRIX,
    "check_methods_subset_invariance": MATRIX,
    "check_fit2d_1sample": MATRIX,
    "check_fit2d_1feature": MATRIX,
    "check_dict_unchanged": MATRIX,
    "check_fit2d_predict1d": MATRIX,
    "check_estimator_sparse_array": "makes a sparse array of the one column, which scipy cannot convert",
    "check_fit1d": "a 1-D column of ids is what it takes",
    "check_estimators_empty_data_messages": "an empty table has an empty embedding; nothing is learned from rows",
}


@pytest.fixture
def run_in_folder(make_run, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run folder `run` in the working folder, whose name is the same for every worker."""
    make_run(tasks=())
    monkeypatch.chdir(tmp_path)


# Releases of scikit-learn for Python 3.10 lack the argument, and have a check more that does so.
STRICT = {"xfail_strict": True} if "xfail_strict" in inspect.signature(parametrize_with_checks).parameters else {}
if not STRICT:
    NOT_APPLICABLE["check_dtype_object"] = MATRIX


@parametrize_with_checks(
    [UrbanEmbedding("run", unknown="mean")], expected_failed_checks=lambda _: NOT_APPLICABLE, **STRICT
)
def test_transformer_passes_the_checks_of_scikit_learn(run_in_folder, estimator, check) -> None:
    check(estimator)


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param(lambda ids: ids, id="list"),
        pytest.param(np.array, id="array"),
        pytest.param(lambda ids: np.array(ids)[:, None], id="array of one column"),
        pytest.param(lambda ids: np.array(ids, dtype=object), id="objects"),
        pytest.param(pd.Series, id="series"),
        pytest.param(lambda ids: pd.Series(ids, dtype="category"), id="categories"),
        pytest.param(lambda ids: pd.DataFrame({"tract": ids}), id="table"),
        pytest.param(lambda ids: pl.DataFrame({"tract": ids}), id="polars"),
        pytest.param(lambda ids: pl.Series(ids), id="polars series"),
    ],
)
def test_transformer_accepts_every_form_of_a_column(make_run, ids) -> None:
    run = make_run()
    region_ids = ['q"q', "007", "line\nbreak", "007"]
    embeddings = UrbanEmbedding(run.path).fit_transform(ids(region_ids))
    np.testing.assert_array_equal(embeddings, run.vectors[[3, 0, 4, 0]])
    assert embeddings.dtype == np.float32


def test_transformer_works_in_pipelines_and_can_be_cloned(make_run) -> None:
    run = make_run()
    table = pd.DataFrame({"tract": ODD * 2, "rooms": np.arange(24.0)})
    y = np.tile(run.vectors[:, 0] * 3 + 1, 2)
    columns = ColumnTransformer([("place", UrbanEmbedding(run.path), ["tract"])], remainder="passthrough")
    model = make_pipeline(columns, StandardScaler(), Ridge(alpha=1e-6))
    assert cross_val_score(model, table, y, cv=2).min() > 0.99
    named = columns.set_output(transform="pandas").fit_transform(table)
    assert named.columns.tolist() == [*(f"place__e{i}" for i in range(5)), "remainder__rooms"]
    copied = clone(UrbanEmbedding(run, unknown="mean"))
    assert copied.unknown == "mean" and isinstance(copied.run, Run)
    one = columns.named_transformers_["place"]
    assert one.n_features_in_ == 1 and one.feature_names_in_.tolist() == ["tract"]


def test_set_output_keeps_the_index(make_run) -> None:
    table = pd.DataFrame({"tract": ["10", "007"]}, index=["x", "y"])
    made = UrbanEmbedding(make_run().path).set_output(transform="pandas").fit_transform(table)
    assert made.index.tolist() == ["x", "y"] and made.columns.tolist() == ["e0", "e1", "e2", "e3", "e4"]


def test_unknown_ids_are_refused_or_filled(make_run) -> None:
    run = make_run()
    ids = np.array(["10", "13", "nowhere", None], dtype=object)
    with pytest.raises(UserError) as caught:
        UrbanEmbedding(run).fit(ids).transform(ids)
    message = str(caught.value)
    assert "no region of 12 has the id '13' (closest: '1" in message and "'nowhere'" in message
    assert "missing (no id)" in message and "numbers" not in message
    embeddings = UrbanEmbedding(run, unknown="nan").fit_transform(ids)
    np.testing.assert_array_equal(embeddings[0], run.vectors[9])
    assert np.isnan(embeddings[1:]).all()
    embeddings = UrbanEmbedding(run, unknown="mean").fit_transform(ids)
    np.testing.assert_allclose(embeddings[1:], np.tile(run.vectors.mean(axis=0), (3, 1)), rtol=1e-6)


def test_numbers_are_matched_to_ids_of_digits(make_run) -> None:
    tracts = [f"0{i}061" for i in range(10, 22)]  # digits of one width: zeros that a reader dropped come back
    run = make_run(squares(tracts), tasks=())
    for numbers in (np.array([11061, 10061]), np.array([11061.0, 10061.0]), pd.Series([11061, 10061], dtype="Int64")):
        np.testing.assert_array_equal(UrbanEmbedding(run).fit_transform(numbers), run.vectors[[1, 0]])
    run = make_run(name="odd", tasks=())  # '007' and '10': of several widths
    np.testing.assert_array_equal(UrbanEmbedding(run).fit_transform([10, 11]), run.vectors[[9, 10]])
    with pytest.raises(UserError, match=r"are numbers \(int64\), those of the regions text such as '007'.*dtype=str"):
        UrbanEmbedding(run).fit_transform(np.array([7, 10]))


def test_wrong_arguments_of_the_transformer_are_refused(make_run) -> None:
    run = make_run()
    two = pd.DataFrame({"a": ["10"], "b": ["11"]})
    with pytest.raises(UserError, match=r"one column of region ids, not an array of shape \(1, 2\)"):
        UrbanEmbedding(run).fit(two)
    with pytest.raises(UserError, match="unknown is one of error, nan, mean, not 'drop'"):
        UrbanEmbedding(run, unknown="drop").fit(["10"])
    with pytest.raises(UserError, match="name the run"):
        UrbanEmbedding().fit(["10"])
    with pytest.raises(UserError, match="is not a run folder"):
        UrbanEmbedding(run.path / "nowhere").fit(["10"])
    with pytest.raises(NotFittedError):
        UrbanEmbedding(run).transform(["10"])
    assert UrbanEmbedding(run).fit_transform([]).shape == (0, 5)


def test_importing_urbankit_does_not_import_scikit_learn() -> None:
    code = "import sys, urbankit; assert not {'sklearn', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
