"""What experiments with a flow train, measure and draw, against flows whose density is known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import vifx
from vifx import data, flows, training
from vifx.experiment import flows as experiment
from vifx.experiment import likelihood
from vifx.flows import checked

generator = np.random.default_rng(0)
PIXELS = {"x": generator.integers(0, 256, (30, 2, 3, 1)).astype(np.uint8)}


def scaled(factor):
    """z = factor·x + shift, flattened, on images of six pixels; the shift is the one parameter."""

    def init(key, x, given):
        return {"shift": jnp.zeros(())}, {}

    def forward(params, state, x, given, key):
        z = factor * x.reshape(len(x), -1) + params["shift"]
        return z, jnp.full(len(x), z.shape[1] * jnp.log(factor))

    def inverse(params, state, z, given, key):
        x = (z - params["shift"]) / factor
        return x.reshape(len(z), 2, 3, 1), jnp.full(len(z), -z.shape[1] * jnp.log(factor))

    return checked("scaled", init, forward, inverse)


def model(bijection, base=None, shift=0.0):
    base = vifx.standard_normal(6) if base is None else base
    generative = vifx.Joint(vifx.transformed("x", base, bijection, name="flow"))
    return generative, {"flow": {"shift": jnp.asarray(shift)}}, {"flow": {}}


class Uniform:
    """On [0, 1) for images of six pixels; −∞ outside."""

    def sample(self, key, sample_shape=()):
        return jax.random.uniform(key, (*sample_shape, 2, 3, 1))

    def log_prob(self, value):
        inside = (value >= 0) & (value < 1)
        return jnp.where(inside, 0.0, -jnp.inf).sum(axis=(-3, -2, -1))


@pytest.mark.parametrize(("shades", "bits"), [(256, 8.0), (17, np.log2(17))])
def test_the_uniform_density_has_as_many_bits_as_there_are_shades(shades, bits):
    generative = vifx.Joint(vifx.transformed("x", Uniform(), flows.identity(), name="flow"))
    found = likelihood.likelihood(generative, PIXELS, shades=shades, draws=2)(
        jax.random.key(0), {"flow": {}}, {"flow": {}}
    )
    assert found["bits_per_dim"].mean == (bits if shades == 256 else pytest.approx(bits, rel=1e-14))
    assert found["bits_per_dim"].standard_error < 1e-14
    assert found["nll/pixels"].mean == pytest.approx(6 * np.log(shades), rel=1e-14)


def test_bits_per_dim_average_the_density_over_the_noise():
    """Of N(0, 1/16) on pixels: each pixel's mean log density over its bin, by quadrature, within the noise of draws."""
    generative, params, state = model(scaled(4.0))
    found = likelihood.likelihood(generative, PIXELS, shades=256, draws=3)(jax.random.key(0), params, state)
    u = (np.arange(200) + 0.5) / 200
    x = (PIXELS["x"].reshape(30, 6, 1) + u) / 256
    expected = -stats.norm(0, 0.25).logpdf(x).mean(axis=2).sum(axis=1)
    np.testing.assert_allclose(found["nll/x"].values, expected, atol=0.15)
    np.testing.assert_allclose(
        found["bits_per_dim"].values, (found["nll/x"].values / 6 + np.log(256)) / np.log(2), rtol=1e-12
    )
    np.testing.assert_allclose(found["nll/pixels"].values, found["nll/x"].values + 6 * np.log(256), rtol=1e-12)
    one = likelihood.likelihood(generative, PIXELS, shades=256, draws=1)(jax.random.key(0), params, state)
    noise = [np.std(f["nll/x"].values - expected) for f in (one, found)]
    assert noise[1] < noise[0] / 1.2


def test_the_interval_and_the_direction_of_the_bound_are_said():
    generative, params, state = model(scaled(4.0))
    found = likelihood.likelihood(generative, PIXELS, shades=256, draws=3)(jax.random.key(0), params, state)
    low, high = found["bits_per_dim"].interval
    expected = f"upper bound, 3 dequantizations averaged; 95 % interval {low:.3f} to {high:.3f}"
    assert found["bits_per_dim"].note == expected.replace("-", "−")
    half = stats.norm.ppf(0.975) * np.std(found["bits_per_dim"].values, ddof=1) / np.sqrt(30)
    assert high - low == pytest.approx(2 * half, rel=1e-9)
    single = likelihood.likelihood(generative, PIXELS, shades=256, draws=1)(jax.random.key(0), params, state)
    assert "1 dequantization averaged" in single["bits_per_dim"].note


def test_real_values_have_their_exact_likelihood():
    x = {"x": generator.normal(size=(20, 2, 3, 1)).astype(np.float32)}
    generative, params, state = model(scaled(2.0), shift=0.5)
    found = likelihood.likelihood(generative, x)(jax.random.key(0), params, state)
    expected = -stats.norm(-0.25, 0.5).logpdf(x["x"].reshape(20, 6)).sum(axis=1)
    np.testing.assert_allclose(found["nll/x"].values, expected, rtol=1e-5)
    assert set(found) == {"nll/x"}
    monitored = likelihood.monitor(generative, x)(jax.random.key(0), params, state)
    np.testing.assert_allclose(monitored["loss"].values, expected, rtol=1e-5)


def test_the_monitor_has_the_same_noise_at_every_key_and_batch_size():
    generative, params, state = model(scaled(4.0))
    one, other = (
        likelihood.monitor(generative, PIXELS, shades=17, batch_size=size)(jax.random.key(key), params, state)
        for key, size in ((0, 30), (1, 7))
    )
    np.testing.assert_allclose(one["loss"].values, other["loss"].values, rtol=1e-6)
    assert one["bits_per_dim"].mean == pytest.approx((one["loss"].mean / 6 + np.log(17)) / np.log(2), rel=1e-9)
    noisy = likelihood.likelihood(generative, PIXELS, shades=17)
    one, other = (noisy(jax.random.key(key), params, state)["nll/x"].values for key in (0, 1))
    assert np.abs(one - other).min() > 0


def test_the_gaussian_is_that_of_the_logits():
    """Bits of pixels that are normal logits, to the noise of the sample: the entropy of the logistic-normal."""
    logits = np.random.default_rng(1).normal(size=(6000, 2, 2, 1)) * 0.7
    pixels = np.floor(256 / (1 + np.exp(-logits))).astype(np.uint8)
    train, test = {"x": pixels[:4000]}, {"x": pixels[4000:]}
    found = likelihood.gaussian(train, test, alpha=1e-6)(jax.random.key(0), {}, {})["bits_per_dim/gaussian"]
    z = 0.7 * stats.norm.ppf((np.arange(2000) + 0.5) / 2000)
    x = 1 / (1 + np.exp(-z))
    entropy = np.mean(-stats.norm(0, 0.7).logpdf(z) + np.log(x * (1 - x)))
    assert found.mean == pytest.approx((entropy + np.log(256)) / np.log(2), abs=4 * found.standard_error + 0.003)
    assert found.standard_error < 0.02


def test_temperature_scales_the_base():
    """x = z/4 + ½ for the standard normal: the rows are one draw around ½, by T."""
    generative, params, state = model(scaled(4.0), shift=-2.0)
    figure = experiment.draw_temperatures(generative, temperatures=(0.25, 0.5), columns=5)(
        jax.random.key(0), params, state
    )
    images = np.stack([np.asarray(artist.get_array()) for artist in figure.axes[0].images])
    cold, warm = images.reshape(2, 5, 2, 3) - 0.5
    inside = np.abs(warm) < 0.5
    np.testing.assert_allclose(2 * cold[inside], warm[inside], rtol=1e-5, atol=1e-5)
    assert 0.08 < warm.std() < 0.17
    assert len(np.unique(warm.round(5))) > 25
    sample = experiment.sampler(generative)
    for temperature in (0.25, 0.5):
        drawn = sample(jax.random.key(1), params, state, 500, temperature)
        assert drawn.std() == pytest.approx(temperature / 4, rel=0.1)
        assert drawn.mean() == pytest.approx(0.5, abs=0.01)


def test_interpolation_runs_between_real_images_on_lines_of_codes():
    generative, params, state = model(flows.chain(flows.logit(alpha=1e-6), scaled(2.0)))
    params = {"flow": ({}, params["flow"])}
    state = {"flow": ({}, {})}
    figure = experiment.draw_interpolation(generative, PIXELS, rows=3, columns=5)(jax.random.key(0), params, state)
    images = np.stack([np.asarray(artist.get_array()) for artist in figure.axes[0].images]).reshape(3, 5, 6)
    start, end = PIXELS["x"][:3].reshape(3, 6) / 256, PIXELS["x"][3:6].reshape(3, 6) / 256
    for found, real in ((images[:, 0], start), (images[:, -1], end)):
        assert ((real - 1e-5 <= found) & (found <= real + 1 / 256 + 1e-5)).all()
    z = np.log(images) - np.log1p(-images)
    share = np.linspace(0, 1, 5)[:, None]
    np.testing.assert_allclose(z, (1 - share) * z[:, :1] + share * z[:, -1:], atol=0.02)
    with pytest.raises(ValueError, match="rows=16 needs 32 examples, got 30"):
        experiment.draw_interpolation(generative, PIXELS, rows=16)


def test_interpolation_keeps_what_the_first_image_is_conditioned_on():
    def forward(params, state, x, given, key):
        return x.reshape(len(x), -1) + given, jnp.zeros(len(x))

    def inverse(params, state, z, given, key):
        return (z - given).reshape(len(z), 2, 3, 1), jnp.zeros(len(z))

    shift = checked("shift", lambda key, x, given: ({}, {}), forward, inverse)
    generative = vifx.Joint(vifx.evidence("y"), vifx.transformed("x | y", vifx.standard_normal(6), shift, name="flow"))
    split = {**PIXELS, "y": 10 * np.arange(30, dtype=np.float32)[:, None]}
    empty = {"flow": {}}
    figure = experiment.draw_interpolation(generative, split, rows=2, columns=3)(jax.random.key(0), empty, empty)
    images = np.stack([np.asarray(artist.get_array()) for artist in figure.axes[0].images]).reshape(2, 3, 6)
    first = PIXELS["x"][:2].reshape(2, 6) / 256
    assert (np.abs(images[:, 0] - first) <= 1 / 256 + 1e-5).all()
    # The end is decoded under the start's label, so it is moved by 20 out of [0, 1].
    assert (images[:, -1] == 1).all()


def test_draw_density_shows_the_flow():
    base = vifx.standard_normal(2)
    bijection = flows.actnorm()
    points = generator.normal(size=(500, 2)).astype(np.float32) * [1.0, 0.5]
    generative = vifx.Joint(vifx.transformed("x", base, bijection, name="flow"))
    params, state = generative.init(jax.random.key(0), {"x": jnp.asarray(points, jnp.float32)}, examples=500)
    figure = experiment.draw_density(generative, {"x": points}, n=300, title="normal")(jax.random.key(0), params, state)
    (image,) = figure.axes[1].images
    left, right, bottom, top = image.get_extent()
    ticks = [low + (high - low) * (np.arange(240) + 0.5) / 240 for low, high in ((left, right), (bottom, top))]
    law = stats.multivariate_normal(points.mean(axis=0), np.diag(points.var(axis=0)))
    np.testing.assert_allclose(np.asarray(image.get_array()), law.pdf(np.stack(np.meshgrid(*ticks), -1)), rtol=1e-3)
    samples = figure.axes[2].collections[0].get_offsets()
    assert len(samples) == 300
    np.testing.assert_allclose(np.std(samples, axis=0), [1.0, 0.5], rtol=0.15)


def test_the_trainer_warms_up_and_averages():
    """Of the loss E|z|²/2 with z = x + shift at x = 1000: Adam's first steps are the step size."""
    generative, _, _ = model(scaled(1.0))
    inference = vifx.Joint(vifx.evidence("x"))
    objective = vifx.kl(inference, generative)
    config = experiment.Config(steps=40, warmup=100, learning_rate=0.1, decay=0.5, data=data.Config(batch_size=1))
    step = experiment.trainer(objective, config)
    batch = {"x": jnp.full((4, 2, 3, 1), 1000.0)}
    start = vifx.training.start(jax.random.key(0), step, objective, batch)
    run = vifx.training.compile(step)
    shifts, state = [0.0], start
    for _ in range(4):
        state, _ = run(state, batch)
        shifts.append(float(state.params["flow"]["shift"]))
    # Warm-up is a tenth of the updates: 0, ¼, ½ and ¾ of the rate.
    np.testing.assert_allclose(-np.diff(shifts), 0.1 * np.arange(4) / 4, rtol=1e-4, atol=1e-4)
    average = vifx.training.averaged_params(state)["flow"]["shift"]
    weights = 0.5 ** np.arange(3, -1, -1)
    assert float(average) == pytest.approx(weights @ shifts[1:] / weights.sum(), rel=1e-4)


@pytest.mark.parametrize("draws", [0, 1.5, True])
def test_draws_are_a_positive_integer(draws):
    with pytest.raises((TypeError, ValueError), match="draws must be an integer ≥ 1"):
        likelihood.likelihood(model(scaled(1.0))[0], PIXELS, shades=256, draws=draws)


@pytest.mark.thorough
def test_weight_decay_takes_from_the_weights_of_couplings_alone():
    """Two updates, of which the first has a step size of zero: what differs is −rate · decay · weight."""
    config = experiment.Config(steps=20, learning_rate=0.01)
    bijection = flows.chain(flows.linear(), flows.actnorm(), flows.realnvp(2, hidden=(3,)))
    generative = vifx.Joint(vifx.transformed("x", vifx.standard_normal(4), bijection, name="flow"))
    objective = vifx.kl(vifx.Joint(vifx.evidence("x")), generative)
    batch = {"x": jax.random.normal(jax.random.key(0), (50, 4))}
    params, state = objective.init(jax.random.key(1), batch)

    def trained(decay):
        step = experiment.trainer(objective, config, weight_decay=decay)
        progress = training.Progress(params, state, step.init(jax.random.key(2), params, state))
        for seed in range(2):
            progress, _ = jax.jit(step.update)(jax.random.key(seed), progress, batch)
        return jax.tree_util.tree_leaves_with_path(progress.params)

    compared = zip(trained(2.0), trained(0.0), jax.tree_util.tree_leaves_with_path(params), strict=True)
    weights = 0
    for (path, one), (_, other), (_, start) in compared:
        decayed = "'weight'" in jax.tree_util.keystr(path)
        rate = 0.005  # halfway through a warm-up of two updates
        weights += decayed
        expected = other - rate * 2.0 * start if decayed else other
        np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-7)
    assert weights == 4
