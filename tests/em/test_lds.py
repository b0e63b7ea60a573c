"""Linear dynamical systems: EM and its objective against a dense Gaussian of all steps, and what is refused."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vifx
from vifx import em, training
from vifx.core.nets import from_functions
from vifx.distributions import AffineNormal, EachStep

SEQUENCES, LENGTH, LATENT, SIZE, INPUTS = 3, 5, 2, 3, 2
DRAW = np.random.default_rng(3)
X = DRAW.normal(size=(SEQUENCES, LENGTH, SIZE)) + 1.5
U = DRAW.normal(size=(SEQUENCES, LENGTH, INPUTS))
STEPS = DRAW.random((SEQUENCES, LENGTH)) < 0.7
ELEMENTS = DRAW.random((SEQUENCES, LENGTH, SIZE)) < 0.6
LENGTHS = np.array([5, 3, 2])
A = np.array([[0.9, 0.2], [-0.1, 0.7]])

CASES = {
    "plain": ({}, {}),
    "full noise": ({"noise": "full"}, {}),
    "inputs": ({"given": ("inputs",)}, {"inputs": U}),
    "steps missing": ({"given": ("mask",)}, {"mask": STEPS}),
    "elements missing": ({"given": ("mask",)}, {"mask": ELEMENTS}),
    "elements missing, full noise": ({"given": ("mask",), "noise": "full"}, {"mask": ELEMENTS}),
    "lengths": ({"given": ("lengths",)}, {"lengths": LENGTHS}),
    "all at once": (
        {"given": ("mask", "lengths", "inputs"), "noise": "full"},
        {"mask": ELEMENTS, "lengths": LENGTHS, "inputs": U},
    ),
    "known dynamics": ({"chain": {"transitions": A, "offset": np.zeros(2)}}, {}),
    "known emissions": ({"emissions": {"loadings": np.eye(3)[:, :2], "mean": np.ones(3)}}, {}),
    "parallel": ({"parallel": True}, {}),
}
PARTLY = "elements missing, full noise"
cases = pytest.mark.parametrize("name", CASES)
few = pytest.mark.first(1)


def made(name):
    """A model, its data, and random parameters and state."""
    options, known = CASES[name]
    model = em.lds(LATENT, length=LENGTH, **options)
    data = {"x": X, **known} if known else X
    batch = model.batch(data)
    params, state = jax.jit(model.objective.init)(jax.random.key(0), batch)
    noise = np.random.default_rng(1)
    triangles = {"scale_tril", "initial_scale_tril"}

    def moved(path, leaf):
        change = 0.2 * noise.normal(size=leaf.shape)
        own = path[-1].key
        return leaf + (np.tril(change) if own in triangles else np.abs(change) if own == "scale" else change)

    return model, data, batch, jax.tree_util.tree_map_with_path(moved, params), state


def dense(name, batch, params):
    """For each sequence: the mean and covariance of z and of x, their cross-covariance, and what is observed."""
    options, _ = CASES[name]
    params, batch = jax.tree.map(np.asarray, (dict(params), dict(batch)))
    chain = {**params["chain"], **options.get("chain", {})}
    emissions = {**params["emissions"], **options.get("emissions", {})}
    loadings = np.asarray(emissions["loadings"])
    factor = emissions["scale_tril"] if "scale_tril" in emissions else np.diag(emissions["scale"])
    step = np.asarray(chain["transitions"])
    for n in range(SEQUENCES):
        mean, spread = np.zeros((LENGTH, LATENT)), np.zeros((LENGTH, LATENT, LENGTH, LATENT))
        mean[0], spread[0, :, 0] = chain["initial_mean"], chain["initial_scale_tril"] @ chain["initial_scale_tril"].T
        for t in range(1, LENGTH):
            pushed = batch["inputs"][n, t] @ chain["inputs"].T if "inputs" in batch else 0
            mean[t] = step @ mean[t - 1] + chain["offset"] + pushed
            spread[t, :, :t] = np.einsum("ij,jsk->isk", step, spread[t - 1, :, :t])
            spread[:t, :, t] = np.transpose(spread[t, :, :t], (1, 2, 0))
            spread[t, :, t] = step @ spread[t - 1, :, t - 1] @ step.T + chain["scale_tril"] @ chain["scale_tril"].T
        seen = np.ones((LENGTH, SIZE), bool)
        if "mask" in batch:
            mask = np.asarray(batch["mask"][n])
            seen &= mask if mask.ndim == 2 else mask[:, None]
        if "lengths" in batch:
            seen &= (np.arange(LENGTH) < batch["lengths"][n])[:, None]
        noise = np.einsum("ts,ij->tisj", np.eye(LENGTH), factor @ factor.T)
        cross = np.einsum("tisj,dj->tisd", spread, loadings)
        x_spread = np.einsum("di,tisj->tdsj", loadings, cross) + noise
        yield mean, spread, mean @ loadings.T + emissions["mean"], x_spread, cross, seen.reshape(-1)


def conditioned(name, batch, params):
    """The log-density of what is observed in nats, and the mean and covariance of all steps of z given it."""
    for n, (mean, spread, x_mean, x_spread, cross, seen) in enumerate(dense(name, batch, params)):
        apart = (np.asarray(batch["x"][n]) - x_mean).reshape(-1)[seen]
        flat = LENGTH * LATENT
        inner = x_spread.reshape(LENGTH * SIZE, -1)[seen][:, seen]
        gain = np.linalg.solve(inner, cross.reshape(flat, -1)[:, seen].T).T
        log_det = np.linalg.slogdet(2 * np.pi * inner)[1]
        log_prob = -0.5 * (apart @ np.linalg.solve(inner, apart) + log_det)
        covariance = spread.reshape(flat, flat) - gain @ cross.reshape(flat, -1)[:, seen].T
        yield log_prob, mean + (gain @ apart).reshape(mean.shape), covariance.reshape(spread.shape)


@few
@cases
def test_posterior_and_likelihood_are_those_of_the_dense_gaussian(name):
    with jax.enable_x64(True):
        model, data, batch, params, state = made(name)
        log_probs, means, covariances = zip(*conditioned(name, batch, params), strict=True)
        posterior = jax.jit(lambda *args: model.posterior(*args).moments())(params, state, data)
        np.testing.assert_allclose(posterior.means, np.stack(means), rtol=1e-10, atol=1e-12)
        own = np.einsum("ntitj->ntij", np.stack(covariances))
        np.testing.assert_allclose(posterior.covariances, own, rtol=1e-10, atol=1e-12)
        pairs = np.stack([[each[t + 1, :, t] for t in range(LENGTH - 1)] for each in covariances])
        np.testing.assert_allclose(posterior.cross_covariances, pairs, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(model.log_prob(params, state, data), log_probs, rtol=1e-11)
        # The objective, by densities, has the same value.
        loss = jax.jit(partial(model.objective.players["model"].loss, train=False))
        value, aux = loss(jax.random.key(0), params, state, batch)
        np.testing.assert_allclose(value, -np.mean(log_probs), rtol=1e-11)
        assert {*aux.metrics} == {"nll/x", "kl/z", "elbo"}


@few
@pytest.mark.parametrize("name", [n for n in CASES if "lengths" not in CASES[n][1] and n != PARTLY])
def test_an_m_step_is_the_maximum_for_its_posterior(name):
    """With the posterior of before, the gradient of the objective is zero where the M step has gone."""
    with jax.enable_x64(True):
        model, _, batch, params, state = made(name)
        step = training.solve(model.objective, "model")
        after, _ = jax.jit(step.update)(jax.random.key(0), training.Progress(params, state, ()), batch)
        anchored = em.Model.of(model.generative, None, anchored=True, latent_axes=2).objective
        held = {f"{owner}@anchor": leaf for owner, leaf in params.items()}

        def loss(free):
            return anchored.players["model"].loss(jax.random.key(0), {**free, **held}, state, batch, train=False)[0]

        value, slope = jax.jit(jax.value_and_grad(loss))(dict(after.params))
        slope = {
            owner: {name: jnp.tril(leaf) if leaf.ndim == 2 and "tril" in name else leaf for name, leaf in entry.items()}
            for owner, entry in slope.items()
        }
        chex.assert_trees_all_close(slope, jax.tree.map(jnp.zeros_like, slope), atol=1e-9)
        assert value < jax.jit(loss)(dict(params))


@pytest.mark.thorough
def test_steps_that_are_seen_in_part_are_completed():
    """The M step is the regression on the moments of all of x and z, given what is observed."""
    with jax.enable_x64(True):
        model, _, batch, params, state = made(PARTLY)
        targets, products, inner, count = np.zeros((SIZE, SIZE)), np.zeros((SIZE, LATENT + 1)), 0, 0
        for n, (mean, spread, x_mean, x_spread, cross, seen) in enumerate(dense(PARTLY, batch, params)):
            flat, wide = LENGTH * LATENT, LENGTH * SIZE
            top = np.concatenate([spread.reshape(flat, flat), cross.reshape(flat, wide)], axis=1)
            whole = np.concatenate([top, np.concatenate([top[:, flat:].T, x_spread.reshape(wide, wide)], axis=1)])
            at = flat + np.flatnonzero(seen)
            centre = np.concatenate([mean.reshape(-1), x_mean.reshape(-1)])
            gain = whole[:, at] @ np.linalg.inv(whole[np.ix_(at, at)])
            found = centre + gain @ (np.asarray(batch["x"][n]).reshape(-1)[seen] - centre[at])
            left = whole - gain @ whole[at]
            for t in np.flatnonzero(seen.reshape(LENGTH, SIZE).any(axis=1)):
                z, x = slice(t * LATENT, (t + 1) * LATENT), slice(flat + t * SIZE, flat + (t + 1) * SIZE)
                y = np.append(found[z], 1)
                products += np.outer(found[x], y) + np.pad(left[x, z], ((0, 0), (0, 1)))
                inner += np.outer(y, y) + np.pad(left[z, z], ((0, 1), (0, 1)))
                targets += np.outer(found[x], found[x]) + left[x, x]
                count += 1
        best = products @ np.linalg.inv(inner)
        step = training.solve(model.objective, "model")
        after, _ = jax.jit(step.update)(jax.random.key(0), training.Progress(params, state, ()), batch)
        moved = after.params["emissions"]
        np.testing.assert_allclose(moved["loadings"], best[:, :LATENT], rtol=1e-9)
        np.testing.assert_allclose(moved["mean"], best[:, LATENT], rtol=1e-9)
        noise = (targets - best @ products.T) / count
        np.testing.assert_allclose(moved["scale_tril"] @ moved["scale_tril"].T, noise, rtol=1e-9)


@pytest.mark.thorough
def test_what_is_expected_of_a_short_sequence_is_that_of_its_own_length():
    """Sequences of several lengths in one array have the sums that they have one by one."""
    with jax.enable_x64(True):
        model, _, batch, params, state = made("lengths")

        @partial(jax.jit, static_argnums=0)
        def expected(model, batch):
            prepared = model.solver.prepare(params, state)
            return model.solver.expect(jax.random.key(0), params, state, prepared, batch)

        found, one_by_one = expected(model, batch), []
        for n, length in enumerate(LENGTHS):
            alone = em.lds(LATENT, length=int(length))
            one_by_one.append(expected(alone, {"x": batch["x"][n : n + 1, :length]}))
        sums = jax.tree.map(lambda *each: sum(each), *one_by_one)
        chex.assert_trees_all_close(found, sums, rtol=1e-10, atol=1e-10)


@pytest.mark.thorough
def test_em_never_falls_and_finds_the_dynamics():
    with jax.enable_x64(True):
        model = em.lds(2, length=60, given=("mask",))
        angle = 0.4
        rotation = 0.98 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        noise, z = np.random.default_rng(0), np.zeros((20, 60, 2))
        z[:, 0] = noise.normal(size=(20, 2))
        for t in range(1, 60):
            z[:, t] = z[:, t - 1] @ rotation.T + 0.1 * noise.normal(size=(20, 2))
        x = z @ noise.normal(size=(2, 3)) + 3 + 0.1 * noise.normal(size=(20, 60, 3))
        mask = noise.random((20, 60)) < 0.8
        fitted = em.fit(jax.random.key(0), model, {"x": x, "mask": mask}, steps=150, tolerance=0.0, restarts=2)
        assert np.diff(fitted.histories, axis=0).min() > -1e-12 * abs(fitted.histories).max()
        found = np.linalg.eigvals(np.asarray(fitted.params["chain"]["transitions"]))
        np.testing.assert_allclose(np.sort_complex(found), np.sort_complex(np.linalg.eigvals(rotation)), atol=0.02)
        assert fitted.degrees == 2 + 3 + 4 + 2 + 3 + 6 + 3 + 3


@pytest.mark.thorough
def test_the_size_of_the_state_is_found():
    """The Bayesian information criterion has its minimum at the size that the data were drawn with."""
    with jax.enable_x64(True):
        noise, z = np.random.default_rng(1), np.zeros((1, 300, 2))
        rotation = 0.98 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
        for t in range(1, 300):
            z[:, t] = z[:, t - 1] @ rotation.T + 0.2 * noise.normal(size=(1, 2))
        x = z @ noise.normal(size=(2, 4)) + 0.3 * noise.normal(size=(1, 300, 4))
        found = em.select(jax.random.key(0), lambda size: em.lds(size, length=300), [1, 2, 3], x, steps=100)
        assert found.best.components == 2


@pytest.mark.thorough
def test_a_network_that_is_affine_in_the_chain_has_the_same_posterior():
    with jax.enable_x64(True):
        model, data, batch, params, state = made(PARTLY)
        own = params["emissions"]

        def apply(params, z, mask):
            loc = (z @ params["loadings"].T + params["mean"][None, None]).reshape(-1, SIZE)
            return EachStep(AffineNormal(loc, params["scale_tril"], observed=mask.reshape(-1, SIZE)), LENGTH)

        network = from_functions(lambda *_: own, apply)
        prior = model.generative.factor_of("z")
        generative = vifx.Joint(vifx.evidence("mask"), prior, vifx.factor("x | z, mask", network, name="network"))
        other = em.Model.of(generative, None, latent_axes=2)
        moved, there = {"chain": params["chain"], "network": own}, {"chain": {}, "network": {}}
        ours = jax.jit(model.posterior)(params, state, data)
        theirs = jax.jit(other.posterior)(moved, there, data)
        np.testing.assert_allclose(ours.means, theirs.means, rtol=1e-10)
        np.testing.assert_allclose(ours.covariances, theirs.covariances, rtol=1e-10)
        loss = jax.jit(partial(other.objective.players["model"].loss, train=False))
        value, _ = loss(jax.random.key(0), moved, there, batch)
        np.testing.assert_allclose(value, -np.mean(model.log_prob(params, state, data)), rtol=1e-11)


@pytest.mark.thorough
def test_inputs_move_what_is_observed():
    """They are subtracted from it; and the M step solves for what they multiply."""
    with jax.enable_x64(True):
        prior = vifx.factor("z", em.gaussian_chain(LATENT, length=LENGTH), name="chain")
        emission = vifx.factor("x | z, u", em.linear_gaussian(parents=("inputs",)), name="emissions")
        model = em.Model.of(vifx.Joint(vifx.evidence("u"), prior, emission), None, latent_axes=2)
        batch = model.batch({"x": X, "u": U})
        params, state = jax.jit(model.objective.init)(jax.random.key(0), batch)
        matrix = jnp.asarray(DRAW.normal(size=(SIZE, INPUTS)))
        params = {**params, "emissions": {**params["emissions"], "inputs": matrix}}
        plain = {**params, "emissions": {n: p for n, p in params["emissions"].items() if n != "inputs"}}
        found = model.log_prob(params, state, {"x": X, "u": U})
        alone = em.lds(LATENT, length=LENGTH).log_prob(plain, state, X - U @ np.asarray(matrix).T)
        np.testing.assert_allclose(found, alone, rtol=1e-11)
        step = training.solve(model.objective, "model")
        after, metrics = jax.jit(step.update)(jax.random.key(0), training.Progress(params, state, ()), batch)
        assert np.abs(np.asarray(after.params["emissions"]["inputs"] - matrix)).max() > 1e-3
        assert np.mean(model.log_prob(after.params, state, {"x": X, "u": U})) > float(metrics["log_prob"])


def test_an_observed_chain_is_a_regression():
    """With the states as data the M step is least squares of each step on the one before."""
    with jax.enable_x64(True):
        z = DRAW.normal(size=(4, LENGTH, LATENT))
        generative = vifx.Joint(vifx.factor("x", em.gaussian_chain(LATENT, length=LENGTH), name="chain"))
        objective = vifx.kl(vifx.Joint(vifx.evidence("x")), generative)
        batch = {"x": jnp.asarray(z)}
        params, state = jax.jit(objective.init)(jax.random.key(0), batch)
        before = np.concatenate([z[:, :-1], np.ones((4, LENGTH - 1, 1))], axis=-1).reshape(-1, LATENT + 1)
        found, *_ = np.linalg.lstsq(before, z[:, 1:].reshape(-1, LATENT), rcond=None)
        np.testing.assert_allclose(params["chain"]["transitions"], found[:LATENT].T, rtol=1e-9)
        np.testing.assert_allclose(params["chain"]["offset"], found[LATENT], rtol=1e-9)
        residual = z[:, 1:].reshape(-1, LATENT) - before @ found
        factor = np.asarray(params["chain"]["scale_tril"])
        np.testing.assert_allclose(factor @ factor.T, residual.T @ residual / len(residual), rtol=1e-9)
        step = training.solve(objective, "model")
        _, metrics = jax.jit(step.update)(jax.random.key(0), training.Progress(params, state, ()), batch)
        loss, _ = jax.jit(partial(objective.players["model"].loss, train=False))(
            jax.random.key(0), params, state, batch
        )
        np.testing.assert_allclose(metrics["log_prob"], -loss, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: em.lds(2, length=5, given=("masks",)), "given must be some of 'inputs', 'mask', 'lengths'"),
        (lambda: em.gaussian_chain(2, length=5, fixed={"transition": A}), "did you mean 'transitions'"),
        (lambda: em.gaussian_chain(2, length=5, fixed={"transitions": np.eye(3)}), "finite numbers [2, 2]"),
        (lambda: em.linear_gaussian(noise="tied"), "noise must be one of"),
        (lambda: em.fit(jax.random.key(0), em.lds(2, length=5), X[:, :4]), "x must be sequences [sequences, 5, d]"),
        (lambda: em.fit(jax.random.key(0), em.lds(2, length=5, given=("mask",)), X), "data must be {'x': ..., 'mask'"),
        (
            lambda: em.fit(jax.random.key(0), em.lds(2, length=5, given=("mask",)), {"x": X, "mask": STEPS & False}),
            "nothing is observed",
        ),
        (
            lambda: em.fit(jax.random.key(0), em.lds(2, length=5, given=("mask",)), {"x": X, "mask": 1.0 * ELEMENTS}),
            "mask must be booleans [examples, T] or [examples, T, d], got float32[3, 5, 3]",
        ),
        (
            lambda: em.fit(jax.random.key(0), em.lds(2, length=5, given=("mask",)), {"x": X, "mask": STEPS[:, :4]}),
            "the mask must have the shape [3, 5] or [3, 5, 3]",
        ),
        (lambda: em.linear_gaussian(parents="mask"), "parents must be some of 'inputs', 'mask', 'lengths', each once"),
        (
            lambda: em.fit(
                jax.random.key(0), em.lds(2, length=5, given=("lengths",)), {"x": X, "lengths": LENGTHS + 3}
            ),
            "lengths must be from 1 to 5",
        ),
        (lambda: em.fit(jax.random.key(0), em.lds(2, length=5), X, start="k-means"), "is continuous; use 'random'"),
        (
            lambda: em.Model.of(em.lds(2, length=5).generative, None, temperature=2.0).posterior({}, {}, X),
            "params lacks",
        ),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises((ValueError, TypeError)) as error:
        call()
    assert message in str(error.value)
