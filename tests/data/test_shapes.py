"""Shapes in the plane: every coordinate of every part has the stated distribution, by quadrature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from vifx import data
from vifx.data.shapes import SHAPES

U = (np.arange(4000) + 0.5) / 4000


def centres(name, part):
    """The curve that normal noise of scale 0.1 is added to, at 4,000 values of u."""
    if name == "two_moons":
        arc = np.exp(1j * np.pi * U)
        return arc if part == 0 else 1 + 0.5j - arc
    if name == "circles":
        return (1 + part) * np.exp(2j * np.pi * U)
    t = 3 * np.pi * np.sqrt(U)
    return (-1) ** part * t / 3 * np.exp(1j * t)


def cdf(name, part, axis):
    """The distribution function of one coordinate of one part."""
    if name == "pinwheel":
        along = stats.norm.ppf(U) * 0.3 + 1
        angle = 2 * np.pi * part / 5 + 0.25 * np.exp(along)
        mean, slope = (np.cos, np.sin) if axis == 0 else (np.sin, np.cos)
        middle, scale = 2 * mean(angle) * along, 0.2 * np.abs(slope(angle))
    else:
        middle, scale = (centres(name, part).real, centres(name, part).imag)[axis], np.full(len(U), 0.1)
    grid = np.linspace(-12, 12, 4001)
    table = np.mean([stats.norm.cdf(grid, m, s) for m, s in zip(middle[::4], scale[::4], strict=True)], axis=0)
    return lambda values: np.interp(values, grid, table)


DRAWN = {
    "two_moons": [2.019317, 0.272197],
    "circles": [1.949939, -0.644715],
    "spirals": [3.029111, -0.740186],
    "pinwheel": [-0.573598, -1.520614],
    "checkerboard": [-2.6192, -2.93062],
}


@pytest.mark.first(1)
@pytest.mark.parametrize("name", [name for name in SHAPES if name != "checkerboard"])
def test_coordinates_follow_the_stated_law(name):
    """Kolmogorov–Smirnov for both coordinates of every part, at 1e-4 over all tests of a shape."""
    split = data.load(data.Config(name, validation=0)).train
    parts = SHAPES[name][0]
    assert split["x"].dtype == np.float32
    assert np.bincount(split["y"]) == pytest.approx(np.full(parts, 50_000 / parts), abs=4.5 * np.sqrt(50_000 / parts))
    for part in range(parts):
        points = split["x"][split["y"] == part].astype(float)[:6000]
        for axis in range(2):
            assert stats.kstest(points[:, axis], cdf(name, part, axis)).pvalue > 1e-4 / (2 * parts), (part, axis)


@pytest.mark.parametrize("name", ["two_moons", "circles", "spirals"])
def test_the_noise_has_scale_one_tenth_around_the_curve(name):
    """Both coordinates together: hardly a point is farther than five standard deviations from its curve."""
    split = data.load(data.Config(name)).test
    for part in range(2):
        points = split["x"][split["y"] == part][:1000] @ np.array([1, 1j])
        distance = np.abs(points[:, None] - centres(name, part)).min(axis=1)
        assert distance.max() < 0.5
        assert 0.05 < distance.mean() < 0.1


def test_the_board_is_uniform_on_its_dark_squares():
    split = data.load(data.Config("checkerboard", validation=0)).train
    x = split["x"].astype(float)
    squares = np.floor(x / 2).astype(int)
    assert (squares.sum(axis=1) % 2 == 0).all()
    assert np.abs(x).max() <= 4
    counts = np.unique(squares, axis=0, return_counts=True)[1]
    assert len(counts) == 8
    assert stats.chisquare(counts).pvalue > 1e-4
    assert len(np.unique(np.c_[squares, split["y"]], axis=0)) == 8
    for axis in range(2):
        assert stats.kstest(x[:, axis] / 2 - squares[:, axis], "uniform").pvalue > 1e-4
    inside = x / 2 - squares
    assert abs(stats.spearmanr(inside[:, 0], inside[:, 1]).statistic) < 0.02


def test_the_draw_never_changes():
    first = {name: data.load(data.Config(name)).test["x"][0].tolist() for name in SHAPES}
    assert first == {name: pytest.approx(value, rel=1e-5) for name, value in DRAWN.items()}
