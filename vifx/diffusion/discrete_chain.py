"""The reverse chain of categorical data as a network: logits of the data, and its conditions."""

from __future__ import annotations

__all__ = ["discrete_reverse"]

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vifx.checks import require, require_integer, require_widths
from vifx.core.nets import as_net
from vifx.core.types import Array, Key, Net, PyTree
from vifx.diffusion.conditions import Conditions
from vifx.diffusion.corruption import Corruption
from vifx.diffusion.restoring import Restoring
from vifx.diffusion.samplers import Sampler, require_sampler


def discrete_reverse(
    network: Any,
    noise: Corruption,
    shape: Sequence[int],
    *,
    steps: int | None = None,
    drop: float = 0.0,
    guidance: float = 0.0,
    sampler: Sampler | None = None,
) -> Net:
    """The reverse chain of categorical data as a network, for ``factor("z", ..., name="denoiser")``.

    ``q(z) = q(z_T) Π_t q(z_{t−1} | z_t)``, in which a step is Bayes' rule with what the network says of the data as
    their law, ``q(z_s | z_t) = Σ_x x̂(x) p(z_s, z_t | x) / Σ_x x̂(x) p(z_t | x)``, for every element by itself. So x̂ is
    the law of an element given the others: what it shows itself is added by the rule. With a mask, an element that is
    not masked stays what it is, and no more is masked on the way back. Its parents, as in ``"z | y"``, are conditions.

    The network is called as ``network(z, t, *parents)`` with z_t, integers ``[rows, *shape]`` of which K is the mask,
    and t ``[rows, 1]``, the share 1 − α_t that is lost, from 0 to 1. It returns logits ``[rows, *shape, K]``.
    Conditions can be dropped, as in `reverse`.

    Args:
      network: a `Net`, Linen or NNX module; its state is read and never written.
      noise: the same as the forward chain's.
      shape: of one value.
      steps: T, or None for continuous time; the same as the forward chain's.
      drop: the probability that an example's conditions are dropped in training.
      guidance: w of ``(1 + w) ℓ(z, y) − w ℓ(z)`` of the logits: classifier-free guidance, for a chain that is sampled.
      sampler: how z_0 is drawn in continuous time, `discrete_ancestral` by default. A network of T steps takes another
        number of steps in a chain without `steps`.

    Raises:
      TypeError: `network` or `noise` is something else.
      ValueError: an argument is out of range, a sampler of T steps; where it is used, guidance or a drop without
        conditions, or a network that does not return logits.

    References: Austin et al. (2021), arXiv:2107.03006; Shi et al. (2024), arXiv:2406.04329; Sahoo et al. (2024),
    arXiv:2406.07524; Ho & Salimans (2022), arXiv:2207.12598.
    """
    require(noise, Corruption, "discrete_reverse: noise", "a Corruption", "make one with vifx.diffusion.absorbing(K)")
    if steps is not None:
        require_integer(steps, "discrete_reverse: steps")
    event = require_widths(shape, "discrete_reverse: shape")
    conditions = Conditions.of(drop, guidance, "discrete_reverse")
    require_sampler(sampler, steps, "discrete_reverse", "discrete_ancestral()")
    net = as_net(network)

    def init(key: Key, *given: Array) -> tuple[PyTree, PyTree]:
        rows = given[0].shape[0] if given else 1
        kept = conditions.everyone(given, rows)
        return net.init(key, jnp.zeros((rows, *event), jnp.int32), jnp.zeros((rows, 1)), *given, *kept)

    def apply(
        params: PyTree, state: PyTree, *given: Array, key: Key | None = None, train: bool = False
    ) -> tuple[Restoring, PyTree]:
        conditions.require(given)

        def restore(z: Array, alpha: Array, examples: Array | None = None) -> Array:
            parents = given if examples is None else tuple(each[examples] for each in given)

            def run(*kept: Array) -> Array:
                output, _ = net.apply(params, state, z, (1 - alpha)[:, None], *parents, *kept, key=key, train=train)
                if output.shape != (*z.shape, noise.classes):
                    raise ValueError(
                        f"discrete_reverse: the network maps {list(z.shape)} to {list(output.shape)}; it must return "
                        f"logits of the {noise.classes} classes, {[*z.shape, noise.classes]}"
                    )
                return output

            return jax.nn.log_softmax(conditions.run(key, run, z.shape[0], alpha.dtype, train=train))

        examples = given[0].shape[0] if given else None
        return Restoring(restore, noise, steps, event, examples=examples, sampler=sampler), state

    return Net(init, apply)
