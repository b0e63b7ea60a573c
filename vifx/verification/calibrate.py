"""Simulation-based calibration: whether a way to draw from posteriors draws from the right ones."""

from __future__ import annotations

__all__ = ["RankCalibration", "Quantity", "calibrate"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vifx.checks import require, require_function, require_integer, require_key
from vifx.core.joint import Joint
from vifx.core.types import Array, Key, Params, State
from vifx.verification.uniformity import TESTS, RankTests, pooled_width, rank_tests

Quantity: TypeAlias = Callable[[Any, Any], Array]
"""``(latent, observed) -> scalar``, of one draw and one simulated observation."""


@dataclass(frozen=True, eq=False, repr=False)
class RankCalibration:
    """Ranks of true values among posterior draws, and whether they are uniform.

    Attributes:
      ranks: by quantity, how many draws lie below the true value, ``[simulations]``, from 0 to `draws`.
      draws: how many draws each simulation has.
      p_values: by quantity, of the tests ``"bias"``, ``"width"`` and ``"shape"``; see `calibrate`.
      width: by quantity, about how many times too narrow a posterior is (below 1: too wide): the root mean square of
        the normal scores of the ranks, 1 if calibrated.
      together: the test of all widths together, if there are several quantities.
      p_value: of all tests: the smallest one times their number, at most 1.
    """

    ranks: Mapping[str, NDArray[Any]]
    draws: int
    p_values: Mapping[str, Mapping[str, float]]
    width: Mapping[str, float]
    together: RankTests | None
    p_value: float

    def __repr__(self) -> str:
        every = [
            (self.p_values[n][test], test, f"the {test} of {n}", self.width[n]) for n in self.ranks for test in TESTS
        ]
        if self.together is not None:
            every.append((self.together.p_values["width"], "width", "the widths together", self.together.width))
        _, test, words, ratio = min(every)
        how = f", too {'narrow' if ratio > 1 else 'wide'} by a factor of {max(ratio, 1 / ratio):.2f}"
        simulations = len(next(iter(self.ranks.values())))
        return (
            f"RankCalibration({simulations} simulations of {self.draws} draws, p {self.p_value:.2g} over "
            f"{len(self.ranks)} quantities; the least likely: {words}{how if test == 'width' else ''})"
        )


def calibrate(
    key: Key,
    generative: Joint,
    posterior: Callable[[Key, Any], Any],
    latent: str | Sequence[str],
    *,
    params: Params | None = None,
    state: State | None = None,
    simulations: int = 500,
    draws: int = 99,
    quantities: Mapping[str, Quantity] | None = None,
    chunk: int | None = None,
) -> RankCalibration:
    """Test a posterior sampler by simulation: true values must have uniform ranks among its draws.

    Draw a latent and an observation from the joint, ``(z, x) ∼ q(z, x)``, then draws ``z_1, …, z_L`` of the sampler at
    x. If it draws from ``q(z | x)``, then z and the draws are alike, so for every scalar quantity f the rank
    ``#{l : f(z_l) < f(z)}`` is uniform on 0, …, L. Equal values are ordered at random. Three tests look at the ranks
    of each quantity, the first two at their normal scores ``s = Φ⁻¹((rank + ½)/(L + 1))``, in units of their standard
    deviation:

    * ``"bias"``: the mean of s is 0 (two-sided, normal);
    * ``"width"``: the mean of s² is 1 (two-sided, by a gamma distribution of the right mean and variance), also of all
      quantities together. For a posterior that is Gaussian and has a wrong scale this is the most powerful test: with
      500 simulations, 15 % too narrow has ``p < 10⁻⁴`` nine times in ten for each quantity;
    * ``"shape"``: the counts of at most 20 bins are even (χ²).

    A sampler that draws from the prior, whatever x is, passes for all quantities of the latent alone, but not for one
    that sees the observation as well, such as its log-density ``log q(x | z)``.

    The p-value of all of them is corrected by their number (Bonferroni), which holds for dependent quantities too.

    Args:
      key: for all draws.
      generative: a joint without evidence.
      posterior: ``(key, x) -> draws`` for one observation x without an axis of examples, ``[draws, *event]``; it is
        given the number of draws by closure and is compiled. Draws must be independent. If there are several observed
        variables, x is a mapping; if there are several latents, so is what it returns.
      latent: the variable, or the variables, that the posterior is of; all others are observed.
      params: of the joint's networks; none by default.
      state: of the joint's networks.
      simulations: how many.
      draws: L, of the posterior at each of them.
      quantities: what is ranked: functions of one latent and one observation, by name; None for each element of each
        latent.
      chunk: how many simulations are done at once; None for all.

    Returns:
      Ranks and p-values.

    Raises:
      ValueError: the joint has evidence, lacks a latent or observes nothing; draws have another shape; values that are
        not finite.
      TypeError: the joint is not a joint, or the posterior is not a function.

    References: Talts, Betancourt, Simpson, Vehtari & Gelman (2018), Validating Bayesian inference algorithms with
    simulation-based calibration, arXiv:1804.06788; Modrák et al. (2023), arXiv:2211.02383.
    """
    require_key(key)
    require_function(posterior, "calibrate: posterior", "(key, x) -> draws")
    require_integer(simulations, "calibrate: simulations", least=50)
    require_integer(draws, "calibrate: draws", least=9)
    names, others = _split(generative, latent)
    size = simulations if chunk is None else require_integer(chunk, "calibrate: chunk")
    truth_key, draw_key, tie_key = jax.random.split(key, 3)
    values = generative.sample(truth_key, params or {}, state or {}, examples=simulations).values
    latents, observed = ({name: values[name] for name in group} for group in (names, others))
    measured = quantities or _elements(latents)
    one = _simulation(posterior, names, others, measured, draws)
    keys = jax.random.split(draw_key, simulations)
    true, drawn = jax.jit(lambda every: jax.lax.map(one, every, batch_size=size))((keys, latents, observed))
    ranks = {
        name: _ranks(jax.random.fold_in(tie_key, number), name, true[name], drawn[name])
        for number, name in enumerate(measured)
    }
    tests = {name: rank_tests(own, draws) for name, own in ranks.items()}
    together = pooled_width(list(ranks.values()), draws) if len(ranks) > 1 else None
    found = [p for test in tests.values() for p in test.p_values.values()]
    found += [] if together is None else [together.p_values["width"]]
    return RankCalibration(
        ranks=ranks,
        draws=draws,
        p_values={name: test.p_values for name, test in tests.items()},
        width={name: test.width for name, test in tests.items()},
        together=together,
        p_value=min(1.0, min(found) * len(found)),
    )


def _split(generative: Joint, latent: str | Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the latents and the observed variables."""
    require(generative, Joint, "calibrate: generative", "a Joint", "make one of factors")
    names: tuple[str, ...] = (latent,) if isinstance(latent, str) else tuple(latent)
    if generative.observed:
        raise ValueError(
            f"calibrate: {generative!r} has evidence, which is not drawn; give the joint a prior in its place."
        )
    for name in names:
        generative.factor_of(name)
    others = tuple(name for name in generative.variables if name not in names)
    if not others:
        raise ValueError(f"calibrate: {generative!r} has latents alone; something must be observed.")
    return names, others


def _simulation(
    posterior: Callable[[Key, Any], Any],
    names: tuple[str, ...],
    others: tuple[str, ...],
    measured: Mapping[str, Quantity],
    draws: int,
) -> Callable[[tuple[Key, Any, Any]], tuple[dict[str, Array], dict[str, Array]]]:
    """Return a function that computes the quantities of a true value, and of the draws at its observation."""
    alone = names[0] if len(names) == 1 else None

    def bare(z: Mapping[str, Any]) -> Any:
        return z if alone is None else z[alone]

    def one(each: tuple[Key, Any, Any]) -> tuple[dict[str, Array], dict[str, Array]]:
        own, z, x = each
        seen = x[others[0]] if len(others) == 1 else x
        drawn = posterior(own, seen)
        found = drawn if alone is None else {alone: drawn}
        _check_draws(found, z, draws)
        return (
            {name: f(bare(z), seen) for name, f in measured.items()},
            {name: jax.vmap(lambda z, f=f: f(bare(z), seen))(found) for name, f in measured.items()},
        )

    return one


def _elements(latents: Mapping[str, Array]) -> dict[str, Quantity]:
    """Return a quantity for each element of each latent."""
    several, found = len(latents) > 1, dict[str, Quantity]()
    for name, values in latents.items():
        for place in np.ndindex(values.shape[1:]):

            def element(z: Any, x: Any, name: str = name, place: tuple[int, ...] = place) -> Array:
                del x
                return (z[name] if several else z)[place]

            found[f"{name}[{', '.join(map(str, place))}]" if place else name] = element
    return found


def _check_draws(found: Any, z: Mapping[str, Array], draws: int) -> None:
    expected = {name: [draws, *value.shape] for name, value in z.items()}
    got = {name: list(jnp.shape(value)) for name, value in found.items()} if isinstance(found, Mapping) else found
    if got != expected:
        raise ValueError(
            f"calibrate: the posterior must return {draws} draws of each latent, with the shapes {expected}, got {got}."
        )


def _ranks(key: Key, name: str, true: Array, drawn: Array) -> NDArray[Any]:
    """Return ranks, ties in random order, ``[simulations]``."""
    if true.ndim != 1:
        raise ValueError(f"calibrate: the quantity {name!r} must be a scalar, got the shape {list(true.shape[1:])}.")
    lost = ~np.isfinite(np.asarray(true)) | ~np.isfinite(np.asarray(drawn)).all(axis=1)
    if lost.any():
        raise ValueError(
            f"calibrate: the quantity {name!r} is not finite in {lost.sum()} of {len(lost)} simulations, the first of "
            f"them number {int(np.argmax(lost))}; it has no rank there, so look at the sampler."
        )
    below = jnp.sum(drawn < true[:, None], axis=1)
    equal = jnp.sum(drawn == true[:, None], axis=1)
    among = jax.random.randint(key, equal.shape, 0, equal + 1)
    return np.asarray(below + among)
