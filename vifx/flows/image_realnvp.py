"""RealNVP of images."""

from __future__ import annotations

__all__ = ["image_realnvp"]

from collections.abc import Callable

from vifx.checks import require_integer
from vifx.core.types import Bijection
from vifx.flows.bijections.actnorm import actnorm
from vifx.flows.bijections.chain import chain
from vifx.flows.bijections.coupling import coupling
from vifx.flows.bijections.elementwise import affine
from vifx.flows.bijections.masks import Mask, channels, checkerboard
from vifx.flows.bijections.multiscale import last_scale, of_images
from vifx.flows.bijections.split_off import split_off
from vifx.flows.bijections.squeeze import squeeze
from vifx.flows.bijections.stack import stack
from vifx.networks import ConvConditioner, ZeroConv


def image_realnvp(
    *, levels: int = 2, depth: int = 4, hidden: int = 64, blocks: int = 1, unroll: int | bool = 1, remat: bool = False
) -> Bijection:
    """Map images ``[examples, h, w, c]`` to vectors ``[examples, h·w·c]`` as RealNVP does.

    At each level but the last: `depth` affine couplings with alternating checkerboard masks, `squeeze`, `depth`
    couplings with alternating channel masks, `split_off`. The last level has checkerboard couplings alone. The
    conditioners are residual networks of 3×3 convolutions; ``log a = 2·tanh(s/2)``.

    Differences from the paper: `actnorm` before each coupling is in place of batch normalization, so that the density
    of an example does not depend on its batch, and the networks have no normalization; the number of couplings is
    even (three and four in the paper), so that pairs of them are one scan; what is split off has a learned conditional
    prior.

    With `given` every coupling reads it. The paper's data are logits: ``chain(logit(), image_realnvp())`` on images in
    [0, 1]. The base is ``standard_normal(h·w·c)``.

    Args:
      levels: how many resolutions; ``2^(levels − 1)`` must divide height and width.
      depth: couplings of each kind in each level, an even number.
      hidden: channels of the couplings' networks.
      blocks: residual blocks of each network.
      unroll: how many pairs of couplings one iteration of a scan holds, as in `stack`.
      remat: as in `stack`.

    Raises:
      ValueError: an argument is below 1, or `depth` is odd; from `init`, images that cannot be halved
        ``levels − 1`` times.

    Reference: Dinh, Sohl-Dickstein & Bengio (2017), arXiv:1605.08803.
    """
    for argument, number in (("levels", levels), ("depth", depth), ("hidden", hidden), ("blocks", blocks)):
        require_integer(number, f"image_realnvp: {argument}")
    if depth % 2:
        raise ValueError(f"image_realnvp: depth must be even, masks come in pairs, got {depth}; take {depth + 1}.")

    def couplings(mask: Callable[..., Mask]) -> Bijection:
        layers = []
        for swapped in (False, True):
            body = ConvConditioner(hidden, blocks=blocks)
            layers += [actnorm(), coupling(body, affine(bound=2.0), mask=mask(swapped=swapped), head=ZeroConv)]
        return stack(chain(*layers), depth // 2, unroll=unroll, remat=remat)

    def scale(level: int) -> Bijection:
        if level == levels - 1:
            return chain(couplings(checkerboard), last_scale())
        rest = split_off(scale(level + 1), head=ZeroConv)
        return chain(couplings(checkerboard), squeeze(), couplings(channels), rest)

    return of_images("image_realnvp", scale(0), levels - 1)
