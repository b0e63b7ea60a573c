"""A quantizer: an encoder and finitely many codes, as the network of several factors."""

from __future__ import annotations

__all__ = ["Assigned", "Quantizer", "quantized_by"]

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vifx.checks import require_name, require_number
from vifx.core.factor import Factor
from vifx.core.joint import Joint
from vifx.core.types import Array, Key, Net, PyTree
from vifx.distributions import Categorical
from vifx.em.family import Family
from vifx.quantization.quantized import CodePrior, Codes, Quantized


class Assigned(NamedTuple):
    """What a quantizer makes of an encoder's output.

    Attributes:
      encoded: what is compared with the codes, ``[rows, *grid, features]``.
      chosen: the code in its place, of the same shape.
      codes: the codes' numbers, ``[rows, *grid]``.
    """

    encoded: Array
    chosen: Array
    codes: Array


@dataclass(frozen=True, eq=False, kw_only=True)
class Quantizer:
    """An encoder E whose output on a grid is replaced by codes; `vector` and `finite_scalar` make one.

    It is the network of several factors, which have one name and so share its parameters, ``{"encoder", "codebook"}``:

    * ``factor("z | x", quantizer, name="codes")``: the code of each place, with the gradient straight through;
    * ``factor("z", quantizer, name="codes")``: each place one of the K codes, uniformly;
    * ``factor("k | x", quantizer.numbers, name="codes")``: their numbers in raster order, integers ``[places]``, for a
      prior of them that is learned, such as one by `vifx.networks.autoregressive`;
    * ``factor("z | k", quantizer.lookup, name="codes")``: the codes that numbers stand for;
    * ``factor("k | x", quantizer.soft(scale), name="codes")``: the posterior of a mixture at E(x), of a single latent,
      over which `vifx.kl` sums.

    The parameters are made where the first factor given x stands.

    Attributes:
      encoder: from x to ``[rows, *shape]``.
      shape: ``(*grid, features)`` of one z.
      total: K.
      init: ``(key, outputs) -> (params, state)`` of the codebook, of the encoder's outputs ``[vectors, features]``.
      points: ``(params, state) -> [K, features]``: the codes.
      assign: ``(params, state, outputs) -> Assigned``.
      family: the codes as a family of equal spherical Gaussians, whose M step they have; None if they are fixed.
    """

    encoder: Net
    shape: tuple[int, ...]
    total: int
    init: Callable[[Key, Array], tuple[PyTree, PyTree]]
    points: Callable[[PyTree, PyTree], Array]
    assign: Callable[[PyTree, PyTree, Array], Assigned]
    family: Family | None = None

    @property
    def grid(self) -> tuple[int, ...]:
        """The shape of the grid, ``()`` for a single latent."""
        return self.shape[:-1]

    @property
    def places(self) -> int:
        """How many codes one z has."""
        return math.prod(self.grid)

    @property
    def numbers(self) -> _Role:
        """The factor ``k | x``: the numbers of the codes, ``[places]`` in raster order, ``[]`` of a single latent."""

        def of_x(parents: tuple[Array, ...], assigned: Assigned, points: Array) -> Codes:
            del parents, points
            return Codes(self._raster(assigned.codes))

        return _Role(self, of_x)

    def soft(self, scale: float) -> _Role:
        """The factor ``k | x`` of a single latent, summed over: ``p(k | x) ∝ exp(−‖E(x) − e_k‖² / (2 scale²))``.

        It is the posterior of an equal mixture of ``N(e_k, scale² I)`` at E(x). As the scale falls to 0, it becomes
        `numbers`.

        Raises:
          ValueError: the scale is not positive, or there is a grid, which has K^places states.
        """
        require_number(scale, "soft: scale", above=0)
        if self.grid:
            raise ValueError(
                f"soft: a grid {list(self.grid)} has {self.total}^{self.places} states, too many to sum over; give "
                "quantizer.numbers, or a quantizer of a single latent."
            )

        def of_x(parents: tuple[Array, ...], assigned: Assigned, points: Array) -> Categorical:
            del parents
            apart = assigned.encoded[:, None] - points[None]
            return Categorical(-jnp.sum(apart**2, axis=-1) / (2 * scale**2))

        return _Role(self, of_x)

    @property
    def lookup(self) -> _Role:
        """The factor ``z | k``: the codes with these numbers, through which a gradient reaches the codebook."""

        def of_k(parents: tuple[Array, ...], assigned: Assigned | None, points: Array) -> Quantized:
            del assigned
            numbers = parents[0]
            found = points[numbers.reshape(-1, *self.grid)]
            return Quantized(found, found, numbers, self.total)

        return _Role(self, of_k, encodes=False)

    def as_factor(self, variable: str, given: tuple[str, ...], name: str) -> Factor:
        """Return the factor ``z | x`` or ``z``."""

        def of_x(parents: tuple[Array, ...], assigned: Assigned, points: Array) -> Quantized:
            del parents, points
            return Quantized(assigned.encoded, assigned.chosen, self._raster(assigned.codes), self.total)

        def uniform(parents: tuple[Array, ...], assigned: Assigned | None, points: Array) -> CodePrior:
            del parents, assigned
            return CodePrior(points, self.grid)

        return (_Role(self, of_x) if given else _Role(self, uniform, encodes=False)).as_factor(variable, given, name)

    def initialize(self, key: Key, *parents: Array) -> tuple[PyTree, PyTree]:
        """Return the parameters and the state of encoder and codebook, made on values of x."""
        own, other = jax.random.split(key)
        params, state = self.encoder.init(own, *parents)
        outputs, _ = self._encode(own, params, state, parents, train=False)
        found, kept = self.init(other, outputs.reshape(-1, self.shape[-1]))
        return {"encoder": params, "codebook": found}, {"encoder": state, "codebook": kept}

    def run(
        self, key: Key, params: PyTree, state: PyTree, parents: tuple[Array, ...], *, train: bool
    ) -> tuple[Assigned, PyTree]:
        """Encode and assign; return also the new state."""
        outputs, encoder = self._encode(key, params["encoder"], state["encoder"], parents, train=train)
        return self.assign(params["codebook"], state["codebook"], outputs), {**state, "encoder": encoder}

    def _encode(
        self, key: Key, params: PyTree, state: PyTree, parents: tuple[Array, ...], *, train: bool
    ) -> tuple[Array, PyTree]:
        outputs, state = self.encoder.apply(params, state, *parents, key=key, train=train)
        if outputs.shape[1:] != self.shape:
            raise ValueError(
                f"quantizer: the encoder returns {list(outputs.shape[1:])} for each example, expected "
                f"{list(self.shape)}, a grid of vectors; give the quantizer the shape that the encoder returns."
            )
        return outputs, state

    def _raster(self, codes: Array) -> Array:
        return codes.reshape(codes.shape[0], -1) if self.grid else codes


@dataclass(frozen=True, eq=False)
class _Role:
    """One of the factors of a quantizer.

    Attributes:
      quantizer: whose parameters it has.
      make: ``(parents, assigned, points) -> conditional``.
      encodes: whether its parents are what the encoder reads.
    """

    quantizer: Quantizer
    make: Callable[..., Any]
    encodes: bool = True

    def as_factor(self, variable: str, given: tuple[str, ...], name: str) -> Factor:
        """Return the factor."""
        quantizer = self.quantizer

        def init(key: Key, value: Array | None, *parents: Array) -> tuple[PyTree, PyTree]:
            del value
            if not self.encodes:
                raise ValueError(
                    f"{name!r}: the codes are made of what the encoder says of data; initialize the inference joint, "
                    f"which has {variable!r} given them, first."
                )
            return quantizer.initialize(key, *parents)

        def conditional(key: Key, params: PyTree, state: PyTree, *parents: Array, train: bool) -> tuple[Any, PyTree]:
            assigned = None
            if self.encodes:
                assigned, state = quantizer.run(key, params, state, parents, train=train)
            points = quantizer.points(params["codebook"], state["codebook"])
            return self.make(parents, assigned, points), state

        return Factor(
            variables=(variable,),
            given=given,
            kind="density",
            owner=name,
            label=name,
            source=quantizer,
            init=init,
            conditional=conditional,
        )


def quantized_by(inference: Joint, latent: str, caller: str) -> tuple[Factor, Quantizer]:
    """Return the factor of a latent, and its quantizer.

    Raises:
      TypeError: `inference` is not a joint.
      ValueError: the latent is not one of the joint, or has no quantizer.
    """
    if not isinstance(inference, Joint):
        raise TypeError(f"{caller}: inference must be a Joint, got {type(inference).__name__}.")
    item = inference.factor_of(require_name(latent, inference.variables, f"{caller}: latent"))
    if not isinstance(item.source, Quantizer):
        raise ValueError(
            f"{caller}: {item} is not quantized; write factor('{item.name}', quantizer, name=...), with a quantizer of "
            "vifx.quantization, or name another latent=."
        )
    return item, item.source
