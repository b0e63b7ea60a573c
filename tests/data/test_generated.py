"""Generated datasets: the mixture they are said to be drawn from, drawn the same for ever."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from vifx import data
from vifx.data.generated import MIXTURES, generate
from vifx.data.names import GENERATED


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """Generated data needs no directory: this one does not exist."""
    monkeypatch.setenv("VIFX_DATA", str(tmp_path / "missing"))


def components(name):
    """The mixtures again, written out mode by mode."""
    if name == "ring":
        return [(2 * np.exp(2j * np.pi * k / 8), 0.1, 1 / 8) for k in range(8)]
    return [(complex(i, j), 0.05, 1 / 25) for i in range(-4, 5, 2) for j in range(-4, 5, 2)]


@pytest.mark.parametrize("name", ["ring", "grid25"])
def test_modes_are_the_stated_ones(name):
    modes = data.modes(name)
    expected = components(name)
    np.testing.assert_allclose(modes.centres, [(c.real, c.imag) for c, _, _ in expected], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(modes.scale, [s for _, s, _ in expected])
    np.testing.assert_allclose(modes.weights, [w for _, _, w in expected])


@pytest.mark.parametrize("name", list(MIXTURES))
def test_samples_follow_their_modes(name):
    """Counts by χ², and within each mode every axis by Kolmogorov–Smirnov, at 1e-4 over all tests of a dataset."""
    modes, split = data.modes(name), data.load(data.Config(name, validation=0)).train
    assert split["x"].dtype == np.float32
    assert split["y"].dtype == np.int32
    assert split["x"].shape == (50_000, modes.centres.shape[1])
    counts = np.bincount(split["y"], minlength=len(modes.weights))
    level = 1e-4 / (1 + modes.centres.size)
    assert stats.chisquare(counts, modes.weights * 50_000).pvalue > level
    for k, (centre, scale) in enumerate(zip(modes.centres, modes.scale, strict=True)):
        for axis in range(len(centre)):
            standard = (split["x"][split["y"] == k, axis].astype(float) - centre[axis]) / scale
            assert stats.kstest(standard, "norm").pvalue > level


@pytest.mark.parametrize("name", list(MIXTURES))
def test_log_prob_is_the_mixture_of_normals(name):
    modes = data.modes(name)
    values = np.random.default_rng(0).normal(size=(20, modes.centres.shape[1])) * 2
    densities = [
        w * stats.multivariate_normal(c, s**2 * np.eye(len(c))).pdf(values)
        for c, s, w in zip(modes.centres, modes.scale, modes.weights, strict=True)
    ]
    reachable = np.sum(densities, axis=0) > 1e-290
    assert reachable.sum() > 5
    np.testing.assert_allclose(modes.log_prob(values)[reachable], np.log(np.sum(densities, axis=0))[reachable])


# (μ, σ, D) of the Gaussian that minimizes each divergence from the mixture, by the divergence's integrand in
# the two log-densities.
GOLDEN = {
    "kl": ((1.000, 1.8314, 0.2921), lambda a, b: np.exp(a) * (a - b)),
    "reverse kl": ((1.5810, 1.6302, 0.2544), lambda a, b: np.exp(b) * (b - a)),
    "2 js": (
        (1.3056, 1.7542, 0.1316),
        lambda a, b: np.exp(a) * (a - mean(a, b)) + np.exp(b) * (b - mean(a, b)),
    ),
    "jeffreys": ((1.3188, 1.7029, 0.5876), lambda a, b: (np.exp(a) - np.exp(b)) * (a - b)),
    "pearson": ((0.5540, 1.9261, 0.6716), lambda a, b: np.exp(b) * np.expm1(a - b) ** 2),
}


def mean(a, b):
    return np.logaddexp(a, b) - np.log(2)


@pytest.mark.parametrize("name", list(GOLDEN))
def test_fgan_mixture_has_the_published_optima(name):
    (mu, sigma, value), integrand = GOLDEN[name]
    grid = np.linspace(-12, 14, 4001)
    target = data.modes("fgan_mixture").log_prob(grid[:, None])

    def divergence(parameters):
        fitted = stats.norm(parameters[0], parameters[1]).logpdf(grid)
        return integrate.simpson(integrand(target, fitted), x=grid)

    found = optimize.minimize(divergence, (1.0, 1.8), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-12})
    np.testing.assert_allclose([*found.x, found.fun], [mu, sigma, value], rtol=1e-4, atol=1e-4)


def test_fgan_mixture_has_mean_one_and_its_variance():
    modes = data.modes("fgan_mixture")
    centres = modes.centres[:, 0]
    assert modes.weights @ centres == pytest.approx(1)
    assert modes.weights @ (centres**2 + modes.scale**2) - 1 == pytest.approx(161 / 48)


def test_the_draw_never_changes():
    ring = data.load(data.Config("ring", validation=0))
    assert ring.train["y"][:10].tolist() == [4, 5, 4, 4, 3, 5, 3, 7, 7, 3]
    np.testing.assert_allclose(ring.train["x"][0], [-2.0385069847, -0.0169111732], rtol=1e-6)
    np.testing.assert_allclose(ring.test["x"][-1], [-1.4360564947, 1.5233936310], rtol=1e-6)


def test_splits_are_functions_of_the_seed_and_disjoint():
    one, again, other = (data.load(data.Config("grid25", split_seed=seed)) for seed in (3, 3, 4))
    assert [len(split["x"]) for split in (one.train, one.validation, one.test)] == [45_000, 5_000, 10_000]
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(one, split)["x"], getattr(again, split)["x"])
    rows = np.concatenate([getattr(d, s)["x"] for d in (one, other) for s in ("train", "validation", "test")])
    assert len(np.unique(rows, axis=0)) == 120_000


def test_generated_data_is_listed_and_described():
    info = data.load(data.Config("fgan_mixture")).info
    assert info == data.Info("fgan_mixture", (1,), 2, -np.inf, np.inf)
    listed = data.available("/nowhere")
    assert {name: listed[name].partition(":")[0] for name in GENERATED} == dict.fromkeys(GENERATED, "generated")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.modes("rings"), "one of ring, grid25, fgan_mixture, twonorm; got 'rings'"),
        (lambda: data.modes("two_moons"), "must be a mixture of Gaussians, one of ring.*got 'two_moons'"),
        (lambda: generate("moon", validation=0, split_seed=0), "one of ring, .*two_moons, .*; got 'moon'"),
        (lambda: data.prepare(data.Config("ring")), "ring is generated each time it is loaded"),
        (lambda: data.open_splits(data.Config("grid25")), "grid25 is generated.*use it as it is"),
        (lambda: data.load(data.Config("ring", source="/somewhere")), "source must be left out for ring"),
        (lambda: data.load(data.Config("ring", validation=50_000)), "must leave examples"),
    ],
)
def test_bad_requests(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_near_name_is_suggested(monkeypatch, tmp_path):
    monkeypatch.setenv("VIFX_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="did you mean 'grid25'"):
        data.load(data.Config("grid52"))


@pytest.mark.parametrize("name", ["two_moons", "circles", "spirals"])
def test_the_law_of_a_curve_is_its_integral(name):
    """Adaptive quadrature along each part of the curve, as `draw_shape` states it."""

    def curve(part, u):
        if name == "two_moons":
            x, y = np.cos(np.pi * u), np.sin(np.pi * u)
            return (x, y) if part == 0 else (1 - x, 0.5 - y)
        radius, angle = (1 + part, 2 * np.pi * u) if name == "circles" else (np.pi * np.sqrt(u), 3 * np.pi * np.sqrt(u))
        return radius * np.cos(angle + np.pi * part * (name == "spirals")), radius * np.sin(
            angle + np.pi * part * (name == "spirals")
        )

    points = data.load(data.Config(name)).test["x"][:5].astype(float)
    expected = []
    for x in points:
        density = lambda u, part, x=x: stats.norm(0, 0.1).pdf(np.subtract(curve(part, u), x)).prod()  # noqa: E731
        halves = [integrate.quad(density, 0, 1, args=(part,), limit=500, epsabs=1e-12)[0] / 2 for part in (0, 1)]
        expected.append(np.log(sum(halves)))
    np.testing.assert_allclose(data.law(name).log_prob(points), expected, rtol=2e-5)


def test_other_laws_are_their_modes_or_not_known():
    assert data.law("ring").centres.shape == (8, 2)
    assert data.law("pinwheel") is None
