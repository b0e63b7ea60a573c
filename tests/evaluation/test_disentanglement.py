"""MIG and DCI of codes whose relation to the factors is made."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

import vifx
from vifx import evaluation
from vifx.distributions import Normal

N = 4000
generator = np.random.default_rng(0)
FACTORS = {"shape": generator.integers(0, 3, N), "size": generator.uniform(size=N), "place": generator.uniform(size=N)}
ALIGNED = np.column_stack([FACTORS["size"], np.tanh(FACTORS["place"]), FACTORS["shape"] + 0.0])
ANGLE = np.pi / 4
ROTATION = np.array([[np.cos(ANGLE), -np.sin(ANGLE)], [np.sin(ANGLE), np.cos(ANGLE)]])
ROTATED = np.column_stack([(ALIGNED[:, :2] - ALIGNED[:, :2].mean(0)) @ ROTATION, ALIGNED[:, 2]])
INDEPENDENT = np.random.default_rng(1).normal(size=(N, 3))


def test_mig_of_an_aligned_a_rotated_and_an_independent_code():
    aligned = evaluation.mig(ALIGNED, FACTORS)
    np.testing.assert_allclose(aligned.gaps, 1, atol=0.05)
    np.testing.assert_allclose(aligned.entropy, [np.log(3), np.log(20), np.log(20)], rtol=0.01)
    np.testing.assert_array_equal(aligned.information.argmax(axis=0), [2, 0, 1])
    rotated = evaluation.mig(ROTATED, FACTORS)
    assert rotated.gaps[0] > 0.95
    assert max(rotated.gaps[1:]) < 0.15
    assert evaluation.mig(INDEPENDENT, FACTORS).score < 0.02
    # A monotone map of a latent changes nothing, and neither does their order.
    cubes = evaluation.mig(ALIGNED[:, ::-1] ** 3, FACTORS)
    assert cubes.score == pytest.approx(aligned.score, rel=1e-9)


def test_information_equals_scikit_learn():
    found = evaluation.mig(INDEPENDENT[:200], {name: column[:200] for name, column in FACTORS.items()}, bins=4)
    z = np.searchsorted(np.quantile(INDEPENDENT[:200, 1], [0.25, 0.5, 0.75]), INDEPENDENT[:200, 1], side="right")
    assert found.information[1, 0] == pytest.approx(mutual_info_score(z, FACTORS["shape"][:200]), rel=1e-9)


@pytest.mark.thorough
def test_dci_of_an_aligned_a_rotated_and_an_independent_code():
    aligned, rotated, none = (evaluation.dci(codes, FACTORS) for codes in (ALIGNED, ROTATED, INDEPENDENT))
    assert min(aligned[:3]) > 0.97
    assert rotated.informativeness > 0.9  # it is all there, and spread over two latents
    assert max(rotated.disentanglement, rotated.completeness) < 0.6
    assert none.informativeness < 0.2
    assert max(none.disentanglement, none.completeness) < 0.1
    np.testing.assert_allclose(aligned.importance.sum(axis=0), 1, rtol=1e-9)
    # Two latents that both hold one factor: disentangled, and not complete.
    twice = np.column_stack([ALIGNED, ALIGNED[:, 0] + 1e-3 * generator.normal(size=N)])
    copied = evaluation.dci(twice, FACTORS)
    assert copied.disentanglement > 0.95
    assert copied.completeness < 0.9


@pytest.mark.thorough
def test_it_is_measured_of_the_mean_codes():
    inference = vifx.Joint(
        vifx.evidence("x"), vifx.factor("z | x", lambda x: Normal(x, jnp.full_like(x, 9.0)).to_event(1))
    )
    measure = evaluation.measure_disentanglement(inference, {"x": ALIGNED.astype(np.float32)}, FACTORS, examples=2000)
    found = measure(jax.random.key(0), {}, {})
    assert found["mig"] > 0.9
    assert found["dci/disentanglement"] > 0.95
    assert evaluation.described(found)[0].meaning == "of shape, size, place; 2,000 examples"


@pytest.mark.parametrize(
    ("codes", "factors", "message"),
    [
        (ALIGNED[:, :1], FACTORS, "two latents or more"),
        (ALIGNED, {"one": np.ones(N)}, "must vary over the examples, got 1.0 alone; leave it out"),
        (ALIGNED, {"one": np.ones(3)}, r"must be \[4000\], one per code, got shape \(3,\)"),
        (ALIGNED, {}, "factors must be at least 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(codes, factors, message):
    with pytest.raises(ValueError, match=message):
        evaluation.mig(codes, factors)
