"""Penalties on the gradient of a critic with respect to what it compares."""

from __future__ import annotations

__all__ = ["Critic", "Penalty", "Variables", "dragan", "gradient_penalty", "r1", "r2"]

from collections.abc import Callable
from typing import Protocol, TypeAlias

import jax
import jax.numpy as jnp

from vifx.checks import require_number
from vifx.core.types import Array, Key, Metrics
from vifx.lipschitz.kernels import floating

Critic: TypeAlias = Callable[..., Array]
"""A function of the compared variables, one positional array ``[examples, ...]`` each, to logits ``[examples]``."""
Variables: TypeAlias = tuple[Array, ...]
"""The compared variables of one distribution, ``[examples, ...]`` each."""


class Penalty(Protocol):
    """A term of the critic's loss that looks at the critic's gradient."""

    def __call__(self, key: Key, critic: Critic, at_a: Variables, at_b: Variables, /) -> tuple[Array, Metrics]:
        """Return the weighted penalty of each example, ``[examples]``, and metrics, ``[examples]`` or scalars.

        `at_a` are samples of the distribution A, the data's side, and `at_b` of B. The loss takes the mean over the
        examples, by their weights where a batch has weights.
        """
        ...


def gradient_penalty(weight: float, *, target: float = 1.0, one_sided: bool = False) -> Penalty:
    """Penalize gradients between the samples of A and B: ``weight · E (‖∇ℓ(x̂)‖ − target)²``.

    ``x̂ = ε x_A + (1 − ε) x_B`` with one ε ~ U[0, 1] for each example. The norm is over all floating variables
    together; variables that are not (labels) are taken from A. It is a penalty at these points, not a bound
    elsewhere. Each example must pass through the critic by itself: batch normalization would change the gradient.

    Metrics: ``penalty/gradient_norm``, ``‖∇ℓ(x̂)‖``.

    Args:
      weight: at least zero; 10 in the reference.
      target: the norm that is not penalized.
      one_sided: penalize ``max(‖∇ℓ‖ − target, 0)²``, norms above the target alone.

    Raises:
      ValueError: `weight` or `target` is negative; or, from the penalty, the examples of A and B differ in number,
        no variable is floating, or the critic's output is not a logit per example.

    Reference: Gulrajani et al., Improved Training of Wasserstein GANs, 2017.
    """
    _check(weight, target, "gradient_penalty")

    def penalty(key: Key, critic: Critic, at_a: Variables, at_b: Variables) -> tuple[Array, Metrics]:
        examples = _examples(at_a, "gradient_penalty")
        for a, b in zip(at_a, at_b, strict=True):
            if floating(a) and (a.shape != b.shape or a.dtype != b.dtype):
                raise ValueError(
                    "gradient_penalty interpolates, so the samples of A and B must be equal in number, shape and "
                    f"dtype, got {a.shape} {a.dtype} and {b.shape} {b.dtype}"
                )
        share = jax.random.uniform(key, (examples,))

        def between(a: Array, b: Array) -> Array:
            if not floating(a):
                return a
            own = share.astype(a.dtype).reshape(examples, *(1,) * (a.ndim - 1))
            return own * a + (1 - own) * b

        points = tuple(between(a, b) for a, b in zip(at_a, at_b, strict=True))
        return _distance(critic, points, weight, target, one_sided, "gradient_penalty")

    return penalty


def r1(weight: float) -> Penalty:
    """Penalize gradients on the data: ``weight / 2 · E_A ‖∇ℓ(x)‖²``, the norm over all floating variables.

    Metrics: ``penalty/gradient_norm``, ``‖∇ℓ‖``.

    Args:
      weight: at least zero.

    Raises:
      ValueError: `weight` is negative; or, from the penalty, no variable is floating or the critic's output is not
        a logit per example.

    Reference: Mescheder et al., Which Training Methods for GANs do actually Converge?, 2018.
    """
    require_number(weight, "r1: weight", least=0)

    def penalty(_key: Key, critic: Critic, at_a: Variables, _at_b: Variables) -> tuple[Array, Metrics]:
        return _zero_centered(critic, at_a, weight, "r1")

    return penalty


def r2(weight: float) -> Penalty:
    """Penalize gradients on the samples of B: ``weight / 2 · E_B ‖∇ℓ(x)‖²``; otherwise as `r1`.

    Args:
      weight: at least zero.

    Raises:
      ValueError: as in `r1`.
    """
    require_number(weight, "r2: weight", least=0)

    def penalty(_key: Key, critic: Critic, _at_a: Variables, at_b: Variables) -> tuple[Array, Metrics]:
        return _zero_centered(critic, at_b, weight, "r2")

    return penalty


def dragan(weight: float, *, scale: float = 0.5, target: float = 1.0, one_sided: bool = False) -> Penalty:
    """Penalize gradients around the data: ``weight · E_A (‖∇ℓ(x + δ)‖ − target)²``.

    ``δ ~ N(0, (scale · s)² I)``, s the standard deviation of all the variable's elements in the batch (one number for
    each variable; it takes no account of weights of examples). The norm is over all floating variables together, which
    alone are moved.

    Metrics: ``penalty/gradient_norm``, ``‖∇ℓ(x + δ)‖``.

    Args:
      weight: at least zero; 10 in the reference.
      scale: of the noise, relative to that of the data.
      target: the norm that is not penalized.
      one_sided: penalize norms above the target alone.

    Raises:
      ValueError: a hyperparameter is negative; or, from the penalty, as in `r1`.

    Reference: Kodali et al., On Convergence and Stability of GANs, 2017.
    """
    _check(weight, target, "dragan")
    require_number(scale, "dragan: scale", least=0)

    def penalty(key: Key, critic: Critic, at_a: Variables, _at_b: Variables) -> tuple[Array, Metrics]:

        def around(index: int, x: Array) -> Array:
            if not floating(x):
                return x
            noise = jax.random.normal(jax.random.fold_in(key, index), x.shape, x.dtype)
            return x + scale * jax.lax.stop_gradient(jnp.std(x)) * noise

        points = tuple(around(i, x) for i, x in enumerate(at_a))
        return _distance(critic, points, weight, target, one_sided, "dragan")

    return penalty


def _check(weight: float, target: float, function: str) -> None:
    require_number(weight, f"{function}: weight", least=0)
    require_number(target, f"{function}: target", least=0)


def _distance(
    critic: Critic, points: Variables, weight: float, target: float, one_sided: bool, function: str
) -> tuple[Array, Metrics]:
    norms = _root(_squared_norms(critic, points, function))
    excess = norms - target
    if one_sided:
        excess = jnp.maximum(excess, jnp.zeros_like(excess))
    return weight * excess**2, {"penalty/gradient_norm": norms}


def _zero_centered(critic: Critic, points: Variables, weight: float, function: str) -> tuple[Array, Metrics]:
    squares = _squared_norms(critic, points, function)
    return 0.5 * weight * squares, {"penalty/gradient_norm": _root(squares)}


def _root(squares: Array) -> Array:
    """The square root, with derivative zero at zero, where the norm has none."""
    there = squares > 0
    return jnp.where(there, jnp.sqrt(jnp.where(there, squares, jnp.ones_like(squares))), jnp.zeros_like(squares))


def _squared_norms(critic: Critic, points: Variables, function: str) -> Array:
    """``‖∇ℓ‖²`` of each example, over all floating variables: ``[examples]``."""
    examples = _examples(points, function)
    moving = [i for i, x in enumerate(points) if floating(x)]

    def total(moved: list[Array]) -> Array:
        inputs = list(points)
        for i, x in zip(moving, moved, strict=True):
            inputs[i] = x
        logits = critic(*inputs)
        if logits.shape != (examples,):
            raise ValueError(
                f"{function}: the critic must return one logit per example, shape ({examples},), but returned "
                f"{logits.shape}; drop the last axis"
            )
        return jnp.sum(logits)

    gradients = jax.grad(total)([points[i] for i in moving])
    squares = [jnp.sum(gradient.reshape(examples, -1) ** 2, axis=1) for gradient in gradients]
    widest = max((square.dtype for square in squares), key=lambda dtype: dtype.itemsize)
    return jnp.sum(jnp.stack([square.astype(widest) for square in squares]), axis=0)


def _examples(points: Variables, function: str) -> int:
    """Return the number of examples.

    Raises:
      ValueError: if there is no floating variable, or the variables disagree.
    """
    if not any(floating(x) for x in points):
        kinds = [str(x.dtype) for x in points]
        raise ValueError(
            f"{function}: a gradient needs a floating variable, but those of the critic are {kinds or 'none'}; turn "
            "pixels into floats before the critic, or leave the penalty out"
        )
    sizes = {x.shape[:1] for x in points}
    if len(sizes) > 1 or () in sizes:
        raise ValueError(
            f"{function}: the variables must have the same examples in front, but their shapes are "
            f"{[x.shape for x in points]}"
        )
    return points[0].shape[0]
