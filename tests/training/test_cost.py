"""What a compiled step costs: against counts by hand of a network of matrix products, on one device and on eight."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import vifx
from vifx import games, networks, training
from vifx.core.objective import Objective
from vifx.core.types import Aux
from vifx.networks import convolve
from vifx.training.compile import lowered

N, D, H, K, DEPTH = 64, 12, 24, 6, 5


def network(deep: bool):
    """A network D → H → K, or with DEPTH layers H → H between, scanned; loss = mean of its squared outputs."""

    def init(key, batch):
        params = {"first": jnp.ones((D, H)), "last": jnp.ones((H, K))}
        params |= {"between": jnp.ones((DEPTH, H, H))} if deep else {}
        return {"net": params}, {"net": {}}

    def loss(key, params, state, batch, *, train=True):
        net = params["net"]
        x = jnp.tanh(batch["x"] @ net["first"])
        if deep:
            x, _ = jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, net["between"])
        value = jnp.mean((x @ net["last"]) ** 2)
        return value, Aux({}, {"net": {}})

    return Objective.of_loss(init, loss, owns=["net"])


def costed(deep=False, mesh=None, **options):
    objective = network(deep)
    step = training.optimize(objective, optax.adam(1e-3))
    batch = {"x": jax.ShapeDtypeStruct((N, D), jnp.float32)}
    begin = partial(training.start, jax.random.key(0), step, objective)
    state = jax.eval_shape(begin, batch)
    return training.cost(step, state, batch, mesh, **options), state, batch


def size(tree):
    return sum(
        leaf.size * (8 if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else 4) for leaf in jax.tree.leaves(tree)
    )


PRODUCTS = {False: 2 * D * H + 3 * H * K, True: 2 * D * H + 3 * H * K + 3 * DEPTH * H * H}
"""Products of an example: forward, for the gradient of the weights, and of the inputs but the first layer's."""


@pytest.mark.first(1)
@pytest.mark.parametrize("deep", [False, True])
def test_operations_and_memory_of_one_device(deep):
    found, state, batch = costed(deep)
    assert found.matmul_flops == 2 * N * PRODUCTS[deep]
    assert found.matmul_flops < found.flops < 1.2 * found.matmul_flops
    assert found.memory.arguments == size(state) + size(batch)
    assert found.memory.outputs - found.memory.aliased < 1000  # metrics, and a table of pointers
    assert found.memory.aliased == size(state)
    assert found.memory.peak == found.memory.arguments + found.memory.outputs - size(state) + found.memory.temporaries
    assert (found.communication, found.sent, found.loops, found.opaque) == ({}, 0, 0, ())


@pytest.mark.first(1)
@pytest.mark.parametrize("deep", [True, False])
def test_devices_that_divide_the_examples_send_each_other_the_gradient(deep):
    found, state, batch = costed(deep, training.make_mesh())
    metrics = 1  # the loss
    (gradient,) = found.communication.values()
    assert list(found.communication) == ["all-reduce"]
    assert gradient.bytes == size(state.params) + 4 * metrics
    assert gradient.devices == found.devices == 8
    np.testing.assert_allclose(found.sent, gradient.bytes * 2 * 7 / 8)
    assert found.matmul_flops == 2 * N / 8 * PRODUCTS[deep]
    assert found.memory.arguments == size(state) + size(batch) / 8


@pytest.mark.thorough
def test_arrays_cost_what_their_shapes_do():
    found, *_ = costed()
    objective = network(False)
    step = training.optimize(objective, optax.adam(1e-3))
    arrays = {"x": jnp.ones((N, D))}
    state = training.start(jax.random.key(0), step, objective, arrays)
    again = training.cost(step, state, arrays)
    assert again._replace(memory=None) == found._replace(memory=None)
    assert again.memory[:3] == found.memory[:3]
    assert int(state.step) == 0  # it has not been donated


@pytest.mark.thorough
def test_the_table_says_it_all():
    found, *_ = costed(mesh=training.make_mesh())
    found = found._replace(
        memory=training.Memory(3 << 20, 2 << 20, 1 << 20, 1 << 19, 100),
        flops=1.5e12,
        matmul_flops=999.0,
        bytes_accessed=5 << 30,
        communication={"all-reduce": training.Collective(3, 2 << 20, 3.5 * (1 << 20), 8)},
        loops=2,
        opaque=("TopK",),
    )
    assert str(found).splitlines() == [
        f"one step on 8 × {jax.devices()[0].device_kind}",
        "memory of each device                  4.50 MiB",
        "  arguments                            3.00 MiB",
        "  outputs, not in place of arguments   1.00 MiB",
        "  temporaries                          512.00 KiB",
        "  code                                 100 B",
        "operations of each device              1.5 TFLOP",
        "  of matrix products and convolutions  999 FLOP",
        "bytes accessed by each device          5.00 GiB",
        "bytes sent by each device              3.50 MiB",
        "  all-reduce, 3 × over 8               3.50 MiB (of 2.00 MiB)",
        "counted once: the bodies of 2 loops that run until something converges",
        "not counted: TopK",
    ]


@pytest.mark.thorough
def test_a_network_is_compiled_for_the_devices_of_the_mesh(monkeypatch):
    """A convolution is chosen by the platform that the program is for, not by that of the process."""

    def init(key, batch):
        return {"net": jnp.ones((3, 3, 2, 2))}, {"net": {}}

    def loss(key, params, state, batch, *, train=True):
        return jnp.mean(convolve(batch["x"], params["net"])), Aux({}, state)

    objective = Objective.of_loss(init, loss, owns=["net"])
    step = training.optimize(objective, optax.sgd(1.0))
    batch = {"x": jax.ShapeDtypeStruct((8, 4, 4, 2), jnp.float32)}
    state = jax.eval_shape(partial(training.start, jax.random.key(0), step, objective), batch)
    mesh = training.make_mesh()
    assert "stablehlo.convolution" not in lowered(step, state, batch, mesh).as_text()
    monkeypatch.setattr("jax.default_backend", lambda: "tpu")
    assert (
        "stablehlo.convolution"
        not in lowered(training.optimize(objective, optax.sgd(1.0)), state, batch, mesh).as_text()
    )
    assert "stablehlo.convolution" in lowered(training.optimize(objective, optax.sgd(1.0)), state, batch).as_text()


def test_refuses_what_does_not_divide_over_the_mesh():
    objective = network(False)
    step = training.optimize(objective, optax.adam(1e-3))
    batch = {"x": jnp.ones((12, D))}
    state = training.start(jax.random.key(0), step, objective, batch)
    with pytest.raises(ValueError, match=r"12 examples of 'x' do not divide over the 8 devices"):
        training.cost(step, state, batch, training.make_mesh())


@pytest.mark.thorough
def test_what_a_generator_draws_is_divided_over_the_devices_too():
    """A GAN's latents follow no example, and still no device computes those of the others: all have an eighth."""
    generator, critic = nn.Sequential([nn.Dense(32), nn.tanh, nn.Dense(6)]), networks.Critic(networks.MLP((32,)))
    model = games.gan(generator, critic, prior=vifx.standard_normal(8))
    step = training.optimize(model.objective, optax.adam(1e-3))
    batch = {"x": jax.ShapeDtypeStruct((N, 6), jnp.float32)}
    state = jax.eval_shape(partial(training.start, jax.random.key(0), step, model.objective), batch)
    one, eight = (training.cost(step, state, batch, mesh) for mesh in (None, training.make_mesh()))
    np.testing.assert_allclose(eight.matmul_flops, one.matmul_flops / 8, rtol=1e-6)


@pytest.mark.thorough
def test_parameters_that_are_divided_take_a_share_of_the_memory():
    """Of D × H and H × K weights and the two moments of each, an axis ``fsdp`` of 4 leaves a quarter to each device."""
    mesh = training.make_mesh(fsdp=4)
    found, state, batch = costed(mesh=mesh, sharding=training.fsdp(mesh, minimum=0))
    rest = size(state) - 3 * size(state.params)
    assert found.memory.arguments == 3 * size(state.params) / 4 + rest + size(batch) / 8
    assert found.communication["all-gather"].bytes >= size(state.params)
    assert found.matmul_flops == 2 * N / 8 * PRODUCTS[False]
