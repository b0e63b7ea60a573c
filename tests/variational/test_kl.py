"""The explicit KL on continuous joints: linear-Gaussian models, whose divergences are known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import vifx
from vifx import Joint, evidence, factor, implicit, standard_normal, target, transformed
from vifx.core.nets import from_functions
from vifx.core.types import Bijection
from vifx.distributions import Categorical, Normal


def linear(slope, scale, name=None):
    """A conditional N(slope · parent, scale²) with both as parameters."""
    return from_functions(
        lambda key, x: {"slope": jnp.asarray(slope, x.dtype), "log_scale": jnp.asarray(np.log(scale), x.dtype)},
        lambda p, x: Normal(p["slope"] * x, jnp.broadcast_to(jnp.exp(p["log_scale"]), x.shape)).to_event(1),
    )


X = np.array([[0.5], [-1.2], [2.0]])


def loss_and_gradient(objective, batch, seeds=1):
    params, state = objective.init(jax.random.key(0), batch)
    loss = objective.players["model"].loss

    def one(key):
        return jax.value_and_grad(lambda p: loss(key, p, state, batch), has_aux=True)(params)

    (value, aux), gradient = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), seeds))
    return params, value, aux.metrics, gradient


def test_vae_terms_against_closed_forms(x64):
    objective = vifx.kl(
        Joint(evidence("x"), factor("z | x", linear(0.6, 0.5), name="encoder")),
        Joint(factor("z", standard_normal(1)), factor("x | z", linear(1.1, 0.8), name="decoder")),
    )
    _, value, metrics, _ = loss_and_gradient(objective, {"x": jnp.asarray(X)}, 40_000)
    mean = 0.6 * X
    kl = np.mean(0.5 * (mean**2 + 0.25 - np.log(0.25) - 1))
    nll = np.mean(0.5 * ((X - 1.1 * mean) ** 2 + 1.21 * 0.25) / 0.64 + np.log(0.8) + 0.5 * np.log(2 * np.pi))
    np.testing.assert_allclose(metrics["kl/z"], kl, rtol=1e-12)
    spread = metrics["nll/x"].std() / np.sqrt(40_000)
    assert abs(metrics["nll/x"].mean() - nll) < 4.26 * spread
    np.testing.assert_allclose(value, metrics["kl/z"] + metrics["nll/x"], rtol=1e-12)


@pytest.mark.thorough
def test_bottom_up_hierarchy_is_drawn_where_it_must_be(x64):
    """q(z|w)'s parent comes after z in the inference joint: its term is Monte Carlo, the top's exact given z."""
    objective = vifx.kl(
        Joint(
            evidence("x"),
            factor("z | x", linear(0.6, 0.5), name="low"),
            factor("w | z", linear(0.4, 0.7), name="top"),
        ),
        Joint(
            factor("w", standard_normal(1)),
            factor("z | w", linear(0.9, 0.6), name="middle"),
            factor("x | z", linear(1.1, 0.8), name="decoder"),
        ),
    )
    draws = 60_000
    _, _, metrics, _ = loss_and_gradient(objective, {"x": jnp.asarray(X)}, draws)
    assert {"kl/w", "kl/z_sampled", "nll/x", "elbo"} == set(metrics)
    # E[log p(z|x)] − E[log q(z|w)] with z = 0.6x + 0.5ε, w = 0.4z + 0.7η.
    z_mean, z_var = 0.6 * X, 0.25
    residual = (1 - 0.9 * 0.4) ** 2 * (z_mean**2 + z_var) + 0.81 * 0.49
    middle = np.mean(
        -0.5 * np.log(2 * np.pi * np.e * 0.25) + 0.5 * residual / 0.36 + np.log(0.6) + 0.5 * np.log(2 * np.pi)
    )
    top = np.mean(0.5 * (0.16 * (z_mean**2 + z_var) + 0.49 - np.log(0.49) - 1))
    for name, truth in (("kl/z_sampled", middle), ("kl/w", top)):
        assert abs(metrics[name].mean() - truth) < 4.26 * metrics[name].std() / np.sqrt(draws), name


def test_top_down_hierarchy_is_in_closed_form(x64):
    low = from_functions(
        lambda key, w, x: jnp.asarray([0.3, 0.5], x.dtype),
        lambda p, w, x: Normal(p[0] * w + p[1] * x, jnp.full(x.shape, 0.4)).to_event(1),
    )
    objective = vifx.kl(
        Joint(evidence("x"), factor("w | x", linear(0.6, 0.5), name="top"), factor("z | w, x", low, name="low")),
        Joint(
            factor("w", standard_normal(1)),
            factor("z | w", linear(0.9, 0.6), name="middle"),
            factor("x | z", linear(1.1, 0.8), name="decoder"),
        ),
    )
    batch = {"x": jnp.asarray(X)}
    _, _, metrics, _ = loss_and_gradient(objective, batch, 3)
    assert {"kl/w", "kl/z", "nll/x", "elbo"} == set(metrics)
    np.testing.assert_allclose(metrics["kl/w"], np.mean(0.5 * (0.36 * X**2 + 0.25 - np.log(0.25) - 1)), rtol=1e-12)
    text = vifx.explain(objective, batch)
    assert "by closed form; w: 1 draw, reparameterized" in text


def test_a_summed_latent_whose_generative_parent_is_drawn_is_sampled():
    """q(y|w) needs w, which comes after y and is drawn: the term is noisy, and its name says so."""

    def logits():
        return from_functions(lambda key, v: jnp.array([[0.6, -0.4]]), lambda p, v: Categorical(v @ p))

    normal = from_functions(
        lambda key, x, y: jnp.array(0.7),
        lambda p, x, y: Normal(p * x + y[:, None].astype(x.dtype), jnp.ones_like(x)).to_event(1),
    )
    objective = vifx.kl(
        Joint(evidence("x"), factor("y | x", logits(), name="classes"), factor("w | x, y", normal, name="encoder")),
        Joint(
            factor("w", standard_normal(1)),
            factor("y | w", logits(), name="labels"),
            factor("x | w", linear(1.1, 0.8), name="decoder"),
        ),
    )
    _, _, metrics, _ = loss_and_gradient(objective, {"x": jnp.asarray(X, jnp.float32)}, 100)
    assert {"kl/w", "kl/y_sampled", "nll/x", "elbo"} == set(metrics)
    assert metrics["kl/y_sampled"].std() > 1e-2


def test_flow_maximum_likelihood_is_the_change_of_variables(x64):
    scale = Bijection(
        init=lambda key, x, given=None: (jnp.asarray([0.3], x.dtype), {}),
        forward=lambda p, s, x, given=None, *, key=None: (x * jnp.exp(p)[None], jnp.full(len(x), jnp.sum(p))),
        inverse=lambda p, s, z, given=None, *, key=None: (z * jnp.exp(-p)[None], jnp.full(len(z), -jnp.sum(p))),
    )
    objective = vifx.kl(Joint(evidence("x")), Joint(transformed("x", standard_normal(1), scale, name="flow")))
    _, value, metrics, gradient = loss_and_gradient(objective, {"x": jnp.asarray(X)})
    s = np.exp(-0.3)
    np.testing.assert_allclose(value[0], -np.mean(scipy.stats.norm.logpdf(X, 0, s)), rtol=1e-12)
    np.testing.assert_allclose(gradient["flow"][0], [np.mean((X / s) ** 2) - 1], rtol=1e-12)
    np.testing.assert_allclose(metrics["elbo"], -value)
    assert objective.dropped == ("− H(p̃(x))",)


def test_flow_posterior_equals_the_normal_posterior_in_expectation(x64):
    """Equation (4) with F_x(u) = σu + μ(x) is equation (2): same model, the latent's term drawn for one."""
    affine = Bijection(
        init=lambda key, z, given=None: ({"slope": jnp.asarray(0.6), "log_scale": jnp.asarray(np.log(0.5))}, {}),
        forward=lambda p, s, z, given, *, key=None: (
            (z - p["slope"] * given) * jnp.exp(-p["log_scale"]),
            jnp.full(len(z), -p["log_scale"]),
        ),
        inverse=lambda p, s, u, given, *, key=None: (
            p["slope"] * given + u * jnp.exp(p["log_scale"]),
            jnp.full(len(u), p["log_scale"]),
        ),
    )
    generative = Joint(factor("z", standard_normal(1)), factor("x | z", linear(1.1, 0.8), name="decoder"))
    flow = vifx.kl(Joint(evidence("x"), transformed("z | x", standard_normal(1), affine, name="encoder")), generative)
    plain = vifx.kl(Joint(evidence("x"), factor("z | x", linear(0.6, 0.5), name="encoder")), generative)
    batch = {"x": jnp.asarray(X)}
    params, state = plain.init(jax.random.key(0), batch)
    draws = 40_000
    keys = jax.random.split(jax.random.key(1), draws)

    def run(objective):
        loss = objective.players["model"].loss

        def one(key):
            return jax.value_and_grad(lambda p: loss(key, p, state, batch)[0])(params)

        return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(keys))

    a, b = jax.tree.leaves(run(flow)), jax.tree.leaves(run(plain))
    for one, other in zip(a, b, strict=True):
        spread = np.sqrt(one.var() / draws + other.var() / draws)
        assert abs(one.mean() - other.mean()) < 4.26 * spread + 1e-12


def test_transformed_factor_is_initialized_on_drawn_latents():
    seen = []

    def init(key, z, given=None):
        seen.append(z.shape)
        return jnp.zeros(1), {}

    identity = Bijection(
        init,
        lambda p, s, x, given=None, *, key=None: (x, jnp.zeros(len(x))),
        lambda p, s, z, given=None, *, key=None: (z, jnp.zeros(len(z))),
    )
    objective = vifx.kl(
        Joint(evidence("x"), factor("z | x", linear(0.6, 0.5), name="encoder")),
        Joint(
            transformed("z", standard_normal(1), identity, name="prior"), factor("x | z", linear(1.0, 1.0), name="d")
        ),
    )
    objective.init(jax.random.key(0), {"x": jnp.asarray(X, jnp.float32)})
    assert seen == [(3, 1)]


def test_per_example_noise_does_not_depend_on_the_devices():
    objective = vifx.kl(
        Joint(evidence("x"), factor("z | x", linear(0.6, 0.5), name="encoder")),
        Joint(factor("z", standard_normal(1)), factor("x | z", linear(1.1, 0.8), name="decoder")),
    )
    batch = {"x": jnp.linspace(-1, 1, 16)[:, None]}
    params, state = objective.init(jax.random.key(0), batch)
    loss = jax.jit(lambda b: objective.players["model"].loss(jax.random.key(3), params, state, b)[0])
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = jax.device_put(batch, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data")))
    np.testing.assert_allclose(loss(sharded), loss(batch), rtol=1e-6)


ENCODER = factor("z | x", linear(0.6, 0.5), name="encoder")
PRIOR = factor("z", standard_normal(1))
DECODER = factor("x | z", linear(1.1, 0.8), name="decoder")
MAP = from_functions(lambda key, x: jnp.ones(()), lambda p, x: p * x)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: vifx.kl(Joint(target("x", jnp.sum)), Joint(target("x", jnp.sum))), "cannot be sampled, so it has no"),
        (
            lambda: vifx.kl(Joint(evidence("x")), Joint(PRIOR, DECODER)),
            "the inference joint p̃.x. has no factor for 'z'",
        ),
        (lambda: vifx.kl(Joint(evidence("x"), ENCODER), Joint(factor("x", standard_normal(1)))), "no factor for 'z'"),
        (lambda: vifx.kl(Joint(evidence("x")), Joint(evidence("x"))), "nothing to fit"),
        (
            lambda: vifx.kl(Joint(evidence("x"), implicit("z | x", MAP, name="e")), Joint(PRIOR, DECODER)),
            r"δ e\(z \| x\) is implicit.*adversarial\(..., on='z'\)",
        ),
        (
            lambda: vifx.kl(Joint(evidence("x"), ENCODER), Joint(PRIOR, implicit("x | z", MAP, name="g"))),
            r"δ g\(x \| z\) is implicit.*on='x'",
        ),
        (
            lambda: vifx.kl(Joint(evidence("x"), ENCODER), Joint(PRIOR, factor("x | z", linear(1, 1), name="encoder"))),
            "owner 'encoder' has two networks",
        ),
        (
            lambda: vifx.kl(Joint(evidence("x"), ENCODER), Joint(PRIOR, DECODER), weights={"kl/zz": 2.0}),
            "no term 'kl/zz'; did you mean 'kl/z'",
        ),
        (lambda: vifx.kl(Joint(evidence("x"), ENCODER), Joint(PRIOR, DECODER), weights={"kl/z": -1.0}), "≥ 0"),
        (lambda: vifx.kl(Joint(evidence("x"), ENCODER), Joint(PRIOR, DECODER), weights={"kl/z": np.nan}), "finite"),
        (lambda: vifx.kl(Joint(evidence("x"), ENCODER), Joint(PRIOR, DECODER), samples=0), "integer ≥ 1, got 0"),
        (lambda: vifx.kl(Joint(evidence("x"), ENCODER), Joint(PRIOR, DECODER), free_bits=-1.0), "free_bits must be"),
        (lambda: vifx.importance_weighted(Joint(evidence("x"), ENCODER), Joint(PRIOR, DECODER), samples=0), "≥ 1"),
        (
            lambda: vifx.importance_weighted(
                Joint(evidence("x"), ENCODER), Joint(PRIOR, DECODER), samples=2, gradient="doubly_reparametrized"
            ),
            "did you mean 'doubly_reparameterized'",
        ),
        (
            lambda: vifx.kl(
                Joint(evidence("x"), factor("y | x", linear(1, 1), name="c")),
                Joint(evidence("y"), factor("x | y", linear(1, 1), name="d")),
            ),
            "takes p̃.y. from the data",
        ),
    ],
)
def test_bad_pairs_and_hyperparameters(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_joint_is_required():
    with pytest.raises(TypeError, match="inference must be a Joint, got Factor"):
        vifx.kl(evidence("x"), Joint(PRIOR, DECODER))


def test_reconstruction_through_an_implicit_encoder(x64):
    objective = vifx.reconstruction(Joint(evidence("x"), implicit("z | x", MAP, name="e")), Joint(PRIOR, DECODER))
    _, value, _, _ = loss_and_gradient(objective, {"x": jnp.asarray(X)})
    np.testing.assert_allclose(value[0], -np.mean(scipy.stats.norm.logpdf(X, 1.1 * X, 0.8)), rtol=1e-12)


@pytest.mark.thorough
def test_the_two_factors_of_a_latent_must_agree_on_its_shape():
    wide = Joint(factor("z", standard_normal(2)), factor("x | z", linear(1.1, 0.8), name="decoder"))
    objective = vifx.kl(Joint(evidence("x"), ENCODER), wide)
    params, state = vifx.kl(Joint(evidence("x"), ENCODER), Joint(PRIOR, DECODER)).init(
        jax.random.key(0), {"x": jnp.ones((3, 1))}
    )
    with pytest.raises(
        ValueError, match=r"encoder\(z \| x\) is over events of shape \[1\], but Normal\(z\) is over \[2\]"
    ):
        objective.players["model"].loss(jax.random.key(0), params, state, {"x": jnp.ones((3, 1))})
