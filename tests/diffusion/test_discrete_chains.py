"""The chains of categorical data against matrices of transitions, enumeration and counts of samples."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffusion.gaussian_data import z_score
from diffusion.small_states import chains, matrices, problem, reverse_matrix, table

import vifx
from vifx import diffusion, networks
from vifx.core.nets import from_functions
from vifx.diffusion.survival import Survival


def half_way(t):
    return 1 - 0.6 * t


NOISES = {
    "absorbing": partial(diffusion.absorbing, 2),
    "absorbing, not to the end": partial(diffusion.absorbing, 2, survival=half_way),
    "uniform": partial(diffusion.uniform, 3),
    "uniform, not to the end": partial(diffusion.uniform, 3, survival=half_way),
}
KINDS = pytest.mark.parametrize("kind", NOISES)


def data(noise, elements, rows=5):
    return jnp.asarray(np.random.default_rng(0).integers(0, noise.classes, (rows, elements)), jnp.int32)


def test_the_loss_is_the_enumerated_divergence():
    check_enumeration("absorbing", 1, 3)
    check_enumeration("uniform", 1, 3)


@pytest.mark.thorough
@pytest.mark.parametrize(("elements", "steps"), [(1, 1), (1, 2), (1, 4), (2, 2)])
@KINDS
def test_the_loss_is_the_enumerated_divergence_of_every_chain(kind, elements, steps):
    check_enumeration(kind, elements, steps)


def check_enumeration(kind, elements, steps):
    with jax.enable_x64(True):
        noise = NOISES[kind]()
        objective = problem(noise, elements, steps, times="all", states="all")
        batch = {"x": data(noise, elements)}
        params, state = objective.init(jax.random.key(0), batch)
        found = vifx.verify(objective, params, state, batch)["model"]
        assert found.claim > 1e-3
        assert found.value_error < 1e-12
        assert found.gradient_error < 1e-12
        assert found.cosines["denoiser"] > 1 - 1e-9


def for_each(paths, rows):
    """Every path for every row of data, ``[paths, rows, *event]``."""
    return jnp.repeat(jnp.asarray(paths)[:, None], rows, axis=1)


@pytest.mark.thorough
@KINDS
def test_paths_have_the_probabilities_of_the_matrices(kind):
    with jax.enable_x64(True):
        noise, steps = NOISES[kind](), 3
        forward, _, _, reverse = chains(noise, 1, steps)
        each, _ = matrices(noise, steps)
        paths = np.asarray(reverse.every_sequence())
        flat = paths[:, :, 0]
        x = jnp.arange(noise.classes, dtype=jnp.int32)[:, None]
        mine = np.exp(forward(x).log_prob(for_each(paths, len(x))))
        walked = np.prod([each[t][flat[:, t], flat[:, t + 1]] for t in range(steps)], axis=0)
        np.testing.assert_allclose(mine, walked[:, None] * (flat[:, :1] == np.arange(noise.classes)), atol=1e-14)
        # Back: the last point of data that are uniform, then Bayes' rule of each step.
        _, products = matrices(noise, steps)
        expected = products[-1][: noise.classes].mean(0)[flat[:, -1]]
        every = jnp.arange(noise.states, dtype=jnp.int32)[:, None]
        alpha = noise.survival.of(jnp.linspace(0.0, 1.0, steps + 1))
        for t in range(1, steps + 1):
            told = np.exp(reverse.restore(every, jnp.full(noise.states, alpha[t])))[:, 0]
            expected = expected * reverse_matrix(noise, steps, t, told)[flat[:, t], flat[:, t - 1]]
        found = np.exp(reverse.log_prob(jnp.asarray(paths)))
        np.testing.assert_allclose(found, expected, atol=1e-14)
        np.testing.assert_allclose(found.sum(), 1, rtol=1e-12)


@pytest.mark.thorough
@KINDS
def test_samples_are_as_frequent_as_their_probability(kind):
    noise, steps, count = NOISES[kind](), 2, 40_000
    forward, _, _, reverse = chains(noise, 1, steps)
    paths = np.asarray(reverse.every_sequence())[:, :, 0]
    base = noise.states ** np.arange(steps + 1)

    def compare(drawn, log_prob):
        probability = np.exp(np.asarray(log_prob, np.float64))
        which = np.bincount(np.asarray(drawn)[..., 0].reshape(count, -1) @ base, minlength=noise.states ** (steps + 1))
        share = which[paths @ base] / count
        assert share[probability < 1e-12].sum() == 0
        likely = probability > 1e-3
        error = np.sqrt(probability * (1 - probability) / count)[likely]
        assert np.max(np.abs(share - probability)[likely] / error) < 4.26
        assert np.max(np.abs(share - 1.2 * probability)[likely] / error) > 4.26

    draw = jax.jit(lambda law, key: law.sample(key, (count,)))
    compare(jax.jit(lambda key: reverse.sample(key, (count,)))(jax.random.key(0)), reverse.log_prob(paths[..., None]))
    one = forward(jnp.array([[1]], jnp.int32))
    compare(draw(one, jax.random.key(1))[:, 0], one.log_prob(jnp.asarray(paths)[:, None, :, None])[:, 0])


@pytest.mark.thorough
@KINDS
def test_one_step_for_each_example_is_the_sum_in_the_mean(kind):
    """Of T steps the loss of one example has T values, whose mean, and that of the gradients, is the sum."""
    with jax.enable_x64(True):
        noise, steps = NOISES[kind](), 4
        x = data(noise, 2, rows=1)

        def losses(times, states, keys):
            forward, net, params, _ = chains(noise, 2, steps, times=times, states=states)

            def loss(params, key):
                return forward(x).kl_estimate(net.apply(params, {})[0]).value(key)[0]

            return jax.jit(jax.vmap(lambda key: jax.value_and_grad(loss)(params, key)))(keys)

        whole, slope = (each[0] for each in losses("all", "all", jax.random.split(jax.random.key(2), 1)))
        values, slopes = losses("uniform", "all", jax.random.split(jax.random.key(0), 64))
        _, first = np.unique(np.round(np.asarray(values), 9), return_index=True)
        assert len(first) == steps
        np.testing.assert_allclose(np.mean(values[first]), whole, rtol=1e-12)
        np.testing.assert_allclose(np.mean(slopes[first], axis=0), slope, atol=1e-12)
        for seed, times in enumerate(("low_discrepancy", diffusion.importance((1.0, 2.0, 5.0)))):
            drawn, slopes = losses(times, "drawn", jax.random.split(jax.random.key(3 + seed), 20_000))
            assert z_score(drawn, whole) < 4.26
            assert z_score(drawn, 1.2 * whole) > 4.26
            moved = np.abs(slope) > 0.01
            assert z_score(slopes[:, moved], slope[moved]) < 4.26
            assert z_score(slopes[:, moved], 1.2 * slope[moved]) > 4.26


@pytest.mark.thorough
def test_learned_times_stay_unbiased():
    with jax.enable_x64(True):
        noise, x = NOISES["absorbing"](), data(NOISES["absorbing"](), 2, rows=4)
        whole, _, _, reverse = chains(noise, 2, 4, times="all", states="all")
        made, *_ = chains(noise, 2, 4, times=diffusion.importance(learned=True, bins=3))
        forward, _ = made.apply({"log_weights": jnp.array([0.5, 0.0, 1.0])}, {}, x)
        estimate = forward.kl_estimate(reverse)
        found = jax.jit(jax.vmap(estimate.value))(jax.random.split(jax.random.key(1), 20_000))
        expected = whole(x).kl_estimate(reverse).value(jax.random.key(0))
        assert z_score(found, expected) < 4.26
        assert z_score(found, 1.1 * expected) > 4.26
        parts = estimate.parts(jax.random.key(0))
        np.testing.assert_allclose(parts.loss, sum(parts.values.values()), rtol=1e-12)


def continuous(noise, x, *, draws=20_000, seed=0):
    """The sum over steps in continuous time, over all states, of one example."""
    forward, _, _, reverse = chains(noise, 2, None, times="uniform", states="all")
    parts = forward(x).kl_estimate(reverse).parts
    return jax.jit(jax.vmap(lambda key: parts(key).values["steps"][0]))(jax.random.split(jax.random.key(seed), draws))


def bent(t):
    return (1 - t) ** 1.5


@pytest.mark.thorough
@pytest.mark.parametrize("make", [partial(diffusion.absorbing, 2), partial(diffusion.uniform, 3)])
def test_in_continuous_time_only_the_ends_of_the_survival_count(make):
    with jax.enable_x64(True):
        x = jnp.array([[0, 1]], jnp.int32)
        found = [
            continuous(make(survival=each), x, seed=seed)
            for seed, each in enumerate(("linear", "cosine", "quadratic", bent))
        ]
        for other in found[1:]:
            assert z_score(found[0], other) < 4.26
        assert z_score(found[0], continuous(make(survival=half_way), x)) > 4.26


@pytest.mark.thorough
@pytest.mark.parametrize("make", [partial(diffusion.absorbing, 2), partial(diffusion.uniform, 3)])
def test_many_steps_tend_to_continuous_time(make):
    with jax.enable_x64(True):
        noise, x = make(survival="quadratic"), jnp.array([[0, 1]], jnp.int32)

        def summed(steps):
            forward, _, _, reverse = chains(noise, 2, steps, times="all", states="all")
            return float(jax.jit(forward(x).kl_estimate(reverse).value)(jax.random.key(0))[0])

        few, more, most = (summed(steps) for steps in (32, 64, 128))
        np.testing.assert_allclose((few - more) / (more - most), 2, rtol=0.1)
        limit = 2 * most - more
        found = continuous(noise, x)
        assert z_score(found, limit) < 4.26
        assert z_score(found, 1.05 * limit) > 4.26


@pytest.mark.thorough
@pytest.mark.parametrize("steps", [None, 1, 5])
def test_a_mask_on_one_element_is_the_likelihood_of_a_categorical(steps):
    """``rate P(mask) = 1`` at every time: the loss is −log x̂(x) itself, whatever is drawn of times."""
    with jax.enable_x64(True):
        noise, x = diffusion.absorbing(3), jnp.array([[2], [0]], jnp.int32)
        logits = jnp.array([0.3, -1.0, 0.7])
        body = from_functions(lambda key, *_: logits, lambda w, z, t: jnp.broadcast_to(w, (*z.shape, 3)))
        reverse = diffusion.discrete_reverse(body, noise, (1,), steps=steps)
        forward = diffusion.discrete_forward(noise, steps=steps, times="uniform", states="all")

        def loss(logits, key):
            chain = reverse.apply(logits, {})[0]
            return jnp.mean(forward(x).kl_estimate(chain).value(key))

        value, slope = jax.vmap(lambda key: jax.value_and_grad(loss)(logits, key))(
            jax.random.split(jax.random.key(0), 8)
        )
        probs = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(value, np.full(8, -np.log(probs[[2, 0]]).mean()), rtol=1e-12)
        np.testing.assert_allclose(slope, np.tile(probs - np.array([0.5, 0, 0.5]), (8, 1)), atol=1e-12)


@pytest.mark.thorough
@KINDS
def test_the_bound_is_below_the_log_probability_of_the_data(kind):
    """``q(x)`` is the sum over all paths of the reverse chain that begin at x."""
    with jax.enable_x64(True):
        noise, steps = NOISES[kind](), 2
        forward, _, _, reverse = chains(noise, 2, steps, times="all", states="all")
        paths = reverse.every_sequence()
        probability = np.exp(reverse.log_prob(paths))
        x = np.stack(np.meshgrid(*(np.arange(noise.classes),) * 2, indexing="ij"), -1).reshape(-1, 2)
        begins = np.all(np.asarray(paths)[:, 0][None] == x[:, None], axis=-1)
        log_q = np.log(begins @ probability)
        np.testing.assert_allclose(np.exp(log_q).sum(), 1, rtol=1e-12)
        bound = -forward(jnp.asarray(x, jnp.int32)).kl_estimate(reverse).value(jax.random.key(0))
        assert np.all(bound < log_q)
        # The gap is the divergence from the exact posterior over paths.
        posterior = np.where(begins, probability / np.exp(log_q)[:, None], 0)
        forward_prob = np.exp(forward(jnp.asarray(x, jnp.int32)).log_prob(for_each(paths, len(x)))).T
        possible = forward_prob > 0
        ratio = np.log(np.where(possible, forward_prob, 1)) - np.log(np.where(possible, posterior, 1))
        np.testing.assert_allclose(log_q - bound, np.sum(forward_prob * ratio, axis=1), rtol=1e-9)


@pytest.mark.thorough
@pytest.mark.parametrize("make", [diffusion.absorbing, diffusion.uniform])
def test_loss_and_gradient_are_finite_where_nothing_or_all_is_lost(make):
    for of in (lambda t: 1 - 1e-30 * t, lambda t: 1e-38 * (1 - t), lambda t: 0 * t):
        noise = make(3)
        noise = type(noise)(classes=3, survival=Survival("own", of), masks=noise.masks)
        forward, net, params, _ = chains(noise, 2, None)
        x = data(noise, 2)

        def loss(params, forward=forward, net=net, x=x):
            return jnp.mean(forward(x).kl_estimate(net.apply(params, {})[0]).parts(jax.random.key(0)).values["steps"])

        for value in jax.tree.leaves(jax.value_and_grad(loss)(params)):
            assert np.all(np.isfinite(value))


@pytest.mark.thorough
def test_no_path_is_drawn_for_a_step():
    noise = diffusion.absorbing(5)
    reverse = diffusion.discrete_reverse(networks.Transformer(5, 8, 1, 2), noise, (7,), steps=100)
    objective = vifx.kl(
        vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", diffusion.discrete_forward(noise, steps=100))),
        vifx.Joint(vifx.factor("z", reverse, name="denoiser"), vifx.factor("x | z", diffusion.unnoised(noise))),
    )
    batch = {"x": jnp.ones((8, 7), jnp.int32)}
    params, state = objective.init(jax.random.key(0), batch)
    loss = jax.jit(lambda key, params: objective.players["model"].loss(key, params, state, batch)[0])
    text = loss.lower(jax.random.key(0), params).compile().as_text()
    assert "[8,101,7]" not in text
    assert "[100,8,7]" not in text


def labelled(w, z, t, y, *kept):
    logits = w[y][:, None]
    logits = logits * kept[0][..., None] if kept else logits
    return jnp.broadcast_to(logits, (*z.shape, 3))


@pytest.mark.thorough
def test_guidance_mixes_logits_and_temperature_sharpens_them():
    with jax.enable_x64(True):
        noise, y = diffusion.absorbing(3), jnp.array([0, 1, 1])
        weights = jnp.array([[0.3, -1.0, 0.7], [1.0, 0.0, -0.5]])
        body = from_functions(lambda key, *_: weights, labelled)
        z, alpha = jnp.full((3, 4), 3, jnp.int32), jnp.zeros(3)
        guided = diffusion.discrete_reverse(body, noise, (4,), guidance=1.5)
        told = guided.apply(weights, {}, y)[0].restore(z, alpha)
        np.testing.assert_allclose(told, jnp.repeat(jax.nn.log_softmax(2.5 * weights[y])[:, None], 4, 1), rtol=1e-12)
        dropped = diffusion.discrete_reverse(body, noise, (4,), drop=1.0)
        told = dropped.apply(weights, {}, y, key=jax.random.key(0), train=True)[0].restore(z, alpha)
        np.testing.assert_allclose(told, np.full((3, 4, 3), -np.log(3)), rtol=1e-12)
        sharp = diffusion.discrete_ancestral(steps=3, temperature=0.5)
        chain = diffusion.discrete_reverse(body, noise, (4,), sampler=sharp).apply(weights, {}, y)[0]
        drawn = np.asarray(chain.sample(jax.random.key(0), (10_000,)))[:, :, 0]
        law = np.asarray(jax.nn.softmax(2 * weights))[np.asarray(y)]
        counts = np.stack([(drawn == k).mean(-1) for k in range(3)], -1)
        assert z_score(counts, law) < 4.26
        assert z_score(counts, np.asarray(jax.nn.softmax(weights))[np.asarray(y)]) > 4.26
        assert np.all(np.asarray(chain.sample(jax.random.key(1)))[:, 1] == 3)


@pytest.mark.thorough
@KINDS
def test_a_sampler_of_steps_draws_what_a_chain_of_steps_does(kind):
    noise = NOISES[kind]()
    _, _, params, chain = chains(noise, 2, 6)
    sampler = diffusion.discrete_ancestral(steps=6)
    sampled = diffusion.discrete_reverse(table(noise, 2), noise, (2,), sampler=sampler)
    path = chain.sample(jax.random.key(0), (200,))
    ends = sampled.apply(params, {})[0].sample(jax.random.key(0), (200,))
    np.testing.assert_array_equal(path[:, [0, -1]], ends)
    assert np.asarray(path)[:, 0].max() < noise.classes


def test_images_in_shades_are_classes():
    noise = diffusion.absorbing(17)
    shades = jnp.arange(17, dtype=jnp.int32)
    pixels = noise.pixels(shades)
    assert pixels.dtype == jnp.uint8
    np.testing.assert_array_equal(pixels, np.round(255 * np.arange(17) / 16))
    np.testing.assert_array_equal(noise.values(pixels), shades)
    path = jnp.broadcast_to(shades[None, None], (1, 2, 17))
    law = diffusion.unnoised(noise, pixels=True)(path)
    np.testing.assert_array_equal(law.sample(jax.random.key(0))[0], pixels)
    assert float(law.log_prob(pixels[None])[0]) == 0.0
    assert float(law.log_prob(pixels[None].at[0, 3].set(0))[0]) == -np.inf
    with pytest.raises(ValueError, match="8-bit pixels in 17 shades, nearest to 255 k/16, or int32 classes, got 17"):
        noise.values(jnp.array([16, 17], jnp.uint8))


REFUSED = {
    "absorbing: classes must be an integer ≥ 2, got 1": lambda: diffusion.absorbing(1),
    "uniform: classes must be an integer ≥ 2, got 0": lambda: diffusion.uniform(0),
    "must be one of linear, cosine, quadratic; got 'cosin'": lambda: diffusion.absorbing(3, survival="cosin"),
    "must decrease from t = 0 to 1, but goes from": lambda: diffusion.absorbing(3, survival=lambda t: 1 - t + t**2),
    "must be 1 at t = 0": lambda: diffusion.uniform(3, survival=lambda t: 0.9 - t / 2),
    "must be a probability, but is": lambda: diffusion.uniform(3, survival=lambda t: 1 - 2 * t),
    "must be elementwise": lambda: diffusion.uniform(3, survival=lambda t: t[:1]),
    "discrete_forward: steps must be an integer ≥ 1": lambda: diffusion.discrete_forward(
        diffusion.absorbing(3), steps=0
    ),
    "times='all' sums T steps": lambda: diffusion.discrete_forward(diffusion.absorbing(3), times="all"),
    "data must be integers from 0 to 2, got 3": lambda: diffusion.discrete_forward(diffusion.absorbing(3))(
        jnp.array([[0, 3]], jnp.int32)
    ),
    "data must be integers from 0 to 2, got float32": lambda: diffusion.discrete_forward(diffusion.absorbing(3))(
        jnp.zeros((1, 2), jnp.float32)
    ),
    "discrete_ancestral: temperature must be": lambda: diffusion.discrete_ancestral(temperature=0.0),
    "is for continuous time, and a chain of 3 steps": lambda: diffusion.discrete_reverse(
        table(diffusion.absorbing(3), 2), diffusion.absorbing(3), (2,), steps=3, sampler=diffusion.discrete_ancestral()
    ),
    "guidance=2 needs conditions": lambda: diffusion.discrete_reverse(
        table(diffusion.absorbing(3), 2), diffusion.absorbing(3), (2,), guidance=2.0
    ).init(jax.random.key(0)),
    "it must return logits of the 4 classes": lambda: sample_of(
        diffusion.absorbing(4), table(diffusion.absorbing(3), 2)
    ),
    "noise=absorbing\\(3, survival='linear'\\) and the reverse chain uniform\\(3": lambda: diffusion.discrete_forward(
        diffusion.absorbing(3)
    )(jnp.zeros((1, 2), jnp.int32)).kl_estimate(chains(diffusion.uniform(3), 2, None)[3]),
    "no density of its ends": lambda: chains(diffusion.uniform(3), 2, None)[3].log_prob(jnp.zeros((2, 2), jnp.int32)),
}


def sample_of(noise, network):
    net = diffusion.discrete_reverse(network, noise, (2,), steps=1)
    return net.apply(*net.init(jax.random.key(0)))[0].sample(jax.random.key(0), (1,))


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused(message):
    with pytest.raises((TypeError, ValueError), match=message):
        REFUSED[message]()


def test_data_that_are_no_class_have_no_finite_loss():
    """Inside of a compiled step a value cannot be refused; it then is as improbable as can be."""
    noise = diffusion.uniform(3)
    forward, _, _, reverse = chains(noise, 2, 3, times="all")
    value = jax.jit(lambda x: forward(x).kl_estimate(reverse).value(jax.random.key(0)))
    found = value(jnp.array([[0, 1], [0, 3], [-1, 2]], jnp.int32))
    assert np.isfinite(found[0])
    assert np.all(np.asarray(found[1:]) == np.inf)
