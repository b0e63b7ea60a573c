"""What reads a sequence, against a loop by hand over its cell."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx import dynamics, networks
from vifx.dynamics import SequenceReader

ROWS, T = 3, 5
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(ROWS, T, 2)).astype(np.float32)
TIMES = np.cumsum(GENERATOR.uniform(0.1, 1, (ROWS, T)), axis=1).astype(np.float32)
PLACE = GENERATOR.normal(size=(ROWS, 3)).astype(np.float32)
LENGTHS = np.array([5, 1, 3], np.int32)


@pytest.mark.first(1)
@pytest.mark.parametrize("backward", [True, False])
def test_it_is_the_memory_after_a_loop_over_what_there_is(backward):
    cell = dynamics.lstm(4)
    reader = SequenceReader(cell, backward=backward, parents=("step", "lengths", "times", "example"))
    given = tuple(map(jnp.asarray, (X, LENGTHS, TIMES, PLACE)))

    @jax.jit
    def found(key):
        features, variables = reader.init_with_output(key, *given)
        return variables, features

    variables, features = found(jax.random.key(0))
    (own,) = variables["params"].values()
    for row in range(ROWS):
        order = range(LENGTHS[row])
        memory = (jnp.zeros(4), jnp.zeros(4))
        before = None
        for t in reversed(order) if backward else order:
            gap = 0.0 if before is None else abs(TIMES[row, before] - TIMES[row, t])
            read = np.concatenate([X[row, t], [TIMES[row, t], gap], PLACE[row]])
            memory, _ = cell.apply({"params": own}, memory, jnp.asarray(read, jnp.float32))
            before = t
        np.testing.assert_allclose(features[row], np.concatenate(memory), rtol=1e-4, atol=1e-5)


@pytest.mark.thorough
def test_it_is_the_body_of_an_encoder_of_symbols():
    reader = SequenceReader(dynamics.gru(4))
    net = networks.Conditional(reader, networks.DiagonalNormal((2,)), inputs=(networks.OneHot(3),))
    symbols = jnp.asarray([[0, 1, 2], [0, 2, 2]])
    law, variables = net.init_with_output(jax.random.key(0), symbols)
    one_hot = SequenceReader(dynamics.gru(4)).apply({"params": variables["params"]["body"]}, jnp.eye(3)[symbols])
    expected = networks.DiagonalNormal((2,)).apply({"params": variables["params"]["head"]}, one_hot)
    np.testing.assert_allclose(law.mean, expected.mean, rtol=1e-5)
    assert np.abs(law.mean[0] - law.mean[1]).min() > 1e-4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SequenceReader(networks.MLP((2,))), "SequenceReader: cell must be a cell of Flax, got"),
        (lambda: SequenceReader(dynamics.gru(2), parents=("step", "mask")), r"parents\[1\] must be one of"),
        (lambda: SequenceReader(dynamics.gru(2), parents=("times",)), "parents must have a 'step'"),
        (lambda: SequenceReader(dynamics.gru(2)).init(jax.random.key(0), X, TIMES), "says what 1 of them are, but 2"),
        (
            lambda: SequenceReader(dynamics.gru(2), parents=("step", "times")).init(jax.random.key(0), X, TIMES[:, 1:]),
            r"role 'times' has shape \[3, 4\], expected \[examples, 5, ...\]",
        ),
        (
            lambda: SequenceReader(dynamics.gru(2), parents=("step", "lengths")).init(
                jax.random.key(0), X, jnp.array([5, 6, 1])
            ),
            "lengths must be from 1 to 5",
        ),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()
