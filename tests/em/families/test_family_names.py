"""Families by their names: the same as by their constructors, and what is meant by other words."""

from __future__ import annotations

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx import em
from vifx.em.families.family_names import FamilyName

REALS = np.random.default_rng(0).normal(size=(12, 3))
COUNTS = np.random.default_rng(1).poisson(2.0, size=(12, 3))
OPTIONS = {"categorical": {"classes": 9}, "factor_analysis": {"latent": 1}, "ppca": {"latent": 1}}
DATA = {"bernoulli": (COUNTS > 1).astype(float), "categorical": COUNTS, "multinomial": COUNTS, "poisson": COUNTS}


def test_every_family_has_a_name():
    made = {name for name in em.__all__ if getattr(em, name).__module__.startswith("vifx.em.families")}
    others = {"each_step", "gaussian_chain", "linear_gaussian", "markov_chain"}  # of other latents and of sequences
    functions = {name for name in made if not isinstance(getattr(em, name), type)}
    assert set(get_args(FamilyName)) == functions - others - {"check_values", "latent_posterior", "reconstruct"}


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["poisson", *sorted(set(get_args(FamilyName)) - {"autoregressive", "poisson"})])
def test_a_name_means_the_constructor(x64, name):
    options, x = OPTIONS.get(name, {}), jnp.asarray(DATA.get(name, REALS))
    found = []
    for make in (name, getattr(em, name)):
        model = em.mixture(make, 2, **options)
        params, state = jax.jit(model.objective.init)(jax.random.key(0), {"x": x})
        found.append(model.log_prob(params, state, x))
    np.testing.assert_array_equal(*found)


@pytest.mark.thorough
def test_a_hidden_markov_model_takes_names_and_select_does(x64):
    x = np.random.default_rng(2).normal(size=(4, 6, 2)) + 4 * (np.arange(6) // 3)[None, :, None]
    by_name = em.fit(jax.random.key(0), em.hmm("gaussian", 2, length=6), x, steps=3)
    by_maker = em.fit(jax.random.key(0), em.hmm(em.gaussian, 2, length=6), x, steps=3)
    np.testing.assert_array_equal(by_name.history, by_maker.history)
    switching = em.fit(jax.random.key(0), em.hmm("autoregressive", 2, length=6), x, steps=3)
    assert "regressions" in switching.estimates
    flat = x.reshape(-1, 2)
    chosen = em.select(jax.random.key(0), "gaussian", (1, 2), flat)
    other = em.select(jax.random.key(0), lambda k: em.mixture(em.gaussian, k), (1, 2), flat)
    assert [each.bic for each in chosen.candidates] == [each.bic for each in other.candidates]


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        ("normal", {}, "unknown family 'normal'; did you mean 'gaussian'"),
        ("Gaussian", {}, "did you mean 'gaussian'"),
        ("gausian", {}, "did you mean 'gaussian'"),
        ("Student-t", {}, "did you mean 'student_t'"),
        ("counts", {}, "did you mean 'poisson'"),
        ("xyz", {}, "unknown family 'xyz'. There are: 'autoregressive', 'bernoulli'"),
        ("gaussian", {"covariance": "diag"}, "got 'diag'; did you mean 'diagonal'"),
        ("gaussian", {"covariance": "shared"}, "got 'shared'; did you mean 'tied'"),
        ("gaussian", {"covariance": "Isotropic"}, "got 'Isotropic'; did you mean 'spherical'"),
        ("student_t", {"covariance": "diag"}, "got 'diag'; did you mean 'diagonal'"),
        ("autoregressive", {}, "steps follow a chain of states; use em.hmm"),
    ],
)
def test_other_words_are_answered(make, options, message):
    with pytest.raises(ValueError, match=message):
        em.mixture(make, 2, **options)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (
            "gaussian",
            {"covariance_type": "full"},
            "gaussian has no option 'covariance_type'; did you mean 'covariance'",
        ),
        ("gaussian", {"reg_covar": 0.0}, "did you mean 'floor'"),
        ("poisson", {"flor": 0.1}, "did you mean 'floor'"),
        ("categorical", {}, "categorical needs classes="),
        (em.ppca, {}, "ppca needs latent="),
        (3, {}, "make must be a function that makes a family, .* or the name of one, got 3"),
    ],
)
def test_options_are_those_of_the_family(make, options, message):
    with pytest.raises(TypeError, match=message):
        em.hmm(make, 2, length=3, **options)
