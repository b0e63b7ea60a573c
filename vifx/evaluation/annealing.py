"""Annealing along a path, forward and backward, and the pilot that finds its temperatures and step lengths."""

from __future__ import annotations

__all__ = ["Ladder", "Path", "Spacing", "backward", "drawn_ends", "forward", "pilot", "settling_moves", "simulated"]

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.core.joint import Joint
from vifx.core.types import Array, Batch, Key, Params, State
from vifx.evaluation.annealed_path import Ends, Start, ends, flat
from vifx.evaluation.batches import Rows, in_batches
from vifx.evaluation.hamiltonian import Place, moved, placed

Spacing: TypeAlias = Literal["adaptive", "sigmoid", "linear"]
"""How inverse temperatures lie between 0 and 1."""
STARTS = "·starts"  # where the latents that a path goes back from stand among the evidence

_PILOT_EXAMPLES, _PILOT_CHAINS, _PILOT_POINTS = 16, 8, 40
_WARM, _TRIES, _GAIN = 12, 4, 0.4  # of the pilot: moves at its first temperature, at each, and how fast lengths follow
_STEEPNESS = 4.0  # of the sigmoid: its ends are σ(∓4)


class Path(NamedTuple):
    """What is annealed, fixed where a program is compiled.

    Attributes:
      inference: evidence, and perhaps an encoder.
      generative: prior and decoder.
      start: where the path begins.
      latents: the variables that move.
      chains: of each example.
      leapfrog: steps of a move.
    """

    inference: Joint
    generative: Joint
    start: Start
    latents: tuple[str, ...]
    chains: int
    leapfrog: int


class Ladder(NamedTuple):
    """What a pilot has found.

    Attributes:
      temperatures: inverse, β_0 = 0 < … < β_T = 1, ``[temperatures + 1]``.
      lengths: of the leapfrog steps at β_1 … β_T, in units of the scales, ``[temperatures]``.
    """

    temperatures: Array
    lengths: Array

    @property
    def rungs(self) -> tuple[Array, Array, Array, Array]:
        """By move: its number, the inverse temperatures before it and at it, and the length of its steps."""
        numbers = jnp.arange(len(self.lengths), dtype=jnp.uint32)
        return numbers, self.temperatures[:-1], self.temperatures[1:], self.lengths


def _tagged(keys: Array, number: Any) -> Array:
    return jax.vmap(partial(jax.random.fold_in, data=number))(keys)


def _move(path: Path, found: Ends, keys: Array, place: Place, temperature: Array, length: Array) -> tuple[Place, Array]:
    first, last = found.scales
    # Between Gaussians of these scales the path is Gaussian, and its precisions are between theirs.
    scale = 1 / jnp.sqrt((1 - temperature) / first**2 + temperature / last**2)
    densities = (found.start, found.end)
    settings = {"temperature": temperature, "length": length, "scale": scale, "leapfrog": path.leapfrog}
    return moved(keys, densities, place, **settings)


def _begun(path: Path, found: Ends, keys: Array) -> Place:
    numbers = jnp.arange(path.chains, dtype=jnp.uint32)
    z = jax.vmap(lambda number: found.draw(_tagged(_tagged(keys, 0), number)))(numbers)
    return placed((found.start, found.end), z)


def _gain(place: Place) -> Array:
    """Return log f₁ − log f₀, ``[chains, examples]``."""
    return place.log_probs[1] - place.log_probs[0]


@partial(jax.jit, static_argnums=0)
def _forward(path: Path, ladder: Ladder, rows: Rows) -> dict[str, Array]:
    found = ends(path.inference, path.generative, rows, path.start, path.latents)
    moves = _tagged(rows.keys, 1)

    def one(carry: tuple[Place, Array], rung: tuple[Array, ...]) -> tuple[tuple[Place, Array], Array]:
        (place, log_weight), (number, before, temperature, length) = carry, rung
        log_weight = log_weight + (temperature - before) * _gain(place)
        place, taken = _move(path, found, _tagged(moves, number), place, temperature, length)
        return (place, log_weight), taken.mean(axis=0)

    place = _begun(path, found, rows.keys)
    (place, log_weight), taken = jax.lax.scan(one, (place, jnp.zeros(place.z.shape[:2])), ladder.rungs)
    return {"log_weights": log_weight.T, "z": jnp.moveaxis(place.z, 0, 1), "acceptance": taken.T}


def settling_moves(temperatures: int) -> int:
    """Return how many moves at β = 1 come before the way back."""
    return max(10, temperatures // 5)


@partial(jax.jit, static_argnums=0)
def _backward(path: Path, settle: Array, ladder: Ladder, rows: Rows) -> Array:
    starts = jnp.moveaxis(rows.batch[STARTS], 1, 0)
    rows = rows._replace(batch={name: value for name, value in rows.batch.items() if name != STARTS})
    found = ends(path.inference, path.generative, rows, path.start, path.latents)
    moves = _tagged(rows.keys, 2)
    # Behind the ladder are moves at β = 1, of steps of length zero where a start is to stay as it is.
    one, count = jnp.ones(settling_moves(len(ladder.lengths))), len(ladder.lengths)
    more = (jnp.arange(count, count + len(one), dtype=jnp.uint32), one, one, settle * ladder.lengths[-1] * one)
    rungs = jax.tree.map(lambda *each: jnp.concatenate(each), ladder.rungs, more)

    def back(carry: tuple[Place, Array], rung: tuple[Array, ...]) -> tuple[tuple[Place, Array], None]:
        (place, log_weight), (number, before, temperature, length) = carry, rung
        place, _ = _move(path, found, _tagged(moves, number), place, temperature, length)
        return (place, log_weight + (temperature - before) * _gain(place)), None

    place = placed((found.start, found.end), starts)
    (_, log_weight), _ = jax.lax.scan(back, (place, jnp.zeros(place.z.shape[:2])), rungs, reverse=True)
    return log_weight.T


@partial(jax.jit, static_argnums=0)
def _tried(path: Path, grid: Array, target: Array, rows: Rows) -> tuple[Array, Array]:
    """Return the logarithms of the step lengths at inverse temperatures, and the mean variances of the gain there."""
    found = ends(path.inference, path.generative, rows, path.start, path.latents)
    moves = _tagged(rows.keys, 1)

    def attempt(carry: tuple[Place, Array, Array], number: Array) -> tuple[tuple[Place, Array, Array], Array]:
        place, length, temperature = carry
        place, taken = _move(path, found, _tagged(moves, number), place, temperature, jnp.exp(length))
        length = length + _GAIN * (taken.mean() - target)
        return (place, length, temperature), length

    def one(carry: tuple[Place, Array], rung: tuple[Array, Array]) -> tuple[tuple[Place, Array], tuple[Array, Array]]:
        (place, length), (numbers, temperature) = carry, rung
        (place, length, _), lengths = jax.lax.scan(attempt, (place, length, temperature), numbers)
        return (place, length), (lengths.mean(), jnp.var(_gain(place), axis=0).mean())

    place = _begun(path, found, rows.keys)
    numbers = jnp.arange(grid.size * _TRIES + _WARM, dtype=jnp.uint32)
    length = jnp.log(jnp.asarray(0.5 * place.z.shape[-1] ** -0.25, place.z.dtype))
    (place, length, _), _ = jax.lax.scan(attempt, (place, length, grid[0]), numbers[:_WARM])
    _, found_at = jax.lax.scan(one, (place, length), (numbers[_WARM:].reshape(-1, _TRIES), grid))
    return found_at


def pilot(
    key: Key,
    path: Path,
    params: Params,
    state: State,
    split: Mapping[str, ArrayLike],
    *,
    temperatures: int,
    spacing: Spacing,
    acceptance: float,
) -> Ladder:
    """Find step lengths with a stated acceptance at every temperature, and where the temperatures should lie.

    A short annealing of a few examples moves the length of its steps until the share of moves that are taken is
    `acceptance`, at one temperature after the other. ``"adaptive"`` temperatures lie at equal steps of the
    thermodynamic length ``∫ √(E Var_β[log f₁ − log f₀]) dβ``, for which the gap of the bound is least where every move
    mixes; the variance is that of the pilot. What is found does not depend on the noise of what follows, so that
    estimates made with it stay unbiased.
    """
    size = len(np.asarray(next(iter(split.values()))))
    chosen = np.unique(np.linspace(0, size - 1, min(size, _PILOT_EXAMPLES)).astype(np.int64))
    batch = {name: jnp.asarray(np.asarray(value)[chosen]) for name, value in split.items()}
    rows = Rows(key, params, state, batch, jnp.asarray(chosen, dtype=jnp.uint32))
    grid = _sigmoid(_PILOT_POINTS)
    tried = path._replace(chains=_PILOT_CHAINS)
    lengths, variances = (
        np.asarray(each, np.float64) for each in _tried(tried, jnp.asarray(grid, jnp.float32), acceptance, rows)
    )
    steps = np.arange(temperatures + 1) / temperatures
    if spacing == "linear":
        betas = steps
    elif spacing == "sigmoid":
        betas = _sigmoid(temperatures + 1)
    else:
        rate = np.sqrt(np.where(np.isfinite(variances), variances, 0)) + 1e-3
        length = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(grid))])
        betas = np.interp(steps * length[-1], length, grid)
    smooth = np.convolve(np.pad(lengths, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    exact = np.exp(np.interp(betas[1:], grid, smooth))
    return Ladder(jnp.asarray(betas, jnp.float32), jnp.asarray(exact, jnp.float32))


def _sigmoid(points: int) -> NDArray[np.float64]:
    steps = np.linspace(-_STEEPNESS, _STEEPNESS, points)
    raw = 1 / (1 + np.exp(-steps))
    return (raw - raw[0]) / (raw[-1] - raw[0])


def forward(
    key: Key,
    path: Path,
    ladder: Ladder,
    params: Params,
    state: State,
    split: Mapping[str, ArrayLike],
    *,
    batch_size: int,
    observe: Callable[[int], None] | None,
) -> dict[str, NDArray[Any]]:
    """Anneal from the start to log q(x, z).

    Returns:
      ``log_weights`` ``[examples, chains]``, whose exponentials have the mean q(x); the ends ``z``
      ``[examples, chains, size]``; and the ``acceptance`` of each move ``[examples, temperatures]``.
    """
    return in_batches(key, _told(partial(_forward, path, ladder), observe), params, state, split, batch_size=batch_size)


def backward(
    key: Key,
    path: Path,
    ladder: Ladder,
    params: Params,
    state: State,
    split: Mapping[str, ArrayLike],
    starts: NDArray[Any],
    *,
    settle: bool,
    batch_size: int,
    observe: Callable[[int], None] | None,
) -> NDArray[Any]:
    """Anneal from latents near log q(x, z) to the start.

    Args:
      starts: ``[examples, chains, size]``; draws of the posterior for what is rigorous.
      settle: whether they are moved on at β = 1 before.

    Returns:
      The logarithms of the weights that the reversed trajectories would have forward, ``[examples, chains]``; the
      reciprocals of the weights have the mean 1/q(x) if the starts are draws of the posterior.
    """
    function = _told(partial(_backward, path, jnp.asarray(float(settle)), ladder), observe)
    return in_batches(key, function, params, state, {**split, STARTS: starts}, batch_size=batch_size)


def _told(function: Callable[[Rows], Any], observe: Callable[[int], None] | None) -> Callable[[Rows], Any]:
    def told(rows: Rows) -> Any:
        found = jax.block_until_ready(function(rows))
        if observe is not None:
            observe(len(rows.indices))
        return found

    return told


def drawn_ends(key: Key, log_weights: NDArray[Any], z: NDArray[Any]) -> NDArray[Any]:
    """Return one end for each half of the chains, drawn by weight: ``[examples, 2, size]``."""
    half = log_weights.shape[1] // 2
    found = []
    for pool, own in enumerate(jax.random.split(key)):
        part = slice(pool * half, (pool + 1) * half)
        index = np.asarray(jax.random.categorical(own, jnp.asarray(log_weights[:, part]), axis=1))
        found.append(np.take_along_axis(z[:, part], index[:, None, None], axis=1)[:, 0])
    return np.stack(found, axis=1)


def simulated(
    key: Key, path: Path, params: Params, state: State, split: Mapping[str, ArrayLike], *, examples: int
) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    """Draw ``(x, z) ~ q(x, z)``, given the evidence of the generative joint if it has any.

    Returns:
      A split like the given one, and the latents ``[examples, size]``, exact draws of their posterior given it.
    """
    places = np.arange(examples) % len(np.asarray(next(iter(split.values()))))
    given = {name: jnp.asarray(np.asarray(value)[places]) for name, value in split.items()}
    values, z = _simulated(path, Rows(key, params, state, given, jnp.arange(examples, dtype=jnp.uint32)))
    made = {name: np.asarray(value) for name, value in given.items() if not name.startswith("@")}
    for item in path.inference.factors:
        made |= {entry: np.asarray(values[v]) for v, entry in item.entries.items() if v in values}
    return made, np.asarray(z)


@partial(jax.jit, static_argnums=0)
def _simulated(path: Path, rows: Rows) -> tuple[Batch, Array]:
    observed = path.inference.observe(rows.batch, {})
    given = {name: value for name, value in observed.items() if name in path.generative.observed}
    joint = path.generative
    values = joint.sample(rows.key, rows.params, rows.state, fixed=given, examples=len(rows.indices)).values
    return values, flat(path.inference, joint, rows, path.latents, values)
