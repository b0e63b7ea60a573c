"""Bands of paths: their quantiles, what they cover, and the drawing."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

import vifx
from vifx.distributions import MultivariateNormal
from vifx.evaluation import ode_paths

GRID, TIMES = np.linspace(0, 2, 21), np.array([0.0, 1.0, 2.0])
TRUTH = np.array([0.1, -0.2])


def lines(theta):
    """Two species that are straight lines of the time: ``θ_i t`` and ``2 θ_i t``."""
    first = theta[:, :1, None] * jnp.asarray(GRID, theta.dtype)[None, :, None]
    second = 2 * theta[:, 1:, None] * jnp.asarray(GRID, theta.dtype)[None, :, None]
    return jnp.concatenate([first, second], axis=2)


DATA = ode_paths.OdeData(
    times=TIMES,
    values=np.stack([TIMES * 0.1, np.full(3, np.nan)], axis=1),
    grid=GRID,
    species=("seen", "hidden"),
    paths=lines,
    truth=TRUTH,
    unit=("year", "number"),
)
FIT = SimpleNamespace(params=np.array([0.3, 0.1], np.float32), rss=1.25, failures=1, reached=np.array([True] * 4))


def posterior(loc):
    own = MultivariateNormal(jnp.asarray(loc, jnp.float32), jnp.asarray([[0.1, 0.0], [0.06, 0.08]]))
    return vifx.Joint(vifx.evidence("x"), vifx.factor("theta | x", lambda x: own.expand((len(x),))))


def test_what_a_band_covers():
    """A posterior at the truth covers all of it, and one that is ten scales off nothing but the known start."""
    for loc, share, parameters in ((TRUTH, 1.0, 1.0), (TRUTH + 1.0, 1 / 21, 0.0)):
        measure = ode_paths.measure_bands(posterior(loc), np.zeros((1, 1)), DATA, lambda: FIT, draws=4000)
        found = measure(jax.random.key(0), {}, {})
        assert found["covered"] == share
        assert found["covered/parameters"] == parameters
        assert found["rss"] == 1.25
        assert found["failed_starts"] == 0.25
        np.testing.assert_allclose(found["width"], 0.1, rtol=0.05)  # both scales are 0.1


def test_the_figure_has_the_bands():
    """Normal quantiles of straight lines, the fit, the truth, the data; below, less the fit."""
    drawing = ode_paths.draw_bands(posterior(TRUTH), np.zeros((1, 1)), DATA, lambda: FIT, title="Lines", draws=20_000)
    figure = drawing(jax.random.key(0), {}, {})
    names = [axes.get_title(loc="left") for axes in figure.axes]
    assert names == ["seen", "hidden, never seen", "", ""]
    for place, factor in enumerate((1.0, 2.0)):
        for below in (False, True):
            axes = figure.axes[place + 2 * below]
            less = factor * FIT.params[place] * GRID * below
            drawn = {line.get_label(): line.get_ydata() for line in axes.get_lines()}
            np.testing.assert_allclose(
                drawn["least squares"], factor * FIT.params[place] * GRID - less, rtol=1e-5, atol=1e-6
            )
            np.testing.assert_allclose(drawn["true"], factor * TRUTH[place] * GRID - less, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(drawn["median"], factor * TRUTH[place] * GRID - less, atol=0.01)
            band = axes.collections[0].get_paths()[0].vertices
            for sign, edge in ((1, np.max), (-1, np.min)):
                end = factor * (TRUTH[place] + sign * 1.96 * 0.1) * 2 - less[-1]
                np.testing.assert_allclose(edge(band[band[:, 0] == 2.0][:, 1]), end, rtol=1e-5, atol=0.03)
    np.testing.assert_allclose(
        figure.axes[2].get_lines()[-1].get_ydata(), 0.1 * TIMES - 0.3 * TIMES, rtol=1e-5, atol=1e-6
    )
    assert np.isnan(figure.axes[1].get_lines()[-1].get_ydata()).all()
