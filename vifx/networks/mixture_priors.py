"""Priors that are mixtures: of what an encoder says of learned inputs, or of normals."""

from __future__ import annotations

__all__ = ["NormalMixture", "vamp_prior"]

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vifx.checks import require_integer
from vifx.core.nets import as_net
from vifx.core.types import Array, Key, Net, PyTree
from vifx.distributions import MixtureOf, Normal
from vifx.networks.layers import positive


def vamp_prior(encoder: Any, *, components: int = 500, weighted: bool = False) -> Net:
    """An encoder that is also the prior: ``q(z) = (1/K) Σ_k p(z | u_k)`` with learned inputs u_k, the VampPrior.

    It is the network of two factors, which have one name and so share the parameters: ``"z | x"`` is the encoder, and
    ``"z"``, without parents, the mixture. It is what the best prior, the mean of p(z | x) over the data, is with K
    inputs in the place of the data. The divergence of the two is drawn, with the log-density of the mixture exact.

    The inputs begin as examples of the batch with a little noise, a tenth of each element's standard deviation, so
    that no two are equal. They are floats; an input layer that scales 8-bit pixels (`Pixels`) belongs in front of the
    evidence and not in the encoder.

    Args:
      encoder: a `Net`, Linen or NNX module, from x, floating, to a distribution. What it learns of a batch in training,
        such as running statistics, it learns of data alone.
      components: K.
      weighted: whether the weights of the mixture are learned; equal otherwise.

    Raises:
      TypeError: `encoder` is not a network, or `components` not an integer; where it is used, x is not floating.
      ValueError: `components` < 1; where it is used, the encoder has several parents, or the prior comes before it.

    Reference: Tomczak & Welling (2018), VAE with a VampPrior, arXiv:1705.07120.

    Example:
      >>> import vifx
      >>> from vifx.networks import MLP, Conditional, DiagonalNormal, vamp_prior
      >>> encoder = vamp_prior(Conditional(MLP((64,)), DiagonalNormal((8,))), components=20)
      >>> inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
      >>> print(inference, "against", vifx.factor("z", encoder, name="encoder"))
      p̃(x) · encoder(z | x) against encoder(z)
    """
    net = as_net(encoder)
    require_integer(components, "vamp_prior: components")

    def init(key: Key, *parents: Array) -> tuple[PyTree, PyTree]:
        if len(parents) != 1:
            raise ValueError(
                f"vamp_prior: the encoder has {len(parents)} parents, expected one, of which inputs are learned; "
                "initialize the inference joint, 'z | x', before the prior."
            )
        (x,) = parents
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError(
                f"vamp_prior: x is {x.dtype}, whose inputs cannot be learned; give floats, such as those of a "
                "transform of the evidence, data.normalize()."
            )
        own, which, noise = jax.random.split(key, 3)
        params, state = net.init(own, x)
        at = jax.random.permutation(which, jnp.arange(components) % x.shape[0])
        scale = 0.1 * jnp.broadcast_to(jnp.std(x, axis=0), (components, *x.shape[1:]))
        inputs = x[at] + scale * jax.random.normal(noise, scale.shape, x.dtype)
        found = {"network": params, "inputs": inputs}
        return {**found, "logits": jnp.zeros(components)} if weighted else found, state

    def apply(
        params: PyTree, state: PyTree, *parents: Array, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        if parents:
            return net.apply(params["network"], state, *parents, key=key, train=train)
        members, _ = net.apply(params["network"], state, params["inputs"], key=key, train=train)
        return MixtureOf(members, params.get("logits")), state

    return Net(init, apply)


class NormalMixture(nn.Module):
    """``q(z) = Σ_k π_k N(z; μ_k, diag σ_k²)``, a prior without parents, all of it learned.

    Attributes:
      components: K.
      event_shape: the shape of one value.
      spread: the standard deviation of the first μ_k around 0.
      minimum: the bound below σ.

    Example:
      >>> import vifx
      >>> print(vifx.factor("z", NormalMixture(10, (8,)), name="prior"))
      prior(z)
    """

    components: int
    event_shape: Sequence[int]
    spread: float = 1.0
    minimum: float = 1e-3

    def __post_init__(self) -> None:
        """Check the number of components."""
        require_integer(self.components, "NormalMixture: components")
        super().__post_init__()

    @nn.compact
    def __call__(self) -> MixtureOf:
        """Return the mixture."""
        shape = (self.components, *self.event_shape)
        loc = self.param("loc", nn.initializers.normal(self.spread), shape)
        raw = self.param("raw_scale", nn.initializers.zeros_init(), shape)
        logits = self.param("logits", nn.initializers.zeros_init(), (self.components,))
        return MixtureOf(Normal(loc, positive(raw, self.minimum)).to_event(len(self.event_shape)), logits)
