"""The hidden Markov model of the dishonest casino beside the true one: its dice, its states over time."""

from __future__ import annotations

__all__ = ["draw_dice", "draw_timeline", "measure_dice", "order_of_dice", "probability_bars", "state_timeline"]

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.core.types import Array, Key, Params, State
from vifx.data import CASINO, Split
from vifx.em import Model
from vifx.evaluation.estimate import Estimate
from vifx.evaluation.exact_likelihood import held_out
from vifx.evaluation.measure import Drawing, Measure
from vifx.evaluation.style import STYLE, chart, dress, legend, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def order_of_dice(params: Params) -> NDArray[Any]:
    """Return the learned states in the order fair, loaded: by their probability of a six."""
    return np.argsort(np.asarray(params["emissions"]["logits"])[:, -1], kind="stable")


def measure_dice(model: Model, split: Split) -> Measure:
    """Measure how well the learned casino is the true one.

    ``faces_error`` and ``transitions_error`` are the largest differences of a probability; ``state_accuracy`` is the
    share of rolls whose die the posterior calls, with its standard error over sequences; ``log_prob/test/true`` is
    the log-likelihood of the true casino.

    Args:
      split: rolls ``x`` and dice ``y``, ``[sequences, length]``.
    """

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        del key
        order = order_of_dice(params)
        faces, transitions = _tables(params, order)
        loaded = _loaded(model, params, state, split, order)
        right = np.mean((loaded > 0.5) == (split["y"] == 1), axis=1)

        def log(table: NDArray[Any]) -> Array:
            return jnp.log(jnp.maximum(jnp.asarray(table, jnp.float32), 1e-30))

        true = {
            "chain": {"initial": log(CASINO.initial), "transitions": log(CASINO.transitions)},
            "emissions": {"logits": log(CASINO.faces)},
        }
        return {
            "log_prob/test/true": held_out(model, split, true, state),
            "state_accuracy": Estimate(right, "rolls whose die the posterior calls"),
            "faces_error": float(np.abs(faces - CASINO.faces).max()),
            "transitions_error": float(np.abs(transitions - CASINO.transitions).max()),
        }

    return measure


def draw_timeline(model: Model, split: Split) -> Drawing:
    """Draw the posterior probability of the loaded die in the first three sequences, above when it was really used.

    Args:
      split: rolls ``x`` and dice ``y``.
    """
    few = {name: array[:3] for name, array in split.items()}

    def draw(key: Key, params: Params, state: State) -> Figure:
        del key
        loaded = _loaded(model, params, state, few, order_of_dice(params))
        return state_timeline(
            loaded,
            few["y"] == 1,
            title="Which die? Test sequences",
            x_label="roll",
            y_label="p(loaded | all rolls)",
            shade="the loaded die was used",
        )

    return draw


def draw_dice() -> Drawing:
    """Draw the learned probabilities of the faces beside the true ones."""

    def draw(key: Key, params: Params, state: State) -> Figure:
        del key, state
        faces, _ = _tables(params, order_of_dice(params))
        true = CASINO.faces
        tables = {"fair, learned": faces[0], "fair, true": true[0]}
        tables |= {"loaded, learned": faces[1], "loaded, true": true[1]}
        title = "Faces of the two dice"
        return probability_bars(tables, [str(face) for face in range(1, 7)], title=title, x_label="face")

    return draw


def state_timeline(
    probability: ArrayLike,
    truth: ArrayLike,
    *,
    title: str = "",
    x_label: str = "time",
    y_label: str = "posterior probability",
    shade: str = "true state",
) -> Figure:
    """Draw the posterior probability of a state over time above the times at which the state really held.

    Args:
      probability: ``[time]``, or ``[sequences, time]`` for a panel each.
      truth: booleans of the same shape; where true, the background is shaded.
      title: above, on the left.
      x_label: of time, with its unit.
      y_label: of the probability.
      shade: what the shade means.

    Raises:
      ValueError: if the two have different shapes.
    """
    probability, truth = np.atleast_2d(np.asarray(probability, np.float64)), np.atleast_2d(np.asarray(truth, bool))
    if probability.shape != truth.shape or probability.ndim != 2:
        raise ValueError(f"probability and truth must have one shape, got {probability.shape} and {truth.shape}.")
    rows = len(probability)
    figure, grid = panels(rows, 1, title=title, height=0.7 + 1.5 * rows, sharex=True, sharey=True)
    times = np.arange(probability.shape[1])
    for i, (axes, own, held) in enumerate(zip(grid, probability, truth, strict=True)):
        dress(axes, x_label if i == rows - 1 else "", y_label if i == rows // 2 else "")
        area = {"color": STYLE.lines[4], "alpha": 0.35, "linewidth": 0}
        axes.fill_between(times, 0, 1, where=held, step="mid", label=shade, **area)
        axes.plot(times, own, color=STYLE.lines[0], linewidth=1.2, label=y_label)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlim(0, len(times) - 1)
        axes.set_yticks([0, 0.5, 1], ["0", "½", "1"])
    legend(figure, columns=2)
    return figure


def probability_bars(
    tables: Mapping[str, ArrayLike], values: Sequence[str], *, title: str = "", x_label: str = "value"
) -> Figure:
    """Draw distributions over the same values as bars side by side.

    Args:
      tables: probabilities ``[values]`` by what they are of, such as ``"loaded, learned"``.
      values: the name of each value.
      title: above, on the left.
      x_label: what the values are.

    Raises:
      ValueError: if there is nothing to draw, or a table has another number of values.
    """
    if not tables or any(np.shape(table) != (len(values),) for table in tables.values()):
        shapes = {name: np.shape(table) for name, table in tables.items()}
        raise ValueError(f"each table must have {len(values)} probabilities, got {shapes}.")
    figure, axes = chart(title, x_label, "probability")
    width = 0.8 / len(tables)
    for i, (name, table) in enumerate(tables.items()):
        places = np.arange(len(values)) + (i - (len(tables) - 1) / 2) * width
        # Pairs of one colour, the second of each lighter.
        look: dict[str, Any] = {"color": STYLE.lines[i // 2 % len(STYLE.lines)], "alpha": 1.0 if i % 2 == 0 else 0.45}
        axes.bar(places, np.asarray(table), 0.92 * width, label=name, **look)
    axes.set_xticks(np.arange(len(values)), list(values))
    axes.tick_params(axis="x", length=0)
    legend(axes, columns=len(tables))
    return figure


def _tables(params: Params, order: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    faces, transitions = (
        np.asarray(jax.nn.softmax(logits, axis=-1), np.float64)
        for logits in (params["emissions"]["logits"], params["chain"]["transitions"])
    )
    return faces[order], transitions[order][:, order]


def _loaded(model: Model, params: Params, state: State, split: Split, order: NDArray[Any]) -> NDArray[Any]:
    marginals = model.posterior(params, state, jnp.asarray(split["x"])).marginals
    return np.asarray(marginals)[:, :, order[1]]
