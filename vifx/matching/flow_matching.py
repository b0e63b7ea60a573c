"""Flow matching: the regression of a continuous flow's velocity on that of paths between data and noise.

A path ``x_t = α_t x + σ_t ε`` of one pair moves with ``u = α′_t x + σ′_t ε``. The velocity that moves the whole
distribution from the data to the base is the mean of these, ``u_t(x_t) = E[u | x_t]``, which nobody knows; but

    ∫ E ‖v(x_t, t) − u‖² dt = ∫ E ‖v(x_t, t) − u_t(x_t)‖² dt + ∫ E tr Var(u | x_t) dt,

and the last term does not depend on v. So the regression on one pair at a time has the gradient of the regression on
``u_t``: no differential equation is solved, and none is differentiated.
"""

from __future__ import annotations

__all__ = ["flow_matching"]

from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp

from vifx.checks import nearest, require, require_choice
from vifx.core.conditional import fold
from vifx.core.examples import WEIGHTS, example_mean, example_shares
from vifx.core.factor import Factor
from vifx.core.joint import Joint, check_owners
from vifx.core.objective import Objective, Part, Player, Term
from vifx.core.types import Array, Aux, Batch, Key, Params, State
from vifx.diffusion.step_times import StepTimes, TimeDraws
from vifx.matching.interpolation import Path, linear
from vifx.matching.pairing import Pairing, optimal_within
from vifx.matching.time_weights import TimeWeights


def flow_matching(
    inference: Joint,
    generative: Joint,
    *,
    on: str | None = None,
    path: Path | None = None,
    pairing: Pairing = "independent",
    times: StepTimes = "low_discrepancy",
    weighting: TimeWeights | None = None,
    name: str = "",
) -> Objective:
    """Train a continuous flow without solving it: ``E ‖v(x_t, t) − (α′_t x + σ′_t ε)‖²``, ``x_t = α_t x + σ_t ε``.

    The flow is a factor of the generative joint, ``transformed("x", base, bijection, name="velocity")``, and its
    bijection moves along a velocity: `flows.continuous`, `flows.cnf`, `diffusion.flow`, or a chain with one of them,
    such as ``flows.chain(flows.logit(), flows.continuous(network))``. x is drawn from the inference joint and ε from
    the flow's base, both as the velocity sees them: after the bijections before it, before those behind it. These are
    read and not trained.

    It is neither a divergence of the two joints nor a bound on a likelihood: a small loss means a good velocity. How
    good the density is, the same joints say with the same parameters, by `generative.log_prob`.

    Args:
      inference: the evidence, and an encoder if the flow is of a latent, which is not trained.
      generative: with the flow as a factor. Its parents, as in ``"x | y"``, are conditions.
      on: the variable of the flow, if there are several.
      path: from data to noise, `matching.linear` by default, or `matching.scheduled`.
      pairing: ``"independent"``, or ``"optimal"``: within a batch, noise goes to the examples by the optimal transport
        for ``‖x − ε‖²``, so that paths hardly cross, are straighter, and take fewer steps to solve. Noise is exchanged
        among rows of equal conditions and weights alone, since it is to be independent of these. What measures losses
        example by example, such as `evaluation.monitor_loss`, has nothing to transport: give it the independent one.
      times: one for each example, ``"low_discrepancy"``, ``(u + i/B) mod 1`` over the batch, or ``"uniform"``.
      weighting: of the times, such as `matching.logit_normal`; equal by default.
      name: prefix of the metric, to tell objectives in a sum apart.

    Returns:
      An objective with one player ``"model"`` that owns the flow's network. The loss is a mean over examples of a sum
      over elements, in squared units of x; the metric is ``"flow_matching/x"``.

    Raises:
      TypeError: an argument is of another kind.
      ValueError: the generative joint has no continuous flow, or several and no `on`; the inference joint lacks what is
        matched or its conditions; an argument is not one of its words; from the loss, one example with optimal
        transport, or a base of another shape.

    References: Lipman et al. (2023), arXiv:2210.02747; Liu, Gong & Liu (2023), arXiv:2209.03003; Albergo &
    Vanden-Eijnden (2023), arXiv:2209.15571; Tong et al. (2024), arXiv:2302.00482.

    Example:
      >>> from vifx import Joint, evidence, flows, standard_normal, transformed
      >>> generative = Joint(transformed("x", standard_normal(2), flows.cnf(), name="velocity"))
      >>> flow_matching(Joint(evidence("x")), generative, pairing="optimal").dropped
      ('− ∫ E tr Var(u | x_t) dt',)
    """
    for argument, joint in (("inference", inference), ("generative", generative)):
        require(joint, Joint, f"flow_matching: {argument}", "a Joint", "make one of factors")
    require(path, (Path, type(None)), "flow_matching: path", "a Path", "give vifx.matching.linear()")
    fix = "give vifx.matching.logit_normal()"
    require(weighting, (TimeWeights, type(None)), "flow_matching: weighting", "TimeWeights", fix)
    require_choice(pairing, get_args(Pairing), "flow_matching: pairing")
    require_choice(times, ("low_discrepancy", "uniform"), "flow_matching: times")
    flow = _flow_of(generative, on)
    variables = (flow.variables[0], *flow.given)
    for variable in variables:
        if variable not in inference.variables:
            raise ValueError(
                f"flow_matching: the inference joint {inference} has no {variable!r}, which {flow} is of"
                f"{nearest(variable, inference.variables)}; add it to the evidence, or an encoder"
            )
    source = inference.ancestral(variables)
    check_owners((*source.factors, flow))
    matching = _Matching(source, flow, path or linear(), pairing, times, weighting)
    owner, label = str(flow.owner), f"flow_matching/{flow.variables[0]}"
    label = f"{name}/{label}" if name else label

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        params, state = source.init(key, batch)
        values = source.sample(fold(key, "inference"), params, state, batch).values
        own = flow.init(fold(key, owner), *(values[each] for each in variables)) if flow.init else ({}, {})
        return {**params, owner: own[0]}, {**state, owner: own[1]}

    def loss(key: Key, params: Params, state: State, batch: Batch, *, train: bool = True) -> tuple[Array, Aux]:
        each, own = matching.squared_errors(key, params, state, batch, train=train)
        value = example_mean(example_shares(batch), each)
        return value, Aux({label: value}, {**state, owner: own})

    part = Part(
        title=f"flow matching of ${flow.variables[0]}$ along ${matching.path.label}$",
        joints=(inference, generative),
        left_out=(f"− ∫ {'' if weighting is None else 'w(t) '}E tr Var(u | x_t) dt",),
        derivation=matching.derivation(),
        terms=lambda _: (
            Term(label, "$∫ E ‖v(x_t, t) − u‖² dt$", matching.how(), "1" if weighting is None else "w(t)"),
        ),
        explicit=False,
    )
    return Objective(init, {"model": Player((owner,), loss)}, (part,))


def _flow_of(generative: Joint, on: str | None) -> Factor:
    """Return the factor whose bijection moves along a velocity."""
    moving = [item for item in generative.modelled if getattr(item.source, "velocity", None) is not None]
    if on is not None:
        require(on, str, "flow_matching: on", "the name of a variable", "give 'x' say")
        moving = [item for item in moving if on in item.variables]
    if len(moving) == 1:
        return moving[0]
    if moving:
        raise ValueError(
            f"flow_matching: {generative} has several continuous flows; say which with on={moving[0].variables[0]!r}"
        )
    raise ValueError(
        f"flow_matching: {generative} has no continuous flow{'' if on is None else f' of {on!r}'}; write "
        "transformed('x', base, bijection, name='velocity') with flows.continuous(network), flows.cnf(), "
        "diffusion.flow(...) or a chain with one of them"
    )


class _Matching(NamedTuple):
    """What is matched, and how."""

    source: Joint
    flow: Factor
    path: Path
    pairing: Pairing
    times: StepTimes
    weighting: TimeWeights | None

    def squared_errors(self, key: Key, params: Params, state: State, batch: Batch, *, train: bool) -> tuple[Array, Any]:
        """Return ``‖v(x_t, t) − u‖²`` of each example, ``[rows]``, and the flow's new state."""
        owner = str(self.flow.owner)
        draw, own, before, behind, noisy, when, network = jax.random.split(key, 7)
        own_params, own_state = params[owner], state.get(owner, {})
        values = jax.lax.stop_gradient(self.source.sample(draw, params, state, batch).values)
        value, *parents = (values[each] for each in (self.flow.variables[0], *self.flow.given))
        rows = value.shape[0]
        fixed = jax.lax.stop_gradient(own_params)
        known: Any = self.flow.conditional(own, fixed, own_state, *parents, train=train)[0]
        velocity, given = known.bijection.velocity, known.given
        x = velocity.start(fixed, own_state, value, given, before)
        noise = velocity.end(fixed, own_state, known.base.sample(noisy, (rows,)), given, behind).astype(x.dtype)
        if noise.shape != x.shape:
            raise ValueError(
                f"flow_matching: {self.flow} moves {list(x.shape)} and its base has {list(noise.shape)}; give the base "
                f"events {list(x.shape[1:])}, or add flows.flatten() behind the continuous flow"
            )
        if self.pairing == "optimal":
            weights = [batch[WEIGHTS]] if WEIGHTS in batch else []
            noise = optimal_within(x, noise, [*jax.tree.leaves(given), *weights])
        t = TimeDraws.of(when, rows, self.times, {}, None).place
        t = (t if self.weighting is None else self.weighting.quantile(t)).astype(x.dtype)
        moving, own_state = velocity.field(
            own_params, own_state, self.path.point(x, noise, t), t, given, key=network, train=train
        )
        error = moving - self.path.velocity(x, noise, t)
        return jnp.sum(error.reshape(rows, -1) ** 2, axis=1), own_state

    def how(self) -> str:
        """Say how the loss is estimated."""
        spread = "spread over the batch" if self.times == "low_discrepancy" else "drawn uniformly"
        weights = "" if self.weighting is None else f", weighted by w = {self.weighting.label}"
        pairs = "noise by optimal transport in the batch" if self.pairing == "optimal" else "independent noise"
        return f"one time for each example, {spread}{weights}; {pairs}"

    def derivation(self) -> tuple[str, ...]:
        """Derive the loss, and say what it is not."""
        variable = self.flow.variables[0]
        weight = "" if self.weighting is None else "w(t) "
        mean, rest = f"∫ {weight}E ‖v(x_t, t) − u_t(x_t)‖² dt", f"∫ {weight}E tr Var(u | x_t) dt"
        lines = (
            f"${self.flow}$ moves along $dx_t/dt = v(x_t, t)$, from data at $t = 0$ to its base at $t = 1$",
            f"a path between ${variable}$ and noise $ε$ of the base: $x_t = α_t {variable} + σ_t ε$, with the velocity "
            f"$u = α_t′ {variable} + σ_t′ ε$",
            "the velocity of the whole distribution is $u_t(x_t) = E[u | x_t]$",
            f"$L = ∫ {weight}E ‖v(x_t, t) − u‖² dt = {mean} + {rest}$",
            "the last integral does not depend on $v$: the gradient of $L$ is that of the first one",
            "neither a divergence nor a bound: the likelihood is the flow's own, with the same parameters",
        )
        if self.pairing == "independent":
            return lines
        return (
            *lines[:2],
            "the noise of a batch goes to its examples by the transport of least $Σ_i ‖x_i − ε_i‖²$: both marginals "
            "stay, and so do the ends of the paths",
            *lines[2:],
        )
