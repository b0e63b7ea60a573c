"""The estimator for scikit-learn: its protocol, and the labels and scores of scikit-learn's own mixture."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn import mixture
from sklearn.base import clone
from sklearn.datasets import load_iris, make_blobs
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from vifx.em.sklearn import GaussianMixture

IRIS = load_iris().data
KINDS = ("full", "tied", "diag", "spherical")
SKIPPED = {"check_array_api_input": "skipped"}  # it asks for SCIPY_ARRAY_API, of scikit-learn's own estimator too
ATTRIBUTES = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")


def both(x=IRIS, **options):
    """Ours and scikit-learn's, fitted with the same arguments."""
    options = {"n_components": 3, "reg_covar": 0.0, "random_state": 0, **options}
    return GaussianMixture(**options).fit(x), mixture.GaussianMixture(**options).fit(x)


def same(ours, theirs, x=IRIS, *, tolerance=1e-9):
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    for name in ("predict_proba", "score_samples", "score", "bic", "aic"):
        found, expected = getattr(ours, name)(x), getattr(theirs, name)(x)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    for name in ATTRIBUTES:
        found, expected = getattr(ours, name), getattr(theirs, name)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=10 * tolerance, atol=10 * tolerance * np.abs(expected).max())
    assert (ours.n_iter_, ours.converged_) == (theirs.n_iter_, theirs.converged_)
    np.testing.assert_allclose(ours.lower_bound_, theirs.lower_bound_, rtol=tolerance)
    np.testing.assert_allclose(ours.lower_bounds_, theirs.lower_bounds_, rtol=tolerance)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_scikit_learns_labels_and_scores(kind):
    """In float64, whatever jax is set to: updates, attributes and draws too."""
    ours, theirs = both(covariance_type=kind)
    same(ours, theirs)
    assert ours.score_samples(IRIS).dtype == np.float64
    for found, expected in zip(ours.sample(20), theirs.sample(20), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-7)
    np.testing.assert_array_equal(ours.fit_predict(IRIS), theirs.fit_predict(IRIS))


@pytest.mark.thorough
@pytest.mark.parametrize("start", ["random", "random_from_data", "k-means++"])
def test_every_start_is_scikit_learns(start):
    x = make_blobs(90, centers=3, random_state=1)[0]
    options = {"init_params": start, "n_init": 2, "tol": 1e-6, "max_iter": 300}
    # One example is no covariance: what scikit-learn adds to zero is the floor.
    options |= {"reg_covar": 1e-9} if start != "random" else {}
    ours, theirs = both(x, **options)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    np.testing.assert_allclose(ours.score_samples(x), theirs.score_samples(x), rtol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_given_parameters_are_where_it_starts(kind):
    precisions = {"full": [np.eye(4)] * 2, "tied": np.diag([1.0, 2, 3, 4]), "diag": np.full((2, 4), 2.0)}
    given = {
        "weights_init": [0.3, 0.7],
        "means_init": IRIS[[0, 120]],
        "precisions_init": precisions.get(kind, np.array([1.0, 3.0])),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ours, theirs = both(n_components=2, covariance_type=kind, max_iter=5, tol=0.0, **given)
    same(ours, theirs)


@pytest.mark.thorough
def test_a_warm_start_goes_on():
    whole, halves = (GaussianMixture(3, random_state=0, tol=0.0, max_iter=n) for n in (8, 4))
    halves.set_params(warm_start=True)
    with pytest.warns(ConvergenceWarning, match="did not converge in 8 updates"):
        whole.fit(IRIS)
    with pytest.warns(ConvergenceWarning, match="did not converge in 4 updates"):
        halves.fit(IRIS)
    with pytest.warns(ConvergenceWarning, match="did not converge in 4 updates"):
        halves.fit(IRIS)
    np.testing.assert_allclose(halves.means_, whole.means_, rtol=1e-9)


@pytest.mark.thorough
def test_float32_stays_float32():
    ours, theirs = both(IRIS.astype(np.float32), covariance_type="diag", tol=1e-2)
    assert {getattr(ours, name).dtype for name in ATTRIBUTES} == {np.dtype(np.float32)}
    np.testing.assert_allclose(ours.score_samples(IRIS.astype(np.float32)), theirs.score_samples(IRIS), rtol=1e-2)


@pytest.mark.thorough
def test_it_goes_into_a_pipeline_and_is_cloned():
    ours, theirs = (
        make_pipeline(StandardScaler(), make(3, reg_covar=0.0, random_state=0)).fit(IRIS)
        for make in (GaussianMixture, mixture.GaussianMixture)
    )
    assert ours.score(IRIS) == pytest.approx(theirs.score(IRIS), rel=1e-9)
    copy = clone(ours[-1])
    assert copy.get_params() == ours[-1].get_params()
    assert not hasattr(copy, "means_")


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_it_passes_every_check_of_scikit_learn():
    found = check_estimator(GaussianMixture(max_iter=5), on_skip=None)
    assert len(found) > 30
    assert {each["check_name"]: each["status"] for each in found if each["status"] != "passed"} == SKIPPED


@pytest.mark.first(5)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_components": 0}, "n_components must be an integer ≥ 1, got 0"),
        ({"tol": -1.0}, "tol must be a finite number ≥ 0"),
        ({"covariance_type": "diagonal"}, "covariance_type must be one of full, tied, diag, spherical"),
        ({"init_params": "k-means"}, "did you mean 'k-means\\+\\+'|did you mean 'kmeans'"),
        ({"n_components": 200}, "Expected n_samples >= n_components"),
        ({"weights_init": [0.5, 0.6], "n_components": 2}, "weights_init must be at least 0 and sum to 1"),
        ({"means_init": np.zeros((1, 3))}, r"means_init must be finite numbers of the shape \[1, 4\]"),
        ({"precisions_init": [-np.eye(4)]}, "precisions_init must be positive definite"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(**options).fit(IRIS)


def test_nothing_is_answered_before_a_fit():
    for ask in ("predict", "predict_proba", "score_samples", "bic"):
        with pytest.raises(NotFittedError):
            getattr(GaussianMixture(), ask)(IRIS)
    with pytest.raises(NotFittedError):
        GaussianMixture().sample()
