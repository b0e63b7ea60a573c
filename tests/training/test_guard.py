"""The guard: what is skipped, what is counted, what is blamed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from training.problems import bilinear, equal

from vifx.training import Progress, blame, descend, guarded, repeat, scanned, start
from vifx.training.guard import sound, terms


def filled(values):
    return {"x": jnp.asarray(values, jnp.float32)[:, None] * jnp.ones((len(values), 2))}


def test_bad_updates_are_skipped_and_counted_and_good_ones_applied():
    objective = bilinear()
    plain = descend(objective, "max", optax.adam(0.1), grad_norm=True)
    step = scanned(guarded(plain), 6)
    nan, inf = float("nan"), float("inf")
    values = [1.0, nan, 2.0, inf, nan, 3.0]
    first = {"x": jnp.ones(2)}
    progress = start(jax.random.key(0), step, objective, first).progress
    progress, metrics = step.update(jax.random.split(jax.random.key(1), 6), progress, filled(values))
    expected = start(jax.random.key(0), plain, objective, first).progress
    for value in (1.0, 2.0, 3.0):
        expected, _ = jax.jit(plain.update)(jax.random.key(2), expected, {"x": jnp.full(2, value)})
    np.testing.assert_allclose(progress.params["b"]["v"], expected.params["b"]["v"], rtol=1e-6)
    assert int(progress.slot.slot[0].count) == 3
    assert metrics["guard/skipped"].tolist() == [0, 1, 1, 2, 3, 3]
    assert metrics["guard/consecutive"].tolist() == [0, 1, 0, 1, 2, 0]
    names = terms(metrics)
    assert names == ["value/max", "loss/max", "grad_norm/max"]
    assert metrics["guard/first_bad"].tolist() == [-1, 0, -1, 0, 0, -1]
    assert int(progress.slot.skipped) == 3
    assert progress.slot.skipped.dtype == jnp.int32
    second = {name: value[1] for name, value in metrics.items()}
    assert blame(second) == "value/max is nan (and so are loss/max, grad_norm/max)"
    assert blame({name: value[3] for name, value in metrics.items()}).startswith("value/max is inf")
    assert blame({name: value[0] for name, value in metrics.items()}) == ""


def test_a_skipped_update_leaves_everything_bit_for_bit():
    step = guarded(descend(bilinear(), "max", optax.adam(0.1)))
    progress = start(jax.random.key(0), step, bilinear(), {"x": jnp.ones(2)}).progress
    after, _ = jax.jit(step.update)(jax.random.key(1), progress, {"x": jnp.full(2, jnp.nan)})
    assert equal((after.params, after.state, after.slot.slot), (progress.params, progress.state, progress.slot.slot))


def test_parameters_that_would_overflow_are_caught_although_every_metric_is_finite():
    huge = optax.scale(-3e38)
    step = guarded(descend(bilinear(), "max", huge))
    progress = start(jax.random.key(0), step, bilinear(), {"x": jnp.ones(2)}).progress
    after, metrics = step.update(jax.random.key(1), progress, {"x": jnp.full(2, 100.0)})
    assert int(metrics["guard/first_bad"]) == 2
    assert "a parameter would not be finite" in blame(metrics)
    assert equal(after.params, progress.params)


def test_repetitions_report_the_guard_of_the_worst():
    step = repeat(guarded(descend(bilinear(), "max", optax.sgd(0.1))), 3)
    progress = start(jax.random.key(0), step, bilinear(), {"x": jnp.ones(2)}).progress
    _, metrics = step.update(jax.random.key(1), progress, filled([1.0, float("nan"), 1.0]))
    assert int(metrics["guard/skipped"]) == 1
    assert int(metrics["guard/consecutive"]) == 1


@pytest.mark.parametrize(
    ("params", "slot", "expected"),
    [(1.0, jnp.inf, True), (jnp.inf, 1.0, False), (1.0, jnp.nan, False), (jnp.nan, 0.0, False), (1.0, 1.0, True)],
)
def test_soundness(params, slot, expected):
    progress = Progress({"a": jnp.asarray(params)}, {"n": jnp.zeros((), jnp.int32)}, jnp.asarray(slot))
    assert bool(sound(progress)) is expected


def test_terms_come_before_what_they_cause():
    names = ["loss/model", "elbo", "kl/z", "grad_norm/model", "guard/skipped", "nll/x"]
    assert terms(names) == ["kl/z", "nll/x", "elbo", "loss/model", "grad_norm/model"]
