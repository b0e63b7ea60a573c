"""Adversarial autoencoders: the aggregated posterior against the prior, by a critic of z, and reconstruction."""

from __future__ import annotations

__all__ = ["aae"]

from typing import Any

from vifx.core.factor import evidence, factor, implicit
from vifx.core.joint import Joint
from vifx.games.adversarial import adversarial
from vifx.games.assembly import Assembly
from vifx.variational import reconstruction


def aae(
    encoder: Any,
    decoder: Any,
    critic: Any,
    *,
    prior: Any,
    deterministic: bool = True,
    weight: float = 1.0,
    **options: Any,
) -> Assembly:
    """An adversarial autoencoder: ``adversarial(on="z") + weight · E_p[−log q(x|z)]``.

    A is the prior q(z), B the aggregated posterior ``∫ p(z|x) p̃(x) dx``. The reconstruction is part of the same
    divergence: while the critic sees z alone, keeping x in the joint adds ``½ {E_p[−log q(x|z)] − H_p(x|z)}`` to
    equation (5).

    Args:
      encoder: a network from ``x`` to the value of ``z``, or to its distribution.
      decoder: a network from ``z`` to the distribution of ``x``; a normal of fixed scale σ makes the
        reconstruction ``‖x − G(z)‖²/2σ²`` plus a constant.
      critic: a network from ``z`` to one logit per example.
      prior: the distribution of ``z``.
      deterministic: whether the encoder gives a value (True) or a distribution.
      weight: of the reconstruction.
      **options: of `vifx.adversarial`: ``divergence``, ``form``, ``proximal``, ``penalties``, …

    Returns:
      The joints and the objective; losses in nats, the mean over the batch.

    Raises:
      ValueError: as `vifx.adversarial` and `vifx.reconstruction`.

    Reference: Makhzani et al. (2015), arXiv:1511.05644.
    """
    make = implicit if deterministic else factor
    inference = Joint(evidence("x"), make("z | x", encoder, name="encoder"))
    generative = Joint(factor("z", prior), factor("x | z", decoder, name="decoder"))
    objective = adversarial(inference, generative, critic, on="z", **options)
    objective += reconstruction(inference, generative, weight=weight)
    return Assembly(inference, generative, objective)
