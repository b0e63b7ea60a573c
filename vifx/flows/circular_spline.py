"""Spline flows of angles: couplings of the torus."""

from __future__ import annotations

__all__ = ["circular_spline"]

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vifx.core.nets import as_net
from vifx.core.types import Array, Bijection, Key, Net, PyTree
from vifx.flows.bijections.alternating import alternating
from vifx.flows.bijections.circular_rational_quadratic import circular_rational_quadratic
from vifx.flows.bijections.default_networks import dense
from vifx.flows.bijections.permutation import shuffle


def circular_spline(
    depth: int,
    *,
    hidden: Sequence[int] = (64, 64),
    bins: int = 8,
    activation: Callable[[Array], Array] = jax.nn.relu,
    body: Any = None,
    unroll: int | bool = 1,
    remat: bool = False,
) -> Bijection:
    """Couplings of events ``[dims]`` of angles by splines of the circle, shuffled after each pair.

    Each network reads the cosines and sines of the angles that stay, so that the density is continuous on the torus.
    One angle alone has nothing to couple with: ``flows.autoregressive(flows.circular_rational_quadratic())``.

    Args:
      depth: how many couplings.
      hidden: as in `alternating`, and so are `activation`, `unroll` and `remat`.
      bins: how many intervals a spline has.
      body: a network ``(half, *given) -> features`` in the place of the dense one; ``half`` has the cosines of the
        angles, and after them their sines.

    Raises:
      ValueError: an argument is out of range.

    Reference: Rezende, Papamakarios, Racanière et al., Normalizing Flows on Tori and Spheres, 2020, arXiv:2002.02428.

    >>> import jax, jax.numpy as jnp
    >>> import numpyro.distributions as dist
    >>> from vifx import flows
    >>> torus = dist.Uniform(-jnp.pi, jnp.pi).expand([2]).to_event(1)
    >>> flow = flows.Flow(torus, flows.circular_spline(2))
    >>> params, state = flow.init(jax.random.key(0), jnp.zeros((3, 2)))
    >>> [round(float(each), 4) for each in flow.log_prob(params, state, jnp.ones((2, 2)))]
    [-3.6758, -3.6758]
    """
    return alternating(
        circular_rational_quadratic(bins=bins),
        depth,
        hidden=hidden,
        activation=activation,
        body=_of_the_circle(dense(hidden, activation=activation) if body is None else as_net(body)),
        between=(shuffle(),),
        unroll=unroll,
        remat=remat,
    )


def _of_the_circle(net: Net) -> Net:
    """A network of the cosines and sines of its first input."""

    def points(angles: Array) -> Array:
        return jnp.concatenate((jnp.cos(angles), jnp.sin(angles)), axis=-1)

    def init(key: Key, angles: Array, *given: Any) -> tuple[PyTree, PyTree]:
        return net.init(key, points(angles), *given)

    def apply(
        params: PyTree, state: PyTree, angles: Array, *given: Any, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        return net.apply(params, state, points(angles), *given, key=key, train=train)

    return Net(init, apply)
