"""The commitment of an encoder to its codes, as an objective beside the divergence of two joints."""

from __future__ import annotations

__all__ = ["commitment"]

import jax
import jax.numpy as jnp

from vifx.checks import require_number
from vifx.core.conditional import fold
from vifx.core.examples import example_mean, example_shares
from vifx.core.joint import Joint
from vifx.core.objective import Objective, Part, Player, Term
from vifx.core.types import Array, Aux, Batch, Key, Params, State
from vifx.quantization.code_usage import conditional_of, usage
from vifx.quantization.quantizer import quantized_by


def commitment(
    inference: Joint, *, latent: str = "z", weight: float = 0.25, codebook: float = 0.0, name: str = ""
) -> Objective:
    """``β ‖E(x) − sg e_k‖² + γ ‖sg E(x) − e_k‖²``: what keeps the encoder near its codes, and the codes near it.

    Beside ``kl(inference, generative)``, whose gradient goes straight through, it makes the loss of a VQ-VAE:
    ``−log q(x | e_k) + log K + β ‖E − sg e_k‖² + γ ‖sg E − e_k‖²``. It is not a divergence of the joints of x and z,
    but one of joints that have the encoder's output as a variable E between them: for ``p(E | x) = N(E(x), σ² I)`` and
    ``q(E | k) = N(e_k, σ² I)`` the divergence is ``‖E(x) − e_k‖² / (2σ²)``, so that ``β = 1/(2σ²)``. Its best codes
    are the means of what is assigned to them, whatever γ is; `codebook_turn` finds them, and then γ is 0.

    Metrics, means over the examples: ``"commitment"``, ``‖E(x) − e_k‖²`` summed over the places, unweighted;
    ``"codes/perplexity"`` and ``"codes/used"``, of the codes of the batch.

    Args:
      inference: evidence, and ``z | x`` of a quantizer.
      latent: the quantized variable.
      weight: β ≥ 0.
      codebook: γ ≥ 0, 1 where the codes descend like everything else, and 0 where `codebook_turn` moves them.
      name: prefix of the metrics.

    Returns:
      An objective with one player ``"model"`` that owns the quantizer.

    Raises:
      TypeError: `inference` is not a joint, or a weight is not a number.
      ValueError: the latent has no quantizer, or a weight is negative.

    References:
      van den Oord, Vinyals & Kavukcuoglu (2017), arXiv:1711.00937, where β = 0.25 and γ = 1.
    """
    item, quantizer = quantized_by(inference, latent, "commitment")
    require_number(weight, "commitment: weight", least=0)
    require_number(codebook, "commitment: codebook", least=0)
    prefix = f"{name}/" if name else ""

    def loss(key: Key, params: Params, state: State, batch: Batch, *, train: bool = True) -> tuple[Array, Aux]:
        noise = fold(key, "inference")  # that of `kl`, so that both see one output of the encoder
        found, state = conditional_of(noise, inference, params, state, batch, latent=latent, train=train)
        shares = example_shares(batch)

        def apart(encoded: Array, chosen: Array) -> Array:
            return example_mean(shares, jnp.sum((encoded - chosen) ** 2, axis=tuple(range(1, encoded.ndim))))

        fixed = jax.lax.stop_gradient
        distance = apart(found.encoded, fixed(found.chosen))
        value = weight * distance + codebook * apart(fixed(found.encoded), found.chosen)
        each = jnp.ones(found.codes.shape[:1]) if shares is None else shares
        spread = jnp.broadcast_to(each.reshape(-1, *(1,) * (found.codes.ndim - 1)), found.codes.shape)
        counted = usage(found.codes, quantizer.total, weights=spread)
        metrics = {"commitment": distance, "codes/perplexity": counted.perplexity, "codes/used": counted.used}
        return value, Aux({prefix + metric: each for metric, each in metrics.items()}, state)

    def terms(batch: Batch | None) -> tuple[Term, ...]:
        del batch
        encoder = Term("commitment", f"$E ‖E(x) − sg e_k‖²$ of ${item}$", "mean over the batch", f"{weight:g}")
        codes = Term("codebook", "$E ‖sg E(x) − e_k‖²$", "the same value, gradient for the codes", f"{codebook:g}")
        return (encoder, codes) if codebook else (encoder,)

    part = Part(title="the commitment to the codes", terms=terms, others=(item,), explicit=False)
    return Objective(inference.init, {"model": Player((str(item.owner),), loss)}, (part,))
