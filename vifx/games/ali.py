"""Adversarially learned inference (BiGAN): data and codes against samples and latents, by a critic of both."""

from __future__ import annotations

__all__ = ["ali"]

from collections.abc import Sequence
from typing import Any

from vifx.core.factor import evidence, factor, implicit
from vifx.core.joint import Joint
from vifx.games.adversarial import adversarial
from vifx.games.assembly import Assembly

_NETWORKS = ("encoder", "generator")


def ali(
    encoder: Any,
    generator: Any,
    critic: Any,
    *,
    prior: Any,
    deterministic: Sequence[str] = ("generator",),
    **options: Any,
) -> Assembly:
    """ALI: ``p̃(x) p(z|x)`` against ``q(z) q(x|z)``, equation (8), both of which move.

    Args:
      encoder: a network from ``x`` to the distribution of ``z``, or to its value.
      generator: a network from ``z`` to the value of ``x``, or to its distribution.
      critic: a network from ``(x, z)`` to one logit per example.
      prior: the distribution of ``z``.
      deterministic: which of ``"encoder"`` and ``"generator"`` give values; both is BiGAN, neither is needed by
        ``form="full"``.
      **options: of `vifx.adversarial`: ``form``, ``divergence``, ``proximal``, ``penalties``, …

    Returns:
      The joints and the objective; losses in nats for the labelled KL, the mean over the batch.

    Raises:
      ValueError: another name in `deterministic`, or as `vifx.adversarial`.

    References:
      Dumoulin et al. (2016), arXiv:1606.00704; Donahue et al. (2016), arXiv:1605.09782.
    """
    unknown = [name for name in deterministic if name not in _NETWORKS]
    if isinstance(deterministic, str) or unknown:
        raise ValueError(
            f"deterministic must be a tuple of names among {', '.join(_NETWORKS)}, got {deterministic!r}; "
            "write ('encoder', 'generator') for BiGAN."
        )
    encode, generate = (implicit if name in deterministic else factor for name in _NETWORKS)
    inference = Joint(evidence("x"), encode("z | x", encoder, name="encoder"))
    generative = Joint(factor("z", prior), generate("x | z", generator, name="generator"))
    return Assembly(inference, generative, adversarial(inference, generative, critic, on=("x", "z"), **options))
