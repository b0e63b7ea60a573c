"""Pairs of joints: the checks and the bookkeeping that every explicit estimator shares."""

from __future__ import annotations

__all__ = ["Pair", "pair", "pair_init"]

from dataclasses import dataclass, replace

import jax.numpy as jnp

from vifx.checks import nearest
from vifx.core.conditional import fold
from vifx.core.factor import Derived, Factor
from vifx.core.joint import Joint, check_owners
from vifx.core.objective import Constant
from vifx.core.types import Batch, Key, Params, State


@dataclass(frozen=True, eq=False, kw_only=True)
class Pair:
    """Two joints over the same variables.

    Attributes:
      inference: the joint that expectations are under.
      generative: the joint that explains the evidence.
      owners: the networks of both, inference first.
      term_names: one per generative factor with a density: ``"nll/x"`` for evidence, ``"kl/z"`` for latents.
      constants: the entropies that dropping the evidence's own density leaves out.
      left_out: further constants in words: the normalizing constants of targets.
    """

    inference: Joint
    generative: Joint
    owners: tuple[str, ...]
    term_names: tuple[str, ...]
    constants: tuple[Constant, ...]
    left_out: tuple[str, ...] = ()

    @property
    def derived(self) -> tuple[Derived, ...]:
        """How the factors of the inference joint that follow from the generative one do."""
        return tuple(item.derived for item in self.inference.factors if item.derived is not None)

    @property
    def anchors(self) -> tuple[str, ...]:
        """The networks that derived factors read as they were at the start of the phase."""
        return tuple(dict.fromkeys(owner for each in self.derived if each.anchored for owner in each.joint.owners))

    @property
    def wholly_derived(self) -> bool:
        """Whether the inference joint is evidence and derived factors alone, each given all that is known before it."""
        known = set(self.inference.observed)
        for item in self.inference.modelled:
            # Given less than that, it is not a factor of what the generative joint says of all latents together.
            if item.derived is None or not known & set(self.generative.variables) <= set(item.given):
                return False
            known.add(item.variables[0])
        return bool(self.inference.observed)

    @property
    def scheduled(self) -> bool:
        """Whether a derived factor reads the update count."""
        return any(each.scheduled for each in self.derived)

    @property
    def examples(self) -> int | None:
        """How many examples there are without evidence: one, of which every draw is a sample; None with evidence."""
        return None if self.inference.observed else 1

    def term_of(self, item: Factor) -> str:
        """Return the name of a generative factor's term."""
        variable = item.variables[0]
        return f"nll/{variable}" if variable in self.inference.observed else f"kl/{variable}"


def pair(caller: str, inference: Joint, generative: Joint, *, latents: bool = True) -> Pair:
    """Check that two joints can be compared by densities.

    Args:
      inference: starts from evidence, unless neither joint has any.
      generative: over the same variables; its evidence is part of the inference joint's.
      latents: whether latents must have densities too.

    Raises:
      TypeError: something that is not a joint.
      ValueError: different variables, a target to take expectations under, or a density that does not exist; the
        message names the factor.
    """
    for argument, joint in (("inference", inference), ("generative", generative)):
        if not isinstance(joint, Joint):
            raise TypeError(f"{caller}: {argument} must be a Joint, got {type(joint).__name__}.")
    for item in inference.factors:
        if item.kind == "target":
            raise ValueError(
                f"{caller}: {item} is known up to a constant and cannot be sampled, so it has no place in the "
                "inference joint, which expectations are under; put it in the generative joint."
            )
    for joint, other, role in ((inference, generative, "generative"), (generative, inference, "inference")):
        for variable in joint.variables:
            if variable not in other.variables:
                raise ValueError(
                    f"{caller}: the {role} joint {other} has no factor for {variable!r}, which {joint} has"
                    f"{nearest(variable, other.variables)}; the two joints must be over the same variables."
                )
    check_owners((*inference.factors, *generative.factors))
    for item in generative.factors:
        if item.derived is not None:
            raise ValueError(
                f"{caller}: {item} is computed from the generative joint, so it belongs to the inference joint: "
                "Joint(evidence('x'), exact_posterior(generative, 'z | x'))."
            )
        _check_factor(caller, item, inference, latents)
    for item in inference.factors:
        if item.derived is not None:
            _check_derived(caller, item, item.derived.joint, generative)
    owners = tuple(dict.fromkeys((*inference.owners, *generative.owners)))
    left_out = tuple(f"+ log Z of {item}" for item in generative.factors if item.kind == "target")
    result = Pair(
        inference=inference,
        generative=generative,
        owners=owners,
        term_names=(),
        constants=_constants(inference, generative),
        left_out=left_out,
    )
    names = tuple(result.term_of(item) for item in generative.modelled)
    if not names:
        raise ValueError(f"{caller}: the generative joint {generative} is evidence alone; there is nothing to fit.")
    return replace(result, term_names=names)


def _check_factor(caller: str, item: Factor, inference: Joint, latents: bool) -> None:
    if item.kind == "evidence":
        home = inference.factor_of(item.variables[0])
        if home.kind != "evidence" or not set(item.variables) <= set(home.variables):
            raise ValueError(
                f"{caller}: the generative joint takes {item} from the data, but in the inference joint {home} it is "
                "not one evidence factor; evidence of the generative joint must be part of one evidence of the other."
            )
        return
    partner = inference.factor_of(item.variables[0])
    if not latents and partner.kind != "evidence":
        return
    for one in (item, partner):
        if one.kind == "implicit":
            raise ValueError(
                f"{caller}: {one} is implicit: it has no density, so its divergence cannot be computed from "
                f"densities. Compare it by a critic on samples, adversarial(..., on={item.variables[0]!r}), or make it "
                "a factor whose network returns a distribution."
            )


def _check_derived(caller: str, item: Factor, other: Joint, generative: Joint) -> None:
    for own in other.factors:
        mine = generative.factor_of(own.variables[0]) if own.variables[0] in generative.variables else None
        if mine is None or mine.source is not own.source or mine.owner != own.owner:
            raise ValueError(
                f"{caller}: {item} is computed from {other!r}, which is not the generative joint {generative!r}; "
                "pass the same joint to exact_posterior and to the estimator."
            )


def _constants(inference: Joint, generative: Joint) -> tuple[Constant, ...]:
    given = tuple(v for v in inference.observed if v in generative.observed)
    modelled = tuple(v for v in inference.observed if v not in given)
    return (Constant(-1.0, modelled, given),) if modelled else ()


def pair_init(key: Key, batch: Batch, *, both: Pair) -> tuple[Params, State]:
    """Initialize every network of both joints by running each once on a batch.

    The generative joint runs on the values that the inference joint has drawn, so that
    data-dependent initializations see what training will show them.
    """
    if both.derived:
        # They are computed from the generative networks, so these come first; latents are drawn from the prior.
        observed = both.inference.observe(batch, {})
        known = {name: value for name, value in observed.items() if name in both.generative.variables}
        params, state = both.generative.init(key, known, fixed=known, examples=both.examples)
        counter = {"model@updates": jnp.zeros((), jnp.int32)} if both.scheduled else {}
        present = params, {**state, **counter}
        return both.inference.init(key, batch, examples=both.examples, present=present)
    params, state = both.inference.init(key, batch, examples=both.examples)
    noise = fold(key, "inference")
    values = both.inference.sample(noise, params, state, batch, examples=both.examples).values
    return both.generative.init(key, values, fixed=values, present=(params, state))
