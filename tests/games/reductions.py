"""How the tests of published methods compare an assembly with the losses written out."""

from __future__ import annotations

import chex
import jax
import numpy as np


def assert_reduces(assembly, losses, params, state, batch, *, rtol):
    """Each player's loss on the draws of one key has the value and the gradients of a function of the parameters."""
    for player, oracle in losses.items():
        mover = assembly.objective.players[player]

        def loss(params, run=mover.loss):
            return run(jax.random.key(1), params, state, batch)[0]

        sides = (loss, oracle)
        found = jax.jit(lambda at, sides=sides: [jax.value_and_grad(side)(at) for side in sides])(params)
        (value, gradient), (target, target_gradient) = found
        np.testing.assert_allclose(value, target, rtol=rtol)
        for owner in mover.owns:
            chex.assert_trees_all_close(gradient[owner], target_gradient[owner], rtol=rtol, atol=rtol)
