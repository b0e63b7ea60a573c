"""The multivariate Student-t distribution by its degrees of freedom and a Cholesky factor."""

from __future__ import annotations

__all__ = ["MultivariateStudentT"]

import math

import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro
from jax.scipy.special import gammaln

from vifx.core.types import Array, Key
from vifx.distributions.cholesky import broadcast, moved, whitened
from vifx.distributions.supports import inside_of


class MultivariateStudentT(numpyro.Distribution):
    """t_ν(μ, L Lᵀ), a normal distribution whose precision is drawn: ``x = μ + L ε/√u``, ``u ~ Gamma(ν/2, rate ν/2)``.

    ``log t(x) = log Γ((ν+d)/2) − log Γ(ν/2) − (d/2) log νπ − Σ_i log|L_ii| − ((ν+d)/2) log(1 + δ/ν)`` in nats, with
    ``δ = ‖L⁻¹(x − μ)‖²``. The mean is μ for ν > 1, the covariance ``ν/(ν−2) L Lᵀ`` for ν > 2.

    Args:
      df: the degrees of freedom ν > 0, ``[*batch]`` or a scalar.
      loc: μ, ``[*batch, d]``.
      scale_tril: L, lower triangular, ``[*batch, d, d]`` or ``[d, d]``.

    >>> import jax.numpy as jnp
    >>> MultivariateStudentT(jnp.asarray(4.0), jnp.zeros((5, 3)), jnp.eye(3)).batch_shape
    (5,)

    Reference: Kotz & Nadarajah (2004), Multivariate t Distributions and Their Applications.
    """

    arg_constraints = {  # noqa: RUF012
        "df": numpyro.constraints.positive,
        "loc": numpyro.constraints.real_vector,
        "scale_tril": numpyro.constraints.lower_cholesky,
    }
    reparametrized_params = ["df", "loc", "scale_tril"]  # noqa: RUF012

    def __init__(self, df: Array, loc: Array, scale_tril: Array) -> None:
        self.loc, self.scale_tril, self.df = broadcast(*map(jnp.asarray, (loc, scale_tril, df)))
        super().__init__(self.df.shape, self.loc.shape[-1:], validate_args=False)

    @property
    def support(self) -> numpyro.constraints.Constraint:
        """All vectors."""
        return numpyro.constraints.real_vector

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw ``μ + L ε/√u``, ``[*sample_shape, *batch, d]``."""
        normal, gamma = jax.random.split(key)
        shape = (*sample_shape, *self.loc.shape)
        noise = jax.random.normal(normal, shape, self.loc.dtype)
        half = jnp.broadcast_to(0.5 * self.df, shape[:-1])
        precision = jax.random.gamma(gamma, half, dtype=self.loc.dtype) / half
        return moved(self.loc, self.scale_tril, noise / jnp.sqrt(precision)[..., None])

    def log_prob(self, value: Array) -> Array:
        """Return the log-density in nats, ``[*batch]``; −∞ for values that are not finite."""
        shape = jnp.broadcast_shapes(value.shape, self.loc.shape)
        size = shape[-1]
        inside, value = inside_of(self.support, jnp.broadcast_to(value, shape), event=1)
        square, log_det = whitened(self.loc, self.scale_tril, value)
        df = jnp.broadcast_to(self.df, shape[:-1])
        constant = gammaln(0.5 * (df + size)) - gammaln(0.5 * df) - 0.5 * size * (jnp.log(df) + math.log(math.pi))
        found = constant - log_det - 0.5 * (df + size) * jnp.log1p(square / df)
        return jnp.where(inside, found, -jnp.inf)
