"""What every number here rests on: compiled sums are those of NumPy.

In jaxlib 0.10.2 on CPUs, a product that is broadcast along the examples, summed over a short axis and added to more
is wrong for arrays of some tens of thousands of rows, which is why that version is excluded.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

DRAW = np.random.default_rng(0)


@pytest.mark.parametrize("rows", [20_000, 40_000])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_compiled_sums_are_numpys(rows, size):
    matrix, each, more = (DRAW.normal(size=shape) for shape in ((1, size, size), (rows, 1, size), (rows, size)))

    @jax.jit
    def found(matrix, each, more):
        return jnp.sum(matrix * each, axis=-1) + more, jnp.sum(matrix[:, 0] * each[:, 0], axis=-1) + more[:, 0]

    values = found(*(jnp.asarray(array, jnp.float32) for array in (matrix, each, more)))
    peers = np.sum(matrix * each, axis=-1) + more, np.sum(matrix[:, 0] * each[:, 0], axis=-1) + more[:, 0]
    for value, peer in zip(values, peers, strict=True):
        np.testing.assert_allclose(value, peer, rtol=1e-5, atol=1e-4 * np.abs(peer).max())
