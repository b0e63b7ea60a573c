"""Rule 10: the tests run strict."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import pytest


def test_ranks_are_not_promoted():
    with pytest.raises(ValueError, match="rank"):
        jnp.ones((2, 3)) + jnp.ones(3)


def test_types_are_not_promoted():
    with pytest.raises(ValueError, match="promotion"):
        jnp.ones(2, jnp.float32) + jnp.ones(2, jnp.int32)


def test_keys_are_not_reused():
    key = jax.random.key(0)
    jax.random.normal(key)
    with pytest.raises(jax.errors.KeyReuseError):
        jax.random.normal(key)


def test_warnings_are_errors():
    with pytest.raises(UserWarning):
        warnings.warn("anything", UserWarning, stacklevel=1)


def test_there_are_eight_devices_and_double_precision_is_off():
    assert jax.device_count() == 8
    assert jnp.ones(()).dtype == jnp.float32


def test_double_precision_is_one_fixture_away(x64):
    assert float(jnp.asarray(1.0) + 1e-15) > 1.0
