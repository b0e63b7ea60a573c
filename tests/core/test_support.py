"""Values that a density makes impossible are refused where they are concrete, with a remedy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro
import optax
import pytest

import vifx
from vifx import Joint, data, distributions, evaluation, evidence, factor, training
from vifx.networks import MLP, BernoulliHead, Conditional, DiscretizedLogisticHead

GREY = np.linspace(0, 1, 24).reshape(4, 6).astype(np.float32)


def vae(head):
    encoder = factor(
        "z | x", lambda x: distributions.Normal(0.1 * x[:, :2].astype(float), jnp.ones((len(x), 2))).to_event(1)
    )
    decoder = factor("x | z", Conditional(MLP((4,)), head), name="decoder")
    return Joint(evidence("x"), encoder), Joint(factor("z", vifx.standard_normal(2)), decoder)


def labelled(make):
    return Joint(evidence("x", "y")), Joint(evidence("x"), factor("y | x", make))


def start(joints, batch):
    objective = vifx.kl(*joints)
    return objective, *objective.init(jax.random.key(0), batch)


def pixels(value=255.0):
    return {"x": jnp.asarray(np.where(np.arange(24).reshape(4, 6) == 9, value, np.round(GREY)))}


@pytest.mark.first(1)
@pytest.mark.parametrize(
    ("joints", "batch", "text"),
    [
        (
            vae(BernoulliHead((6,))),
            pixels(),
            r"decoder\(x \| z\): 'x' of example \d is 255.0, outside of the support, numbers from 0 to 1; the values "
            r"run to 255: pass transform=data.binarize\(\), or divide by 255",
        ),
        (
            vae(DiscretizedLogisticHead((6,))),
            {"x": jnp.asarray(GREY)},
            "outside of the support, integers from 0 to 255; the values run from 0 to 1: give the integers",
        ),
        (
            labelled(lambda x: distributions.Categorical(jnp.zeros((len(x), 3)))),
            {"x": jnp.asarray(GREY), "y": jnp.array([0, 2, -1, 1])},
            "'y' of example . is -1, outside of the support, integers from 0 to 2.*; -1 is not a class: leave examples",
        ),
        (
            labelled(lambda x: distributions.Categorical(jnp.zeros((len(x), 3)))),
            {"x": jnp.asarray(GREY), "y": jnp.asarray([[1.0, 1.0, 0.0], *[[0.5, 0.5, 0.0]] * 3], jnp.float32)},
            r"'y' of example . is \[1. 1. 0.\], outside of the support, .*; divide the weights of each example by",
        ),
        (
            labelled(lambda x: distributions.Categorical(jnp.zeros((len(x), 3)))),
            {"x": jnp.asarray(GREY), "y": jnp.array([0.0, 2.0, 1.0, 1.0])},
            r"must hold weights over a last axis of 3 classes, but has shape \(4,\); give integers for plain labels",
        ),
        (
            labelled(lambda x: numpyro.Gamma(jnp.ones(len(x)), jnp.ones(len(x)))),
            {"x": jnp.asarray(GREY), "y": jnp.array([1.0, 2.0, 3.0, -0.5])},
            "'y' of example . is -0.5, outside of the support, .*; transform the values, or explain them by",
        ),
    ],
    ids=[
        "pixels under a Bernoulli",
        "shades under integers",
        "a missing label",
        "weights that sum to 2",
        "labels as floats",
        "negative under a Gamma",
    ],
)
def test_every_door_names_factor_variable_value_and_remedy(joints, batch, text):
    objective = vifx.kl(*joints)
    with pytest.raises(ValueError, match=text):
        objective.init(jax.random.key(0), batch)
    params, state = jax.jit(objective.init)(jax.random.key(0), batch)  # traced values cannot be compared
    step = training.descend(objective, "model", optax.sgd(0.1))
    source = data.Resident({name: np.asarray(value) for name, value in batch.items()}, 4, 0)
    for call in (
        lambda: vifx.importance_weighted(*joints, samples=2).init(jax.random.key(0), batch),
        lambda: training.start(jax.random.key(0), step, objective, batch),
        lambda: training.fit(jax.random.key(0), step, objective, source, steps=2),
        lambda: evaluation.elbo(jax.random.key(0), *joints, params, state, batch),
        lambda: evaluation.importance_weighted_bound(jax.random.key(0), *joints, params, state, batch, samples=(1,)),
    ):
        with pytest.raises(ValueError, match=text):
            call()


@pytest.mark.thorough
def test_binarized_pixels_pass_and_shades_warn_once():
    joints = vae(BernoulliHead((6,)))
    start(joints, {"x": jnp.asarray(np.round(GREY))})
    start(joints, {"x": jnp.asarray(np.round(GREY).astype(np.uint8))})
    start(vae(DiscretizedLogisticHead((6,))), {"x": jnp.asarray((GREY * 255).astype(np.uint8))})
    with pytest.warns(UserWarning, match="'elbo' is then not a bound on a log-likelihood") as told:
        _, params, state = start(joints, {"x": jnp.asarray(GREY)})
    assert len(told) == 1
    loss = vifx.kl(*joints).players["model"].loss
    assert np.isfinite(loss(jax.random.key(0), params, state, {"x": jnp.asarray(GREY)})[0])


@pytest.mark.thorough
def test_what_is_not_scored_is_not_compared():
    """Weightless examples, estimators without densities, and supports that depend on what is drawn."""
    joints = vae(BernoulliHead((6,)))
    weighted = {**pixels(np.nan), "@weights": jnp.array([1.0, 1.0, 0.0, 1.0])}
    with pytest.raises(ValueError, match="'x' of example 1 is nan"):
        start(joints, weighted)
    objective, params, state = start(joints, {**weighted, "@weights": jnp.array([1.0, 0.0, 1.0, 1.0])})
    assert objective.check(params, state, {"x": weighted["x"][2:]}) is None
    critic = MLP((4,), outputs=1)
    for sampled in (vifx.adversarial(*joints, critic, on="x"), vifx.mmd(*joints, on="x")):
        params, state = sampled.init(jax.random.key(0), pixels())
        assert sampled.check(params, state, pixels()) is None
    drawn = labelled(lambda x: numpyro.Uniform(x[:, 0] - 1, x[:, 0] + 1))
    objective, params, state = start(drawn, {"x": jnp.asarray(GREY), "y": jnp.zeros(4)})
    assert objective.check(params, state, {"x": jnp.asarray(GREY), "y": jnp.full(4, 9.0)}) is None
