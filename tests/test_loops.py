"""Loops over convolutions are written out on a CPU, others are scans; the values are those of the scan."""

from __future__ import annotations

import warnings

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import vifx
from vifx import data, networks, training
from vifx.core.nets import Net, as_net
from vifx.loops import scan, slow_in_loops
from vifx.networks import BernoulliHead, Conditional, DiagonalNormal
from vifx.training import chunk
from vifx.training.chunk import advance

LAYOUT = ("NHWC", "HWIO", "NHWC")
IMAGES = np.random.default_rng(0).integers(0, 2, (32, 6, 6, 1)).astype(np.float32)


class LinenTrunk(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Conv(3, (3, 3), strides=2)(x)).reshape(x.shape[0], -1)


class NNXTrunk(nnx.Module):
    def __init__(self):
        self.conv = nnx.Conv(1, 3, (3, 3), strides=2, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return nnx.relu(self.conv(x)).reshape(x.shape[0], -1)


class OurTrunk(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.relu(networks.Conv(3, (3, 3), 2)(x)).reshape(x.shape[0], -1)


def counted(trunk, traces):
    """A trunk that notes each time it is traced."""
    net = as_net(trunk)

    def apply(params, state, *inputs, **mode):
        traces.append(1)
        return net.apply(params, state, *inputs, **mode)

    return net._replace(apply=apply)


def parts(trunk):
    head = Conditional(networks.MLP((8,)), BernoulliHead((6, 6, 1)))
    encoder = as_net(trunk)
    heads = as_net(DiagonalNormal((2,)))

    def init(key, x):
        own, state = encoder.init(key, x)
        features, _ = encoder.apply(own, state, x, key=key)
        return {"trunk": own, "head": heads.init(key, features)[0]}, state

    def apply(params, state, x, *, key=None, train=False):
        features, state = encoder.apply(params["trunk"], state, x, key=key, train=train)
        return heads.apply(params["head"], {}, features)[0], state

    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", Net(init, apply), name="encoder"))
    generative = vifx.Joint(vifx.factor("z", vifx.standard_normal(2)), vifx.factor("x | z", head, name="decoder"))
    return vifx.kl(inference, generative), data.Resident({"x": IMAGES}, 8, seed=0)


def images(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT)


def test_a_loop_over_convolutions_is_written_out_with_the_values_and_gradients_of_the_scan():
    kernels = jax.random.normal(jax.random.key(0), (3, 3, 3, 1, 1))

    def body(x, kernel):
        x = jnp.tanh(images(x, kernel))
        return x, jnp.mean(x)

    def run(loop):
        def total(kernels, x):
            x, means = loop(body, x, kernels)
            return jnp.sum(x**2) + jnp.sum(means)

        return jax.jit(jax.value_and_grad(total, (0, 1)))

    ours, plain = run(scan), run(jax.lax.scan)
    x = jnp.asarray(IMAGES[:2])
    chex.assert_trees_all_close(ours(kernels, x), plain(kernels, x), rtol=2e-5, atol=1e-6)
    assert "stablehlo.while" not in ours.lower(kernels, x).as_text()
    assert "stablehlo.while" in plain.lower(kernels, x).as_text()


def test_other_loops_stay_loops_in_either_direction():
    def body(c, x):
        return c * x + 1, c

    xs = jnp.arange(1.0, 5.0)
    for reverse in (False, True):
        run = jax.jit(lambda c, reverse=reverse: scan(body, c, xs, reverse=reverse))
        assert "stablehlo.while" in run.lower(1.0).as_text()
        expected, seen = 1.0, []
        for number in xs[::-1] if reverse else xs:
            seen.append(expected)
            expected = expected * float(number) + 1
        last, ys = run(1.0)
        assert last == expected
        assert ys.tolist() == (seen[::-1] if reverse else seen)


@pytest.mark.parametrize("reverse", [False, True])
def test_an_unrolled_loop_is_written_out_with_the_values_and_gradients_of_the_scan(reverse):
    """Keys among what it goes over, a result without arrays, and a body that is traced once."""
    weights, traces = jnp.array([0.5, -1.0, 2.0]), []

    def body(carry, step):
        traces.append(1)
        key, weight = step["key"], step["weight"]
        carry = jnp.tanh(carry * weight + jax.random.normal(key, carry.shape))
        return carry, (jnp.sum(carry), None)

    def run(loop, **options):
        def total(weights, x):
            keys = jax.random.split(jax.random.key(0), 3)
            x, (sums, nothing) = loop(body, x, {"key": keys, "weight": weights}, reverse=reverse, **options)
            assert nothing is None
            return jnp.sum(x) + jnp.sum(sums * jnp.arange(1.0, 4.0)), sums

        return jax.jit(jax.value_and_grad(total, has_aux=True))

    x = jnp.array([0.3, -0.2])
    run(scan, unroll=True).trace(weights, x)
    assert len(traces) == 1
    plain = run(jax.lax.scan)(weights, x)
    for unroll in (True, 3, 7):
        ours = run(scan, unroll=unroll)
        program = str(ours.trace(weights, x).jaxpr)
        assert "scan[" not in program
        assert "pad[" not in program
        chex.assert_trees_all_close(ours(weights, x), plain, rtol=1e-5)


def test_a_convolution_is_found_at_any_depth_and_not_where_there_is_none():
    kernel, x = jnp.ones((3, 3, 1, 1)), jnp.ones((1, 4, 4, 1))

    def deep(kernel):
        def one(carry, _):
            value, pull = jax.vjp(jax.checkpoint(lambda k: jnp.sum(images(x, k))), kernel)
            return carry + value, pull(value)

        return jax.lax.cond(jnp.sum(kernel) > 0, lambda: jax.lax.scan(one, 0.0, length=2)[0], lambda: 0.0)

    assert slow_in_loops(jax.jit(deep), kernel)
    assert not slow_in_loops(jax.jit(lambda kernel: networks.convolve(x, kernel)), kernel)


@pytest.mark.first(1)
@pytest.mark.parametrize("trunk", [LinenTrunk(), NNXTrunk(), OurTrunk()], ids=["linen", "nnx", "ours"])
def test_fit_takes_convolutions_update_by_update_and_gets_what_single_steps_get(trunk):
    traces = []
    objective, source = parts(counted(trunk, traces))
    step = training.optimize(objective, optax.adam(1e-2))
    key = jax.random.key(1)
    batches = [source.take(jax.random.key(2), source.arrays, source.window(t, 1), 0) for t in range(4)]
    one, by_hand = training.compile(step), training.start(jax.random.clone(key), step, objective, batches[0])
    losses = []
    for batch in batches:
        by_hand, metrics = one(by_hand, batch)
        losses.append(metrics["loss/model"])
    with advance(step, source, None, 0) as run:
        fresh = training.start(key, step, objective, batches[0])
        traces.clear()
        programs = chunk._alone._cache_size()
        fresh, metrics = run(fresh, 0, 2)
        fresh, more = run(fresh, 2, 2)
        assert len(traces) == 1
        assert chunk._alone._cache_size() - programs == (0 if isinstance(trunk, OurTrunk) else 1)
    chex.assert_trees_all_close(fresh.params, by_hand.params, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.concatenate([metrics["loss/model"], more["loss/model"]]), losses, rtol=1e-5)


def rolled(jaxpr):
    """Whether a jaxpr has a loop, not written out, with the network's update in it."""
    for equation in jaxpr.eqns:
        inner = [getattr(value, "jaxpr", value) for value in equation.params.values()]
        inner = [value for value in inner if hasattr(value, "eqns")]
        if equation.primitive.name == "scan" and equation.params["unroll"] < equation.params["length"]:
            return True
        if any(rolled(value) for value in inner):
            return True
    return False


@pytest.mark.thorough
@pytest.mark.parametrize("wrap", [training.repeat, training.accumulated])
def test_turns_and_microbatches_over_convolutions_have_no_loop(wrap):
    for trunk, loops in ((LinenTrunk(), False), (OurTrunk(), True)):
        objective = parts(trunk)[0]
        step = wrap(training.optimize(objective, optax.sgd(1e-2)), 4)
        fresh = training.start(jax.random.key(0), step, objective, {"x": jnp.asarray(IMAGES[:8])})
        x = jnp.asarray(IMAGES[: 8 * step.batches])
        batch = {"x": x.reshape(step.batches, 8, *x.shape[1:]) if step.batches > 1 else x}
        traced = jax.jit(step.update).trace(jax.random.key(2), fresh.progress, batch)
        assert rolled(traced.jaxpr.jaxpr) == loops


@pytest.mark.thorough
def test_a_long_scan_of_convolutions_warns_and_one_of_ours_does_not():
    for trunk, expected in ((LinenTrunk(), True), (OurTrunk(), False)):
        objective = parts(trunk)[0]
        step = training.scanned(training.optimize(objective, optax.sgd(1e-2)), 2)
        batch = {"x": jnp.stack([jnp.asarray(IMAGES[:8])] * 2)}
        fresh = training.start(jax.random.key(0), step, objective, {"x": batch["x"][0]})
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            training.compile(step)(fresh, batch)
        assert any("weight gradients" in str(warning.message) for warning in caught) == expected
