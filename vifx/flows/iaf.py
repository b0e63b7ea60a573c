"""Inverse autoregressive flows."""

from __future__ import annotations

__all__ = ["iaf"]

from collections.abc import Callable, Sequence

import jax

from vifx.core.types import Array, Bijection
from vifx.flows.bijections.elementwise import Elementwise, affine
from vifx.flows.bijections.invert import invert
from vifx.flows.maf import maf


def iaf(
    depth: int,
    *,
    hidden: Sequence[int] = (64, 64),
    elementwise: Elementwise | None = None,
    activation: Callable[[Array], Array] = jax.nn.relu,
    between: Sequence[Bijection] = (),
    unroll: int | bool = 1,
    remat: bool = False,
) -> Bijection:
    """Return the inverse of a masked autoregressive flow: a fast sampler, for posteriors.

    A sample ``x = f⁻¹(z)`` and its log-density are one pass of each network; the density of a given x takes one pass
    for each element.

    Args:
      depth: how many layers, at least 1.
      hidden: as in `maf`, and so are `activation`, `between`, `unroll` and `remat`.
      elementwise: the map from base to data of each element; None for ``affine(form="sigmoid")``, the paper's
        scale.

    Raises:
      ValueError: an argument is out of range.

    Reference: Kingma et al., Improving Variational Inference with Inverse Autoregressive Flow, 2016, arXiv:1606.04934.
    """
    return invert(
        maf(
            depth,
            hidden=hidden,
            elementwise=elementwise or affine(form="sigmoid"),
            activation=activation,
            between=between,
            unroll=unroll,
            remat=remat,
        )
    )
