"""What experiments with a generator measure and draw.

Each function returns a function of (key, params, state), as `Experiment` takes them. Networks are in evaluation
mode, and samples are drawn in batches through one compiled function.
"""

from __future__ import annotations

__all__ = [
    "CURVES",
    "alarms",
    "draw_critic",
    "draw_density",
    "draw_interpolation",
    "draw_modes",
    "gaussian_fit",
    "image_quality",
    "mode_monitor",
    "sampler",
]

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vifx import evaluation
from vifx.checks import require_integer, require_name
from vifx.core.joint import Joint
from vifx.core.types import Array, Batch, Key, Params, State
from vifx.data import Modes, Split
from vifx.evaluation import Features, Noted
from vifx.evaluation.batches import in_batches
from vifx.evaluation.fmd import of_features
from vifx.experiment.file import Drawing, Measure, unmeasured
from vifx.training import Alarm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BATCH = 500

CURVES: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "training": ("critic/accuracy", "critic/saturation", "*_at_least", "*_estimate"),
        "quality": (
            *("validation/modes", "validation/high_quality", "validation/counts_kl"),
            *("validation/fmd", "validation/coverage", "validation/density"),
            *("validation/precision", "validation/recall"),
        ),
    }
)
"""For `Experiment.curves`: what the critic sees, and the monitored quality of samples."""

_SATURATED = (
    "the critic tells nearly every sample apart, so that its logits hardly say where to move; constrain it "
    "(vifx.lipschitz: spectral normalization, r1), give it fewer turns or a smaller learning rate"
)
_COLLAPSED = "look at the samples, and try a smaller learning rate or the proximal term"
_FALLEN: Mapping[str, tuple[Literal["fallen", "risen"], float, str]] = MappingProxyType(
    {
        "modes": ("fallen", 0.7, f"the generator has lost modes that it had; {_COLLAPSED}"),
        "high_quality": ("fallen", 0.5, f"half of the good samples have left the modes; {_COLLAPSED}"),
        "coverage": ("fallen", 0.5, f"half of the data that samples came near to is left out; {_COLLAPSED}"),
        "recall": ("fallen", 0.5, f"half of the data that the samples spanned is left out; {_COLLAPSED}"),
        "fmd": ("risen", 2.0, f"the samples are twice as far from the data as they were; {_COLLAPSED}"),
    }
)

Evidence = Callable[[int], Batch]
Draw = Callable[..., NDArray[Any]]


def alarms(*, monitored: Sequence[str] = ("modes",), modes: int | None = None, name: str = "") -> tuple[Alarm, ...]:
    """Return the usual alarms of adversarial training.

    * ``critic/saturation`` above 0.95 in 5 rows: the odds of 19 samples in 20 are above 99 to 1. There the
      saturating loss has no gradient left, and the direction of the others says little of the data. A critic that
      is ahead for a few rows is not a failure, so that five are asked for. Games whose critic is not a log ratio,
      such as ``"wasserstein"``, do not have this metric.
    * ``modes`` below 0.7 of the most so far in 2 rows. A count on thousands of samples has little noise, but a mode
      may be lost for one row and found again.
    * ``high_quality``, ``coverage`` and ``recall`` below half of the largest so far in 2 rows, and ``fmd`` above
      twice the smallest: they vary more from row to row than counts do.
    * with `modes`, fewer than half of them in 5 rows: the generator collapsed before there was anything to lose.

    Args:
      monitored: what `Experiment.monitor` measures of these.
      modes: how many modes the data has.
      name: of the objective, as in `vifx.adversarial`.

    Raises:
      ValueError: if there is no alarm for a name in `monitored`, or `modes` is not positive.
    """
    if isinstance(monitored, str):
        raise ValueError(f"monitored must be a sequence of names, got {monitored!r}; use [{monitored!r}]")
    if modes is not None:
        require_integer(modes, "modes")
    saturation = f"{name}/critic/saturation" if name else "critic/saturation"
    found = [Alarm(saturation, "above", 0.95, rows=5, meaning=_SATURATED)]
    for metric in monitored:
        kind, limit, meaning = _FALLEN[require_name(metric, _FALLEN, "metric in monitored")]
        found.append(Alarm(f"validation/{metric}", kind, limit, rows=2, meaning=meaning))
    if modes is not None:
        few = f"fewer than half of the {modes} modes of the data are generated; {_COLLAPSED}"
        found.append(Alarm("validation/modes", "below", modes / 2, rows=5, meaning=few))
    return tuple(found)


def sampler(generative: Joint, *, low: float = -1.0, high: float = 1.0, evidence: Evidence | None = None) -> Draw:
    """Return ``(key, params, state, n, temperature) -> images`` in [0, 1], ``[n, height, width, channels]``.

    An image is the generator's output; where ``x`` has a density, its mean given its parents. The temperature
    scales the standard deviation of the latents.

    Args:
      generative: prior and generator.
      low: the value of a black pixel.
      high: the value of a white pixel.
      evidence: what a conditional model is given for `n` examples, such as labels.

    Raises:
      ValueError: if `low` is not below `high`.
    """
    if not low < high:
        raise ValueError(f"low must be below high, got low={low}, high={high}")
    draw = _drawing(generative, evidence, mean=True)

    def images(key: Key, params: Params, state: State, n: int, temperature: float) -> NDArray[Any]:
        return _in_unit(draw(key, params, state, n, temperature), low, high)

    return images


def mode_monitor(generative: Joint, modes: Modes, *, n: int = 2500) -> Measure:
    """Measure `mode_coverage` on `n` samples: ``modes``, ``high_quality`` and ``counts_kl`` in nats.

    Args:
      generative: prior and generator of points ``[n, dimensions]``.
      modes: the mixture that the data comes from, as `vifx.data.modes` returns it.
      n: how many samples; too few leave modes empty by chance.
    """
    draw = _drawing(generative, None, mean=False)

    def measure(key: Key, params: Params, state: State) -> Mapping[str, float]:
        found = evaluation.mode_coverage(draw(key, params, state, n, 1.0), modes.centres, modes.scale)
        return {
            "modes": float(found.captured),
            "high_quality": found.high_quality,
            "counts_kl": found.counts_kl,
        }

    return measure


def gaussian_fit(generative: Joint, *, n: int = 100_000) -> Measure:
    """Measure the ``mean`` and the ``scale`` (standard deviation) of `n` samples of `generative` on the line."""
    draw = _drawing(generative, None, mean=False)

    def measure(key: Key, params: Params, state: State) -> Mapping[str, float]:
        drawn = draw(key, params, state, n, 1.0).astype(np.float64)
        return {"mean": float(drawn.mean()), "scale": float(drawn.std(ddof=1))}

    return measure


def image_quality(
    sample: Draw,
    split: Split,
    features: Callable[[], Features],
    *,
    n: int | None = None,
    train: Split | None = None,
    neighbours: int = 5,
    memorized: int = 1000,
) -> Measure:
    """Measure samples against the first `n` images of a split, in the features of a frozen network.

    ``fmd`` and ``fmd/relative`` are as in `fmd`, and the first says in the table what it depends on; ``precision``,
    ``recall``, ``density`` and ``coverage`` are `prdc` of the same features; ``memorization`` compares the distances
    of samples to their nearest training image, in pixels, with those of the split's own images.

    Args:
      sample: a `sampler`, or `variational.sampler`.
      split: uint8 images, usually the test split.
      features: gives the frozen network, such as ``lambda: feature_network(config.data)``; called at the first
        measurement, so that building an experiment does not train it.
      n: how many samples and images; all of the split by default.
      train: the training split, to measure memorization against; without it, there is no such entry.
      neighbours: k of precision, recall, density and coverage.
      memorized: how many of the samples, and of the images, are searched for in the training split.
    """
    real = np.asarray(split["x"][:n])
    if not len(real):
        return unmeasured
    network = cache(features)
    real_features = cache(lambda: network()(real))
    ideal = evaluation.expected_coverage(len(real), len(real), neighbours=neighbours)

    def measure(key: Key, params: Params, state: State) -> Mapping[str, float]:
        images = sample(key, params, state, len(real), 1.0)
        drawn = network()(images)
        distance = of_features(network(), drawn, real_features())
        found = evaluation.prdc(real_features(), drawn, neighbours=neighbours)
        metrics = {
            "fmd": Noted(distance.distance, distance.note),
            "fmd/relative": distance.relative,
            "coverage": Noted(found.coverage, f"data balls with a sample; {ideal:.3f} for a perfect generator"),
            "density": found.density,
            "precision": found.precision,
            "recall": found.recall,
        }
        if train is not None:
            held = np.asarray(real[:memorized], np.float32) / 255
            nearest = evaluation.memorization(images[:memorized], np.asarray(train["x"], np.float32) / 255, held)
            metrics["memorization"] = nearest.closer
        return metrics

    return measure


def draw_modes(generative: Joint, modes: Modes, *, n: int = 2500, title: str = "") -> Drawing:
    """Draw `n` samples of `generative` in the plane over the true `modes`, under a `title` with the counts."""
    draw = _drawing(generative, None, mean=False)

    def figure(key: Key, params: Params, state: State) -> Figure:
        return evaluation.mode_scatter(draw(key, params, state, n, 1.0), modes.centres, modes.scale, title=title)

    return figure


def draw_critic(
    critic: Callable[[Params, State, Array], Array],
    generative: Joint,
    split: Split,
    *,
    n: int = 500,
    title: str = "Critic",
    label: str = "log density ratio ℓ, data against generator (nats)",
) -> Drawing:
    """Draw a critic's values in the plane, with `n` points of a split and `n` samples.

    Args:
      critic: ``(params, state, x [n, 2]) -> [n]``.
      generative: prior and generator.
      split: the data that the critic compares with.
      n: how many points of each.
      title: above, on the left.
      label: what the critic's values are, with their unit.
    """
    draw = _drawing(generative, None, mean=False)
    values = jax.jit(critic)

    def figure(key: Key, params: Params, state: State) -> Figure:
        return evaluation.critic_field(
            lambda x: np.asarray(values(params, state, jnp.asarray(x))),
            split["x"][:n],
            draw(key, params, state, n, 1.0),
            title=title,
            label=label,
        )

    return figure


def draw_density(
    generative: Joint,
    modes: Modes,
    *,
    optimum: tuple[float, float] | None = None,
    n: int = 100_000,
    title: str = "",
) -> Drawing:
    """Draw a mixture on the line with the Gaussian that has the mean and the scale of `n` samples.

    Args:
      generative: prior and generator of points ``[n, 1]``.
      modes: the mixture.
      optimum: mean and scale of the best Gaussian, drawn beside it.
      n: how many samples.
      title: above, on the left.
    """
    draw = _drawing(generative, None, mean=False)
    reach = 4 * modes.scale
    low, high = float((modes.centres[:, 0] - reach).min()), float((modes.centres[:, 0] + reach).max())
    grid = np.linspace(low, high, 1000)

    def figure(key: Key, params: Params, state: State) -> Figure:
        drawn = draw(key, params, state, n, 1.0).astype(np.float64)
        fits = {"trained": (float(drawn.mean()), float(drawn.std(ddof=1)))}
        fits |= {} if optimum is None else {"exact optimum": optimum}
        return evaluation.density_fit_1d(grid, np.exp(modes.log_prob(grid[:, None])), fits, samples=drawn, title=title)

    return figure


def draw_interpolation(
    generative: Joint,
    *,
    latent: str = "z",
    rows: int = 8,
    columns: int = 10,
    low: float = -1.0,
    high: float = 1.0,
    evidence: Evidence | None = None,
    title: str = "Interpolation between latents",
) -> Drawing:
    """Draw images on the way between pairs of latents, one pair a row.

    The way is ``z(t) = cos(πt/2) z₀ + sin(πt/2) z₁``: for a standard normal prior every point of it is distributed
    as the prior, which on the straight line between z₀ and z₁ only the ends are.

    Args:
      generative: prior and generator.
      latent: the variable that moves; other latents are drawn once a row.
      rows: how many pairs.
      columns: images of each, the ends included.
      low: the value of a black pixel.
      high: the value of a white pixel.
      evidence: what a conditional model is given for `n` examples; a row keeps its first one's.
      title: above, on the left.
    """

    def figure(key: Key, params: Params, state: State) -> Figure:
        ends_key, others_key, image_key = jax.random.split(key, 3)
        given = evidence(rows) if evidence else {}

        def drawn(key: Key) -> dict[str, Array]:
            values = generative.sample(key, params, state, given, examples=rows).values
            return {name: value for name, value in values.items() if name not in (*generative.observed, "x")}

        first, second = drawn(ends_key)[latent], drawn(others_key)
        angles = jnp.linspace(0.0, jnp.pi / 2, columns, dtype=first.dtype).reshape(1, columns, *[1] * (first.ndim - 1))
        way = jnp.cos(angles) * first[:, None] + jnp.sin(angles) * second[latent][:, None]
        fixed = {name: jnp.repeat(value, columns, axis=0) for name, value in second.items()}
        fixed[latent] = way.reshape(-1, *first.shape[1:])
        repeated = {name: jnp.repeat(value, columns, axis=0) for name, value in given.items()}
        images = generative.sample(image_key, params, state, repeated, fixed=fixed)
        return evaluation.image_grid(
            _in_unit(_point(images.conditionals["x"], images.values["x"], mean=True), low, high),
            columns=columns,
            title=title,
            limits=(0.0, 1.0),
        )

    return figure


def _drawing(generative: Joint, evidence: Evidence | None, *, mean: bool) -> Draw:
    """Return ``(key, params, state, n, temperature) -> x``, compiled once for each batch size and temperature."""

    def batch_of(key: Key, params: Params, state: State, batch: Batch, indices: Array, *, temperature: float) -> Array:
        given = {name: value for name, value in batch.items() if name != "position"}
        key = jax.random.fold_in(key, indices[0])
        found = generative.sample(key, params, state, given, examples=len(indices), temperature=temperature)
        return _point(found.conditionals["x"], found.values["x"], mean=mean)

    compiled = jax.jit(batch_of, static_argnames="temperature")

    def draw(key: Key, params: Params, state: State, n: int, temperature: float) -> NDArray[Any]:
        split = {**(evidence(n) if evidence else {}), "position": np.arange(n, dtype=np.int32)}
        return in_batches(
            key,
            lambda *arguments: compiled(*arguments, temperature=temperature),
            params,
            state,
            split,
            batch_size=_BATCH,
        )

    return draw


def _point(conditional: Any, value: Array, *, mean: bool) -> Array:
    return conditional.mean if mean and hasattr(conditional, "mean") else value


def _in_unit(x: Array | NDArray[Any], low: float, high: float) -> NDArray[Any]:
    return np.clip((np.asarray(x, np.float32) - low) / (high - low), 0.0, 1.0)
