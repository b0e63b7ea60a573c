"""Pairs of densities in the plane: what is in each panel."""

from __future__ import annotations

import numpy as np
import pytest

from vifx.evaluation import density_pairs_2d


def normal(scale):
    return lambda x: -np.sum(x**2, axis=1) / (2 * scale**2) - np.log(2 * np.pi * scale**2)


def test_both_rows_have_the_densities_of_their_column_and_one_scale():
    points = [scale * np.random.default_rng(0).normal(size=(2000, 2)) for scale in (1.0, 3.0)]
    figure = density_pairs_2d(
        [normal(1.0), normal(3.0)],
        [normal(1.5), normal(3.0)],
        points,
        labels=("near", "far"),
        names=("data", "model"),
        resolution=41,
    )
    images = [axes.images[0] for axes in figure.axes]
    for image, scale in zip(images, (1.0, 3.0, 1.5, 3.0), strict=True):
        density = np.asarray(image.get_array())
        left, right, low, high = image.get_extent()
        assert density.shape == (41, 41)
        middle = np.exp(normal(scale)(np.array([[(left + right) / 2, (low + high) / 2]])))
        np.testing.assert_allclose(density[20, 20], middle, rtol=1e-4)
    assert images[0].get_clim() == images[2].get_clim()
    assert images[1].get_clim()[1] < images[0].get_clim()[1]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["near", "far", "", ""]
    assert [axes.get_ylabel() for axes in figure.axes] == ["data", "", "model", ""]


def test_as_many_of_each_are_needed():
    with pytest.raises(ValueError, match="as many of each, got"):
        density_pairs_2d([normal(1.0)], [], [np.ones((3, 2))], labels=("a",), names=("b", "c"))
