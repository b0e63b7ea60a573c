"""The two ends of an annealed path: log-densities of all latents at once, as one array of real numbers."""

from __future__ import annotations

__all__ = ["Ends", "Start", "default_start", "ends", "flat", "latents_of"]

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.core import Tracer
from numpyro.distributions import constraints

from vifx import flows
from vifx.checks import require_choice
from vifx.core.conditional import condition, density
from vifx.core.factor import Factor, has_density
from vifx.core.joint import Joint
from vifx.core.types import Array, Bijection, Key, Networks, PyTree
from vifx.evaluation.batches import Rows

Start: TypeAlias = Literal["encoder", "prior"]
"""Where a path begins: at the inference joint's latents given the evidence, or at the generative joint's alone."""

_SPREAD = 32  # draws of each example by which the scale of its latents is told
_LEAST_SCALE = 1e-4  # of a coordinate that hardly varies, so that it still moves


class Ends(NamedTuple):
    """What a path leads between, for the examples of one batch.

    All arrays of latents are ``[chains, examples, size]``, in coordinates that may be any real numbers.

    Attributes:
      start: latents -> the log-density that the path begins with, ``[chains, examples]`` in nats; normalized.
      end: latents -> log q(x, z), likewise; its integral is q(x).
      draw: keys of the examples -> one draw of the beginning, ``[examples, size]``.
      scales: the spread of each coordinate at the beginning and near the end, ``[examples, size]`` each.
    """

    start: Callable[[Array], Array]
    end: Callable[[Array], Array]
    draw: Callable[[Array], Array]
    scales: tuple[Array, Array]


class _Coordinates(NamedTuple):
    """One latent: the shape of its coordinates, and what takes it to them, None if they are its own.

    Attributes:
      free: the shape of what is moved.
      bijection: from the latent to its coordinates.
      fitted: the parameters and the state of that.
    """

    free: tuple[int, ...]
    bijection: Bijection | None = None
    fitted: tuple[PyTree, PyTree] = ({}, {})

    def to_free(self, value: Array) -> Array:
        return value if self.bijection is None else self.bijection.forward(*self.fitted, value)[0]

    def from_free(self, z: Array) -> tuple[Array, Array]:
        """Return the latent of coordinates ``[rows, *free]``, and the log-determinant, ``[rows]``."""
        if self.bijection is None:
            return z, jnp.zeros(len(z), z.dtype)
        return self.bijection.inverse(*self.fitted, z)


def latents_of(inference: Joint, generative: Joint, start: Start, *, caller: str) -> tuple[str, ...]:
    """Return the latents that a path moves, in the order of the generative joint.

    Raises:
      ValueError: an unknown start, a factor without a density, one that is known up to a constant, no latent, or a path
        that is to start at an encoder that does not exist.
    """
    require_choice(start, ("encoder", "prior"), f"{caller}: start")
    observed = inference.observed
    if not observed:
        raise ValueError(f"{caller}: {inference} has no evidence, so there is no log q(x) of examples to bound.")
    for item in generative.modelled:
        if item.kind in ("implicit", "target"):
            what = "has no density" if item.kind == "implicit" else "is known up to a constant"
            fix = "; give it one observation noise, noise=σ" if item.kind == "implicit" else ""
            raise ValueError(f"{caller}: {item} {what}, so that q(x) is not known at any z{fix}.")
    latents = tuple(item.variables[0] for item in generative.modelled if item.variables[0] not in observed)
    if not latents:
        raise ValueError(f"{caller}: {generative} has no latent, so log q(x) is exact; use evaluation.elbo or certify.")
    if start == "encoder" and default_start(inference, generative) != "encoder":
        raise ValueError(
            f"{caller}: start='encoder' needs an inference joint with a density of each of {', '.join(latents)} and of "
            f"no other latent, and {inference} is none; use start='prior'."
        )
    return latents


def default_start(inference: Joint, generative: Joint) -> Start:
    """Return "encoder" where the inference joint has a density of every latent and of nothing else, else "prior"."""
    latents = {item.variables[0] for item in generative.modelled} - {*inference.observed}
    encoded = {item.variables[0] for item in inference.modelled if item.kind != "implicit"}
    return "encoder" if encoded == latents and len(encoded) == len(inference.modelled) else "prior"


def ends(inference: Joint, generative: Joint, rows: Rows, start: Start, latents: Sequence[str]) -> Ends:
    """Return the ends of the path of a batch, to be called where it is traced.

    Raises:
      ValueError: a latent is discrete, or its support is one that cannot be mapped onto real numbers.
    """
    networks = Networks(rows.params, rows.state)
    observed = inference.observe(rows.batch, {})
    prior = generative.ancestral(latents)
    spaces = _coordinates(inference, generative, rows, latents)

    def drawn(joint: Joint, key: Key, example: Mapping[str, Array]) -> Array:
        known = {name: value for name, value in example.items() if name in joint.variables}
        values = joint.sample(key, rows.params, rows.state, fixed=known, examples=1).values
        return _flat({name: values[name] for name in latents}, spaces)

    def draw(joint: Joint, keys: Array) -> Array:
        def one(key: Key, example: dict[str, Array]) -> Array:
            return drawn(joint, key, {name: value[None] for name, value in example.items()})[0]

        return jax.vmap(one)(keys, observed)

    def spread(joint: Joint, keys: Array) -> Array:
        def some(number: Array) -> Array:
            return draw(joint, jax.vmap(partial(jax.random.fold_in, data=number))(keys))

        numbers = jnp.arange(_SPREAD, dtype=jnp.uint32)
        return jnp.maximum(jnp.std(jax.vmap(some)(numbers), axis=0), _LEAST_SCALE)

    keys = jax.vmap(partial(jax.random.fold_in, data=jnp.uint32(2**32 - 1)))(rows.keys)
    first = inference if start == "encoder" else prior
    at_start = spread(first, keys)
    near_end = spread(inference, keys) if start == "prior" and _samples(inference, latents) else at_start
    start_factors = [item for item in first.modelled if item.variables[0] in latents]
    return Ends(
        start=_log_density(start_factors, networks, observed, spaces),
        end=_log_density(generative.modelled, networks, observed, spaces),
        draw=partial(draw, first),
        scales=(at_start, near_end),
    )


def flat(inference: Joint, generative: Joint, rows: Rows, latents: Sequence[str], values: Mapping[str, Array]) -> Array:
    """Return the latents among values ``[examples, *event]`` as ``[examples, size]``, as `Ends` has them."""
    return _flat(values, _coordinates(inference, generative, rows, latents))


def _samples(inference: Joint, latents: Sequence[str]) -> bool:
    """Return whether an encoder tells by its draws how wide the latents are."""
    homes = {item.variables[0]: item for item in inference.modelled}
    return all(name in homes and homes[name].kind != "implicit" for name in latents)


def _log_density(
    factors: Sequence[Factor], networks: Networks, observed: Mapping[str, Array], spaces: Mapping[str, _Coordinates]
) -> Callable[[Array], Array]:
    """Return Σ log of the factors at latents ``[chains, examples, size]``, with what depends on evidence alone once."""
    examples = len(next(iter(observed.values())))
    known = {
        item.name: condition(None, item, networks, observed, examples)[0]
        for item in factors
        if item.given and set(item.given) <= set(observed)
    }

    def log_density(z: Array) -> Array:
        chains = z.shape[0]
        values = dict[str, Array]()
        for name, value in observed.items():
            values[name] = jnp.tile(value, (chains,) + (1,) * (value.ndim - 1))
        latents, log_det = _restored(z.reshape(chains * examples, z.shape[2]), spaces)
        values |= latents
        for item in factors:
            rows = examples if item.name in known else chains * examples
            conditional = known.get(item.name)
            if conditional is None:
                conditional, _ = condition(None, item, networks, values, rows)
            log_det = log_det + density(item, conditional, values[item.variables[0]], rows)
        return log_det.reshape(z.shape[:2])

    return log_density


def _coordinates(inference: Joint, generative: Joint, rows: Rows, latents: Sequence[str]) -> dict[str, _Coordinates]:
    """Return the coordinates of each latent, from the support of its conditionals."""
    found: dict[str, _Coordinates] = {}
    example = {name: value[:1] for name, value in rows.batch.items()}

    def trace(key: Key) -> None:
        observed = inference.observe(example, {})
        known = {name: value for name, value in observed.items() if name in generative.variables}
        told = generative.sample(key, rows.params, rows.state, fixed=known, examples=1)
        other: Mapping[str, Any] = {}
        if _samples(inference, latents):
            other = inference.sample(key, rows.params, rows.state, fixed=observed, examples=1).conditionals
        for name in latents:
            value, item = told.values[name], generative.factor_of(name)
            conditionals = [each[name] for each in (told.conditionals, other) if name in each]
            found[name] = _space(item, value, conditionals)

    jax.eval_shape(trace, rows.key)
    return found


def _space(item: Factor, value: Array, conditionals: Sequence[Any]) -> _Coordinates:
    """Return the coordinates of a latent.

    Raises:
      ValueError: it is discrete, its support has none, or the supports of the two joints differ.
    """
    supports = [getattr(each, "support", constraints.real) for each in conditionals if has_density(each)]
    single = [_single(each) for each in supports]
    discrete = not jnp.issubdtype(value.dtype, jnp.floating)
    if discrete or any(getattr(each, "is_discrete", False) for each in single):
        raise ValueError(
            f"{item} is discrete, and annealing moves along gradients; sum it: "
            "Joint(evidence('x'), exact_posterior(generative, 'z | x')) has the exact likelihood, and certify takes it."
        )
    if all(each in (constraints.real, constraints.real_vector) for each in single):
        return _Coordinates(value.shape[1:])
    moving = any(isinstance(leaf, Tracer) for each in supports for leaf in jax.tree.leaves(each))
    if moving or len({repr(each) for each in single}) > 1:
        raise ValueError(
            f"{item}: its support, {supports[0]!r}, cannot be mapped onto real numbers for both joints at once; let "
            "both conditionals be of real numbers, or of one fixed set such as constraints.positive."
        )
    bijection = flows.support(supports[0])
    with jax.ensure_compile_time_eval():
        like = supports[0].feasible_like(jnp.zeros((1, *value.shape[1:]), value.dtype))
        fitted = bijection.init(jax.random.key(0), like)  # nothing is drawn
        free = bijection.forward(*fitted, like)[0].shape[1:]
    return _Coordinates(free, bijection, fitted)


def _single(support: Any) -> Any:
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support


def _flat(values: Mapping[str, Array], spaces: Mapping[str, _Coordinates]) -> Array:
    """Return latents ``[rows, *event]`` as one array ``[rows, size]`` of real numbers."""
    parts = [space.to_free(values[name]) for name, space in spaces.items()]
    return jnp.concatenate([part.reshape(len(part), math.prod(part.shape[1:])) for part in parts], axis=-1)


def _restored(z: Array, spaces: Mapping[str, _Coordinates]) -> tuple[dict[str, Array], Array]:
    """Return the latents ``[rows, *event]`` of coordinates ``[rows, size]``, and the log-determinant, ``[rows]``."""
    values, total = {}, jnp.zeros(len(z), z.dtype)
    parts = jax.lax.split(z, [math.prod(space.free) for space in spaces.values()], axis=1)
    for (name, space), part in zip(spaces.items(), parts, strict=True):
        values[name], log_det = space.from_free(part.reshape(len(z), *space.free))
        total = total + log_det
    return values, total
