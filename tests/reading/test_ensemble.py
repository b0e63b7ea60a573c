"""Folds, and readers whose probabilities are averaged."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx.core.nets import as_net
from vifx.reading import Reader, ensemble, folds, stack_members

READER = Reader(9, 4, (1,), (1, 2), noise=0.1)
QUESTION = jnp.array([[2, 3], [4, 0]])
PASSAGE = jnp.array([[2, 5, 6, 7], [8, 4, 0, 0]])
FEATURES = jnp.zeros((2, 4, 8))


def test_every_example_is_in_one_fold() -> None:
    for size, count in ((10, 2), (11, 4), (5, 5)):
        found = folds(size, count, seed=3)
        assert sorted(np.concatenate(found).tolist()) == list(range(size))
        sizes = [len(fold) for fold in found]
        assert max(sizes) - min(sizes) <= 1
        assert all(np.array_equal(a, b) for a, b in zip(found, folds(size, count, seed=3), strict=True))
    assert not np.array_equal(folds(50, 2, seed=0)[0], folds(50, 2, seed=1)[0])
    pairs = [{*np.flatnonzero([3 in fold for fold in folds(8, 4, seed=s)])} for s in range(200)]
    counts = [sum(k in pair for pair in pairs) for k in range(4)]
    assert min(counts) > 200 / 4 - 4 * np.sqrt(200 * 3 / 16)  # an example is in each fold as often


@pytest.mark.thorough
def test_an_ensemble_is_the_mean_of_its_members() -> None:
    net, inputs = as_net(READER), (QUESTION, PASSAGE, FEATURES)
    init = jax.jit(net.init)
    members = [init(jax.random.key(seed), *inputs) for seed in range(3)]
    members = jax.tree.map(lambda leaf: 2.0 * leaf, members)  # so that the members differ
    together = ensemble(READER, 3)
    params, state = (stack_members([member[i] for member in members]) for i in range(2))
    tagged, _ = jax.jit(together.apply)(params, state, *inputs)
    each = np.stack([jax.jit(net.apply)(*member, *inputs)[0].mean for member in members])
    np.testing.assert_allclose(tagged.mean, each.mean(0), rtol=1e-5)
    assert each.std(0).max() > 0.01
    y = jnp.zeros((2, 4, 2), jnp.float32).at[0, 1, 0].set(1)
    p, told = each.mean(0), np.asarray(PASSAGE > 0)[..., None]
    expected = np.sum(told * np.log(np.where(np.asarray(y) > 0, p, 1 - p)), axis=(1, 2))
    np.testing.assert_allclose(tagged.log_prob(y), expected, rtol=2e-4)
    # The logarithm is concave: together they are never less likely than on average.
    apart = np.mean([jax.jit(net.apply)(*member, *inputs)[0].log_prob(y) for member in members], axis=0)
    assert np.all(np.asarray(tagged.log_prob(y)) > apart)


@pytest.mark.thorough
def test_members_begin_and_are_disturbed_apart() -> None:
    together, inputs = ensemble(READER, 2), (QUESTION, PASSAGE, FEATURES)
    params, state = jax.jit(together.init)(jax.random.key(0), *inputs)
    for leaf in jax.tree.leaves(params):
        assert not leaf.any() or not np.array_equal(leaf[0], leaf[1])
    first = jax.tree.map(lambda leaf: leaf[0], params)
    apply = jax.jit(lambda key: together.apply(stack_members([first] * 2), state, *inputs, key=key, train=True)[0].mean)
    single = jax.jit(lambda key: as_net(READER).apply(first, {}, *inputs, key=key, train=True)[0].mean)
    noisy = apply(jax.random.key(1))
    one, two = map(single, jax.random.split(jax.random.key(1), 2))
    np.testing.assert_allclose(noisy, (one + two) / 2, rtol=1e-5)
    assert not np.allclose(one, two, rtol=1e-4)


def test_misuse_is_named() -> None:
    with pytest.raises(ValueError, match="count must be at most 3, one example a fold, got 4"):
        folds(3, 4, seed=0)
    with pytest.raises(ValueError, match="count must be an integer ≥ 2, got 1"):
        folds(3, 1, seed=0)
    with pytest.raises(ValueError, match="at least one reader, got none"):
        stack_members([])
