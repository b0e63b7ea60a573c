"""The training subset of a classifier, and what it sees of a split."""

from __future__ import annotations

import numpy as np

from vifx.experiment import classifier


def test_a_subset_is_chosen_by_the_seed_and_nested():
    split = {"x": np.arange(50), "y": np.arange(50) % 3}
    few, more, other = (classifier.subset(split, *which) for which in ((10, 0), (20, 0), (10, 1)))
    assert list(few["x"]) == sorted(set(few["x"]) & set(more["x"]))
    assert len(set(few["x"])) == 10
    assert set(few["x"]) != set(other["x"])
    np.testing.assert_array_equal(few["y"], few["x"] % 3)
    assert classifier.subset(split, None, 0) is split
    assert classifier.subset(split, 50, 4) is classifier.subset(split, 51, 4) is split
