"""The maximum mean discrepancy between two joints on some variables: adversarial without a critic."""

from __future__ import annotations

__all__ = ["mmd"]

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from vifx.checks import require_number
from vifx.core.joint import Joint
from vifx.core.objective import Objective, Part, Player, Term
from vifx.core.types import Array, Aux, Batch, Key, Networks, Params, State
from vifx.games.adversarial_derivation import how_drawn, sides_in_words
from vifx.games.claims import enumerated_marginals
from vifx.games.compared import Sides, outer_mean, sides, sides_init, walk_side
from vifx.variational.walk import Rows

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""The usual multiples of the squared kernel width."""


def mmd(
    inference: Joint,
    generative: Joint,
    *,
    on: str | Sequence[str],
    width: float = 1.0,
    scales: Sequence[float] = SCALES,
    name: str = "",
) -> Objective:
    """The squared maximum mean discrepancy ``E k(a,a′) + E k(b,b′) − 2 E k(a,b)`` between two marginals.

    The kernel is a sum of inverse multiquadrics, ``k(s, s′) = Σ_c C/(C + ‖s − s′‖²)`` with ``C = 2 d width² c`` in d
    dimensions. Samples give the unbiased estimate, which leaves out the pairs of one example, (a, a) and, where both
    sides read it, (a, b), and may be negative; on finite spaces it is exact, with p̃ the batch. Where examples have
    weights ``w``, normalized, those pairs are a share ``Σ w²`` of all, by whose rest the others are divided. With
    ``on="z"`` and `reconstruction` it is the Wasserstein autoencoder with this penalty, the neighbour of the
    adversarial autoencoder that has one player.

    Args:
      inference: the joint that starts from the data.
      generative: the joint that starts from the prior.
      on: the variables that are compared, flattened side by side.
      width: the scale of the compared variables: of the prior, 1 for a standard normal.
      scales: the multiples c.
      name: prefix of the metric, to tell objectives in a sum apart.

    Returns:
      An objective with one player ``"model"`` that owns the networks of both sides. The loss has no unit; the metric is
      ``"mmd/z"``.

    Raises:
      TypeError: something that is not a joint.
      ValueError: a variable that one joint lacks, no network to train, or a width or a scale that is not positive.

    References:
      Gretton et al. (2012), A kernel two-sample test; Tolstikhin et al. (2018), arXiv:1711.01558.
    """
    both = sides("mmd", inference, generative, on)
    for argument, value in (("width", width), *(("scales", scale) for scale in scales)):
        require_number(value, f"mmd: {argument}", above=0)
    if not scales:
        raise ValueError("mmd: scales is empty; give one multiple of the squared width at least.")
    label = f"{name}/mmd/{','.join(both.on)}" if name else f"mmd/{','.join(both.on)}"

    def kernel(first: Array, second: Array) -> Array:
        return _kernel(first, second, width, tuple(scales))

    def loss(key: Key, params: Params, state: State, batch: Batch, *, train: bool = True) -> tuple[Array, Aux]:
        value, networks = _estimate(key, both, kernel, Networks(params, state, train), batch)
        return value, Aux({label: value}, networks.state)

    init = partial(sides_init, both=both)

    def claim(params: Params, state: State, batch: Batch) -> Array:
        points, a, b = enumerated_marginals(both, params, state, batch)
        difference, at = a - b, _joined(points, both.on)
        return jnp.einsum("i,ij,j", difference, kernel(at, at), difference)

    def terms(batch: Batch | None) -> tuple[Term, ...]:
        return (Term(label, f"${_FORMULA}$", how_drawn(both, init, batch), "1"),)

    title = f"squared maximum mean discrepancy on $({', '.join(both.on)})$"
    lines = (
        f"{sides_in_words(both)};  $a, a′$ are drawn from A and $b, b′$ are drawn from B, independently",
        "the kernel $k(s, s′) = Σ_c C/(C + ‖s − s′‖²)$, $C = 2 d w² c$: $w$ the width, $d$ dimensions, every scale $c$",
        f"A and B have equal means of every feature of $k$, iff ${_FORMULA} = 0$",
    )
    part = Part(
        title=title,
        joints=(inference, generative),
        derivation=lines,
        terms=terms,
        exact={"model": claim},
        explicit=False,
    )
    return Objective(init, {"model": Player(both.owners, loss)}, (part,))


_FORMULA = "E k(a, a′) + E k(b, b′) − 2 E k(a, b)"


def _estimate(key: Key, both: Sides, kernel: Any, networks: Networks, batch: Batch) -> tuple[Array, Networks]:
    drawn = []
    for side in both[:2]:
        one, networks = walk_side(key, side, networks, batch)
        drawn.append(one)
    first, second = (one.rows for one in drawn)
    how = [{visit.how for visit in one.visits} for one in drawn]
    # On a finite space p̃ is the batch itself; else its examples are draws.
    exact = set.union(*how) - {"evidence"} == {"summed"}
    points = [_joined(rows.values, both.on) for rows in (first, second)]
    across = kernel(*points)
    if not exact and "evidence" in how[0] & how[1]:
        across = _apart(first, second, across)  # both sides read the same example
    total = -2 * outer_mean(first, second, across)
    for rows, at, treated in zip((first, second), points, how, strict=True):
        within = kernel(at, at)
        if not exact and treated != {"summed"}:
            within = _apart(rows, rows, within)  # a draw is not a pair with itself
        total = total + outer_mean(rows, rows, within)
    return total, networks


def _apart(a: Rows, b: Rows, values: Array) -> Array:
    """Leave out the pairs of rows of one example, which are not independent, and count the others for them."""
    count = a.copies * a.examples
    if count < 2:
        raise ValueError("mmd: one example has no pairs; give at least two examples in a batch.")
    same = jnp.arange(a.total)[:, None] % count == jnp.arange(b.total)[None] % count
    left_out = jax.lax.stop_gradient(outer_mean(a, b, same.astype(values.dtype)))
    return jnp.where(same, 0, values) / (1 - left_out)


def _joined(values: Any, names: tuple[str, ...]) -> Array:
    """Put variables side by side as floats, ``[rows, dimensions]``."""
    parts = [jnp.asarray(values[name]) for name in names]
    kind = jnp.result_type(float)
    flat = [part.astype(kind) if not jnp.issubdtype(part.dtype, jnp.floating) else part for part in parts]
    return jnp.concatenate([part.reshape(part.shape[0], -1) for part in flat], axis=1)


def _kernel(first: Array, second: Array, width: float, scales: tuple[float, ...]) -> Array:
    """``[n, d], [m, d] → [n, m]``."""
    # By differences, not by products: the products lose the small distances that matter most.
    squared = jnp.sum(jnp.square(first[:, None] - second[None]), axis=-1)
    base = 2.0 * first.shape[1] * width**2
    total = jnp.zeros_like(squared)
    for scale in scales:
        total = total + base * scale / (base * scale + squared)
    return total
