"""Small problems with known answers, and a source that satisfies the contract."""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vifx.core.objective import Objective, Player
from vifx.core.types import Aux


def regression(noise: float = 0.0, traces: int | None = None) -> Objective:
    """Least squares: loss = mean (x·w + b − y)², with noise on x drawn from the key; `traces` limits its traces."""

    def init(key, batch):
        w = jax.random.normal(key, (batch["x"].shape[1],), batch["x"].dtype)
        params = {"line": {"w": w, "b": jnp.zeros((), w.dtype)}}
        return params, {"line": {"seen": jnp.zeros((), jnp.int32)}, "model@updates": jnp.zeros((), jnp.int32)}

    def loss(key, params, state, batch, *, train=True):
        line = params["line"]
        x = batch["x"] + noise * jax.random.normal(key, batch["x"].shape, batch["x"].dtype)
        error = x @ line["w"] + line["b"] - batch["y"]
        value = jnp.mean(error**2)
        new = {"line": {"seen": state["line"]["seen"] + 1}}
        return value, Aux({"nll/y": value, "bias": jnp.mean(error)}, new)

    limited = loss if traces is None else chex.assert_max_traces(loss, n=traces)
    return Objective.of_loss(init, limited, owns=["line"], title="least squares")


def bilinear() -> Objective:
    """The game a·b·mean(x): `min` descends in a, `max` ascends in b."""

    def init(key, batch):
        del key, batch
        return {"a": {"v": jnp.ones(())}, "b": {"v": jnp.full((), 0.5)}}, {"a": {}, "b": {}}

    def value(params, batch):
        return params["a"]["v"] * params["b"]["v"] * jnp.mean(batch["x"])

    def lower(key, params, state, batch, *, train=True):
        return value(params, batch), Aux({"value/min": value(params, batch)}, {"a": {}, "b": {}})

    def upper(key, params, state, batch, *, train=True):
        return -value(params, batch), Aux({"value/max": value(params, batch)}, {"a": {}, "b": {}})

    return Objective(init, {"max": Player(("b",), upper), "min": Player(("a",), lower)}, ())


def line_data(examples: int = 40, features: int = 3, dtype=np.float32) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(examples, features))
    y = x @ np.arange(1.0, features + 1) + 0.5 + 0.1 * rng.normal(size=examples)
    return {"x": x.astype(dtype), "y": y.astype(dtype)}


class Window(NamedTuple):
    order: jax.Array
    offset: jax.Array


def order(seed: int, size: int, first: int, count: int) -> np.ndarray:
    epochs = range(first // size, (first + count - 1) // size + 1)
    stream = np.concatenate([np.random.default_rng((seed, epoch)).permutation(size) for epoch in epochs])
    return stream[first % size :][:count].astype(np.int32)


class ToyResident:
    """Minibatch t is rows order[t·B : (t+1)·B] of the concatenated epoch permutations."""

    def __init__(self, arrays, batch_size, seed=0, transform=None):
        self.arrays = {name: jnp.asarray(value) for name, value in arrays.items()}
        self.size = len(next(iter(arrays.values())))
        self.batch_size, self.seed, self.transform = batch_size, seed, transform

    def window(self, first, batches):
        b = self.batch_size
        return Window(jnp.asarray(order(self.seed, self.size, first * b, batches * b)), jnp.zeros((), jnp.int32))

    def take(self, key, arrays, window, i):
        rows = jax.lax.dynamic_slice_in_dim(window.order, window.offset + i * self.batch_size, self.batch_size)
        batch = {name: value[rows] for name, value in arrays.items()}
        return batch if self.transform is None else self.transform(key, batch)


class ToyStreaming:
    """The same order, read on the host, not transformed."""

    def __init__(self, arrays, batch_size, seed=0, transform=None):
        self.host, self.batch_size, self.seed, self.transform = arrays, batch_size, seed, transform
        self.size = len(next(iter(arrays.values())))

    def batches(self, first, *, host=0, hosts=1):
        b, share = self.batch_size, self.batch_size // hosts
        while True:
            rows = order(self.seed, self.size, first * b, b)[host * share :][:share]
            yield {name: value[rows] for name, value in self.host.items()}
            first += 1


def jitter(key, batch):
    return {**batch, "x": batch["x"] + 0.1 * jax.random.normal(key, batch["x"].shape, batch["x"].dtype)}


def equal(a, b) -> bool:
    """Whether two trees are equal to the bit, keys included."""

    def words(leaf):
        key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if key else leaf)

    same = jax.tree.structure(a) == jax.tree.structure(b)
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True) if same else ()
    return same and all(
        words(x).dtype == words(y).dtype and words(x).tobytes() == words(y).tobytes() for x, y in leaves
    )
