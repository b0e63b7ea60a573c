"""Adversarial estimators: a divergence between two joints from samples alone, by a critic, equations (5)–(10)."""

from __future__ import annotations

__all__ = ["Penalty", "adversarial"]

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeAlias, get_args

import jax
import jax.numpy as jnp

from vifx.conditional import fold, nearest
from vifx.divergences import Divergence
from vifx.estimators.adversarial_words import constants_in_words, derive_adversarial, describe_terms
from vifx.estimators.expectation import mean
from vifx.estimators.games import Form, Game, Parametrization, Pieces, game
from vifx.estimators.marginal import enumerated_critic, enumerated_model
from vifx.estimators.proximal import anchor_distance, log_ratio_to_anchor
from vifx.estimators.sides import Drawn, Sides, count_examples, critic_factor, logits, outer_mean, sides, walk_side
from vifx.factor import Factor
from vifx.joint import Joint, check_owners
from vifx.objective import Objective, Part, Player, Schedule, Term
from vifx.types import Array, Aux, Batch, Key, Params, State

Penalty: TypeAlias = Callable[
    [Key, Callable[..., Array], tuple[Array, ...], tuple[Array, ...]], tuple[Array, Mapping[str, Array]]
]
"""``(key, critic, at_a, at_b) -> (value, metrics)``, added to the critic's loss; `vifx.lipschitz` makes them."""


@dataclass(frozen=True)
class _Setting:
    """Everything that the losses of one `adversarial` depend on.

    Attributes:
      sides: A and B.
      critic: as a factor of the label.
      judge: the game whose critic loss fits the critic.
      game: the game whose form is the model's loss.
      form: which form of it.
      proximal: the weight of the proximal term, 0 for none.
      penalties: on the critic.
      prefix: of the metrics.
    """

    sides: Sides
    critic: Factor
    judge: Game
    game: Game
    form: Form
    proximal: float | Schedule
    penalties: tuple[Penalty, ...]
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


def adversarial(
    inference: Joint,
    generative: Joint,
    critic: Any,
    *,
    on: str | Sequence[str],
    divergence: str | Divergence = "labelled_kl",
    form: Form = "nonsaturating",
    parametrization: Parametrization = "ratio",
    label_prior: float = 0.5,
    critic_divergence: str | Divergence | None = None,
    proximal: float | Schedule = 0.0,
    penalties: Sequence[Penalty] = (),
    name: str = "",
) -> Objective:
    """A divergence between the marginals of two joints on some variables, estimated by a critic on samples.

    A is the side that stands still, if one does (the evidence of a GAN, the prior of an adversarial
    autoencoder), else the inference joint; B is the other. The critic's output ℓ estimates ``log A/B`` and
    ``D = σ(ℓ)``. With ``on="x"`` this is a GAN, with ``on="z"`` an adversarial autoencoder (plus `reconstruction`),
    with ``on=("x", "z")`` it is ALI; labels in `on` make it conditional. Only the compared variables and
    their ancestors are drawn.

    The labelled KL, equation (5): with both labels equally likely, ``KL(r ‖ t) = ½ E_A[−log D] + ½ E_B[−log(1−D)] +
    ½ KL(B ‖ A) − log 2``. The critic minimizes ``E_A[−log D] + E_B[−log(1−D)]``. The model's `form`:

    * ``"nonsaturating"`` (default): ``E_B[−log D]``, and ``+ E_A[−log(1−D)]`` if A moves too;
    * ``"minimax"``, also called ``"saturating"``: ``E_B[log(1−D)]``, and ``+ E_A[log D]``;
    * ``"full"``: equations (6) and (8) with every term, ``E_B[−log D] + KL(B ‖ B°)``, and ``+ E_A[−log D] +
      E_B log A°/A`` if A moves; every network must have a density, and the turn is a phase (`anchored`);
    * ``"truncated"``: what is left of "full" without anchors. For a GAN this is "nonsaturating". If A moves it is
      **no descent direction for A's networks** (the encoder of ALI): the gradient of the dropped ``E_B log A°/A``
      is not zero at the anchor, and what remains points against the true one. It is here to reproduce
      publications; its metric ends in ``_truncated``, and `vifx.verify` shows the error.

    An f-divergence D_f(A ‖ B), by name or as a `Divergence`, uses the bound (9), by default in the ratio
    parametrization (10); the model minimizes the bound (``"minimax"``) or ``−E_B[T]`` (``"nonsaturating"``).
    ``"wasserstein"``, ``"hinge"``, ``"least_squares"`` and ``"relativistic"`` are the other games.

    Args:
      inference: the joint that starts from the data.
      generative: the joint that starts from the prior; its evidence, such as labels, is read from the batch.
      critic: a network of the variables `on`, in that order, with one logit per example.
      on: the variables that the critic sees.
      divergence: the name of a game or of an f-divergence, or a `Divergence`.
      form: what the model minimizes.
      parametrization: what the critic outputs for an f-divergence: ``"ratio"``, ℓ itself, or ``"activation"``.
      label_prior: the prior probability of the label of A, for the labelled KL.
      critic_divergence: another divergence for the critic's own loss, where both are functions of the log ratio:
        ``"labelled_kl"`` fits it by classification while the model minimizes `divergence`.
      proximal: λ ≥ 0 of the proximal term of equation (7), a number or a schedule of the update count:
        ``λ E ‖G − G°‖²``, averaged over elements, for deterministic maps, ``λ E KL(B(v|pa) ‖ B°(v|pa))`` for factors with a
        density. The anchor is the model at the start of the phase, where the term and its gradient are
        zero: a phase needs two updates at least.
      penalties: added to the critic's loss, such as `vifx.lipschitz.r1`.
      name: prefix of the metrics and of the critic, to tell objectives in a sum apart.

    Returns:
      An objective with the players ``"critic"``, which owns ``"critic"`` alone (``"<name>_critic"`` with a name), and
      ``"model"``, which owns the networks of both sides. Losses are in nats where the divergence is, the mean over
      the batch. Metrics of the critic: ``"critic/accuracy"``, the mean outputs ``"critic/logit/inference"`` and
      ``"critic/logit/generative"``, ``"critic/saturation"`` (the share of samples whose origin it gives odds above
      99 to 1), and the estimate with its direction, ``"js/x_at_least"``; of the model: ``"adversarial/x"`` and
      ``"proximal/x"``, unweighted.

    Raises:
      TypeError: something that is not a joint, a network or a divergence.
      ValueError: a variable that one joint lacks, no network to train, a form that the game does not have, a
        density that ``"full"`` needs and does not exist, or λ < 0.

    References:
      Su (2018), arXiv:1807.05936; Goodfellow et al. (2014), arXiv:1406.2661; Nowozin et al. (2016),
      arXiv:1606.00709; Makhzani et al. (2015), arXiv:1511.05644; Dumoulin et al. (2016), arXiv:1606.00704.
    """
    both = sides("adversarial", inference, generative, on)
    played = game(divergence, parametrization=parametrization, label_prior=label_prior)
    _check_form(played, form, both)
    setting = _Setting(
        both,
        critic_factor(critic, both.on, f"{name}_critic" if name else "critic"),
        _judge(played, critic_divergence),
        played,
        form,
        _checked_proximal(proximal, form),
        tuple(penalties),
        f"{name}/" if name else "",
    )
    check_owners((*both.a.joint.factors, *both.b.joint.factors, setting.critic))
    return _objective(setting, inference, generative)


def _objective(setting: _Setting, inference: Joint, generative: Joint) -> Objective:
    def critic_loss(key: Key, params: Params, state: State, batch: Batch, *, train: bool = True) -> tuple[Array, Aux]:
        return _critic_loss(setting, key, params, state, batch, train=train)

    def model_loss(key: Key, params: Params, state: State, batch: Batch, *, train: bool = True) -> tuple[Array, Aux]:
        return _model_loss(setting, key, params, state, batch, train=train)

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        return _init(setting, key, batch)

    def critic_claim(params: Params, state: State, batch: Batch) -> Array:
        return enumerated_critic(setting.sides, setting.critic, setting.judge, params, state, batch)

    def model_claim(params: Params, state: State, batch: Batch) -> Array:
        weight = _proximal_weight(setting, state)
        return enumerated_model(setting.sides, setting.critic, setting.game, setting.form, weight, params, state, batch)

    def terms(batch: Batch | None) -> tuple[Term, ...]:
        shapes = None
        if batch is not None:
            key = jax.eval_shape(lambda: jax.random.key(0))
            shapes = jax.eval_shape(init, key, dict(batch))
        weight = "schedule of the update count" if callable(setting.proximal) else f"{setting.proximal:g}"
        kinds = (setting.judge, setting.game, setting.form, weight if setting.pulls else None, len(setting.penalties))
        return describe_terms(setting.sides, setting.prefix, *kinds, batch, shapes)

    words = (setting.sides, setting.judge, setting.game, setting.form)
    title, latex, lines = derive_adversarial(*words)
    part = Part(
        1.0,
        title,
        latex,
        inference,
        generative,
        (),
        lines,
        terms,
        {"critic": critic_claim, "model": model_claim},
        constants_in_words(*words),
        (setting.critic,),
    )
    players = {
        "critic": Player((str(setting.critic.owner),), critic_loss),
        "model": Player(setting.sides.owners, model_loss, setting.anchors, setting.least_updates),
    }
    return Objective(init, players, (part,))


def _critic_loss(
    setting: _Setting, key: Key, params: Params, state: State, batch: Batch, *, train: bool
) -> tuple[Array, Aux]:
    drawn: list[Drawn] = []
    outputs: list[Array] = []
    for side in setting.sides[:2]:
        one, state = walk_side(key, side, params, state, batch, train=train)
        drawn.append(one)
    # The samples stand still while the critic moves.
    values = [jax.lax.stop_gradient({name: one.rows.values[name] for name in setting.sides.on}) for one in drawn]
    _check_alike(setting, values)
    before = state
    for which, each in zip("ab", values, strict=True):
        noise = fold(key, "critic", which)
        output, state = logits(noise, setting.critic, params, state, each, train=train)
        outputs.append(output)
    a, b = drawn
    value = _expected(setting.judge, setting.judge.critic, a, b, *outputs, a_counts=True)
    metrics = _critic_metrics(setting, a, b, *map(jax.lax.stop_gradient, outputs), jax.lax.stop_gradient(value))

    def critic(*at: Array) -> Array:
        noise = fold(key, "critic", "penalty")
        named = dict(zip(setting.sides.on, at, strict=True))
        return logits(noise, setting.critic, params, before, named, train=train)[0]

    for index, penalty in enumerate(setting.penalties):
        _require_draws(drawn, setting)
        samples = [tuple(each.values()) for each in values]
        extra, reported = penalty(fold(key, "penalty", str(index)), critic, *samples)
        value = value + extra
        metrics |= reported
    return value, Aux({setting.prefix + metric: number for metric, number in metrics.items()}, state)


def _model_loss(
    setting: _Setting, key: Key, params: Params, state: State, batch: Batch, *, train: bool
) -> tuple[Array, Aux]:
    a_side, b_side, _ = setting.sides
    start = state
    b, state = walk_side(key, b_side, params, state, batch, train=train)
    output_b, state = logits(fold(key, "critic", "b"), setting.critic, params, state, b.rows.values, train=train)
    a, output_a = b, output_b
    if a_side.moves or setting.game.paired:
        a, state = walk_side(key, a_side, params, state, batch, train=train)
        output_a, state = logits(fold(key, "critic", "a"), setting.critic, params, state, a.rows.values, train=train)
    value = _expected(setting.game, setting.game.forms[setting.form], a, b, output_a, output_b, a_counts=a_side.moves)
    # Of a GAN, nothing but a constant and the proximal term is dropped.
    suffix = "_truncated" if setting.form == "truncated" and a_side.moves else ""
    metrics = {f"adversarial/{setting.on}{suffix}": value}
    if setting.form == "full":
        distance = anchor_distance(key, b_side, b, params, start, train=train)
        metrics[f"kl_to_anchor/{setting.on}"] = distance
        value = value + 2 * (1 - setting.game.label_prior) * distance
        if a_side.moves:
            ratio = log_ratio_to_anchor(key, a_side, b, params, start, train=train)
            metrics[f"log_ratio_to_anchor/{setting.on}"] = ratio
            value = value + 2 * (1 - setting.game.label_prior) * ratio
    if setting.pulls:
        distance = anchor_distance(key, b_side, b, params, start, train=train)
        metrics[f"proximal/{setting.on}"] = distance
        weight = _proximal_weight(setting, state)
        if callable(setting.proximal):
            metrics[f"weight/proximal/{setting.on}"] = weight
        value = value + weight * distance
    return value, Aux({setting.prefix + metric: number for metric, number in metrics.items()}, state)


def _expected(
    played: Game, pieces: Pieces, a: Drawn, b: Drawn, output_a: Array, output_b: Array, *, a_counts: bool
) -> Array:
    """Return the expectation of a game's pieces; A's is left out if it is constant."""
    if played.paired:
        return outer_mean(a.rows, b.rows, pieces.at_b(output_a[:, None] - output_b[None]))
    value = mean(b.rows, pieces.at_b(output_b))
    return value + mean(a.rows, pieces.at_a(output_a)) if a_counts else value


def _critic_metrics(
    setting: _Setting, a: Drawn, b: Drawn, output_a: Array, output_b: Array, value: Array
) -> dict[str, Array]:
    judge = setting.judge

    def share(of_a: Array, of_b: Array) -> Array:
        real = output_a.dtype
        return 0.5 * (mean(a.rows, of_a.astype(real)) + mean(b.rows, of_b.astype(real)))

    metrics = {
        f"critic/logit/{side.role}": mean(one.rows, output)
        for side, one, output in zip(setting.sides[:2], (a, b), (output_a, output_b), strict=True)
    }
    if judge.score is not None:
        metrics["critic/accuracy"] = share(judge.score(output_a) > 0, judge.score(output_b) < 0)
    elif judge.paired:
        right = (output_a[:, None] > output_b[None]).astype(output_a.dtype)
        metrics["critic/accuracy"] = outer_mean(a.rows, b.rows, right)
    if judge.log_ratio is not None:
        sure = math.log(99)
        metrics["critic/saturation"] = share(judge.log_ratio(output_a) > sure, judge.log_ratio(output_b) < -sure)
    metrics[f"{judge.target}/{setting.on}_{judge.bound}"] = judge.estimate(value)
    return metrics


def _init(setting: _Setting, key: Key, batch: Batch) -> tuple[Params, State]:
    examples = count_examples(batch)
    params: dict[str, Any] = {}
    state: dict[str, Any] = {}
    for side in sorted(setting.sides[:2], key=lambda side: side.role != "inference"):
        own_params, own_state = side.joint.init(key, batch, examples=examples)
        params, state = {**own_params, **params}, {**own_state, **state}
    side = setting.sides.b
    drawn = side.joint.sample(fold(key, side.role), params, state, batch, examples=examples).values
    owner = str(setting.critic.owner)
    init = setting.critic.init
    if init is not None:
        params[owner], state[owner] = init(fold(key, owner), None, *(drawn[name] for name in setting.sides.on))
    if callable(setting.proximal):
        state["model@updates"] = jnp.zeros((), jnp.int32)
    return params, state


def _proximal_weight(setting: _Setting, state: State) -> Array:
    if not callable(setting.proximal):
        return jnp.asarray(setting.proximal, jnp.result_type(float))
    if "model@updates" not in state:
        raise ValueError("state lacks 'model@updates', which proximal= reads; make the state with objective.init.")
    return jnp.asarray(setting.proximal(state["model@updates"]), jnp.result_type(float))


def _check_alike(setting: _Setting, values: list[dict[str, Array]]) -> None:
    """Raise ValueError unless a critic can take both sides' values in the same way."""
    for name, first in values[0].items():
        second = values[1][name]
        real = [jnp.issubdtype(each.dtype, jnp.floating) for each in (first, second)]
        if first.shape[1:] == second.shape[1:] and real[0] == real[1]:
            continue
        inference, generative = (first, second) if setting.sides.a.role == "inference" else (second, first)
        raise ValueError(
            f"adversarial: {name!r} is {inference.dtype}{list(inference.shape[1:])} per example in the inference joint, but "
            f"{generative.dtype}{list(generative.shape[1:])} in the generative joint; a critic sees both, so make them "
            "alike: scale images with a transform such as data.normalize, or match the network's output."
        )


def _require_draws(drawn: list[Drawn], setting: _Setting) -> None:
    if any(visit.how == "summed" for one in drawn for visit in one.visits):
        raise ValueError(
            f"penalties act on drawn reals, but the variables {setting.on} are finite and summed; leave penalties out."
        )


def _judge(played: Game, critic_divergence: str | Divergence | None) -> Game:
    if critic_divergence is None:
        return played
    judge = game(critic_divergence)
    for each, argument in ((played, "divergence"), (judge, "critic_divergence")):
        if each.log_ratio is None:
            raise ValueError(
                f"critic_divergence: the critic of {argument}={each.name!r} does not output the log ratio; use the labelled "
                "KL or an f-divergence in the ratio parametrization for both."
            )
    return judge


def _check_form(played: Game, form: str, both: Sides) -> None:
    if form not in get_args(Form):
        raise ValueError(
            f"form must be one of {', '.join(get_args(Form))}, got {form!r}{nearest(str(form), get_args(Form))}."
        )
    if form not in played.forms:
        raise ValueError(
            f"form={form!r} is of divergence='labelled_kl' alone; {played.name} has {', '.join(played.forms)}."
        )
    if form != "full":
        return
    for side in both[:2]:
        for item in side.joint.factors:
            if item.kind == "implicit" and item.owner is not None:
                raise ValueError(
                    f"form='full' needs the density of every network, but {item} is implicit; use "
                    "form='nonsaturating' with proximal=, whose term for it is the squared distance."
                )
    missing = [name for name in both.a.joint.variables if name not in both.b.joint.variables]
    if both.a.moves and missing:
        raise ValueError(
            f"form='full' evaluates {both.a.joint} at samples of {both.b.joint}, which has no {missing[0]!r}; compare all "
            "variables, or use form='nonsaturating'."
        )


def _checked_proximal(proximal: float | Schedule, form: str) -> float | Schedule:
    if callable(proximal):
        weight: float | Schedule = proximal
    elif isinstance(proximal, Real) and not isinstance(proximal, bool) and math.isfinite(proximal) and proximal >= 0:
        weight = float(proximal)
    else:
        raise ValueError(f"proximal must be a finite number λ ≥ 0 or a schedule, got {proximal!r}.")
    if form == "full" and (callable(weight) or weight > 0):
        raise ValueError("form='full' has the proximal term with weight 1 already; leave proximal out.")
    return weight
