"""The two sides of a comparison by a critic: which distribution is A, which is B, and their samples."""

from __future__ import annotations

__all__ = [
    "Drawn",
    "Side",
    "Sides",
    "count_examples",
    "critic_factor",
    "logits",
    "outer_mean",
    "sides",
    "sides_init",
    "walk_side",
]

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

from vifx.checks import nearest
from vifx.core.conditional import fold
from vifx.core.factor import Factor, of_network
from vifx.core.joint import Joint, check_owners
from vifx.core.nets import is_network
from vifx.core.types import Array, Batch, Key, Networks, PyTree
from vifx.variational.walk import Rows, Visit, walk


class Side(NamedTuple):
    """One of the two distributions that a critic tells apart.

    Attributes:
      role: which joint it comes from.
      joint: the compared variables and their ancestors, nothing else.
    """

    role: Literal["inference", "generative"]
    joint: Joint

    @property
    def moves(self) -> bool:
        """Whether it has parameters."""
        return bool(self.joint.owners)


class Sides(NamedTuple):
    """A and B, on the same variables.

    A is the side that stands still, if one does: the evidence in a GAN, the prior in an adversarial
    autoencoder. If both move, A is the inference joint.

    Attributes:
      a: the first distribution; the critic's output estimates log A/B.
      b: the other one, which always moves.
      on: the compared variables.
    """

    a: Side
    b: Side
    on: tuple[str, ...]

    @property
    def hidden(self) -> tuple[str, ...]:
        """The variables of B that are not compared; a divergence over them too bounds that of the marginal."""
        return tuple(name for name in self.b.joint.variables if name not in self.on)

    @property
    def owners(self) -> tuple[str, ...]:
        """The networks of both sides, those of the inference joint first."""
        first, second = sorted(self[:2], key=lambda side: side.role != "inference")
        return tuple(dict.fromkeys((*first.joint.owners, *second.joint.owners)))


class Drawn(NamedTuple):
    """A side, drawn or summed.

    Attributes:
      visits: its factors, in order.
      rows: the rows after the last one.
    """

    visits: list[Visit]
    rows: Rows


def sides(caller: str, inference: Joint, generative: Joint, on: str | Sequence[str]) -> Sides:
    """Take the marginals of two joints on some variables, and say which is A.

    Raises:
      TypeError: something that is not a joint or a name.
      ValueError: no variable or one twice, one that a joint lacks, one that both take from the data, or
        no network on either side.
    """
    for argument, joint in (("inference", inference), ("generative", generative)):
        if not isinstance(joint, Joint):
            raise TypeError(f"{caller}: {argument} must be a Joint, got {type(joint).__name__}.")
    names = (on,) if isinstance(on, str) else tuple(on)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{caller}: on must name one or more different variables, such as 'x', got {on!r}.")
    for name in names:
        for role, joint in (("inference", inference), ("generative", generative)):
            if name not in joint.variables:
                raise ValueError(
                    f"{caller}: on={name!r}, but the {role} joint {joint} has no such variable"
                    f"{nearest(name, joint.variables)}; a critic compares variables that both joints have."
                )
    first, second = Side("inference", inference.ancestral(names)), Side("generative", generative.ancestral(names))
    check_owners((*first.joint.factors, *second.joint.factors))
    if not first.moves and not second.moves:
        raise ValueError(
            f"{caller}: neither {first.joint} nor {second.joint} has a network, so there is nothing to train; "
            f"compare a variable that a network makes, got on={on!r}."
        )
    a, b = (second, first) if first.moves and not second.moves else (first, second)
    return Sides(a, b, names)


def critic_factor(critic: Any, on: tuple[str, ...], name: str) -> Factor:
    """Return a critic as the factor of the label given the compared variables; its conditional is ℓ.

    Raises:
      TypeError: `critic` is not a network.
    """
    if not is_network(critic):
        raise TypeError(
            f"critic must be a Net, a Flax Linen or an NNX module that maps ({', '.join(on)}) to one logit per "
            f"example, got {type(critic).__name__}."
        )
    return of_network("label", on, "density", critic, name)


def logits(key: Key | None, critic: Factor, networks: Networks, values: Mapping[str, Array]) -> tuple[Array, Networks]:
    """Return the critic's output at the compared variables, ``[rows]``, and the networks in their new state.

    Raises:
      ValueError: its parameters are missing, or the output is not one logit per example.
      TypeError: the output is not an array of floats.
    """
    params, state, train = networks
    owner = str(critic.owner)
    if owner not in params:
        raise ValueError(f"params lacks {owner!r}, the critic{nearest(owner, tuple(params))}.")
    given = tuple(values[name] for name in critic.given)
    rows = given[0].shape[0]
    output, own = critic.conditional(key, params[owner], state.get(owner, {}), *given, train=train)
    if not hasattr(output, "dtype") or not jnp.issubdtype(output.dtype, jnp.floating):
        what = f"an array of {output.dtype}" if hasattr(output, "dtype") else type(output).__name__
        raise TypeError(f"{critic}: a critic's output must be floating logits, got {what}; leave a head out.")
    if output.shape not in ((rows,), (rows, 1)):
        raise ValueError(
            f"{critic}: a critic must give one logit per example, shape [{rows}] or [{rows}, 1], got "
            f"{list(output.shape)}; end it with a layer of one unit."
        )
    return output.reshape(rows), networks._replace(state={**state, owner: own})


def walk_side(key: Key, side: Side, networks: Networks, batch: Batch) -> tuple[Drawn, Networks]:
    """Draw a side once per example of the batch, or sum it if all that is drawn is finite.

    The expectation is exact if every variable but the evidence has finite support; in a mixture of finite
    and other variables all are drawn, the finite ones with the score function.

    Raises:
      ValueError: the batch is empty, or disagrees on the number of examples.
    """
    examples = count_examples(batch)
    key = fold(key, side.role)
    visits, networks = walk(key, side.joint, networks, batch, samples=1, sums="all", examples=examples)
    return Drawn(visits, visits[-1].after), networks


def sides_init(key: Key, batch: Batch, *, both: Sides) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
    """Initialize the networks of both sides, the inference joint first, by running each once on a batch."""
    params: dict[str, PyTree] = {}
    state: dict[str, PyTree] = {}
    for side in sorted(both[:2], key=lambda side: side.role != "inference"):
        own_params, own_state = side.joint.init(key, batch, examples=count_examples(batch))
        params, state = {**own_params, **params}, {**own_state, **state}
    return params, state


def count_examples(batch: Batch) -> int:
    """Return the leading axis of a batch; ValueError if it is empty."""
    examples = len(next(iter(batch.values()))) if batch else 0
    if not examples:
        raise ValueError("batch is empty; its leading axis says how many examples to draw, so give one at least.")
    return examples


def outer_mean(a: Rows, b: Rows, integrand: Array) -> Array:
    """Return the expectation over all pairs of rows of ``[rows of A, rows of B]`` values."""
    pairs = a.measure[:, None] * b.measure[None]
    return jnp.sum(jnp.where(pairs > 0, pairs * jnp.where(pairs > 0, integrand, 0), 0))
