"""The losses of an adversarial objective: the critic's, the model's, and their metrics."""

from __future__ import annotations

__all__ = ["Penalty", "Setting", "critic_loss", "init_networks", "model_loss", "proximal_weight"]

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp

from vifx.core.conditional import fold
from vifx.core.examples import example_mean
from vifx.core.factor import Factor
from vifx.core.objective import Schedule
from vifx.core.types import Array, Aux, Batch, Key, Networks, Params, State
from vifx.games.compared import Drawn, Sides, count_examples, logits, outer_mean, sides_init, walk_side
from vifx.games.game import Form, Game, Pieces
from vifx.games.proximal import anchor_distance, log_ratio_to_anchor
from vifx.variational.walk import mean

Penalty: TypeAlias = Callable[
    [Key, Callable[..., Array], tuple[Array, ...], tuple[Array, ...]], tuple[Array, Mapping[str, Array]]
]
"""``(key, critic, at_a, at_b) -> (values, metrics)``: a value for each example, whose mean the critic's loss adds.

`vifx.lipschitz` makes them."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Setting:
    """Everything that the losses of one `adversarial` depend on.

    Attributes:
      sides: A and B.
      critic: as a factor of the label.
      critic_game: the game whose critic loss fits the critic.
      game: the game whose form is the model's loss.
      form: which form of it.
      proximal: the weight of the proximal term, 0 for none.
      penalties: on the critic, each with its weight.
      prefix: of the metrics.
    """

    sides: Sides
    critic: Factor
    critic_game: Game
    game: Game
    form: Form
    proximal: float | Schedule
    penalties: tuple[tuple[float | Schedule, Penalty], ...]
    prefix: str

    @property
    def on(self) -> str:
        """The compared variables, as metrics name them."""
        return ",".join(self.sides.on)

    @property
    def pulls(self) -> bool:
        """Whether there is a proximal term."""
        return callable(self.proximal) or self.proximal > 0

    @property
    def anchors(self) -> tuple[str, ...]:
        """The networks whose anchors the model's loss reads."""
        if self.form == "full":
            return self.sides.owners
        return self.sides.b.joint.owners if self.pulls else ()

    @property
    def least_updates(self) -> int:
        """How many updates a phase needs for every term to act."""
        standing = self.form == "full" and not self.sides.a.moves
        return 2 if self.pulls or standing else 1


def critic_loss(key: Key, setting: Setting, networks: Networks, batch: Batch) -> tuple[Array, Aux]:
    """Return the critic's loss on samples that stand still, its penalties included.

    Returns:
      A scalar in nats (where the game has that unit), the mean over the batch, and metrics with the new state.

    Raises:
      ValueError: the two sides' values are not alike, or penalties meet variables that are summed.
    """
    drawn: list[Drawn] = []
    outputs: list[Array] = []
    for side in setting.sides[:2]:
        one, networks = walk_side(key, side, networks, batch)
        drawn.append(one)
    # The samples stand still while the critic moves.
    values = [jax.lax.stop_gradient({name: one.rows.values[name] for name in setting.sides.on}) for one in drawn]
    _check_alike(setting, values)
    before = networks
    for which, each in zip("ab", values, strict=True):
        output, networks = logits(fold(key, "critic", which), setting.critic, networks, each)
        outputs.append(output)
    (a, b), (at_a, at_b) = drawn, outputs
    value = _expected(setting.critic_game, setting.critic_game.critic, a, b, at_a, at_b, a_counts=True)
    metrics = _critic_metrics(setting, a, b, *jax.lax.stop_gradient((at_a, at_b, value)))

    def critic(*at: Array) -> Array:
        noise = fold(key, "critic", "penalty")
        named = dict(zip(setting.sides.on, at, strict=True))
        return logits(noise, setting.critic, before, named)[0]

    if setting.penalties:
        _require_draws(drawn, setting)
    # A pair of examples counts as the one of them that is of the data.
    shares = a.rows.shares if a.rows.shares is not None else b.rows.shares
    for index, (weight, penalty) in enumerate(setting.penalties):
        samples = [tuple(each.values()) for each in values]
        extra, reported = penalty(fold(key, "penalty", str(index)), critic, *samples)
        _check_penalty(index, extra, a.rows.examples)
        metrics |= {name: example_mean(shares, each) for name, each in reported.items()}
        if callable(weight):
            weight = jnp.asarray(weight(_updates(networks.state, "critic")), extra.dtype)
            metrics[f"weight/penalty/{index}"] = weight
        value = value + weight * example_mean(shares, extra)
    return value, Aux({setting.prefix + metric: number for metric, number in metrics.items()}, networks.state)


def model_loss(key: Key, setting: Setting, networks: Networks, batch: Batch) -> tuple[Array, Aux]:
    """Return the model's loss against a critic that stands still.

    Returns:
      A scalar in nats (where the game has that unit), the mean over the batch, and metrics with the new state.

    Raises:
      ValueError: an anchor is missing.
    """
    a_side, b_side, _ = setting.sides
    start = networks
    b, networks = walk_side(key, b_side, networks, batch)
    output_b, networks = logits(fold(key, "critic", "b"), setting.critic, networks, b.rows.values)
    a, output_a = b, output_b
    if a_side.moves or setting.game.paired:
        a, networks = walk_side(key, a_side, networks, batch)
        output_a, networks = logits(fold(key, "critic", "a"), setting.critic, networks, a.rows.values)
    value = _expected(setting.game, setting.game.forms[setting.form], a, b, output_a, output_b, a_counts=a_side.moves)
    # Of a GAN, nothing but a constant and the proximal term is dropped.
    suffix = "_truncated" if setting.form == "truncated" and a_side.moves else ""
    metrics = {f"adversarial/{setting.on}{suffix}": value}
    if setting.form == "full":
        distance = anchor_distance(key, b_side, b, start)
        metrics[f"kl_to_anchor/{setting.on}{'_at_most' if setting.sides.hidden else ''}"] = distance
        value = value + 2 * (1 - setting.game.label_prior) * distance
        if a_side.moves:
            ratio = log_ratio_to_anchor(key, a_side, b, start)
            metrics[f"log_ratio_to_anchor/{setting.on}"] = ratio
            value = value + 2 * (1 - setting.game.label_prior) * ratio
    if setting.pulls:
        distance = anchor_distance(key, b_side, b, start)
        metrics[f"proximal/{setting.on}"] = distance
        weight = proximal_weight(setting, networks.state)
        if callable(setting.proximal):
            metrics[f"weight/proximal/{setting.on}"] = weight
        value = value + weight * distance
    return value, Aux({setting.prefix + metric: number for metric, number in metrics.items()}, networks.state)


def _expected(
    played: Game, pieces: Pieces, a: Drawn, b: Drawn, output_a: Array, output_b: Array, *, a_counts: bool
) -> Array:
    """Return the expectation of a game's pieces; A's is left out if it is constant."""
    if played.paired:
        return outer_mean(a.rows, b.rows, pieces.at_b(output_a[:, None] - output_b[None]))
    value = mean(b.rows, pieces.at_b(output_b))
    return value + mean(a.rows, pieces.at_a(output_a)) if a_counts else value


def _critic_metrics(
    setting: Setting, a: Drawn, b: Drawn, output_a: Array, output_b: Array, value: Array
) -> dict[str, Array]:
    critic_game = setting.critic_game

    def share(of_a: Array, of_b: Array) -> Array:
        real = output_a.dtype
        return 0.5 * (mean(a.rows, of_a.astype(real)) + mean(b.rows, of_b.astype(real)))

    metrics = {
        f"critic/logit/{side.role}": mean(one.rows, output)
        for side, one, output in zip(setting.sides[:2], (a, b), (output_a, output_b), strict=True)
    }
    if critic_game.score is not None:
        metrics["critic/accuracy"] = share(critic_game.score(output_a) > 0, critic_game.score(output_b) < 0)
    sure = math.log(99)
    if critic_game.paired:
        apart = output_a[:, None] - output_b[None]
        metrics["critic/accuracy"] = outer_mean(a.rows, b.rows, (apart > 0).astype(apart.dtype))
        metrics["critic/saturation"] = outer_mean(a.rows, b.rows, (apart > sure).astype(apart.dtype))
    if critic_game.log_ratio is not None:
        metrics["critic/saturation"] = share(
            critic_game.log_ratio(output_a) > sure, critic_game.log_ratio(output_b) < -sure
        )
    metrics[f"{critic_game.target}/{setting.on}_{critic_game.bound}"] = critic_game.estimate(value)
    return metrics


def init_networks(key: Key, batch: Batch, *, setting: Setting) -> tuple[Params, State]:
    """Initialize the networks of both sides, and the critic on a draw of B."""
    params, state = sides_init(key, batch, both=setting.sides)
    side, examples = setting.sides.b, count_examples(batch)
    drawn = side.joint.sample(fold(key, side.role), params, state, batch, examples=examples).values
    owner = str(setting.critic.owner)
    init = setting.critic.init
    if init is not None:
        params[owner], state[owner] = init(fold(key, owner), None, *(drawn[name] for name in setting.sides.on))
    scheduled = {"model": callable(setting.proximal), "critic": any(callable(w) for w, _ in setting.penalties)}
    state |= {f"{player}@updates": jnp.zeros((), jnp.int32) for player, counts in scheduled.items() if counts}
    return params, state


def proximal_weight(setting: Setting, state: State) -> Array:
    """Return λ, by the update count if it is a schedule.

    Raises:
      ValueError: if it is and the state has no count.
    """
    if not callable(setting.proximal):
        return jnp.asarray(setting.proximal, jnp.result_type(float))
    return jnp.asarray(setting.proximal(_updates(state, "model")), jnp.result_type(float))


def _updates(state: State, player: str) -> Array:
    counter = f"{player}@updates"
    if counter not in state:
        raise ValueError(f"state lacks {counter!r}, which scheduled weights read; make it with objective.init.")
    return state[counter]


def _check_alike(setting: Setting, values: list[dict[str, Array]]) -> None:
    """Raise ValueError unless a critic can take both sides' values in the same way."""
    for name, first in values[0].items():
        second = values[1][name]
        real = [jnp.issubdtype(each.dtype, jnp.floating) for each in (first, second)]
        if first.shape[1:] == second.shape[1:] and real[0] == real[1]:
            continue
        inference, generative = (first, second) if setting.sides.a.role == "inference" else (second, first)
        raise ValueError(
            f"adversarial: {name!r} is {inference.dtype}{list(inference.shape[1:])} per example in the inference "
            f"joint, but {generative.dtype}{list(generative.shape[1:])} in the generative joint; a critic sees both, "
            "so make them alike: scale images with a transform such as data.normalize, or match the network's output."
        )


def _check_penalty(index: int, values: Array, examples: int) -> None:
    if values.shape != (examples,):
        raise ValueError(
            f"penalties[{index}] returned values of shape {list(values.shape)}; a penalty returns one value for each "
            f"example, [{examples}], of which the loss takes the mean."
        )


def _require_draws(drawn: list[Drawn], setting: Setting) -> None:
    if any(visit.how == "summed" for one in drawn for visit in one.visits):
        raise ValueError(
            f"penalties act on drawn reals, but the variables {setting.on} are finite and summed; leave penalties out."
        )
