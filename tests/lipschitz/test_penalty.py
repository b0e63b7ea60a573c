"""Gradient penalties against closed forms: linear and quadratic critics, and their statistics over the noise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lipschitz.oracles import normal

from vifx.lipschitz import dragan, gradient_penalty, r1, r2

W = np.array([3.0, 4.0])


def linear(x):
    return x @ jnp.asarray(W, x.dtype)


def quadratic(x):
    """Its gradient is x itself."""
    return 0.5 * jnp.sum(x.reshape(x.shape[0], -1) ** 2, axis=1)


def key(n=0):
    return jax.random.key(n)


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        (gradient_penalty(10.0), 10 * 4.0**2),
        (gradient_penalty(10.0, target=7.0), 10 * 2.0**2),
        (gradient_penalty(10.0, target=7.0, one_sided=True), 0.0),
        (gradient_penalty(10.0, target=2.0, one_sided=True), 10 * 3.0**2),
        (dragan(10.0), 10 * 4.0**2),
        (dragan(10.0, target=7.0, one_sided=True), 0.0),
        (r1(10.0), 5 * 25.0),
        (r2(10.0), 5 * 25.0),
    ],
)
def test_linear_critic_has_the_closed_form(x64, penalty, expected):
    value, metrics = penalty(key(), linear, (normal(0, 6, 2),), (normal(1, 6, 2),))
    np.testing.assert_allclose(value, np.full(6, expected), rtol=1e-12)
    np.testing.assert_allclose(metrics["penalty/gradient_norm"], np.full(6, 5.0), rtol=1e-12)
    assert set(metrics) == {"penalty/gradient_norm"}


def test_gradient_for_the_critics_parameters(x64):
    a, b = normal(0, 6, 2), normal(1, 6, 2)

    def value(penalty, w):
        return jnp.mean(penalty(key(), lambda x: x @ w, (a,), (b,))[0])

    w = jnp.asarray(W)
    # d/dw (‖w‖ − 1)² = 2 (1 − 1/‖w‖) w, and d/dw ½‖w‖² = w.
    np.testing.assert_allclose(jax.grad(lambda w: value(gradient_penalty(1.0), w))(w), 2 * (1 - 0.2) * W, rtol=1e-12)
    np.testing.assert_allclose(jax.grad(lambda w: value(r1(1.0), w))(w), W, rtol=1e-12)


def test_r1_looks_at_the_data_and_r2_at_the_model(x64):
    a, b = normal(0, 6, 2, 3), normal(1, 4, 2, 3)
    at_a, _ = r1(3.0)(key(), quadratic, (a,), (b,))
    at_b, _ = r2(3.0)(key(), quadratic, (a,), (b,))
    assert float(jnp.mean(at_a)) == pytest.approx(1.5 * float(jnp.mean(jnp.sum(a**2, (1, 2)))), rel=1e-12)
    assert float(jnp.mean(at_b)) == pytest.approx(1.5 * float(jnp.mean(jnp.sum(b**2, (1, 2)))), rel=1e-12)


@pytest.mark.thorough
def test_points_are_uniform_between_pairs_with_one_share_for_all_variables(x64):
    n = 100_000
    a, b = (jnp.ones((n, 1)), jnp.ones((n, 1))), (jnp.zeros((n, 1)), jnp.zeros((n, 1)))
    # ‖∇‖ = √2 ε: mean √2/2, mean square 2/3; shares of their own would have mean 0.765.
    value, metrics = gradient_penalty(1.0, target=0.0)(key(), lambda x, y: quadratic(x) + quadratic(y), a, b)
    assert float(jnp.mean(metrics["penalty/gradient_norm"])) == pytest.approx(np.sqrt(0.5), abs=5 * np.sqrt(2 / 12 / n))
    assert float(jnp.mean(value)) == pytest.approx(2 / 3, abs=5 * np.sqrt(4 * 4 / 45 / n))
    # On the segment: with x_B = x_A there is one point only.
    x = normal(2, 8, 3)
    value, _ = gradient_penalty(1.0, target=0.0)(key(), quadratic, (x,), (x,))
    assert float(jnp.mean(value)) == pytest.approx(float(jnp.mean(jnp.sum(x**2, 1))), rel=1e-12)


def test_pairs_stay_together_and_shares_are_the_examples_own(x64):
    a, b = normal(3, 5, 2), normal(4, 5, 2)
    seen = []
    gradient_penalty(1.0)(
        key(), lambda x: jax.debug.callback(lambda x: seen.append(np.asarray(x)), x) or linear(x), (a,), (b,)
    )
    jax.effects_barrier()
    share = (seen[0] - b) / (a - b)
    np.testing.assert_allclose(share[:, 0], share[:, 1], atol=1e-9)
    assert np.all((share >= 0) & (share <= 1))
    assert len(np.unique(np.round(share[:, 0], 6))) == 5


def test_norm_is_joint_over_floating_variables_and_labels_are_those_of_a(x64):
    scales = jnp.array([1.0, 2.0, 5.0])
    a = (normal(0, 4, 2), jnp.array([0, 1, 2, 2]), normal(1, 4))
    b = (normal(2, 4, 2), jnp.array([1, 1, 1, 1]), normal(3, 4))

    def critic(x, label, z):
        return scales[label] * (linear(x) + 12 * z)

    value, metrics = gradient_penalty(1.0, target=0.0)(key(), critic, a, b)
    # ‖(3, 4, 12)‖ = 13, times the scale of A's label.
    assert float(jnp.mean(metrics["penalty/gradient_norm"])) == pytest.approx(13 * (1 + 2 + 5 + 5) / 4, rel=1e-12)
    assert float(jnp.mean(value)) == pytest.approx(169 * (1 + 4 + 25 + 25) / 4, rel=1e-12)
    assert float(jnp.mean(r2(2.0)(key(), critic, a, b)[0])) == pytest.approx(169 * 4, rel=1e-12)
    assert float(jnp.mean(dragan(1.0, target=0.0)(key(), critic, a, b)[0])) == pytest.approx(169 * 55 / 4, rel=1e-12)


def test_dragan_moves_the_data_by_a_share_of_its_scale(x64):
    n = 40_000
    x = 3 + 2 * normal(0, n, 1)
    value, _ = dragan(1.0, scale=0.5, target=0.0)(key(), quadratic, (x,), (jnp.zeros((1, 1)),))
    expected = float(jnp.mean(x**2)) + 0.25 * float(jnp.var(x))
    # The variance of (x + δ)² given x is 4 x² s² + 2 s⁴ with s the noise's scale.
    s2 = 0.25 * float(jnp.var(x))
    error = np.sqrt((4 * float(jnp.mean(x**2)) * s2 + 2 * s2**2) / n)
    assert float(jnp.mean(value)) == pytest.approx(expected, abs=5 * error)
    assert 5 * error < 0.25 * s2
    still, _ = dragan(1.0, scale=0.0, target=0.0)(key(), quadratic, (x,), ())
    assert float(jnp.mean(still)) == pytest.approx(float(jnp.mean(x**2)), rel=1e-12)


@pytest.mark.first(1)
@pytest.mark.parametrize(
    "penalty", [gradient_penalty(1.0), gradient_penalty(1.0, one_sided=True), dragan(1.0), r1(1.0)]
)
def test_a_flat_critic_has_a_finite_gradient(penalty):
    x = jnp.ones((4, 3))

    def value(scale):
        return jnp.mean(penalty(key(), lambda x: scale * jnp.sum(x, axis=1), (x,), (x,))[0])

    with jax.debug_nans(True):
        assert float(jax.grad(value)(jnp.zeros(()))) == 0.0


@pytest.mark.thorough
def test_second_derivatives_agree_with_the_jacobian(x64):
    a, w = normal(5, 6, 3), normal(6, 3, 4)

    def critic(w):
        return lambda x: jnp.sum(jnp.tanh(x @ w), axis=1)

    def by_hand(w):
        slope = (1 - jnp.tanh(a @ w) ** 2) @ w.T
        return 0.5 * jnp.mean(jnp.sum(slope**2, axis=1))

    value, gradient = jax.jit(jax.value_and_grad(lambda w: jnp.mean(r1(1.0)(key(), critic(w), (a,), ())[0])))(w)
    assert float(jnp.mean(value)) == pytest.approx(float(by_hand(w)), rel=1e-12)
    np.testing.assert_allclose(gradient, jax.grad(by_hand)(w), atol=1e-12)


def test_mixed_precision_variables_are_joined(x64):
    x, z = jnp.ones((4, 2), jnp.float32), jnp.ones((4,), jnp.float64)
    value, _ = r1(2.0)(key(), lambda x, z: linear(x).astype(jnp.float64) + 12 * z, (x, z), ())
    assert float(jnp.mean(value)) == pytest.approx(169.0, rel=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gradient_penalty(-1.0), "gradient_penalty: weight must be a finite number ≥ 0, got -1.0"),
        (lambda: gradient_penalty(1.0, target=-1.0), "target must be a finite number ≥ 0"),
        (lambda: r1(-1.0), "r1: weight must be"),
        (lambda: r2(float("inf")), "r2: weight must be"),
        (lambda: dragan(1.0, scale=-0.5), "dragan: scale must be"),
    ],
)
def test_bad_numbers_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_samples_and_critics_are_named():
    x, labels = jnp.ones((4, 2)), jnp.arange(4)
    with pytest.raises(ValueError, match=r"equal in number, shape and dtype, got \(4, 2\) float32 and \(3, 2\)"):
        gradient_penalty(1.0)(key(), linear, (x,), (x[:3],))
    with pytest.raises(ValueError, match=r"r1: a gradient needs a floating variable, .* \['int32'\]"):
        r1(1.0)(key(), lambda y: y, (labels,), (labels,))
    with pytest.raises(ValueError, match=r"one logit per example, shape \(4,\), but returned \(4, 1\)"):
        r2(1.0)(key(), lambda x: x[:, :1], (x,), (x,))
    with pytest.raises(ValueError, match="same examples in front"):
        dragan(1.0)(key(), lambda x, y: linear(x), (x, labels[:3]), ())
