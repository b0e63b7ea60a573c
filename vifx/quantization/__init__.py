"""Quantization: latents on a grid, each one of finitely many codes; a VQ-VAE is hard EM with an encoder.

>>> import vifx
>>> from vifx import networks, quantization
>>> encoder = networks.MapEncoder((16, 32), 8)
>>> quantizer = quantization.vector(encoder, (7, 7, 8), codes=64)
>>> decoder = networks.Conditional(networks.MapDecoder((32, 16)), networks.BernoulliHead((28, 28, 1)))
>>> inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", quantizer, name="codes"))
>>> generative = vifx.Joint(
...     vifx.factor("z", quantizer, name="codes"), vifx.factor("x | z", decoder, name="decoder")
... )
>>> objective = vifx.kl(inference, generative) + quantization.commitment(inference, weight=0.25)
>>> turn = quantization.codebook_turn(inference)
>>> print(inference, "against", generative)
p̃(x) · codes(z | x) against codes(z) · decoder(x | z)
"""

from __future__ import annotations

__all__ = [
    "CodePrior",
    "Quantized",
    "Quantizer",
    "Usage",
    "codebook_turn",
    "codes_of",
    "commitment",
    "finite_scalar",
    "measure_usage",
    "straight_through",
    "usage",
    "vector",
]

from typing import TYPE_CHECKING

from vifx.lazy import make_lazy

if TYPE_CHECKING:
    from vifx.quantization.code_usage import Usage, codes_of, measure_usage, usage
    from vifx.quantization.codebook import vector
    from vifx.quantization.codebook_turn import codebook_turn
    from vifx.quantization.commitment import commitment
    from vifx.quantization.finite_scalar import finite_scalar
    from vifx.quantization.quantized import CodePrior, Quantized, straight_through
    from vifx.quantization.quantizer import Quantizer

make_lazy(__name__)
