"""What experiments with a generator measure and draw, against generators whose output is known."""

from __future__ import annotations

import fnmatch

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import vifx
from vifx import data, evaluation, training
from vifx.core.types import Net
from vifx.distributions import Normal
from vifx.experiment import adversarial, variational

RING = data.modes("ring")
TEST = {"x": np.random.default_rng(0).integers(0, 256, (40, 2, 2, 1)).astype(np.uint8)}


def affine(latent=2, shift=0.0, scale=1.0):
    """x = shift + scale·z, with its parameters and state."""
    net = Net(
        init=lambda key, *inputs: ({"shift": jnp.zeros((1, latent)), "scale": jnp.ones((1, latent))}, {}),
        apply=lambda params, state, z, key=None, train=False: (params["shift"] + params["scale"] * z, state),
    )
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(latent)), vifx.implicit("x | z", net, name="generator")
    )
    params = {"generator": {"shift": jnp.full((1, latent), shift), "scale": jnp.full((1, latent), scale)}}
    return generative, params, {"generator": {}}


def on_the_ring():
    """z is nearly discarded: x is the ring's mode at z's angle, three modes never."""

    def place(z):
        k = jnp.floor((jnp.arctan2(z[:, 1], z[:, 0]) / (2 * jnp.pi) + 0.5) * 5).clip(0, 4)
        angle = 2 * jnp.pi * k / 8
        return 2 * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1) + 0.05 * z

    return vifx.Joint(vifx.factor("z", vifx.standard_normal(2)), vifx.implicit("x | z", place))


def test_mode_monitor_measures_the_samples():
    found = adversarial.mode_monitor(on_the_ring(), RING, n=2000)(jax.random.key(0), {}, {})
    assert found["modes"] == 5
    # |0.05 z| ≤ 0.3 has the probability of |z| ≤ 6.
    assert found["high_quality"] == pytest.approx(1, abs=1e-3)
    # Five of eight modes in equal shares: log(8/5), plus 4/(2n) by chance.
    assert found["counts_kl"] == pytest.approx(np.log(8 / 5), abs=0.01)


def test_gaussian_fit_gives_mean_and_scale():
    generative, params, state = affine(latent=1, shift=1.5, scale=0.3)
    found = adversarial.gaussian_fit(generative, n=20_000)(jax.random.key(0), params, state)
    assert found["mean"] == pytest.approx(1.5, abs=4 * 0.3 / np.sqrt(20_000))
    assert found["scale"] == pytest.approx(0.3, abs=4 * 0.3 / np.sqrt(40_000))


def test_sampler_maps_its_range_to_the_unit_interval():
    generative, params, state = affine(latent=4)
    draw = adversarial.sampler(generative, low=-1.0, high=3.0)
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
    draw = adversarial.sampler(generative, low=-9.0, high=9.0)
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
    draw = adversarial.sampler(generative, low=0.0, high=10.0, evidence=lambda n: {"y": jnp.arange(n) % 10})
    images = draw(jax.random.key(0), {}, {}, 777, 1.0)
    np.testing.assert_allclose(images, np.tile((np.arange(777) % 10 / 10)[:, None], 3), rtol=1e-6)


def test_parameters_are_arguments_of_one_compiled_function():
    generative, params, state = affine()
    draw = adversarial.sampler(generative, low=-5.0, high=5.0)
    key = jax.random.key(0)
    moved = {"generator": {"shift": params["generator"]["shift"] + 1, "scale": params["generator"]["scale"]}}
    one, other = (draw(key, values, state, 100, 1.0) for values in (params, moved))
    np.testing.assert_allclose(other, np.clip(one + 0.1, 0, 1), rtol=1e-6, atol=1e-6)


def pixels(images):
    return np.asarray(images, np.float64).reshape(len(images), -1)


def test_image_quality_is_the_named_measures_of_the_same_features():
    calls = []

    def features():
        calls.append(1)
        return evaluation.Features(pixels, "0123456789ab", 0.9)

    train = {"x": np.random.default_rng(1).integers(0, 256, (60, 2, 2, 1)).astype(np.uint8)}
    drawn = np.random.default_rng(2).random((30, 2, 2, 1)).astype(np.float32)
    measure = adversarial.image_quality(
        lambda key, params, state, n, temperature: drawn[:n], TEST, features, n=30, train=train, memorized=20
    )
    assert not calls
    found = measure(jax.random.key(0), {}, {})
    measure(jax.random.key(0), {}, {})
    assert len(calls) == 1
    levels, real = np.floor(255 * drawn + 0.5), TEST["x"][:30]
    distance = evaluation.frechet_distance(levels, real)
    assert found["fmd"] == pytest.approx(distance)
    assert found["fmd/relative"] == pytest.approx(distance / np.trace(np.cov(pixels(real), rowvar=False)))
    expected = evaluation.prdc(real, levels, neighbours=5)
    for name, value in expected._asdict().items():
        assert found[name] == pytest.approx(value)
    closer = evaluation.memorization(drawn[:20], train["x"] / 255, real[:20] / 255).closer
    assert found["memorization"] == pytest.approx(closer, abs=0.01)
    rows = {row.name: row for row in evaluation.described(found)}
    assert rows["fmd"].meaning == "n = 30, features 0123456789ab of test accuracy 90.0%"
    assert rows["fmd"].better == "lower"


def test_image_quality_takes_a_decoder_too():
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(4)),
        vifx.factor("x | z", lambda z: Normal(jnp.clip(z, 0, 1).reshape(-1, 2, 2, 1), 1.0).to_event(3)),
    )
    sample = variational.sampler(generative)
    measure = adversarial.image_quality(sample, TEST, lambda: evaluation.Features(pixels, "0", 1.0))
    found = measure(jax.random.key(0), {}, {})
    images = sample(jax.random.key(0), {}, {}, 40, 1.0)
    assert found["fmd"] == pytest.approx(evaluation.frechet_distance(np.floor(255 * images + 0.5), TEST["x"]))
    assert "memorization" not in found


def test_draw_modes_draws_what_the_monitor_measures():
    generative, key = on_the_ring(), jax.random.key(0)
    figure = adversarial.draw_modes(generative, RING, n=500, title="Generator")(key, {}, {})
    found = adversarial.mode_monitor(generative, RING, n=500)(key, {}, {})
    title = figure.axes[0].get_title(loc="left")
    assert title == f"Generator: {found['modes']:.0f} of 8 modes, {found['high_quality']:.1%} within 3σ"


def test_draw_critic_evaluates_the_critic_with_its_parameters():
    split = {"x": RING.centres.astype(np.float32)}
    drawing = adversarial.draw_critic(lambda params, state, x: params["slope"] * x[:, 0], on_the_ring(), split, n=8)
    figure = drawing(jax.random.key(0), {"slope": jnp.float32(3.0)}, {})
    limit = figure.axes[0].collections[0].levels[-1]
    drawn = figure.axes[0].collections[-4].get_offsets()
    expected = min(np.quantile(np.abs(3 * x[:, 0]), 0.9) for x in (split["x"], np.asarray(drawn, np.float32)))
    assert limit == pytest.approx(2 * expected, rel=1e-5)


def test_draw_density_fits_the_samples():
    generative, params, state = affine(latent=1, shift=1.0, scale=2.0)
    drawing = adversarial.draw_density(generative, data.modes("fgan_mixture"), optimum=(1.0, 1.8314), n=5000)
    figure = drawing(jax.random.key(0), params, state)
    found = adversarial.gaussian_fit(generative, n=5000)(jax.random.key(0), params, state)
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert f"trained: μ = {found['mean']:.3f}, σ = {found['scale']:.3f}" in labels
    assert "exact optimum: μ = 1.000, σ = 1.831" in labels


def test_interpolation_goes_along_the_arc_between_its_ends():
    generative = vifx.Joint(
        vifx.evidence("y"),
        vifx.factor("z", vifx.standard_normal(4)),
        vifx.implicit(
            "x | z, y", lambda z, y: z.reshape(-1, 2, 2, 1) + 10 * y.astype(jnp.float32)[:, None, None, None]
        ),
    )
    drawing = adversarial.draw_interpolation(
        generative, rows=3, columns=5, low=-5.0, high=25.0, evidence=lambda n: {"y": jnp.arange(n)}
    )
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
        adversarial.sampler(on_the_ring(), low=1.0, high=1.0)


def rows(**metrics):
    """Rows of a log, one a hundred updates."""
    names = {name.replace("__", "/"): values for name, values in metrics.items()}
    length = len(next(iter(names.values())))
    return [{"step": 100 * (i + 1), **{name: values[i] for name, values in names.items()}} for i in range(length)]


def test_usual_alarms_go_off_at_a_saturated_critic_and_at_lost_modes():
    usual = adversarial.alarms(modes=25)
    sound = rows(
        critic__saturation=[0.99, 0.99, 0.97, 0.96, 0.9, 0.1, 0.1, 0.2],
        validation__modes=[5, 9, 20, 24, 25, 17, 25, 25],
    )
    assert training.episodes(usual, sound) == ()
    failing = rows(
        critic__saturation=[0.1, 0.96, 0.97, 0.96, 0.99, 0.99, 1.0, 1.0],
        validation__modes=[20, 25, 25, 17, 17, 12, 12, 12],
    )
    found = [(f.alarm.metric, f.since, f.step) for f in training.episodes(usual, failing)]
    assert found == [("validation/modes", 400, 500), ("critic/saturation", 200, 600)]
    never = rows(validation__modes=[1, 1, 2, 2, 2, 13])
    assert [(f.alarm.kind, f.since, f.step) for f in training.episodes(usual, never)] == [("below", 100, 500)]


def test_usual_alarms_of_images_know_which_way_is_better():
    usual = adversarial.alarms(monitored=("fmd", "coverage"), name="x")
    assert [alarm.metric for alarm in usual] == ["x/critic/saturation", "validation/fmd", "validation/coverage"]
    history = rows(
        validation__fmd=[90.0, 30.0, 50.0, 61.0, 70.0, 20.0],
        validation__coverage=[0.1, 0.8, 0.41, 0.39, 0.3, 0.9],
    )
    assert [(f.alarm.metric, f.since, f.step) for f in training.episodes(usual, history)] == [
        ("validation/fmd", 400, 500),
        ("validation/coverage", 400, 500),
    ]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"monitored": ("mode",)}, "did you mean 'modes'"),
        ({"monitored": "fmd"}, r"got 'fmd'; use \['fmd'\]"),
        ({"modes": 0}, "modes must be an integer ≥ 1, got 0"),
    ],
)
def test_usual_alarms_refuse_what_they_do_not_know(wrong, message):
    with pytest.raises(ValueError, match=message):
        adversarial.alarms(**wrong)


def test_usual_curves_are_metrics_that_a_gan_reports():
    critic = Net(
        init=lambda key, x: ({"w": jnp.ones(2)}, {}),
        apply=lambda params, state, x, key=None, train=False: (x @ params["w"], state),
    )
    generative, *_ = affine()
    objective = vifx.adversarial(vifx.Joint(vifx.evidence("x")), generative, critic, on="x")
    batch = {"x": jnp.ones((4, 2))}
    params, state = objective.init(jax.random.key(0), batch)
    metrics = objective.players["critic"].loss(jax.random.key(1), params, state, batch)[1].metrics
    drawn = [name for pattern in adversarial.CURVES["training"] for name in fnmatch.filter(sorted(metrics), pattern)]
    assert drawn == ["critic/accuracy", "critic/saturation", "js/x_at_least"]
    assert adversarial.alarms()[0].metric in metrics
    monitored = adversarial.mode_monitor(on_the_ring(), RING, n=10)(jax.random.key(0), {}, {})
    assert {f"validation/{name}" for name in monitored} <= set(adversarial.CURVES["quality"])
