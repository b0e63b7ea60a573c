"""Models of the strings of a grammar beside the law that they were drawn from: nats a step, and what was remembered."""

from __future__ import annotations

__all__ = ["draw_nll_by_step", "draw_strings", "measure_strings", "nll_by_step"]

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.core.joint import Joint
from vifx.core.types import Array, Key, Params, State
from vifx.data import Grammar, Split
from vifx.evaluation.estimate import Estimate
from vifx.evaluation.measure import Drawing, Measure
from vifx.evaluation.style import STYLE, chart, legend
from vifx.evaluation.text_models import text_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def measure_strings(generative: Joint, grammar: Grammar, split: Split, *, draws: int = 1000) -> Measure:
    """Measure how well a chain knows a grammar.

    * ``nll/x``: minus the log-probability of a string in nats, and ``nll/x/true`` that of the grammar; the mean of
      their difference string by string, ``kl/true``, estimates KL(grammar ‖ model) without bias;
    * ``recall``: the probability that the model gives to the letter that repeats the one chosen first, ½ for a model
      that has forgotten it, 1 for the grammar;
    * ``grammatical``: the share of the model's own strings that the grammar can write.

    Args:
      generative: of ``x`` given ``lengths``, whose distribution has `step_log_probs`.
      split: strings ``x`` and their ``lengths``, usually the test split.
      draws: how many strings are drawn.
    """
    each, sample = _step_log_probs(generative, split), _sampler(generative, grammar, draws)
    truth, recalled = grammar.step_log_probs(split["x"]), _recalled(grammar, split["x"])
    reached = recalled.any(axis=1)

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        for_steps, for_strings = jax.random.split(key)  # of the first nothing is drawn
        found = each(for_steps, params, state)
        nll = -found.sum(axis=1)
        right = np.exp(np.sum(np.where(recalled, found, 0), axis=1))[reached]
        drawn = np.asarray(sample(for_strings, params, state))
        difference = Estimate(truth.sum(axis=1) + nll)
        return {
            "nll/x": Estimate(nll, "−log probability of a string, exact"),
            "nll/x/true": Estimate(-truth.sum(axis=1), "of the grammar"),
            "kl/true": difference.noted("grammar minus model, string by string", digits=4),
            "recall": Estimate(right, "probability of the letter that must be remembered; ½ by chance"),
            "grammatical": Estimate((grammar.states(drawn)[:, -1] >= 0).astype(float), "strings of the model"),
        }

    return measure


def draw_nll_by_step(generative: Joint, grammar: Grammar, split: Split) -> Drawing:
    """Draw the model's nats a step beside those of the grammar, and at the letter that must be remembered.

    Args:
      generative: as for `measure_strings`.
      split: likewise.
    """
    each = _step_log_probs(generative, split)
    truth, recalled = grammar.step_log_probs(split["x"]), _recalled(grammar, split["x"])
    there = np.arange(grammar.length) < split["lengths"][:, None]

    def draw(key: Key, params: Params, state: State) -> Figure:
        return nll_by_step(-each(key, params, state), -truth, there, recalled)

    return draw


def nll_by_step(model: ArrayLike, truth: ArrayLike, there: ArrayLike, recalled: ArrayLike) -> Figure:
    """Draw mean nats a step, of a model and of the law, over the strings that are that long.

    Args:
      model: minus log-probabilities of the steps in nats, ``[strings, length]``.
      truth: those of the law.
      there: which steps belong to the string.
      recalled: which steps have the symbol that must be remembered, at most one a string.

    Raises:
      ValueError: if the four have different shapes.
    """
    arrays = [np.asarray(array) for array in (model, truth, there, recalled)]
    if len({array.shape for array in arrays}) > 1 or arrays[0].ndim != 2:
        raise ValueError(
            f"model, truth, there and recalled must have one shape, got {[array.shape for array in arrays]}."
        )
    own, law, within, marked = arrays
    enough = within.sum(axis=0) >= max(5, len(own) // 100)  # a mean over fewer strings would be noise
    steps = np.flatnonzero(enough) + 1
    figure, axes = chart("Nats a step", "step of the string", "nats")
    for values, name, look in ((law, "grammar, optimal", "-"), (own, "model", "--")):
        mean = np.array([values[within[:, step - 1], step - 1].mean() for step in steps])
        axes.plot(steps, mean, look, color=STYLE.lines[0 if look == "-" else 1], linewidth=1.8, label=name)
    if marked.any():
        at = [step for step in steps if marked[:, step - 1].sum() >= 5]
        mean = [own[marked[:, step - 1], step - 1].mean() for step in at]
        axes.plot(at, mean, "o", color=STYLE.lines[2], markersize=4, label="model, the letter to remember")
    axes.axhline(np.log(2), color=STYLE.lines[3], linewidth=0.9, linestyle=":", label="log 2, a guess of two")
    axes.set_ylim(bottom=-0.03)
    legend(axes, columns=2)
    return figure


def draw_strings(generative: Joint, grammar: Grammar, *, n: int = 12) -> Drawing:
    """Draw `n` strings of the model as lines, and where one leaves the grammar.

    Args:
      generative: as for `measure_strings`.
    """
    sample = _sampler(generative, grammar, n)

    def draw(key: Key, params: Params, state: State) -> Figure:
        drawn = np.asarray(sample(key, params, state))
        lines = [_spelled(grammar, string, passed) for string, passed in zip(drawn, grammar.states(drawn), strict=True)]
        return text_lines([[line] for line in lines], title="Samples")

    return draw


def _spelled(grammar: Grammar, string: NDArray[np.integer], states: NDArray[np.integer]) -> str:
    """Return a string up to its end; up to the symbol that cannot follow, with a cross, if there is one."""
    text = "".join(grammar.letters[symbol] for symbol in string)
    if (wrong := np.flatnonzero(states[1:] < 0)).size:
        return f"{text[: wrong[0] + 1]} ✗"
    ended = np.flatnonzero(states[1:] == grammar.end)
    return text[: ended[0] + 1] if ended.size else f"{text} …"


def _recalled(grammar: Grammar, x: ArrayLike) -> NDArray[np.bool_]:
    """Return which steps have the symbol that must be remembered, ``[strings, length]``."""
    return np.isin(grammar.states(x)[:, :-1], grammar.recalling)


def _step_log_probs(generative: Joint, split: Split) -> Callable[[Key, Params, State], NDArray[np.float64]]:
    """Return a function that finds the log-probabilities of the steps in nats, ``[strings, length]``."""
    values = {name: jnp.asarray(split[name]) for name in generative.variables}

    @jax.jit
    def found(key: Key, params: Params, state: State) -> Array:
        law = generative.sample(key, params, state, values, fixed=values).conditionals["x"]
        return law.step_log_probs(values["x"])

    return lambda key, params, state: np.asarray(found(key, params, state), np.float64)


def _sampler(generative: Joint, grammar: Grammar, n: int) -> Callable[[Key, Params, State], Array]:
    whole = {"lengths": jnp.full(n, grammar.length, jnp.int32)}
    return jax.jit(lambda key, params, state: generative.sample(key, params, state, whole).values["x"])
