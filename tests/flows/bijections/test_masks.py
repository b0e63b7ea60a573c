"""Masks: which elements stay, and that splitting and merging are inverse to each other."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from vifx import flows

VECTORS = np.arange(1.0, 11.0, dtype=np.float32).reshape(2, 5)
IMAGES = np.arange(1.0, 25.0, dtype=np.float32).reshape(1, 2, 3, 4)
OWN = np.array([True, False, False, True, True])


@pytest.mark.first(1)
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    ("build", "x", "stays"),
    [
        (flows.halves, VECTORS, [True, True, False, False, False]),
        (flows.halves, IMAGES, np.broadcast_to([True, True, False, False], (2, 3, 4))),
        (flows.channels, IMAGES, np.broadcast_to([True, True, False, False], (2, 3, 4))),
        (flows.checkerboard, IMAGES, np.repeat([[[True], [False], [True]], [[False], [True], [False]]], 4, axis=-1)),
        (lambda swapped: flows.mask(OWN, swapped=swapped), VECTORS, OWN),
    ],
    ids=["halves", "halves of images", "channels", "checkerboard", "mask"],
)
def test_the_stated_elements_stay(build, x, stays, swapped):
    mask, stays = build(swapped=swapped), np.asarray(stays) != swapped
    unchanged, changed = mask.split(jnp.asarray(x))
    np.testing.assert_array_equal(mask.merge(unchanged, changed), x)
    # What the body sees holds the unchanged elements, in their order, and nothing of the others.
    np.testing.assert_array_equal(unchanged[unchanged != 0], x[np.broadcast_to(stays, x.shape)])
    # Values at the changed elements reach those, and the others alone keep theirs.
    np.testing.assert_array_equal(mask.merge(unchanged, -changed), np.where(stays, x, -x))
    np.testing.assert_array_equal(jnp.sum(mask.only(changed)), x[np.broadcast_to(~stays, x.shape)].sum())
    pairs = mask.only(jnp.stack((changed, 2 * changed), axis=-1))
    np.testing.assert_array_equal(pairs[..., 0], mask.only(changed))
    np.testing.assert_array_equal(pairs[..., 1], 2 * mask.only(changed))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: flows.halves().split(jnp.ones((3, 1))), ValueError, r"halves needs at least two .* shape \[1\]"),
        (lambda: flows.channels().split(jnp.ones((3, 4))), ValueError, r"channels divides images .* shape \[4\]"),
        (lambda: flows.channels().split(jnp.ones((3, 2, 2, 1))), ValueError, r"channels needs at least two elements"),
        (lambda: flows.checkerboard().split(jnp.ones((3, 4))), ValueError, r"checkerboard divides images"),
        (
            lambda: flows.checkerboard().split(jnp.ones((3, 1, 1, 4))),
            ValueError,
            r"at least two pixels, got .* \[1, 1, 4\]",
        ),
        (lambda: flows.mask([1, 0]), TypeError, "unchanged must be boolean, got int64"),
        (lambda: flows.mask([True, True]), ValueError, r"shape \[2\] is all True"),
        (lambda: flows.mask([False, False]), ValueError, r"shape \[2\] is all False"),
        (lambda: flows.mask(OWN).split(jnp.ones((3, 4))), ValueError, r"has shape \[5\] and the event \[4\]"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
