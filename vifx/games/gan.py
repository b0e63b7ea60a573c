"""Generative adversarial networks: the evidence against a generator's samples, by a critic of x."""

from __future__ import annotations

__all__ = ["gan"]

from collections.abc import Sequence
from typing import Any

from vifx.core.factor import evidence, factor, implicit
from vifx.core.joint import Joint
from vifx.games.adversarial import adversarial
from vifx.games.assembly import Assembly


def gan(generator: Any, critic: Any, *, prior: Any, given: Sequence[str] = (), **options: Any) -> Assembly:
    """A GAN: ``p̃(x)`` against ``q(z)``, ``x = G(z)``, equations (5)–(7), or any other game.

    With labels, ``given=("y",)``, it is a conditional GAN: both joints have the labels of the data, and the
    critic sees ``(x, y)``.

    Args:
      generator: a network from ``z`` (and then the labels) to the value of ``x``.
      critic: a network from ``x`` (and then the labels) to one logit per example.
      prior: the distribution of ``z``, such as `vifx.standard_normal`.
      given: labels of the data, by the names of their batch entries.
      **options: of `vifx.adversarial`: ``divergence``, ``form``, ``proximal``, ``penalties``, …

    Returns:
      The joints and the objective, whose loss is that of `vifx.adversarial`: nats for the labelled KL and the
      f-divergences, the mean over the batch.

    Raises:
      ValueError: as `vifx.adversarial`.

    References:
      Goodfellow et al. (2014), arXiv:1406.2661; Nowozin et al. (2016), arXiv:1606.00709; Mirza & Osindero (2014),
      arXiv:1411.1784.
    """
    given = tuple(given)
    inference = Joint(evidence("x", *given))
    labels = (evidence(*given),) if given else ()
    parents = ", ".join(("z", *given))
    generative = Joint(*labels, factor("z", prior), implicit(f"x | {parents}", generator, name="generator"))
    objective = adversarial(inference, generative, critic, on=("x", *given), **options)
    return Assembly(inference, generative, objective)
