"""Small matrices against NumPy's, those that are written out and those that are not, by value and by gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx.distributions import small_matrices as own

DRAW = np.random.default_rng(0)
SIZES = [3, 11]


@pytest.mark.thorough
@pytest.mark.parametrize("size", SIZES)
def test_values_and_gradients_are_those_of_linear_algebra(x64, size):
    rows, other = (jnp.asarray(DRAW.normal(size=(2, size, 2 * size))) for _ in range(2))
    weights = jnp.asarray(DRAW.normal(size=(8, 2, size, size)))
    flip = lambda matrix: matrix[..., ::-1, ::-1]  # noqa: E731

    def found(rows):
        lower, unit = own.lower_triangular(rows), own.orthonormal_rows(rows)
        each = [lower, own.triangular_inverse(lower), own.added(rows, other[:1]), unit[..., :size], unit[..., size:]]
        column = own.times(rows, other[:, 0])
        both = own.product(*own.triangular_and_unit(rows))
        each = [*each, both[..., :size], both[..., size:]]
        return jnp.stack([*each, own.product(rows, own.transposed(other[:1])) + column[..., None]])

    def expected(rows):
        squares = rows @ rows.mT
        lower = jnp.linalg.cholesky(squares)
        upper = flip(jnp.linalg.cholesky(flip(squares)))
        unit = jnp.linalg.solve(upper, rows)
        sums = jnp.linalg.cholesky(squares + jnp.broadcast_to(other[:1] @ other[:1].mT, squares.shape))
        column = jnp.einsum("nij,nj->ni", rows, other[:, 0])[..., None]
        products = jnp.einsum("nik,jk->nij", rows, other[0]) + column
        halves = [unit[..., :size], unit[..., size:], rows[..., :size], rows[..., size:]]
        return jnp.stack([lower, jnp.linalg.inv(lower), sums, *halves, products])

    def run(function):
        def total(rows):
            values = function(rows)
            return jnp.sum(weights * values), values

        return jax.jit(jax.value_and_grad(total, has_aux=True))(rows)

    ((_, values), gradient), ((_, peers), peer) = run(found), run(expected)
    assert np.all(np.triu(values[0], 1) == 0)
    np.testing.assert_allclose(values, peers, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(gradient, peer, rtol=1e-7, atol=1e-8 * float(jnp.abs(peer).max()))


def test_a_singular_square_root_is_finite_with_its_gradient(x64):
    rows = jnp.asarray(np.array([[0.0, 0.0], [1.0, 2.0]]))
    np.testing.assert_allclose(own.lower_triangular(rows), [[0, 0], [0, 5**0.5]], rtol=1e-14)
    assert bool(jnp.all(jnp.isfinite(jax.jacobian(own.lower_triangular)(rows))))


@pytest.mark.parametrize("size", SIZES)
def test_single_precision_keeps_what_squares_would_lose(size):
    """Rows of length 10⁴ that differ by 1: the squares, 10⁸ and 10⁸ + 1, are one number in single precision."""
    exact = np.concatenate([np.eye(size), 1e4 * np.ones((size, 1)) / size**0.5], axis=1)
    rows = jnp.asarray(exact, jnp.float32)
    unit = np.asarray(own.orthonormal_rows(rows), np.float64)
    np.testing.assert_allclose(unit @ unit.T + 1, np.eye(size) + 1, rtol=3e-6)
    lower = np.asarray(own.lower_triangular(rows), np.float64)
    np.testing.assert_allclose(np.diagonal(lower)[:1], [np.linalg.norm(exact[0])], rtol=1e-6)
    peer = np.linalg.cholesky(exact @ exact.T)
    np.testing.assert_allclose(lower, peer, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("members", [100, 40_000])
def test_however_many_there_are(members):
    """XLA has had fusions of sums that were wrong in large arrays alone; NumPy in double precision."""
    rows, matrix = DRAW.normal(size=(members, 3, 6)), DRAW.normal(size=(1, 3, 3))

    @jax.jit
    def found(rows, matrix):
        lower = own.added(own.product(matrix, rows), rows)
        twice = own.times(lower, rows[..., 0]) + own.times(matrix, rows[..., 1])
        return lower, own.triangular_inverse(lower), twice, own.squared_norm(rows, axes=2) + own.squared_norm(twice)

    values = found(jnp.asarray(rows, jnp.float32), jnp.asarray(matrix, jnp.float32))
    lower = np.linalg.cholesky((matrix @ rows) @ (matrix @ rows).mT + rows @ rows.mT)
    twice = (lower @ rows[..., :1])[..., 0] + (matrix @ rows[..., 1:2])[..., 0]
    norms = np.sum(rows**2, axis=(1, 2)) + np.sum(twice**2, axis=1)
    for value, peer in zip(values, (lower, np.linalg.inv(lower), twice, norms), strict=True):
        np.testing.assert_allclose(value, peer, rtol=1e-3, atol=1e-3)
