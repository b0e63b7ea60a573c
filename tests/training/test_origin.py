"""Where a number that is not finite comes from: the operation, the factor and the line, in loops and gradients too."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx.training.origin import Origin, origin

X = np.linspace(0.5, 2.0, 4, dtype=np.float32)


def scoped(name, function):
    def inside(*arguments):
        with jax.named_scope(name):
            return function(*arguments)

    return inside


log = scoped("decoder", jnp.log)
shifted = scoped("encoder", lambda x: x - 1.0)
CASES = {
    "plain": (lambda x: jnp.sum(log(shifted(x))), X, ("decoder", "log", "NaN")),
    "jit": (jax.jit(lambda x: jnp.sum(log(shifted(x)))), X, ("decoder", "log", "NaN")),
    "gradient": (jax.grad(lambda x: jnp.sum(scoped("decoder", jnp.sqrt)(x))), 0 * X, ("decoder", "div", "infinite")),
    "scan": (
        lambda x: jax.lax.scan(lambda c, i: (log(c), c), x, jnp.arange(3)),
        X,
        ("decoder", "log", "NaN"),
    ),
    "vmap": (jax.vmap(lambda x: log(x - 1.0)), X, ("decoder", "log", "NaN")),
    "remat": (jax.grad(lambda x: jnp.sum(jax.checkpoint(log)(x - 1.0))), X + 0.5, ("decoder", "div", "infinite")),
    "while": (
        lambda x: jax.lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, log(c[1] - 1.0)), (0, x)),
        X + 0.8,
        ("decoder", "log", "NaN"),
    ),
    "cond": (lambda x: jax.lax.cond(x[0] < 1, lambda x: log(-x), lambda x: x, x), X, ("decoder", "log", "NaN")),
    "an infinite number before a NaN": (
        lambda x: scoped("decoder", jnp.exp)(1000.0 * x) - jnp.exp(1000.0 * x),
        X,
        ("decoder", "exp", "infinite"),
    ),
    "the results alone count": (
        lambda x: (jnp.where(x > 1.0, jnp.log(x - 1.0), 0.0), scoped("prior", jnp.log)(-x)),
        X + 1.0,
        ("prior", "log", "NaN"),
    ),
}


@pytest.mark.first(3)
@pytest.mark.parametrize("case", CASES)
def test_the_operation_and_its_factor(case):
    function, x, (scope, operation, kind) = CASES[case]
    with jax.numpy_dtype_promotion("standard"):
        found = origin(function, jnp.asarray(x))
    assert found is not None
    assert (found.scope.split("/")[0], found.operation, found.kind) == (scope, operation, kind)
    assert found.line.startswith(__file__) or "/jax/" not in found.line
    assert str(found) == f"the first is {kind}, made by {operation} in {found.scope} ({found.line})"


def test_what_is_masked_is_no_origin():
    def masked(x):
        return jnp.where(x > 1.0, jnp.log(jnp.where(x > 1.0, x - 1.0, -1.0)), 0.0)

    assert origin(masked, jnp.asarray(X)) is None


def test_a_bad_number_that_was_there_before_is_named_by_its_place():
    found = origin(lambda params, x: params["w"] * x, {"w": jnp.ones(())}, jnp.full((), jnp.nan))
    assert found == Origin("[1]", "", "NaN", "")
    assert str(found) == "[1] is NaN"


@pytest.mark.thorough
def test_the_values_are_those_of_the_function():
    """A NaN is put into one element by a loop that runs backward, in reverse order of the rows."""

    def function(x, at):
        def body(carry, turn):
            i, row = turn
            return carry + row, jnp.where(i == at, jnp.log(row - 10.0), carry)

        return jax.lax.scan(body, jnp.zeros(()), (jnp.arange(4), x), reverse=True)[1]

    run = partial(function, jnp.asarray(X))
    assert [origin(run, jnp.asarray(at)) is not None for at in (-1, 0, 3, 7)] == [False, True, True, False]
    assert [bool(jnp.isnan(run(at)).any()) for at in (-1, 0, 3, 7)] == [False, True, True, False]


def test_a_loop_that_runs_backward_is_evaluated_backward():
    """The carry is 2 after the last row alone, which is the first of a loop that runs backward."""

    def function(x, reverse):
        def body(carry, row):
            return carry + row, jnp.log(jnp.where(carry == 2.0, -1.0, 1.0))

        return jax.lax.scan(body, jnp.zeros(()), x, reverse=reverse)[1]

    assert origin(partial(function, reverse=True), jnp.asarray(X)) is not None
    assert origin(partial(function, reverse=False), jnp.asarray(X)) is None
