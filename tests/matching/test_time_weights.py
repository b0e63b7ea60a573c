"""Weights of times: drawn from their density."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from vifx import matching


@pytest.mark.parametrize(("mean", "scale"), [pytest.param(0.0, 1.0, marks=pytest.mark.thorough), (-0.8, 1.6)])
def test_times_are_drawn_from_the_logit_normal(mean, scale):
    """A time's rank is the distribution function there."""
    rank = np.linspace(0.001, 0.999, 101)
    with jax.enable_x64(True):
        t = np.asarray(matching.logit_normal(mean=mean, scale=scale).quantile(jnp.asarray(rank)))
    np.testing.assert_allclose(norm.cdf((np.log(t) - np.log1p(-t) - mean) / scale), rank, rtol=1e-9)


@pytest.mark.thorough
def test_the_ends_are_times_and_wrong_arguments_are_refused():
    ends = matching.logit_normal(scale=3.0).quantile(jnp.array([0.0, 1.0]))
    assert 0 <= ends[0] < 0.01
    assert 0.99 < ends[1] <= 1
    with pytest.raises(ValueError, match="logit_normal: scale"):
        matching.logit_normal(scale=0.0)
