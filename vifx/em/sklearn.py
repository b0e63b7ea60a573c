"""Gaussian mixtures with the protocol of scikit-learn's estimators, fitted by `vifx.em`."""

from __future__ import annotations

__all__ = ["GaussianMixture"]

import math
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from vifx.checks import require_choice, require_integer, require_number
from vifx.core.types import Key, Params, State
from vifx.em.answers import likeliest_states, state_probabilities
from vifx.em.families.gaussian import Covariance, gaussian
from vifx.em.families.whitening import Whitening
from vifx.em.fit import fit as fit_model
from vifx.em.fitted import Fit
from vifx.em.initial import from_responsibilities
from vifx.em.mixture import mixture
from vifx.em.model import Model

CovarianceType: TypeAlias = Literal["full", "tied", "diag", "spherical"]
InitParams: TypeAlias = Literal["kmeans", "k-means++", "random", "random_from_data"]

_KINDS: dict[str, Covariance] = {"full": "full", "tied": "tied", "diag": "diagonal", "spherical": "spherical"}


class _Best(NamedTuple):
    """The best of several starts: its fit after scikit-learn's number of updates, and its objective before each."""

    fit: Fit
    updates: int
    bounds: list[float]
    converged: bool


class GaussianMixture(DensityMixin, BaseEstimator):
    """A Gaussian mixture for scikit-learn's pipelines and searches: the estimator of its name, fitted by `vifx.em`.

    Arguments, attributes and methods are those of `sklearn.mixture.GaussianMixture`, and so are the starts of a
    `random_state` and each update, so that both find the same. What differs: `reg_covar` is the least variance in any
    direction, the M step the exact maximum over such covariances, and not a number added to each variance at each
    update, which maximizes nothing; with 0 the two are the same. A component that becomes empty gets half of the
    largest one. Arithmetic is in the precision of the data, float64 or float32, whatever jax is set to.

    Args:
      n_components: how many components.
      covariance_type: ``"full"``, ``"tied"``, ``"diag"`` or ``"spherical"``.
      tol: EM stops when the mean log-likelihood gains less, in nats per example.
      reg_covar: the least variance in any direction, in squared units of the data.
      max_iter: the most updates.
      n_init: how many starts; the best one is kept.
      init_params: ``"kmeans"``, ``"k-means++"``, ``"random"`` or ``"random_from_data"``.
      weights_init: weights to start from, ``[n_components]``, in place of those of `init_params`.
      means_init: means to start from, ``[n_components, n_features]``.
      precisions_init: inverse covariances to start from, in the shape of the covariance type.
      random_state: a seed, a `numpy.random.RandomState`, or None for another start at each call.
      warm_start: whether a further `fit` goes on from the last one.

    Attributes:
      weights_: ``[n_components]``.
      means_: ``[n_components, n_features]``.
      covariances_: full ``[n_components, n_features, n_features]``, tied ``[n_features, n_features]``, diag
        ``[n_components, n_features]``, spherical ``[n_components]``.
      precisions_: the inverse covariances.
      precisions_cholesky_: U with ``precision = U Uᵀ``, of diag and spherical the inverse standard deviations.
      converged_: whether the best start did.
      n_iter_: its number of updates.
      lower_bound_: its mean log-likelihood before the last update.
      lower_bounds_: before each one.

    Example:
      >>> import numpy as np
      >>> x = np.array([[1.0, 2.0], [1.1, 1.9], [0.9, 2.1], [8.0, 9.0], [8.1, 8.8], [7.9, 9.1]])
      >>> labels = GaussianMixture(2, random_state=0).fit_predict(x)
      >>> bool(labels[0] == labels[2] != labels[3])
      True
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: CovarianceType = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: InitParams = "kmeans",
        weights_init: ArrayLike | None = None,
        means_init: ArrayLike | None = None,
        precisions_init: ArrayLike | None = None,
        random_state: Any = None,
        warm_start: bool = False,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Fit the mixture to examples ``[n_samples, n_features]``; y is ignored.

        Raises:
          ValueError: an argument is out of range, or data that are not finite or too few.
        """
        del y
        self._check()
        data = _validated(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        if len(data) < self.n_components:
            raise ValueError(
                f"Expected n_samples >= n_components but got n_components = {self.n_components}, "
                f"n_samples = {len(data)}"
            )
        again = self.warm_start and hasattr(self, "means_")
        random = check_random_state(self.random_state)
        given = (self.weights_init, self.means_init, self.precisions_init)
        if again:
            given = (self.weights_, self.means_, self.precisions_)
            shares = [np.full((len(data), self.n_components), 1 / self.n_components, data.dtype)]
        else:
            shares = [self._responsibilities(data, random) for _ in range(self.n_init)]
        key = jax.random.key(random.randint(2**31 - 1))
        with jax.enable_x64(data.dtype == np.float64):
            found = [self._fitted(jax.random.fold_in(key, i), data, each, given) for i, each in enumerate(shares)]
        best = max(found, key=lambda each: each.bounds[-1])
        if not best.converged:
            warnings.warn(
                f"the best start did not converge in {best.updates} updates; raise max_iter or tol.",
                ConvergenceWarning,
                stacklevel=2,
            )
        self._keep(best)
        return self

    def fit_predict(self, X: ArrayLike, y: Any = None) -> np.ndarray:
        """Fit the mixture, and return the likeliest component of each example, ``[n_samples]``."""
        return self.fit(X, y).predict(X)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Return the likeliest component of each example, ``[n_samples]``."""
        return self._answer(likeliest_states, X).astype(np.int64)

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Return the probability of each component given an example, ``[n_samples, n_components]``."""
        return self._answer(state_probabilities, X)

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Return the log-density of each example in nats, ``[n_samples]``."""
        return self._answer(Model.log_prob, X)

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Return the mean log-density of the examples in nats; y is ignored."""
        del y
        return float(np.mean(self.score_samples(X)))

    def bic(self, X: ArrayLike) -> float:
        """Return ``degrees · log n_samples − 2 log-likelihood`` in nats; less is better."""
        each = self.score_samples(X)
        return self._degrees() * math.log(len(each)) - 2 * float(each.sum())

    def aic(self, X: ArrayLike) -> float:
        """Return ``2 degrees − 2 log-likelihood`` in nats; less is better."""
        return 2 * self._degrees() - 2 * float(self.score_samples(X).sum())

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Draw examples ``[n_samples, n_features]`` and their components ``[n_samples]``, component by component.

        Raises:
          ValueError: `n_samples` is not positive.
        """
        check_is_fitted(self)
        require_integer(n_samples, "sample: n_samples")
        random, size = check_random_state(self.random_state), self.means_.shape[1]
        counts = random.multinomial(
            n_samples, np.asarray(self.weights_, np.float64) / np.sum(self.weights_, dtype=float)
        )
        kind, covariances = self.covariance_type, self.covariances_
        each = np.broadcast_to(covariances, (len(counts), size, size)) if kind == "tied" else covariances
        drawn = [
            random.multivariate_normal(mean, spread, int(count))
            if kind in ("full", "tied")
            else mean + random.standard_normal(size=(count, size)) * np.sqrt(spread)
            for mean, spread, count in zip(self.means_, each, counts, strict=True)
        ]
        return np.vstack(drawn), np.repeat(np.arange(len(counts)), counts)

    def _check(self) -> None:
        for name in ("n_components", "max_iter", "n_init"):
            require_integer(int(value) if isinstance(value := getattr(self, name), np.integer) else value, name)
        for name in ("tol", "reg_covar"):
            require_number(getattr(self, name), name, least=0)
        require_choice(self.covariance_type, _KINDS, "covariance_type")
        require_choice(self.init_params, InitParams.__args__, "init_params")

    def _model(self) -> Model:
        return _mixture(int(self.n_components), _KINDS[self.covariance_type], float(self.reg_covar))

    def _responsibilities(self, data: np.ndarray, random: np.random.RandomState) -> np.ndarray:
        """Return where EM starts, ``[n_samples, n_components]``, by the same calls as scikit-learn's."""
        number = self.n_components
        if self.init_params == "random":
            drawn = random.uniform(size=(len(data), number))
            return (drawn / drawn.sum(axis=1, keepdims=True)).astype(data.dtype)
        if self.init_params == "kmeans":
            once: Any = 1  # its stubs know "auto" alone
            labels = KMeans(n_clusters=number, n_init=once, random_state=random).fit(data).labels_
            return np.eye(number, dtype=data.dtype)[labels]
        if self.init_params == "k-means++":
            seeds = kmeans_plusplus(data, number, random_state=random)[1]
        else:
            seeds = random.choice(len(data), size=number, replace=False)
        found = np.zeros((len(data), number), data.dtype)
        found[seeds, np.arange(number)] = 1
        return found

    def _fitted(self, key: Key, data: np.ndarray, shares: np.ndarray, given: tuple[Any, Any, Any]) -> _Best:
        """Return the fit of one start, with the update that scikit-learn makes before it looks whether to stop.

        Args:
          shares: the responsibilities that it starts from.
          given: weights, means and precisions in place of theirs, or None.
        """
        model = self._model()
        batch = {"x": jnp.asarray(data), "@responsibilities": jnp.asarray(shares)}
        stacked, state = from_responsibilities(jax.random.fold_in(key, 0), model, batch)
        start = (self._started(jax.tree.map(lambda leaf: leaf[0], stacked), given), state)
        options: dict[str, Any] = {"start": start, "tolerance": float(self.tol), "steps": int(self.max_iter)}
        found = fit_model(jax.random.fold_in(key, 1), model, data, **options)
        updates, bounds = len(found.history) - 1, [float(each) for each in found.history]
        if not found.converged:
            return _Best(found, updates, bounds[:-1], converged=False)
        options |= {"start": (found.params, found.state), "tolerance": 0.0, "steps": 1}
        last = fit_model(jax.random.fold_in(key, 2), model, data, **options)
        return _Best(last, updates + 1, bounds, converged=True)

    def _started(self, params: Params, given: tuple[Any, Any, Any]) -> Params:
        """Return parameters with those that are given in their place.

        Raises:
          ValueError: one has another shape, or weights or precisions are not those of a mixture.
        """
        weights, means, precisions = given
        own, size = dict(params["components"]), np.shape(params["components"]["mean"])
        found = {**params, "components": own}
        dtype = params["components"]["mean"].dtype
        if weights is not None:
            array = _shaped("weights_init", weights, size[:1])
            if (array < 0).any() or not np.isclose(array.sum(), 1, atol=1e-5):
                raise ValueError(f"weights_init must be at least 0 and sum to 1, got {weights}.")
            logits = np.log(np.maximum(array, np.finfo(dtype).tiny))
            found["weights"] = {"logits": jnp.asarray(logits[None], dtype)}
        if means is not None:
            own["mean"] = jnp.asarray(_shaped("means_init", means, size), dtype)
        if precisions is not None:
            name = "scale_tril" if self.covariance_type in ("full", "tied") else "scale"
            array = _shaped("precisions_init", precisions, np.shape(own[name]))
            own[name] = jnp.asarray(_scales(array) if name == "scale_tril" else 1 / np.sqrt(array), dtype)
        return found

    def _keep(self, best: _Best) -> None:
        """Set the attributes of a fit."""
        params, full = best.fit.params["components"], self.covariance_type in ("full", "tied")
        dtype, estimates = params["mean"].dtype, best.fit.estimates
        covariances = next(estimates[name] for name in ("covariances", "covariance", "variances") if name in estimates)
        if full:
            inverse = np.linalg.inv(np.tril(np.asarray(params["scale_tril"], np.float64)))
            factor = np.swapaxes(inverse, -1, -2)
            precisions = factor @ inverse
        else:
            factor, precisions = 1 / np.sqrt(covariances), 1 / covariances
        self.weights_ = estimates["weights"].astype(dtype)
        self.means_ = estimates["means"].astype(dtype)
        self.covariances_, self.precisions_ = covariances.astype(dtype), precisions.astype(dtype)
        self.precisions_cholesky_ = factor.astype(dtype)
        self.converged_, self.n_iter_ = best.converged, best.updates
        self.lower_bound_, self.lower_bounds_ = best.bounds[-1], best.bounds
        self._whitening = tuple(np.asarray(leaf) for leaf in best.fit.state["components"])

    def _params(self) -> tuple[Params, State]:
        """Return the attributes as the model has its parameters, and its state."""
        check_is_fitted(self)
        own = {"mean": self.means_}
        if self.covariance_type in ("full", "tied"):
            own["scale_tril"] = np.linalg.cholesky(self.covariances_)
        else:
            own["scale"] = np.sqrt(self.covariances_)
        tiny = np.finfo(self.weights_.dtype).tiny
        weights = {"logits": np.log(np.maximum(self.weights_, tiny))[None]}
        params = jax.tree.map(jnp.asarray, {"weights": weights, "components": own})
        return params, {"weights": {}, "components": Whitening(*map(jnp.asarray, self._whitening))}

    def _answer(self, ask: Callable[[Model, Params, State, Any], Any], X: ArrayLike) -> np.ndarray:
        """Return what a function of a model, its parameters and data says of examples, in the precision of the fit."""
        check_is_fitted(self)
        data = _validated(self, X, dtype=self.means_.dtype, reset=False)
        with jax.enable_x64(self.means_.dtype == np.float64):
            return np.asarray(ask(self._model(), *self._params(), data))

    def _degrees(self) -> int:
        return self._model().solver.degrees(self._params()[0])


def _validated(estimator: BaseEstimator, x: Any, **options: Any) -> np.ndarray:
    found: Any = validate_data(estimator, x, **options)
    return found


@lru_cache(maxsize=32)  # one model for all fits with the same options, and so one compiled program
def _mixture(components: int, covariance: Covariance, floor: float) -> Model:
    return mixture(gaussian, components, covariance=covariance, floor=floor)


def _shaped(name: str, value: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(value, np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite numbers of the shape {list(shape)}, got shape {list(array.shape)}.")
    return array


def _scales(precisions: np.ndarray) -> np.ndarray:
    """Return the Cholesky factors of the inverses of matrices ``[..., d, d]``.

    Raises:
      ValueError: one is not positive definite.
    """
    if not (np.linalg.eigvalsh(precisions) > 0).all():
        raise ValueError("precisions_init must be positive definite.")
    return np.linalg.cholesky(np.linalg.inv(precisions))
