"""Each game's functions of the critic's output against their definitions, and what it estimates at its best critic."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx import divergences
from vifx.games.game import labelled_kl
from vifx.games.named import from_divergence, game

LOGITS = np.linspace(-6.0, 6.0, 25)
A = np.array([0.1, 0.2, 0.3, 0.4])
B = np.array([0.4, 0.1, 0.2, 0.3])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def pieces_agree(pieces, at_a, at_b):
    logits = jnp.asarray(LOGITS)
    np.testing.assert_allclose(pieces.at_a(logits), at_a, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(pieces.at_b(logits), at_b, rtol=1e-12, atol=1e-14)


def critic_loss(played, logits):
    return jnp.sum(A * played.critic.at_a(logits)) + jnp.sum(B * played.critic.at_b(logits))


def is_best(played, logits):
    """No other output of the critic, at any point, has a smaller loss; returns the estimate there."""
    slope = jax.grad(lambda x: critic_loss(played, x))(logits)
    np.testing.assert_allclose(slope, 0, atol=1e-12)
    for step in np.random.default_rng(0).normal(size=(20, len(A))):
        assert critic_loss(played, logits + step) > critic_loss(played, logits)
    return float(played.estimate(critic_loss(played, logits)))


@pytest.mark.parametrize("prior", [0.5, 0.1, 0.8])
def test_labelled_kl(x64, prior):
    played = game("labelled_kl", label_prior=prior)
    critic = sigmoid(LOGITS + np.log(prior / (1 - prior)))
    of_a, of_b = 2 * prior, 2 * (1 - prior)
    pieces_agree(played.critic, -of_a * np.log(critic), -of_b * np.log1p(-critic))
    pieces_agree(played.forms["nonsaturating"], -of_a * np.log1p(-critic), -of_b * np.log(critic))
    for form in ("saturating", "minimax"):
        pieces_agree(played.forms[form], of_a * np.log(critic), of_b * np.log1p(-critic))
    for form in ("full", "truncated"):
        pieces_agree(played.forms[form], -of_a * np.log(critic), -of_b * np.log(critic))
    both = prior * A + (1 - prior) * B
    weighted = prior * np.sum(A * np.log(A / both)) + (1 - prior) * np.sum(B * np.log(B / both))
    assert is_best(played, jnp.log(A / B)) == pytest.approx(weighted, rel=1e-12)
    assert (played.label_prior, played.bound, played.target) == (prior, "at_least", "js")


def test_hinge_bounds_the_total_variation(x64):
    played = game("hinge")
    pieces_agree(played.critic, np.maximum(0, 1 - LOGITS), np.maximum(0, 1 + LOGITS))
    pieces_agree(played.forms["nonsaturating"], LOGITS, -LOGITS)
    pieces_agree(played.forms["minimax"], -np.maximum(0, 1 - LOGITS), -np.maximum(0, 1 + LOGITS))
    best = jnp.sign(A - B)
    for step in np.random.default_rng(0).normal(size=(50, len(A))):
        assert critic_loss(played, best + step) > critic_loss(played, best)
    estimate = played.estimate(critic_loss(played, best))
    np.testing.assert_allclose(estimate, 0.5 * np.sum(np.abs(A - B)), rtol=1e-12)


def test_least_squares_bounds_the_le_cam_divergence(x64):
    played = game("least_squares")
    pieces_agree(played.critic, 0.5 * (LOGITS - 1) ** 2, 0.5 * LOGITS**2)
    pieces_agree(played.forms["nonsaturating"], 0.5 * LOGITS**2, 0.5 * (LOGITS - 1) ** 2)
    pieces_agree(played.forms["minimax"], -0.5 * (LOGITS - 1) ** 2, -0.5 * LOGITS**2)
    assert is_best(played, A / (A + B)) == pytest.approx(0.5 * np.sum((A - B) ** 2 / (A + B)), rel=1e-12)
    np.testing.assert_array_equal(np.sign(played.score(jnp.asarray(A / (A + B)))), np.sign(A - B))


def test_wasserstein_and_relativistic(x64):
    played = game("wasserstein")
    pieces_agree(played.critic, -LOGITS, LOGITS)
    for form in played.forms.values():
        pieces_agree(form, LOGITS, -LOGITS)
    assert (played.bound, played.score, played.log_ratio) == ("estimate", None, None)
    # On a line, with the critic that rises where A lies to the right: the area between distribution functions.
    logits = np.concatenate([[0.0], np.cumsum(np.sign(np.cumsum(B - A)[:-1]))])
    distance = np.sum(np.abs(np.cumsum(A - B)))
    np.testing.assert_allclose(played.estimate(critic_loss(played, jnp.asarray(logits))), distance, rtol=1e-12)

    played = game("relativistic")
    differences = LOGITS
    np.testing.assert_allclose(played.critic.at_b(jnp.asarray(differences)), -np.log(sigmoid(differences)), rtol=1e-12)
    other = played.forms["nonsaturating"].at_b(jnp.asarray(differences))
    np.testing.assert_allclose(other, -np.log(sigmoid(-differences)), rtol=1e-12)
    saturating = played.forms["saturating"].at_b(jnp.asarray(differences))
    np.testing.assert_allclose(saturating, np.log(sigmoid(differences)), rtol=1e-12)
    assert played.paired
    np.testing.assert_allclose(played.estimate(jnp.log(2.0)), 0, atol=1e-15)


# f by its definition and its value at 1.
CONVEX = {
    "kl": (lambda u: u * jnp.log(u), 0.0),
    "pearson": (lambda u: (u - 1) ** 2, 0.0),
    "squared_hellinger": (lambda u: (jnp.sqrt(u) - 1) ** 2, 0.0),
    "gan": (lambda u: u * jnp.log(u) - (1 + u) * jnp.log(1 + u), -2 * np.log(2)),
    "alpha(0.5)": (lambda u: -4 * (jnp.sqrt(u) - 1 - 0.5 * (u - 1)), 0.0),
}


@pytest.mark.first(2)
@pytest.mark.parametrize("name", CONVEX)
def test_f_divergences(x64, name):
    f, at_one = CONVEX[name]
    played = game(name)
    slope = jax.vmap(jax.grad(f))(jnp.exp(LOGITS))
    conjugate = np.exp(LOGITS) * slope - f(jnp.exp(LOGITS))
    pieces_agree(played.critic, -slope, conjugate)
    pieces_agree(played.forms["nonsaturating"], conjugate, -slope)
    pieces_agree(played.forms["minimax"], slope, -conjugate)
    assert is_best(played, jnp.log(A / B)) == pytest.approx(float(np.sum(B * f(A / B))), rel=1e-12)
    even = played.estimate(
        jnp.sum(A * played.critic.at_a(jnp.zeros(4))) + jnp.sum(A * played.critic.at_b(jnp.zeros(4)))
    )
    assert float(even) == pytest.approx(at_one, abs=1e-12)
    np.testing.assert_array_equal(np.sign(played.score(jnp.asarray(LOGITS))), np.sign(LOGITS))


@pytest.mark.first(1)
@pytest.mark.parametrize("name", ["reverse_kl", "neyman", "total_variation", "jensen_shannon"])
def test_the_score_is_positive_where_a_is_likelier(x64, name):
    """Also of falling activations, where the critic's output is negative there."""
    played = game(name, parametrization="activation")
    divergence = divergences.named(name)
    ratio = jnp.exp(jnp.asarray([-1.0, 0.7]))
    target = jax.vmap(jax.grad(lambda u: divergence.generator(u)))(ratio)
    grid = jnp.linspace(-8.0, 8.0, 20001)
    outputs = jnp.stack([grid[jnp.argmin(jnp.abs(divergence.activation(grid) - t))] for t in target])
    assert np.sign(played.score(outputs)).tolist() == [-1.0, 1.0]
    assert played.log_ratio is None


def test_bad_games_are_refused():
    with pytest.raises(ValueError, match=r"divergence 'pearsn' is unknown; did you mean 'pearson'\?"):
        game("pearsn")
    with pytest.raises(TypeError, match="divergence must be a name or a Divergence, got int"):
        game(3)
    for prior in (0.0, 1.0, -0.1, 1.5):
        with pytest.raises(ValueError, match="label_prior must be between 0 and 1, exclusively"):
            labelled_kl(label_prior=prior)
    with pytest.raises(ValueError, match=r"label_prior=0.3 is of divergence='labelled_kl' alone, got 'hinge'"):
        game("hinge", label_prior=0.3)
    with pytest.raises(ValueError, match="parametrization='activation' is of f-divergences alone, got 'hinge'"):
        game("hinge", parametrization="activation")
    with pytest.raises(ValueError, match="parametrization must be one of ratio, activation; got 'log'"):
        from_divergence(divergences.pearson, parametrization="log")
    with pytest.raises(ValueError, match=r"piecewise constant.*use parametrization='activation'"):
        game("total_variation")
    straight = divergences.from_generator(lambda u: 0.5 * jnp.abs(u - 1), name="straight")
    with pytest.raises(ValueError, match=r"divergence straight.*piecewise constant.*take an f that is curved"):
        game(straight)
    with pytest.raises(ValueError, match=r"piecewise constant.*take an f that is curved"):
        game(divergences.mixture([1.0, 0.5], [straight, divergences.total_variation]))
    derived = divergences.from_generator(lambda u: (u - 1) ** 2, name="mine")
    with pytest.raises(ValueError, match="divergence mine has no published activation; use parametrization='ratio'"):
        game(derived, parametrization="activation")
