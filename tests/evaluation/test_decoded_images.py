"""The images that a model decodes, against decoders and flows that are known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from evaluation.known_models import PIXELS, affine, model, scaled
from scipy import stats

import vifx
from vifx import evaluation, flows
from vifx.distributions import Normal
from vifx.evaluation import DecodedImages, decoded_images, unscaled
from vifx.flows import checked


def sampler(generative, low, high, **options):
    return DecodedImages(generative, unscaled(low, high), **options).sample


def test_sampler_maps_its_range_to_the_unit_interval():
    generative, params, state = affine(latent=4)
    draw = sampler(generative, -1.0, 3.0)
    images = draw(jax.random.key(0), params, state, 4000, 1.0)
    # x is standard normal: below −1 black, (x + 1)/4 between, never white.
    assert (images == 0).mean() == pytest.approx(stats.norm.cdf(-1), abs=0.01)
    inside = np.sort(images[images > 0].astype(float))
    ranks = np.linspace(0, 1, len(inside))
    expected = (stats.norm.ppf(stats.norm.cdf(-1) + ranks[1:-1] * stats.norm.sf(-1)) + 1) / 4
    np.testing.assert_allclose(inside[1:-1][::100], expected[::100], atol=0.05)
    cold = draw(jax.random.key(0), params, state, 4000, 0.5)
    both = (images > 0) & (images < 1)
    np.testing.assert_allclose(4 * cold[both] - 1, (4 * images[both] - 1) / 2, rtol=1e-5, atol=1e-5)


def test_every_batch_has_noise_of_its_own_and_no_example_is_lost():
    generative, params, state = affine()
    draw = sampler(generative, -9.0, 9.0)
    images = draw(jax.random.key(0), params, state, 1234, 1.0)
    assert len(np.unique(images[:, 0])) > 1230
    assert len(images) == 1234
    again = draw(jax.random.key(0), params, state, 1234, 1.0)
    np.testing.assert_array_equal(images, again)


def test_sampler_takes_the_mean_of_a_density_and_the_labels_given():
    generative = vifx.Joint(
        vifx.evidence("y"),
        vifx.factor("z", vifx.standard_normal(3)),
        vifx.factor("x | z, y", lambda z, y: Normal(0 * z + y.astype(jnp.float32)[:, None], 1 + 0 * z).to_event(1)),
    )
    draw = sampler(generative, 0.0, 10.0, classes=10)
    images = draw(jax.random.key(0), {}, {}, 777, 1.0)
    np.testing.assert_allclose(images, np.tile((np.arange(777) % 10 / 10)[:, None], 3), rtol=1e-6)


def test_parameters_are_arguments_of_one_compiled_function():
    generative, params, state = affine()
    draw = sampler(generative, -5.0, 5.0)
    key = jax.random.key(0)
    moved = {"generator": {"shift": params["generator"]["shift"] + 1, "scale": params["generator"]["scale"]}}
    one, other = (draw(key, values, state, 100, 1.0) for values in (params, moved))
    np.testing.assert_allclose(other, np.clip(one + 0.1, 0, 1), rtol=1e-6, atol=1e-6)


def test_interpolation_goes_along_the_arc_between_its_ends():
    generative = vifx.Joint(
        vifx.evidence("y"),
        vifx.factor("z", vifx.standard_normal(4)),
        vifx.implicit(
            "x | z, y", lambda z, y: z.reshape(-1, 2, 2, 1) + 10 * y.astype(jnp.float32)[:, None, None, None]
        ),
    )
    decoded = DecodedImages(generative, unscaled(-5.0, 25.0), classes=3)
    drawing = decoded.draw_interpolation(rows=3, columns=5)
    artists = drawing(jax.random.key(0), {}, {}).axes[0].images
    images = np.stack([np.asarray(a.get_array()) for a in artists]).reshape(3, 5, 4) * 30 - 5
    codes = images - 10 * np.arange(3)[:, None, None]
    angles = np.pi / 2 * np.arange(5)[:, None] / 4
    for row in codes:
        np.testing.assert_allclose(row, np.cos(angles) * row[0] + np.sin(angles) * row[-1], rtol=1e-4, atol=1e-4)
    assert np.abs(codes[:, 0] - codes[:, -1]).min() > 0
    assert len(np.unique(codes[:, 0].round(4), axis=0)) == 3


def test_sampler_refuses_an_empty_range():
    with pytest.raises(ValueError, match="low must be below high"):
        unscaled(1.0, 1.0)


def test_sampler_draws_means_scaled_and_tempered():
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(3)),
        vifx.factor("x | z", lambda z: Normal(z, jnp.full_like(z, 0.5)).to_event(1)),
    )
    draw = sampler(generative, -8.0, 8.0)
    key = jax.random.key(0)
    images = draw(key, {}, {}, 2000, 1.0)
    assert images.std() == pytest.approx(1 / 16, rel=0.05)
    np.testing.assert_allclose(draw(key, {}, {}, 2000, 0.5) - 0.5, (images - 0.5) / 2, rtol=1e-4, atol=1e-6)


def test_temperature_scales_the_base():
    """x = z/4 + ½ for the standard normal: the rows are one draw around ½, by T."""
    generative, params, state = model(scaled(4.0), shift=-2.0)
    figure = decoded_images.draw_temperatures(generative, temperatures=(0.25, 0.5), columns=5)(
        jax.random.key(0), params, state
    )
    images = np.stack([np.asarray(artist.get_array()) for artist in figure.axes[0].images])
    cold, warm = images.reshape(2, 5, 2, 3) - 0.5
    inside = np.abs(warm) < 0.5
    np.testing.assert_allclose(2 * cold[inside], warm[inside], rtol=1e-5, atol=1e-5)
    assert 0.08 < warm.std() < 0.17
    assert len(np.unique(warm.round(5))) > 25
    sample = evaluation.DecodedImages(generative, evaluation.unscaled(0.0, 1.0)).sample
    for temperature in (0.25, 0.5):
        drawn = sample(jax.random.key(1), params, state, 500, temperature)
        assert drawn.std() == pytest.approx(temperature / 4, rel=0.1)
        assert drawn.mean() == pytest.approx(0.5, abs=0.01)


def test_interpolation_runs_between_real_images_on_lines_of_codes():
    generative, params, state = model(flows.chain(flows.logit(alpha=1e-6), scaled(2.0)))
    params = {"flow": ({}, params["flow"])}
    state = {"flow": ({}, {})}
    figure = decoded_images.draw_straight_lines(generative, PIXELS, rows=3, columns=5)(jax.random.key(0), params, state)
    images = np.stack([np.asarray(artist.get_array()) for artist in figure.axes[0].images]).reshape(3, 5, 6)
    start, end = PIXELS["x"][:3].reshape(3, 6) / 256, PIXELS["x"][3:6].reshape(3, 6) / 256
    for found, real in ((images[:, 0], start), (images[:, -1], end)):
        assert ((real - 1e-5 <= found) & (found <= real + 1 / 256 + 1e-5)).all()
    z = np.log(images) - np.log1p(-images)
    share = np.linspace(0, 1, 5)[:, None]
    np.testing.assert_allclose(z, (1 - share) * z[:, :1] + share * z[:, -1:], atol=0.02)
    with pytest.raises(ValueError, match="rows=16 needs 32 examples, got 30"):
        decoded_images.draw_straight_lines(generative, PIXELS, rows=16)


def test_interpolation_keeps_what_the_first_image_is_conditioned_on():
    def forward(params, state, x, given, key):
        return x.reshape(len(x), -1) + given, jnp.zeros(len(x))

    def inverse(params, state, z, given, key):
        return (z - given).reshape(len(z), 2, 3, 1), jnp.zeros(len(z))

    shift = checked("shift", lambda key, x, given: ({}, {}), forward, inverse)
    generative = vifx.Joint(vifx.evidence("y"), vifx.transformed("x | y", vifx.standard_normal(6), shift, name="flow"))
    split = {**PIXELS, "y": 10 * np.arange(30, dtype=np.float32)[:, None]}
    empty = {"flow": {}}
    figure = decoded_images.draw_straight_lines(generative, split, rows=2, columns=3)(jax.random.key(0), empty, empty)
    images = np.stack([np.asarray(artist.get_array()) for artist in figure.axes[0].images]).reshape(2, 3, 6)
    first = PIXELS["x"][:2].reshape(2, 6) / 256
    assert (np.abs(images[:, 0] - first) <= 1 / 256 + 1e-5).all()
    # The end is decoded under the start's label, so it is moved by 20 out of [0, 1].
    assert (images[:, -1] == 1).all()


def artists(figure):
    return np.stack([np.asarray(artist.get_array()) for artist in figure.axes[0].images])


def test_rows_of_a_grid_share_the_latent_alone():
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(2)),
        vifx.factor("w", vifx.standard_normal(2)),
        vifx.implicit("x | z, w", lambda z, w: jnp.stack([z, w], axis=1)[..., None]),
    )
    drawn = DecodedImages(generative, unscaled(-6.0, 6.0)).drawings("levels")["levels"](jax.random.key(0), {}, {})
    z, w = artists(drawn).reshape(8, 10, 2, 2).transpose(2, 0, 1, 3)
    np.testing.assert_array_equal(z, np.repeat(z[:, :1], 10, axis=1))
    assert len(np.unique(z)) == 16
    assert len(np.unique(w)) == 160
    assert drawn.axes[0].texts[0].get_text() == "Samples, one z a row"


def test_labels_go_along_the_columns():
    generative = vifx.Joint(
        vifx.evidence("y"),
        vifx.factor("z", vifx.standard_normal(1)),
        vifx.implicit("x | z, y", lambda z, y: 0 * z[..., None, None] + y.astype(z.dtype)[:, None, None, None]),
    )
    drawings = DecodedImages(generative, unscaled(0.0, 3.0), classes=3).drawings("samples", "styles")
    for name, draw in drawings.items():
        found = artists(draw(jax.random.key(0), {}, {}))
        np.testing.assert_allclose(found.ravel(), np.tile(np.arange(3) / 3, 8), rtol=1e-6, err_msg=name)


def test_what_is_copied_is_reconstructed_under_its_original():
    pixels = np.random.default_rng(0).integers(0, 256, (25, 2, 2, 1)).astype(np.uint8)
    inference = vifx.Joint(vifx.evidence("x"), vifx.implicit("z | x", lambda x: x.reshape(-1, 4).astype(jnp.float32)))
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(4)), vifx.implicit("x | z", lambda z: z.reshape(-1, 2, 2, 1))
    )
    decoded = DecodedImages(
        generative, unscaled(0.0, 255.0), inference=inference, split={"x": pixels}, originals=pixels
    )
    found = artists(decoded.drawings("reconstructions")["reconstructions"](jax.random.key(0), {}, {}))
    np.testing.assert_allclose(found[::2], pixels[:20, ..., 0] / 255, rtol=1e-6)
    np.testing.assert_allclose(found[1::2], found[::2], rtol=1e-6)
    codes = decoded.drawings("codes")["codes"](jax.random.key(0), {}, {})
    assert len(codes.axes[0].collections[0].get_offsets()) == 25


def test_without_an_encoder_nothing_is_encoded():
    with pytest.raises(ValueError, match="inference and split must be given"):
        DecodedImages(affine()[0], unscaled(0.0, 1.0)).drawings("samples", "codes")
