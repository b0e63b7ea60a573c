"""Recurrent transitions against Flax's own loop and a loop by hand, by value and by gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from vifx import distributions as d
from vifx import dynamics, networks

T, ROWS, WIDTH = 5, 3, 4
X = np.random.default_rng(0).normal(size=(ROWS, T, 2)).astype(np.float32)
CELLS = {"lstm": dynamics.lstm, "gru": dynamics.gru, "vanilla": dynamics.vanilla}
HEAD = networks.DiagonalNormal((2,))


def spread(params):
    """Parameters away from their start, so that biases matter too."""
    generator = np.random.default_rng(3)
    return jax.tree.map(lambda leaf: leaf + 0.3 * generator.normal(size=leaf.shape).astype(leaf.dtype), params)


@pytest.mark.first(1)
@pytest.mark.thorough
@pytest.mark.parametrize("name", CELLS)
def test_the_density_is_that_of_the_loop_of_flax(name):
    """`linen.RNN` over the values before, the head on each of its outputs."""
    net = dynamics.chain(d.standard_normal(2), dynamics.recurrent(CELLS[name](WIDTH), HEAD), T)
    params = spread(net.init(jax.random.key(0))[0])

    def found(params, x):
        return jnp.sum(net.apply(params, NO_STATE)[0].log_prob(x))

    def by_flax(params, x):
        own = params["transition"]
        features = linen.RNN(CELLS[name](WIDTH)).apply({"params": {"cell": own["cells"][0]}}, x[:, :-1])
        law = HEAD.apply({"params": own["head"]}, features.reshape(-1, WIDTH))
        return jnp.sum(law.log_prob(x[:, 1:].reshape(-1, 2))) + jnp.sum(d.standard_normal(2).log_prob(x[:, 0]))

    pairs = jax.jit(lambda *given: [jax.value_and_grad(each, argnums=(0, 1))(*given) for each in (found, by_flax)])
    for one, other in zip(*map(jax.tree.leaves, pairs(params, jnp.asarray(X))), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5 * np.abs(other).max())


NO_STATE = {"start": {}, "transition": {}}


@pytest.mark.thorough
def test_two_cells_read_symbols_gaps_and_parents_in_their_order():
    """A loop by hand: each cell reads what the one before returns, the first all that the chain tells."""
    inputs = (networks.OneHot(3), None, None, networks.OneHot(2))
    cells = (dynamics.gru(WIDTH), dynamics.vanilla(3))
    transition = dynamics.recurrent(cells, networks.CategoricalHead(3), inputs=inputs)
    roles = ("example", "times", "step")
    net = dynamics.chain(d.uniform_categorical(3), transition, T, parents=roles)
    generator = np.random.default_rng(1)
    place = generator.normal(size=(ROWS, 2)).astype(np.float32)
    times = np.cumsum(generator.uniform(0.1, 1, (ROWS, T)), axis=1).astype(np.float32)
    labels, x = generator.integers(0, 2, (ROWS, T)), generator.integers(0, 3, (ROWS, T))
    given = tuple(map(jnp.asarray, (place, times, labels)))

    @jax.jit
    def found(key):
        params, state = net.init(key, *given)
        params = spread(params)
        law, _ = net.apply(params, state, *given)
        drawn, log_prob = law.sample_with_log_prob(jax.random.key(1), (2,))
        return params, law.step_log_probs(jnp.asarray(x)), drawn, log_prob, law.log_prob(drawn)

    params, each, drawn, log_prob, again = found(jax.random.key(0))
    own = params["transition"]
    first, second = jnp.zeros((ROWS, WIDTH)), jnp.zeros((ROWS, 3))
    np.testing.assert_allclose(each[:, 0], -np.log(3), rtol=1e-6)
    for t in range(1, T):
        read = np.concatenate(
            [np.eye(3)[x[:, t - 1]], times[:, t : t + 1] - times[:, t - 1 : t], place, np.eye(2)[labels[:, t]]], axis=1
        )
        first, features = cells[0].apply({"params": own["cells"][0]}, first, jnp.asarray(read, jnp.float32))
        second, features = cells[1].apply({"params": own["cells"][1]}, second, features)
        law = networks.CategoricalHead(3).apply({"params": own["head"]}, features)
        np.testing.assert_allclose(each[:, t], law.log_prob(jnp.asarray(x[:, t])), rtol=1e-4)
    assert np.unique(drawn).tolist() == [0, 1, 2]
    np.testing.assert_allclose(log_prob, again, rtol=1e-4)


@pytest.mark.thorough
def test_a_value_depends_on_all_before_it_and_on_none_after():
    net = dynamics.chain(d.standard_normal(2), dynamics.recurrent(dynamics.lstm(WIDTH), HEAD), T)
    params = spread(net.init(jax.random.key(0))[0])
    each = lambda x: net.apply(params, NO_STATE)[0].step_log_probs(x[None])[0]  # noqa: E731
    reads = np.abs(jax.jit(jax.jacobian(each))(jnp.asarray(X[0]))).max(axis=-1) > 0
    np.testing.assert_array_equal(reads, np.tril(np.ones((T, T), bool)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dynamics.gru(0), "gru: features must be an integer ≥ 1, got 0"),
        (lambda: dynamics.vanilla(2.0), "vanilla: features must be an integer ≥ 1, got 2.0"),
        (lambda: dynamics.lstm(-1), "lstm: features must be an integer ≥ 1, got -1"),
        (lambda: dynamics.recurrent((), HEAD), "recurrent: cell must be one or more cells, got none"),
        (lambda: dynamics.recurrent(networks.MLP((4,)), HEAD), "recurrent: cell must be a cell of Flax, got a.* MLP"),
        (lambda: dynamics.recurrent(dynamics.gru(2), lambda h: h), "network must be a Net"),
        (
            lambda: dynamics.chain(
                d.standard_normal(2), dynamics.recurrent(dynamics.gru(2), networks.DiagonalNormal((3,))), T
            ).init(jax.random.key(0)),
            r"the transition of a chain returned a .* event shape \[3\], expected .* event shape \[2\]",
        ),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()
