"""Critics: one logit per example, of any variables, by any body."""

from __future__ import annotations

__all__ = ["Critic", "PairCritic", "ProjectionCritic", "check_leak", "logit"]

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from vifx.checks import require_number
from vifx.core.nets import in_mode
from vifx.core.types import Array
from vifx.networks.inputs import OneHot, enter
from vifx.networks.layers import LECUN, Initializer, join


class Critic(nn.Module):
    """``ℓ(s) = w·φ(s) + b``: a body's features, a last affine layer and one logit ``[examples]``.

    The parents are the variables that the critic sees, in order: an MLP as body joins them, so that the same
    critic serves ``"x"``, ``"z"`` and ``("x", "z")``.

    Attributes:
      body: a module from the parents to features, called with ``train=``, or what it calls the mode. Spectral
        normalization wants a body without normalization of its own.
      inputs: one input layer per parent, as in `Conditional`; empty when none needs one.

    >>> from vifx.networks import MLP, OneHot
    >>> critic = Critic(MLP((400, 400)), inputs=(None, OneHot(10)))
    """

    body: nn.Module
    inputs: Sequence[nn.Module | None] = ()

    @nn.compact
    def __call__(self, *parents: Array, train: bool = False) -> Array:
        """Map parents ``[examples, ...]`` to logits ``[examples]``, which estimate a log-ratio in nats."""
        return logit(self.body(*enter(self.inputs, parents), **in_mode(self.body, train=train)))


class PairCritic(nn.Module):
    """A critic of an image and a vector: ``ℓ(x, z) = MLP([φ(x), ψ(z)])``, one logit ``[examples]``.

    Each variable has a body of its own, and dense layers see both features at once.

    Attributes:
      first: the body φ of the first parent, such as `DCGANFeatures`.
      second: the body ψ of the other parents, such as `MLP`.
      features: the width of each dense layer after them.
      leak: slope of the dense layers' leaky rectifier below zero.
      inputs: one input layer per parent, as in `Conditional`; empty when none needs one.

    Reference: Dumoulin et al., Adversarially Learned Inference, 2017.

    >>> from vifx.networks import MLP, DCGANFeatures
    >>> critic = PairCritic(DCGANFeatures((64, 128)), MLP((256,)), features=(256,))
    """

    first: nn.Module
    second: nn.Module
    features: Sequence[int] = (512,)
    leak: float = 0.2
    inputs: Sequence[nn.Module | None] = ()

    def __post_init__(self) -> None:
        """Check the slope."""
        check_leak(self.leak)
        super().__post_init__()

    @nn.compact
    def __call__(self, *parents: Array, train: bool = False) -> Array:
        """Map parents ``[examples, ...]`` to logits ``[examples]``, which estimate a log-ratio in nats.

        Raises:
          ValueError: if there are fewer than two parents.
        """
        _check_two(parents, "PairCritic", "a first variable and others")
        one, *others = enter(self.inputs, parents)
        first = self.first(one, **in_mode(self.first, train=train))
        h = join(first, self.second(*others, **in_mode(self.second, train=train)))
        for width in self.features:
            h = nn.leaky_relu(nn.Dense(width)(h), self.leak)
        return logit(h)


class ProjectionCritic(nn.Module):
    """A critic of data and a label: ``ℓ(x, y) = w·φ(x) + b + ⟨E y, φ(x)⟩``, one logit ``[examples]``.

    This is the form of the log-ratio when ``p(y | x)`` and ``q(y | x)`` are log-linear in shared features φ. The
    alternative is a body that gets both, such as ``Critic(MLP(...), inputs=(None, OneHot(10)))``.

    Attributes:
      body: the features φ of all parents but the last, called with ``train=``, or what it calls the mode.
      classes: the number of labels.
      inputs: one input layer per parent but the last, as in `Conditional`; empty when none needs one.

    Reference: Miyato & Koyama, cGANs with Projection Discriminator, 2018.

    >>> from vifx.networks import DCGANFeatures
    >>> critic = ProjectionCritic(DCGANFeatures((64, 128)), classes=10)
    """

    body: nn.Module
    classes: int
    inputs: Sequence[nn.Module | None] = ()

    @nn.compact
    def __call__(self, *parents: Array, train: bool = False) -> Array:
        """Map data ``[examples, ...]`` and labels to logits ``[examples]``, which estimate a log-ratio in nats.

        The labels are the last parent: integers ``[examples]``, or weights ``[examples, classes]``.

        Raises:
          ValueError: if there are fewer than two parents, or the labels have another shape.
        """
        _check_two(parents, "ProjectionCritic", "the data, and the label last")
        *data, label = parents
        weights = OneHot(self.classes)(label)
        if weights.ndim != 2:
            raise ValueError(
                f"the label must be integers [examples] or weights [examples, classes], but has shape {label.shape}"
            )
        features = join(self.body(*enter(self.inputs, data), **in_mode(self.body, train=train)))
        embedding = nn.Dense(features.shape[-1], use_bias=False, name="embedding")(weights)
        features, embedding = promote_dtype(features, embedding)
        plain, inner = promote_dtype(logit(features), jnp.sum(features * embedding, axis=-1))
        return plain + inner


def logit(features: Array, *, kernel_init: Initializer = LECUN) -> Array:
    """Map features ``[examples, ...]`` by a dense layer to one logit: ``[examples]``.

    To be called inside a compact module.
    """
    return nn.Dense(1, kernel_init=kernel_init)(join(features))[:, 0]


def check_leak(leak: float) -> None:
    """Raise ValueError unless a leaky rectifier of this slope is increasing and 1-Lipschitz."""
    require_number(leak, "leak", least=0, most=1, hint="it is the slope below zero, usually 0.2")


def _check_two(parents: Sequence[Array], name: str, what: str) -> None:
    if len(parents) < 2:
        raise ValueError(
            f"{name} needs at least two parents ({what}), but got {len(parents)}; give the critic more variables to "
            'see, on=("x", "z"), or use Critic(body)'
        )
