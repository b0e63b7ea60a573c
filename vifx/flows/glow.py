"""Glow."""

from __future__ import annotations

__all__ = ["glow"]

from vifx.checks import require_integer
from vifx.core.types import Bijection
from vifx.flows.bijections.actnorm import actnorm
from vifx.flows.bijections.chain import chain
from vifx.flows.bijections.coupling import coupling
from vifx.flows.bijections.elementwise import Elementwise, affine
from vifx.flows.bijections.linear import linear
from vifx.flows.bijections.masks import channels
from vifx.flows.bijections.multiscale import multiscale
from vifx.flows.bijections.stack import stack
from vifx.networks import ConvConditioner, ZeroConv


def glow(
    *,
    levels: int = 2,
    depth: int = 8,
    hidden: int = 64,
    elementwise: Elementwise | None = None,
    unroll: int | bool = 1,
    remat: bool = False,
) -> Bijection:
    """Map images ``[examples, h, w, c]`` to vectors ``[examples, h·w·c]`` as Glow does.

    At each level: `squeeze`, `depth` times (`actnorm`, `linear`, affine `coupling`), `split_off`. The couplings
    scale by ``σ(s + 2)/σ(2)``; their networks, and those of the priors of what is split off, end in a 3×3 convolution
    that starts at zero. So the flow starts as rotations of normalized channels. The steps of a level are one scan.

    Differences from the paper: its hidden layers have 512 channels, are followed by actnorm of their own and start at
    a normal of scale 0.05 (here He's), its last convolutions have a learned gain, and its scale is not divided by
    ``σ(2)``.

    With `given` (one-hot classes, or features through `conditioned`) every coupling reads it. Data are
    dequantized images, such as ``(x + u)/256``; the first actnorm centres them. The base is
    ``standard_normal(h·w·c)``.

    Args:
      levels: how many resolutions; ``2^levels`` must divide height and width.
      depth: steps in each level.
      hidden: channels of the couplings' networks.
      elementwise: what the couplings do to an element; None for Glow's ``affine(form="sigmoid")``. That one bounds the
        scale from above alone: on data with constant regions, samples at temperature 1 can leave float32, which
        ``affine(bound=2.0)`` prevents.
      unroll: how many steps one iteration of a level's scan holds, as in `stack`.
      remat: as in `stack`.

    Raises:
      ValueError: an argument is below 1; from `init`, images that cannot be halved `levels` times.

    Reference: Kingma & Dhariwal (2018), arXiv:1807.03039.

    >>> import jax
    >>> from vifx import flows
    >>> from vifx.distributions import standard_normal
    >>> flow = flows.Flow(standard_normal(16), flows.glow(levels=1, depth=2, hidden=4))
    >>> x = jax.random.uniform(jax.random.key(0), (8, 4, 4, 1))
    >>> params, state = flow.init(jax.random.key(1), x)
    >>> flow.sample(jax.random.key(2), params, state, 3, temperature=0.7).shape
    (3, 4, 4, 1)
    """
    require_integer(hidden, "glow: hidden")
    step = chain(
        actnorm(),
        linear(),
        coupling(ConvConditioner(hidden), elementwise or affine(form="sigmoid"), mask=channels(), head=ZeroConv),
    )
    steps = stack(step, depth, unroll=unroll, remat=remat)

    def block(_level: int) -> Bijection:
        return steps

    return multiscale(block, levels, head=ZeroConv)
