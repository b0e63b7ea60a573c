"""What every family must do: its density, additive statistics, the exact M step, a turn that never falls."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np

import vifx
from vifx import em, training


def assembled(family, states):
    """The EM objective of a mixture."""
    generative = vifx.Joint(
        vifx.factor("z", em.categorical(states), name="weights"),
        vifx.factor("x | z", family, name="components"),
    )
    inference = vifx.Joint(vifx.evidence("x"), vifx.exact_posterior(generative, "z | x"))
    return vifx.kl(inference, generative)


def trajectory(family, x, states, *, steps, start=None, slope=True):
    """The mean objective before each turn, parameters at the end, state, and the objective's gradient there.

    The gradient is that of ``mean log q(x) + log prior / examples``, by differentiating through the sum over z; without
    `slope` it is left out.
    """
    objective = assembled(family, states)
    step = training.solve(objective, "model")
    solver = objective.players["model"].solver

    @jax.jit
    def run(key, x, start):
        batch = {"x": x}
        params, state = objective.init(key, batch) if start is None else start

        def total(params):
            weights = jax.nn.log_softmax(params["weights"]["logits"][0])
            own = state["components"]
            each = family.log_probs(family.prepare(params["components"], own), family.features(own, x))
            likelihood = jnp.mean(jax.nn.logsumexp(each + jnp.broadcast_to(weights, each.shape), axis=1))
            return likelihood + solver.log_prior(params, state) / x.shape[0]

        def one(params, _):
            progress, metrics = step.update(key, training.Progress(params, state, ()), batch)
            return progress.params, (metrics["objective"], metrics["log_prob"])

        params, (values, log_probs) = jax.lax.scan(one, params, None, length=steps)
        return values, log_probs, params, state, (jax.grad(total)(params) if slope else ())

    return run(jax.random.key(0), jnp.asarray(x), start)


def largest(tree):
    """The largest absolute entry."""
    return max(float(np.max(np.abs(np.asarray(leaf)))) for leaf in jax.tree.leaves(tree))


def check_turns(family, x, states, *, steps=600, tolerance=1e-8):
    """EM never lowers the objective by more than 1e-12, and ends where its gradient is zero."""
    values, _, params, state, gradient = trajectory(family, x, states, steps=steps)
    values = np.asarray(values)
    assert np.all(np.isfinite(values))
    assert np.diff(values).min() > -1e-12
    assert values[-1] > values[0] + 1e-3
    assert largest(gradient) < tolerance
    return params, state


def check_step(family, x, states, *, kept=None):
    """Densities are those of `apply`; statistics add up; the M step's gradient is zero; an empty state stays.

    Args:
      kept: the parameters that a state without examples keeps; all by default, none with a prior.
    """
    x = jnp.asarray(x)
    responsibilities = jnp.asarray(np.random.default_rng(7).dirichlet(np.ones(states), len(x)))
    weights = jnp.asarray(np.random.default_rng(8).uniform(0.2, 2.0, len(x)))
    responsibilities = responsibilities * weights[:, None]

    @jax.jit
    def run(key, x, responsibilities):
        start, state = family.init(key, x)
        features = family.features(state, x)
        prepared = family.prepare(start, state)
        each = [family.apply(start, state, jnp.full(x.shape[0], s))[0].log_prob(x) for s in range(states)]
        densities = family.log_probs(prepared, features), jnp.stack(each, axis=1)
        whole = family.statistics(prepared, features, responsibilities)
        cut = x.shape[0] // 3
        parts = [
            family.statistics(prepared, family.features(state, x[rows]), responsibilities[rows])
            for rows in (slice(None, cut), slice(cut, None))
        ]
        best = family.maximize(start, state, whole)

        def expected(params):
            found = family.log_probs(family.prepare(params, state), features)
            return jnp.sum(responsibilities * found) + family.log_prior(params, state)

        none = responsibilities.at[:, 0].set(0)
        empty = family.maximize(start, state, family.statistics(prepared, features, none))
        return start, densities, whole, jax.tree.map(jnp.add, *parts), jax.grad(expected)(best), empty

    start, (ours, theirs), whole, added, gradient, empty = run(jax.random.key(3), x, responsibilities)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)
    chex.assert_trees_all_close(whole, added, rtol=1e-11, atol=1e-11)
    assert largest(gradient) < 1e-8 * len(x)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(empty))
    for name, leaf in empty.items():
        if kept is None or name in kept:
            np.testing.assert_array_equal(leaf[0], start[name][0])


def plain_em(x, weights, params, log_density, best, steps):
    """An independent EM in NumPy: the mean log-likelihood before each turn, and the parameters at the end."""
    values = []
    for _ in range(steps):
        joint = np.stack([log_density(x, own) for own in params], axis=1) + np.log(weights)
        most = joint.max(axis=1, keepdims=True)
        total = most[:, 0] + np.log(np.exp(joint - most).sum(axis=1))
        responsibilities = np.exp(joint - total[:, None])
        values.append(total.mean())
        weights = responsibilities.mean(axis=0)
        params = [best(x, responsibilities[:, s], own) for s, own in enumerate(params)]
    return np.array(values), weights, params


def started(family, x, states, *, seed=0):
    """The parameters that EM starts from, and the state."""
    objective = assembled(family, states)
    return jax.jit(lambda key, x: objective.init(key, {"x": x}))(jax.random.key(seed), jnp.asarray(x))
