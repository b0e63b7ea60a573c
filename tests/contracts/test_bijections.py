"""Every name of `flows` runs through `flows.check`: round trip, log-determinant, shapes, dtypes, condition."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.distributions import constraints

from vifx import flows, networks

DRAW = np.random.default_rng(0)
VECTORS, IMAGES, GIVEN = DRAW.uniform(0.1, 0.9, (3, 4)), DRAW.normal(size=(6, 4, 4, 1)), DRAW.normal(size=(3, 2))


def coupled(elementwise, mask=None):
    return flows.coupling(flows.dense((8,)), elementwise, mask=mask or flows.halves())


def of_images(mask):
    return flows.coupling(networks.ConvConditioner(4), flows.affine(bound=1.0), mask=mask)


def doubling():
    return flows.checked(
        "doubling",
        lambda key, x, given: ({}, {}),
        lambda params, state, x, given, key: (2 * x, jnp.full(len(x), x[0].size * np.log(2), x.dtype)),
        lambda params, state, z, given, key: (z / 2, jnp.full(len(z), -z[0].size * np.log(2), z.dtype)),
    )


# What takes a condition is checked with it; it is used by those of the second table. A name that stands in none of the
# tables is a bijection of vectors that needs no arguments.
PLAIN = {
    "chain": (lambda: flows.chain(flows.scale(), flows.reverse(), flows.actnorm()), VECTORS),
    "channels": (lambda: of_images(flows.channels()), DRAW.normal(size=(3, 2, 2, 2))),
    "checked": (doubling, VECTORS),
    "checkerboard": (lambda: of_images(flows.checkerboard()), IMAGES[:3]),
    "concatenate": (lambda: flows.concatenate(flows.exp(), flows.planar(), sizes=(1, 3)), VECTORS),
    "flatten": (flows.flatten, IMAGES),
    "glow": (lambda: flows.glow(levels=1, depth=1, hidden=4), IMAGES),
    "image_realnvp": (lambda: flows.image_realnvp(levels=1, hidden=4), IMAGES),
    "indexed": (lambda: flows.indexed(flows.planar(), [3, 0]), VECTORS),
    "invert": (lambda: flows.invert(flows.planar()), VECTORS),
    "last_scale": (flows.last_scale, IMAGES),
    "mask": (lambda: coupled(flows.affine(), flows.mask([True, False, False, True])), VECTORS),
    "multiscale": (lambda: flows.multiscale(lambda level: flows.actnorm(), 2), IMAGES),
    "permutation": (lambda: flows.permutation([2, 0, 3, 1]), VECTORS),
    "pointwise": (lambda: flows.pointwise("sinh", jnp.sinh, jnp.arcsinh), VECTORS),
    "power": (lambda: flows.power(3), VECTORS),
    "scale": (lambda: flows.scale(shift=True), VECTORS),
    "split_off": (lambda: flows.split_off(flows.actnorm()), VECTORS),
    "squeeze": (flows.squeeze, IMAGES),
    "stack": (lambda: flows.stack(flows.scale(), 3), VECTORS),
    "support": (lambda: flows.support(constraints.interval(-1.0, 2.0)), VECTORS),
}
CONDITIONAL = {
    "additive": lambda: coupled(flows.additive()),
    "affine": lambda: coupled(flows.affine(bound=2.0)),
    "alternating": lambda: flows.alternating(flows.affine(), 2, hidden=(8,)),
    "autoregressive": lambda: flows.autoregressive(flows.affine(), hidden=(8,)),
    "block_autoregressive": lambda: flows.block_autoregressive(hidden=(4,)),
    "bnaf": lambda: flows.bnaf(2, hidden=(4,)),
    "circular_rational_quadratic": lambda: coupled(flows.circular_rational_quadratic()),
    "circular_spline": lambda: flows.circular_spline(2, hidden=(8,)),
    "cnf": lambda: flows.cnf(hidden=(8,), steps=16),
    "conditional_affine": lambda: flows.conditional_affine(flows.dense((8,))),
    "conditioned": lambda: flows.conditioned(flows.planar(), flows.dense((8,))),
    "continuous": lambda: flows.continuous(flows.dense((4,), activation=jnp.tanh), steps=16),
    "coupling": lambda: coupled(flows.affine()),
    "dense": lambda: flows.coupling(flows.dense((8, 8)), flows.affine(), mask=flows.halves()),
    "halves": lambda: coupled(flows.affine(), flows.halves()),
    "iaf": lambda: flows.iaf(2, hidden=(8,)),
    "maf": lambda: flows.maf(2, hidden=(8,)),
    "nice": lambda: flows.nice(2, hidden=(8,)),
    "planar": flows.planar,
    "radial": flows.radial,
    "rational_quadratic": lambda: coupled(flows.rational_quadratic()),
    "realnvp": lambda: flows.realnvp(2, hidden=(8,)),
    "residual": lambda: flows.residual(2, hidden=(8,)),
    "residual_block": lambda: flows.residual_block((8,)),
    "spline": lambda: flows.spline(2, hidden=(8,)),
}
APPROXIMATE = {"cnf": 1e10, "continuous": 1e10, "residual": 1e3, "residual_block": 1e3}  # by steps, or by iterations
NO_BIJECTION = {"Check", "Elementwise", "FittedFlow", "Flow", "Mask", "check"}
THOROUGH = {  # each has a case of its own in the default run
    *("bnaf", "block_autoregressive", "circular_rational_quadratic", "circular_spline", "concatenate", "exp"),
    *("image_realnvp", "indexed", "leaky_tanh", "pointwise", "power", "sigmoid", "softplus", "support", "tanh"),
}


PLAIN |= {
    name: (getattr(flows, name), VECTORS) for name in flows.__all__ if name not in {*PLAIN, *CONDITIONAL, *NO_BIJECTION}
}


def names():
    return [pytest.param(n, marks=pytest.mark.thorough if n in THOROUGH else ()) for n in (*PLAIN, *CONDITIONAL)]


def test_every_name_is_checked():
    assert {*PLAIN, *CONDITIONAL, *NO_BIJECTION} == set(flows.__all__)
    assert not {*PLAIN} & {*CONDITIONAL}


@pytest.mark.parametrize("name", names())
def test_both_directions_and_the_jacobian_agree(x64, name):
    build, x, given = (*PLAIN[name], None) if name in PLAIN else (CONDITIONAL[name], VECTORS, GIVEN)
    given = None if given is None else jnp.asarray(given)
    flows.check(build(), jnp.asarray(x), given, tolerance=APPROXIMATE.get(name, 1.0))


@pytest.mark.parametrize("name", names())
def test_shapes_and_dtypes_are_kept(name):
    """In single precision, whatever the batch; what is conditioned requires its condition."""
    build, x, given = (*PLAIN[name], None) if name in PLAIN else (CONDITIONAL[name], VECTORS, GIVEN)
    bijection, x = build(), jnp.asarray(x, jnp.float32)
    given = None if given is None else jnp.asarray(given, jnp.float32)
    params, state = jax.eval_shape(bijection.init, jax.random.key(0), x, given)
    one, own = x[:1], None if given is None else given[:1]
    z, log_det = jax.eval_shape(bijection.forward, params, state, one, own)
    back, inverse_log_det = jax.eval_shape(bijection.inverse, params, state, z, own)
    assert (back.shape, back.dtype, z.dtype) == (one.shape, x.dtype, x.dtype)
    assert log_det.shape == inverse_log_det.shape == (1,)
    if given is not None:
        with pytest.raises(ValueError, match="given is missing"):
            jax.eval_shape(bijection.forward, params, state, one)


def wrong(forward_factor=1.0, inverse_factor=1.0, undo=0.5, mix=0.0):
    """`doubling` with a mistake."""

    def forward(params, state, x, given, key):
        moved = 2 * x + mix * jnp.mean(x, axis=0, keepdims=True)
        return moved, jnp.full(len(x), forward_factor * x[0].size * np.log(2), x.dtype)

    def inverse(params, state, z, given, key):
        return undo * z, jnp.full(len(z), -inverse_factor * z[0].size * np.log(2), z.dtype)

    return flows.checked("wrong", lambda key, x, given: ({}, {}), forward, inverse)


@pytest.mark.parametrize(
    ("bijection", "message"),
    [
        (wrong(forward_factor=0.25), r"forward's log_det is 0\.693147 at example 0, but log.det ∂z/∂x. is 2\.77259"),
        (wrong(forward_factor=1 + 1e-12), "forward's log_det"),
        (wrong(inverse_factor=-1.0), r"inverse's log_det is 2\.77259 at example 0, but log.det ∂x/∂z. is -2\.77259"),
        (wrong(undo=0.5001), r"inverse\(forward\(x\)\) misses x by"),
        (wrong(mix=0.1), "examples must not depend on others"),
        (wrong(forward_factor=np.nan), "forward's log_det is nan"),
    ],
)
def test_mistakes_are_found(x64, bijection, message):
    with pytest.raises(ValueError, match=message):
        flows.check(bijection, jnp.asarray(VECTORS))


def test_the_report_is_of_rounding(x64):
    found = flows.check(flows.scale(), jnp.asarray(VECTORS))
    assert max(found[:3]) < 1e-14
    log_scale = jnp.array([0.0, 1.0, 2.0, -1.0])
    found = flows.check(flows.scale(), jnp.asarray(VECTORS), params={"log_scale": log_scale}, state={})
    np.testing.assert_allclose(found.condition, np.exp(3), rtol=1e-12)
    with pytest.raises(TypeError, match="bijection must be a Bijection, got a function"):
        flows.check(flows.scale, jnp.asarray(VECTORS))
