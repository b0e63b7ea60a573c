"""Squeezing: which pixel goes where, and sizes that it must refuse."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flows.oracle import check

from vifx import flows

X = np.random.default_rng(0).standard_normal((3, 4, 2, 2))


def test_blocks_become_channels_row_by_row(x64):
    z, log_det = flows.squeeze().forward({}, {}, jnp.asarray(X))
    assert z.shape == (3, 2, 1, 8)
    for row, column, channel in np.ndindex(4, 2, 2):
        place = (2 * (row % 2) + column % 2) * 2 + channel
        np.testing.assert_array_equal(z[:, row // 2, column // 2, place], X[:, row, column, channel])
    np.testing.assert_array_equal(log_det, np.zeros(3))


@pytest.mark.first(1)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_directions_and_the_jacobian_agree(dtype):
    with jax.enable_x64(dtype == "float64"):
        x = jnp.asarray(X, dtype)
        check(flows.squeeze(), x)
        z, _ = flows.squeeze().forward({}, {}, x)
        unsqueeze = flows.invert(flows.squeeze())
        check(unsqueeze, z)
        np.testing.assert_array_equal(unsqueeze.forward({}, {}, z)[0], x)
        check(flows.stack(flows.chain(flows.squeeze(), flows.actnorm(), unsqueeze), 2), x)


@pytest.mark.parametrize(
    ("direction", "shape", "message"),
    [
        ("forward", (2, 3, 4, 1), r"even height and width, got \[2, 3, 4, 1\]; pad or crop"),
        ("forward", (2, 4, 3, 1), r"even height and width, got \[2, 4, 3, 1\]"),
        ("forward", (2, 4), r"needs images \[examples, height, width, channels\]"),
        ("inverse", (2, 4, 4, 6), r"multiple of 4 channels, got \[2, 4, 4, 6\]"),
        ("inverse", (2, 4), r"multiple of 4 channels, got \[2, 4\]"),
    ],
)
def test_odd_sizes(direction, shape, message):
    with pytest.raises(ValueError, match=message):
        getattr(flows.squeeze(), direction)({}, {}, jnp.ones(shape))
