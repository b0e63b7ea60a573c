"""RealNVP on vectors: normalized, the unrolled chain, and conditional."""

from __future__ import annotations

import collections
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from flows.assemblies import block, check_the_integral, check_the_unrolled_chain
from flows.oracle import check, perturbed

import vifx
from vifx import flows, networks, training
from vifx.distributions import standard_normal

X = np.random.default_rng(0).standard_normal((4, 5))


@pytest.mark.first(1)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_directions_and_the_jacobian_agree(dtype):
    with jax.enable_x64(dtype == "float64"):
        check(flows.realnvp(4, hidden=(6,), unroll=1), jnp.asarray(X, dtype))


@pytest.mark.thorough
def test_the_density_is_normalized(x64):
    """Given something as well; a smooth conditioner, so that the sum over the grid is as exact as the density."""
    check_the_integral(flows.realnvp(4, hidden=(5,), activation=jnp.tanh), jnp.array([0.3, -1.0]), points=600)


@pytest.mark.first(1)
@pytest.mark.parametrize("unroll", [1, 2])
def test_it_is_the_chain_of_its_couplings(x64, unroll):
    """Alternating halves, `|s|` at most the bound."""
    stacked = flows.realnvp(4, hidden=(6,), bound=0.5, unroll=unroll)
    layers = [
        flows.coupling(flows.dense((6,)), flows.affine(bound=0.5), mask=flows.halves(swapped=index % 2 == 1))
        for index in range(4)
    ]

    def arrange(tree):
        return tuple(part for index in range(2) for part in block(tree, index))

    check_the_unrolled_chain(stacked, flows.chain(*layers), arrange, jnp.asarray(X))


def affine_by_hand(part, kept):
    for layer in part["body"]:
        kept = jax.nn.relu(kept @ layer["weight"] + layer["bias"][None])
    s, t = jax.lax.split(kept @ part["head"]["weight"] + part["head"]["bias"][None], (4, 4), axis=1)
    return 3 * jnp.tanh(s / 3), t


def log_prob_by_hand(params, x):
    """Eight couplings without a loop, of halves that are never put together."""
    first, second = jax.lax.split(x, (4, 4), axis=1)
    total = jnp.zeros(len(x))
    for pair in range(4):
        for part in block(params, pair):
            s, t = affine_by_hand(part, first)
            first, second = second * jnp.exp(s) + t, first
            total = total + jnp.sum(s, axis=1)
    square = jnp.sum(first**2, axis=1) + jnp.sum(second**2, axis=1)
    return total - square / 2 - 4 * np.log(2 * np.pi)


def decode_by_hand(params, z):
    first, second = jax.lax.split(z, (4, 4), axis=1)
    for pair in reversed(range(4)):
        for part in reversed(block(params, pair)):
            s, t = affine_by_hand(part, second)
            first, second = second, (first - t) * jnp.exp(-s)
    return jnp.concatenate((first, second), axis=1)


@pytest.mark.thorough
def test_the_compiled_program_is_no_larger_than_one_written_by_hand():
    """Density, samples and gradients: as many products, as many bytes, no loop, nothing gathered, copied or padded."""
    flow, x = flows.Flow(standard_normal(8), flows.realnvp(8, hidden=(8, 8))), jnp.asarray(np.resize(X, (64, 8)), "f4")
    params, state = flow.init(jax.random.key(0), x)
    params = perturbed(jax.random.key(1), params, 0.2)

    def gradient(function):
        return jax.grad(lambda params, x: jnp.mean(function(params, x)))

    density, samples = (lambda params, x, f=f: f(params, state, x) for f in (flow.log_prob, flow.decode))
    for ours, by_hand in (
        (density, log_prob_by_hand),
        (samples, decode_by_hand),
        (gradient(density), gradient(log_prob_by_hand)),
    ):
        programs = [jax.jit(function).lower(params, x).compile() for function in (ours, by_hand)]
        chex.assert_trees_all_close(*(program(params, x) for program in programs), rtol=1e-3, atol=1e-4)
        found, least = map(operations, programs)
        assert found["dot"] == least["dot"]
        assert not any(found[name] for name in ("gather", "pad", "while", "copy", "scatter"))
        moved, necessary = (program.cost_analysis()["bytes accessed"] for program in programs)
        assert moved <= 1.05 * necessary


def operations(compiled):
    """How often each operation occurs in an optimized program, within its fusions too."""
    return collections.Counter(re.findall(r"= \S+ ([a-z-]+)\(", compiled.as_text()))


@pytest.mark.thorough
def test_a_class_conditional_flow_learns_its_classes():
    """Two normals: after 150 steps the likelihood is that of the normals themselves, each given its class."""
    labels = np.arange(512) % 2
    noise = np.random.default_rng(0).standard_normal((512, 2))
    x = noise * [0.5, 1.0] + np.where(labels, 2.0, -2.0)[:, None]
    batch = {"x": jnp.asarray(x, jnp.float32), "y": jnp.asarray(labels)}
    bijection = flows.conditioned(flows.realnvp(2, hidden=(16,)), networks.OneHot(2))
    objective = vifx.kl(
        vifx.Joint(vifx.evidence("x", "y")),
        vifx.Joint(vifx.evidence("y"), vifx.transformed("x | y", standard_normal(2), bijection, name="flow")),
    )
    step = training.scanned(training.optimize(objective, optax.adam(2e-2)), 150)
    start = training.start(jax.random.key(0), step, objective, batch)
    end, _ = training.compile(step)(
        start, jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[None], (150, *leaf.shape)), batch)
    )
    flow = flows.Flow(standard_normal(2), bijection)
    found = flow.log_prob(end.params["flow"], end.state["flow"], batch["x"], batch["y"])
    exact = scipy.stats.norm.logpdf(noise).sum(1) - np.log(0.5)
    assert abs(np.mean(found) - np.mean(exact)) < 0.03
    swapped = flow.log_prob(end.params["flow"], end.state["flow"], batch["x"], 1 - batch["y"])
    assert np.mean(swapped) < np.mean(exact) - 5
