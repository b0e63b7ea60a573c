"""Adversarial estimators: a divergence between two joints from samples alone, by a critic, equations (5)–(10)."""

from __future__ import annotations

__all__ = ["adversarial"]

from collections.abc import Sequence
from functools import partial
from typing import Any, cast, get_args

from vifx.checks import require_choice, require_number
from vifx.core.joint import Joint, check_owners
from vifx.core.objective import Objective, Part, Player, Schedule
from vifx.core.types import Array, Aux, Batch, Key, Networks, Params, State
from vifx.divergences import Divergence
from vifx.games.adversarial_derivation import constants_in_words, derive_adversarial, describe_terms
from vifx.games.claims import enumerated_critic, enumerated_gap, enumerated_model
from vifx.games.compared import Sides, critic_factor, sides
from vifx.games.game import Form, Game, Parametrization
from vifx.games.losses import (
    Penalty,
    Setting,
    critic_loss,
    init_networks,
    model_loss,
    proximal_weight,
)
from vifx.games.named import game


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
    penalties: Sequence[Penalty | tuple[float | Schedule, Penalty]] = (),
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
      E_B log A°/A`` if A moves; every network must have a density, and the turn is a phase (`anchored`). Where B has
      variables that the critic does not see, ``KL(B ‖ B°)`` is taken over them too, an upper bound as in (7), named
      ``"kl_to_anchor/x_at_most"``; `vifx.verify` reports its gap;
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
        ``λ E ‖G − G°‖²/D``, the mean over the D elements, for deterministic maps, so that ``λ = D/(2σ²)``;
        ``λ E KL(B(v|pa) ‖ B°(v|pa))`` for factors with a density. The anchor is the model at the start of the phase,
        where the term and its gradient are zero: a phase needs two updates at least.
      penalties: added to the critic's loss, such as `vifx.lipschitz.r1`; a pair ``(weight, penalty)`` weights one by a
        number ≥ 0 or a schedule of the critic's update count.
      name: prefix of the metrics and of the critic, to tell objectives in a sum apart.

    Returns:
      An objective with the players ``"critic"``, which owns ``"critic"`` alone (``"<name>_critic"`` with a name), and
      ``"model"``, which owns the networks of both sides. Losses are in nats where the divergence is, the mean over
      the batch. Metrics of the critic: ``"critic/accuracy"``, the mean outputs ``"critic/logit/inference"`` and
      ``"critic/logit/generative"``, ``"critic/saturation"`` (the share of samples whose origin it gives odds above
      99 to 1), and the estimate with its direction, ``"js/x_at_least"``; of the model: ``"adversarial/x"``,
      ``"proximal/x"`` and those of "full", unweighted.

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
    setting = Setting(
        sides=both,
        critic=critic_factor(critic, both.on, f"{name}_critic" if name else "critic"),
        critic_game=_critic_game(played, critic_divergence),
        game=played,
        form=form,
        proximal=_checked_proximal(proximal, form),
        penalties=tuple(map(_weighted_penalty, penalties)),
        prefix=f"{name}/" if name else "",
    )
    check_owners((*both.a.joint.factors, *both.b.joint.factors, setting.critic))
    return _objective(setting, inference, generative)


def _objective(setting: Setting, inference: Joint, generative: Joint) -> Objective:
    def critic(key: Key, params: Params, state: State, batch: Batch, *, train: bool = True) -> tuple[Array, Aux]:
        return critic_loss(key, setting, Networks(params, state, train), batch)

    def model(key: Key, params: Params, state: State, batch: Batch, *, train: bool = True) -> tuple[Array, Aux]:
        return model_loss(key, setting, Networks(params, state, train), batch)

    init = partial(init_networks, setting=setting)

    def critic_claim(params: Params, state: State, batch: Batch) -> Array:
        return enumerated_critic(setting.sides, setting.critic, setting.critic_game, params, state, batch)

    def model_claim(params: Params, state: State, batch: Batch) -> Array:
        weight = proximal_weight(setting, state)
        return enumerated_model(setting.sides, setting.critic, setting.game, setting.form, weight, params, state, batch)

    def gap(params: Params, state: State, batch: Batch) -> Array:
        return enumerated_gap(setting.sides, setting.game, params, state, batch)

    words = "labelled KL" if setting.game.name == "labelled_kl" else setting.game.name.replace("_", " ")
    part = Part(
        title=f"{words} by a critic on $({', '.join(setting.sides.on)})$",
        joints=(inference, generative),
        left_out=constants_in_words(setting),
        derivation=derive_adversarial(setting),
        terms=partial(describe_terms, setting, init),
        exact={"critic": critic_claim, "model": model_claim},
        gaps={"model": gap} if setting.form == "full" and setting.sides.hidden else {},
        others=(setting.critic,),
        explicit=False,
    )
    players = {
        "critic": Player((str(setting.critic.owner),), critic),
        "model": Player(setting.sides.owners, model, setting.anchors, setting.least_updates),
    }
    return Objective(init, players, (part,))


def _critic_game(played: Game, critic_divergence: str | Divergence | None) -> Game:
    if critic_divergence is None:
        return played
    prior = played.label_prior if critic_divergence == "labelled_kl" else 0.5
    critic_game = game(critic_divergence, label_prior=prior)
    for each, argument in ((played, "divergence"), (critic_game, "critic_divergence")):
        if each.log_ratio is None:
            raise ValueError(
                f"critic_divergence: the critic of {argument}={each.name!r} does not output the log ratio; use the "
                "labelled KL or an f-divergence in the ratio parametrization for both."
            )
    return critic_game


def _check_form(played: Game, form: str, both: Sides) -> None:
    require_choice(form, get_args(Form), "form")
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
    hidden = [name for name in both.a.joint.variables if name not in both.on]
    if both.a.moves and hidden:
        # E_B log A°/A of the joints is not that of the marginals, nor is its gradient at the anchor.
        raise ValueError(
            f"form='full' needs the density of A on what the critic sees, but {both.a.joint} has {hidden[0]!r} too; "
            f"compare all its variables, on={both.a.joint.variables!r}, or use form='nonsaturating'."
        )


def _weighted_penalty(penalty: Any) -> tuple[float | Schedule, Penalty]:
    pair = penalty if isinstance(penalty, tuple) and len(penalty) == 2 else (1.0, penalty)
    weight: Any = pair[0]
    function: Any = pair[1]
    if not callable(function):
        raise TypeError(
            "penalties: expected functions such as vifx.lipschitz.r1(0.1), or pairs (weight, function), got "
            f"{penalty!r}."
        )
    return _weight(weight, "the weight of a penalty"), cast("Penalty", function)


def _weight(value: float | Schedule, name: str) -> float | Schedule:
    return value if callable(value) else require_number(value, name, least=0, hint="or give a schedule")


def _checked_proximal(proximal: float | Schedule, form: str) -> float | Schedule:
    weight = _weight(proximal, "proximal")
    if form == "full" and (callable(weight) or weight > 0):
        raise ValueError("form='full' has the proximal term with weight 1 already; leave proximal out.")
    return weight
