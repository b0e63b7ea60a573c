"""Multi-scale splits: the conditional prior, the order of the parts, shapes, and what they must refuse."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flows.oracle import check, perturbed

from vifx import flows, nets
from vifx.distributions import standard_normal

VECTORS = np.random.default_rng(0).standard_normal((5, 4))
IMAGES = np.random.default_rng(1).standard_normal((4, 2, 1, 4))


def body():
    """``tanh(a V) + given``, features [..., 3]."""

    def init(key, a, *given):
        return {"w": jax.random.normal(key, (a.shape[-1], 3), a.dtype)}

    def apply(params, a, *given):
        h = jnp.tanh(a @ params["w"])
        return h if not given else h + given[0].reshape(-1, *(1,) * (a.ndim - 2), 1)

    return nets.from_functions(init, apply)


@pytest.mark.first(3)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("data", [VECTORS, IMAGES], ids=["vectors", "images"])
def test_both_directions_and_the_jacobian_agree(data, conditional, dtype):
    with jax.enable_x64(dtype == "float64"):
        x = jnp.asarray(data, dtype)
        given = jnp.linspace(-1, 1, len(data), dtype=dtype)[:, None] if conditional else None
        check(flows.split_off(flows.actnorm(), body() if conditional else None), x, given)


def test_what_leaves_is_normal_given_what_stays(x64):
    """``q(a, b) = q(a) N(b; μ(a), σ²(a))``, and the part that goes on comes first."""
    x = jnp.asarray(IMAGES)
    bijection = flows.split_off(flows.actnorm(), body())
    params, state = bijection.init(jax.random.key(0), x)
    a, b = IMAGES[..., :2], IMAGES[..., 2:]
    kept, kept_log_det = flows.actnorm().forward(params["rest"], {}, jnp.asarray(a))
    z, log_det = bijection.forward(params, state, x)
    np.testing.assert_allclose(z, np.concatenate([kept.reshape(4, -1), b.reshape(4, -1)], 1), rtol=1e-12)
    np.testing.assert_allclose(log_det, kept_log_det, rtol=1e-12)
    params = params | {"prior": perturbed(jax.random.key(1), params["prior"])}
    head = {name: np.asarray(leaf) for name, leaf in params["prior"]["head"].items()}
    outputs = np.tanh(a @ np.asarray(params["prior"]["body"]["w"])) @ head["weight"] + head["bias"]
    mean, scale = outputs[..., :2], np.exp(outputs[..., 2:])
    flow = flows.Flow(standard_normal(8), bijection)
    base = scipy.stats.norm.logpdf(np.asarray(kept)).reshape(4, -1).sum(1) + np.asarray(kept_log_det)
    expected = base + scipy.stats.norm.logpdf(b, mean, scale).reshape(4, -1).sum(1)
    np.testing.assert_allclose(flow.log_prob(params, state, x), expected, rtol=1e-11)
    # A temperature multiplies every conditional standard deviation: b − μ(a) = T σ(a) ε.
    noise = np.random.default_rng(3).standard_normal((4, 8))
    drawn = np.asarray(flow.decode(params, state, jnp.asarray(0.5 * noise)))
    outputs = np.tanh(drawn[..., :2] @ np.asarray(params["prior"]["body"]["w"])) @ head["weight"] + head["bias"]
    leaving = 0.5 * np.exp(outputs[..., 2:]) * noise[:, 4:].reshape(4, 2, 1, 2)
    np.testing.assert_allclose(drawn[..., 2:] - outputs[..., :2], leaving, rtol=1e-10, atol=1e-12)


def test_splits_within_splits_keep_every_scale(x64):
    """Shapes change on the way: the rest squeezes, splits and flattens again."""
    x = jnp.asarray(np.random.default_rng(2).standard_normal((4, 2, 2, 2)))
    inner = flows.chain(flows.squeeze(), flows.split_off(flows.chain(flows.flatten(), flows.scale()), body()))
    bijection = flows.split_off(inner, body())
    _, state = check(bijection, x)
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == 0
    check(flows.stack(flows.chain(flows.flatten(), flows.split_off(flows.actnorm())), 2), x.reshape(4, 8))


@pytest.mark.thorough
def test_gradients_reach_the_rest_the_body_and_the_head(x64):
    x = jnp.asarray(VECTORS)
    bijection = flows.split_off(flows.actnorm(), body())
    params, state = bijection.init(jax.random.key(0), x)
    params = perturbed(jax.random.key(1), params)
    flow = flows.Flow(standard_normal(4), bijection)
    slopes = jax.grad(lambda params: jnp.mean(flow.log_prob(params, state, x)))(params)
    for path, slope in jax.tree_util.tree_leaves_with_path(slopes):
        assert np.all(np.asarray(slope) != 0), path


@pytest.mark.parametrize(
    ("build", "x", "error", "message"),
    [
        (lambda: flows.split_off(flows.identity()), VECTORS[:, :3], ValueError, r"last axis of \[5, 3\] must be even"),
        (lambda: flows.split_off(3), VECTORS, TypeError, "rest must be a Bijection, got 3"),
        (lambda: flows.split_off(flows.identity(), 3), VECTORS, TypeError, "network must be a Net"),
        (
            lambda: flows.split_off(flows.identity(), nets.from_functions(lambda key, a: {}, lambda p, a: a[:, 0, 0])),
            IMAGES,
            ValueError,
            r"give \[4, 4\] for \[4, 2, 1, 2\], expected a mean and a log scale of each element, \[4, 2, 1, 4\]",
        ),
    ],
)
def test_bad_input(build, x, error, message):
    x = jnp.asarray(x, jnp.float32)

    def use():
        bijection = build()
        bijection.forward(*bijection.init(jax.random.key(0), x), x)

    with pytest.raises(error, match=message):
        use()


def test_a_base_of_another_size():
    bijection, x = flows.split_off(flows.identity()), jnp.asarray(VECTORS, jnp.float32)
    params, state = bijection.init(jax.random.key(0), x)
    with pytest.raises(ValueError, match=r"split_off: inverse needs 4 elements an example.*got \[5, 6\]"):
        bijection.inverse(params, state, jnp.ones((5, 6)))
