"""What tests of factor analysis and of probabilistic PCA share: runs of EM, and the log-likelihood by SciPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import scipy.stats
from em.families.trajectories import assembled

from vifx import training


def em_updates(family, states, x, turns, seed=0):
    """Run EM: the parameters after it, and the mean log-likelihood before every turn."""
    objective = assembled(family, states)
    batch = {"x": jnp.asarray(x)}
    step = training.solve(objective, "model")

    def turn(progress, _):
        progress, metrics = step.update(jax.random.key(0), progress, batch)
        return progress, (metrics["log_prob"], progress.params)

    @jax.jit
    def run(key):
        params, state = objective.init(key, batch)
        return params, state, jax.lax.scan(turn, training.Progress(params, state, ()), length=turns)

    params, state, (progress, (log_prob, each)) = run(jax.random.key(seed))
    return progress.params, np.asarray(log_prob), each, (objective, params, state, batch)


def log_likelihood(params, x):
    """The mean log-likelihood of a mixture by SciPy, its covariances from loadings and noise."""
    weights = scipy.special.log_softmax(np.asarray(params["weights"]["logits"][0]))
    components = {name: np.asarray(value) for name, value in params["components"].items()}
    each = [
        scipy.stats.multivariate_normal(components["mean"][s], covariance(components, s)).logpdf(x)
        for s in range(len(weights))
    ]
    return float(np.mean(scipy.special.logsumexp(np.stack(each, axis=1) + weights[None], axis=1)))


def covariance(components, s):
    """``W Wᵀ + Ψ`` of one state."""
    loadings, scale = np.asarray(components["loadings"][s]), np.asarray(components["scale"][s])
    return loadings @ loadings.T + np.diag(np.broadcast_to(scale**2, len(loadings)))


def data(examples, size, latent, seed=0, noise=(0.5, 1.5)):
    """Draws of a factor model with a large mean and features of different scale."""
    generator = np.random.default_rng(seed)
    loadings = generator.normal(size=(size, latent))
    u = generator.normal(size=(examples, latent))
    return 3.0 + u @ loadings.T + generator.normal(size=(examples, size)) * generator.uniform(*noise, size=size)
