"""Other libraries on the workload W3 and on digits: one contestant a process, in an environment that has it.

    python tests/benchmarks/peers/flows.py vifx
    python tests/benchmarks/peers/flows.py distrax    # pip install distrax optax scikit-learn
    python tests/benchmarks/peers/flows.py flowjax    # pip install flowjax scikit-learn
    python tests/benchmarks/peers/flows.py zuko       # pip install zuko torch scikit-learn

W3 is a flow of 8 affine couplings with 2×64 conditioners, dimension 64, batch 256, Adam 1e-3: training steps,
log-densities and samples, each per second of processor time, which other processes disturb less than time on the clock.
The scale is exp(3·tanh(s/3)) in vifx and distrax; without the tanh both are about a tenth faster.
Digits is a flow of 8 rational-quadratic couplings with the same conditioners, 8 bins on [-3, 3], the same steps and
batches: the mean negative log-likelihood in nats of held-out digits, dequantized by (x + u)/17 and mapped to [-3, 3],
after every twenty steps. All overfit: what counts is the least. The variable SEED
draws other splits, batches and noise.
"""

from __future__ import annotations

import json
import os
import sys
import time

import numpy as np

DIMS, HIDDEN, DEPTH, BATCH, CHUNK, MANY, STEPS, EVERY = 64, 64, 8, 256, 50, 8192, 400, 20


def points():
    random = np.random.default_rng(0)
    return np.tanh(random.standard_normal((20_480, DIMS)) @ random.standard_normal((DIMS, DIMS)) / 8).astype(np.float32)


def digits():
    """Every batch, with noise of its own, and held-out rows."""
    from sklearn.datasets import load_digits

    random = np.random.default_rng(int(os.environ.get("SEED", "0")))
    images = random.permutation(load_digits().data)
    noisy = lambda x: (6 * ((x + random.uniform(size=x.shape)) / 17 - 0.5)).astype(np.float32)  # noqa: E731
    index = random.integers(360, len(images), (STEPS, BATCH))
    return noisy(images[index]), noisy(images[:360])


def per_second(run, count, repeats):
    run()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return count / float(np.median(times))


def jax_contestant(make):
    """`make(spline, x)` returns parameters, a log-density and a sampler, both functions of the parameters."""
    import jax
    import jax.numpy as jnp
    import optax

    optimizer = optax.adam(1e-3)

    def trained(params, log_prob):
        def one(carry, rows):
            params, slot = carry
            value, gradient = jax.value_and_grad(lambda params: -jnp.mean(log_prob(params, rows)))(params)
            updates, slot = optimizer.update(gradient, slot, params)
            return (optax.apply_updates(params, updates), slot), value

        scan = jax.jit(lambda carry, batches: jax.lax.scan(one, carry, batches))
        return (params, optimizer.init(params)), lambda carry, part: jax.block_until_ready(scan(carry, part)[0])

    x = jnp.asarray(points())
    params, log_prob, sample = make(spline=False, x=x)
    carry, run = trained(params, log_prob)
    order = x[: CHUNK * BATCH].reshape(CHUNK, BATCH, DIMS)
    density, draw = jax.jit(log_prob), jax.jit(sample)
    result = {
        "training": per_second(lambda: run(carry, order), CHUNK, 9),
        "log_prob": per_second(lambda: density(params, x[:MANY]).block_until_ready(), MANY, 9),
        "sampling": per_second(lambda: draw(params, jax.random.key(0)).block_until_ready(), MANY, 9),
    }
    batches, held_out = (jnp.asarray(part) for part in digits())
    params, log_prob, _ = make(spline=True, x=held_out)
    carry, run = trained(params, log_prob)
    density, curve = jax.jit(log_prob), []
    for part in jnp.split(batches, STEPS // EVERY):
        carry = run(carry, part)
        curve.append(-float(jnp.mean(density(carry[0], held_out))))
    return result | {"digits": min(curve), "curve": curve}


def vifx():
    from vifx import flows
    from vifx.distributions import standard_normal

    def make(*, spline, x):
        import jax

        widths = (HIDDEN, HIDDEN)
        bijection = flows.spline(DEPTH, hidden=widths) if spline else flows.realnvp(DEPTH, hidden=widths)
        flow = flows.Flow(standard_normal(DIMS), bijection)
        params, state = flow.init(jax.random.key(0), x[:2])
        return (
            params,
            lambda params, x: flow.log_prob(params, state, x),
            lambda params, key: flow.sample(key, params, state, MANY),
        )

    return jax_contestant(make)


def flowjax():
    import equinox
    import jax
    import jax.numpy as jnp
    from flowjax.bijections import Affine, RationalQuadraticSpline
    from flowjax.distributions import Normal
    from flowjax.flows import coupling_flow
    from paramax import NonTrainable, unwrap

    def make(*, spline, x):
        flow = coupling_flow(
            jax.random.key(0),
            base_dist=Normal(jnp.zeros(DIMS)),
            transformer=RationalQuadraticSpline(knots=8, interval=3) if spline else Affine(),
            flow_layers=DEPTH,
            nn_width=HIDDEN,
            nn_depth=2,
        )
        params, static = equinox.partition(
            flow, equinox.is_inexact_array, is_leaf=lambda leaf: isinstance(leaf, NonTrainable)
        )
        whole = lambda params: unwrap(equinox.combine(params, static))  # noqa: E731
        return (
            params,
            lambda params, x: whole(params).log_prob(x),
            lambda params, key: whole(params).sample(key, (MANY,)),
        )

    return jax_contestant(make)


def distrax():
    """Couplings with the conditioner, the halves and the bounded scale that vifx has."""
    import distrax as library
    import jax
    import jax.numpy as jnp

    half, bins = DIMS // 2, 8
    orders = np.random.default_rng(0).permuted(np.tile(np.arange(DIMS), (DEPTH // 2, 1)), axis=1)

    def affine(out):
        s, t = jnp.split(out, 2, axis=-1)
        return library.ScalarAffine(shift=t, log_scale=3 * jnp.tanh(s / 3))

    def quadratic(out):
        numbers = out.reshape(*out.shape[:-1], half, 3 * bins + 1)
        return library.RationalQuadraticSpline(numbers, -3.0, 3.0, boundary_slopes="identity")

    def permuted(order):
        back = np.argsort(order)
        return library.Lambda(
            forward=lambda x: x[..., order],
            inverse=lambda x: x[..., back],
            forward_log_det_jacobian=lambda x: jnp.zeros(x.shape[:-1]),
            inverse_log_det_jacobian=lambda x: jnp.zeros(x.shape[:-1]),
            is_constant_jacobian=True,
            event_ndims_in=1,
        )

    def make(*, spline, x):
        outputs = half * (3 * bins + 1) if spline else DIMS
        shapes = ((half, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, outputs))
        keys = jax.random.split(jax.random.key(0), (DEPTH, 2))
        params = [
            [
                (jax.random.normal(key, shape) / np.sqrt(3 * shape[0]), jnp.zeros(shape[1]))
                for key, shape in zip(own, shapes, strict=False)
            ]
            + [(jnp.zeros(shapes[2]), jnp.zeros(outputs))]
            for own in keys
        ]

        def conditioner(layers, h):
            for weight, bias in layers[:-1]:
                h = jax.nn.relu(h @ weight + bias)
            return h @ layers[-1][0] + layers[-1][1]

        def flow(params):
            """From data to base, inverted."""
            maps = []
            for i, layers in enumerate(params):
                maps.append(
                    library.SplitCoupling(
                        split_index=half,
                        event_ndims=1,
                        conditioner=lambda h, layers=layers: conditioner(layers, h),
                        bijector=quadratic if spline else affine,
                        swap=i % 2 == 1,
                    )
                )
                if spline and i % 2:
                    maps.append(permuted(orders[i // 2]))
            base = library.MultivariateNormalDiag(jnp.zeros(DIMS), jnp.ones(DIMS))
            return library.Transformed(base, library.Inverse(library.Chain(maps[::-1])))

        return (
            params,
            lambda params, x: flow(params).log_prob(x),
            lambda params, key: flow(params).sample(seed=key, sample_shape=(MANY,)),
        )

    return jax_contestant(make)


def zuko():
    import torch
    import zuko as library

    torch.manual_seed(0)

    def step(flow, optimizer, rows):
        optimizer.zero_grad(set_to_none=True)
        (-flow().log_prob(rows).mean()).backward()
        optimizer.step()

    def made(kind, **options):
        flow = kind(DIMS, transforms=DEPTH, hidden_features=(HIDDEN, HIDDEN), passes=2, **options)
        return flow, torch.optim.Adam(flow.parameters(), lr=1e-3)

    x = torch.from_numpy(points())
    flow, optimizer = made(library.flows.MAF)
    with torch.no_grad():
        result = {
            "log_prob": per_second(lambda: flow().log_prob(x[:MANY]), MANY, 9),
            "sampling": per_second(lambda: flow().sample((MANY,)), MANY, 9),
        }
    result["training"] = per_second(lambda: [step(flow, optimizer, x[:BATCH]) for _ in range(CHUNK)], CHUNK, 5)
    batches, held_out = (torch.from_numpy(part) for part in digits())
    flow, optimizer = made(library.flows.NSF, bins=8, randperm=True)
    curve = []
    for number, rows in enumerate(batches, 1):
        step(flow, optimizer, rows)
        if number % EVERY == 0:
            with torch.no_grad():
                curve.append(-float(flow().log_prob(held_out).mean()))
    return result | {"digits": min(curve), "curve": curve}


if __name__ == "__main__":
    contestant = sys.argv[1]
    print(json.dumps({contestant: {"vifx": vifx, "distrax": distrax, "flowjax": flowjax, "zuko": zuko}[contestant]()}))
