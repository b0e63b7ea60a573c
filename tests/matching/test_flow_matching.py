"""Flow matching against its mathematics: losses and gradients by quadrature, of which not a draw is random."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro
import pytest

import vifx
from vifx import diffusion, flows, matching, networks
from vifx.core.nets import from_functions
from vifx.distributions import Normal
from vifx.matching import TimeWeights

POINTS = np.array([-1.3, 0.2, 1.1])  # of a finite data set on the line
MEAN, SCALE = 0.7, 0.4  # of normal data


class Nodes(numpyro.Distribution):
    """A base that draws given values, so that weighted examples are the nodes of a quadrature."""

    def __init__(self, values):
        self.values = values
        super().__init__((), values.shape[1:], validate_args=False)

    def sample(self, key, sample_shape=()):
        del key
        return self.values


def hermite(count):
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return nodes, weights / weights.sum()


def legendre(count, low, high):
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return low + (high - low) * (nodes + 1) / 2, weights / 2


def grid(*axes):
    """All combinations of the nodes of some axes, and the products of their weights."""
    places = np.meshgrid(*(nodes for nodes, _ in axes), indexing="ij")
    weights = np.meshgrid(*(weights for _, weights in axes), indexing="ij")
    return [place.reshape(-1) for place in places], np.prod([each.reshape(-1) for each in weights], axis=0)


def matched(bijection, noise, times, **options):
    """The objective whose noise and times are given."""
    generative = vifx.Joint(vifx.transformed("x", Nodes(jnp.asarray(noise)), bijection, name="velocity"))
    fixed = TimeWeights("nodes", lambda rank: jnp.asarray(times, rank.dtype))
    return vifx.flow_matching(vifx.Joint(vifx.evidence("x")), generative, weighting=fixed, **options)


def value_of(objective, params, batch, state=None):
    state = {"velocity": {}} if state is None else state
    return objective.players["model"].loss(jax.random.key(0), params, state, batch, train=True)[0]


def wavy():
    """A velocity on the line with three parameters."""

    def apply(params, x, t):
        a, b, c = params
        return jnp.tanh(a * x + b * t) + c * x * t

    return from_functions(lambda key, x, t: jnp.array([0.5, -0.3, 0.2], x.dtype), apply)


@pytest.mark.first(1)
def test_the_gradient_is_that_of_the_marginal_regression_and_the_value_differs_by_a_constant():
    with jax.enable_x64(True):
        (x, t, noise), weights = grid((POINTS, np.full(3, 1 / 3)), legendre(24, 0.25, 1.0), hermite(80))
        objective = matched(flows.continuous(wavy()), noise[:, None], t)
        batch = {"x": jnp.asarray(x)[:, None], "@weights": jnp.asarray(weights)}
        y = (1 - t) * x + t * noise
        log_w = -(((y[:, None] - (1 - t)[:, None] * POINTS) / t[:, None]) ** 2) / 2
        w = np.exp(log_w - log_w.max(1, keepdims=True))
        w /= w.sum(1, keepdims=True)
        u = np.sum(w * (y[:, None] - POINTS) / t[:, None], axis=1)  # of which (x_i − x)/(1 − t) is the other direction
        left = np.sum(weights * ((noise - x) ** 2 - u**2))

        def marginal(params):
            own = wavy().apply(params, {}, jnp.asarray(y), jnp.asarray(t))[0]
            return jnp.sum(jnp.asarray(weights) * (own - jnp.asarray(u)) ** 2)

        def loss(params):
            return value_of(objective, {"velocity": params}, batch)

        for params in (jnp.array([0.5, -0.3, 0.2]), jnp.array([-1.0, 0.7, 0.4])):
            ours, gradient = jax.value_and_grad(loss)(params)
            theirs, expected = jax.value_and_grad(marginal)(params)
            np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6)
            assert float(ours - theirs) == pytest.approx(left, rel=1e-6)


def best(x, t):
    """The velocity of N(MEAN, SCALE²) on the straight path: the mean of ε − x given x_t."""
    variance = (1 - t) ** 2 * SCALE**2 + t**2
    return (t - (1 - t) * SCALE**2) / variance * (x - (1 - t) * MEAN) - MEAN


def best_flow(**options):
    return flows.continuous(from_functions(lambda key, x, t: {}, lambda params, x, t: best(x, t)), **options)


@pytest.mark.thorough
def test_the_best_velocity_of_normal_data_has_the_loss_that_is_left_out():
    with jax.enable_x64(True):
        (x, t, noise), weights = grid(hermite(4), legendre(40, 0.0, 1.0), hermite(4))
        objective = matched(best_flow(), noise[:, None], t)
        batch = {"x": jnp.asarray(MEAN + SCALE * x)[:, None], "@weights": jnp.asarray(weights)}
        found = value_of(objective, {"velocity": {}}, batch)
        times, share = legendre(200, 0.0, 1.0)
        covariance, variance = times - (1 - times) * SCALE**2, (1 - times) ** 2 * SCALE**2 + times**2
        assert float(found) == pytest.approx(share @ (1 + SCALE**2 - covariance**2 / variance), rel=1e-9)


WAYS = {
    "rk4": ({"steps": 24}, 1e-4),
    "heun": ({"steps": 64, "method": "heun"}, 2e-3),
    "midpoint": ({"steps": 64, "method": "midpoint"}, 2e-3),
    "euler": ({"steps": 1000, "method": "euler"}, 5e-3),
    "hutchinson": ({"steps": 24, "trace": "hutchinson"}, 1e-4),
}


@pytest.mark.thorough
@pytest.mark.parametrize("way", [*WAYS, "adaptive"])
def test_the_best_velocity_of_normal_data_is_the_flow_from_it(way):
    """Its map is z = (x − MEAN)/SCALE, so that densities, samples and covariances are those of the data."""
    import diffrax

    options, error = ({"solver": diffrax.Tsit5(), "tolerance": 1e-6}, 1e-3) if way == "adaptive" else WAYS[way]
    flow = flows.Flow(vifx.standard_normal(3), best_flow(**options))
    x = MEAN + SCALE * jax.random.normal(jax.random.key(0), (50, 3))
    key = jax.random.key(1)
    exact = Normal(jnp.full(3, MEAN), jnp.full(3, SCALE)).to_event(1).log_prob(x)
    bits = jax.jit(lambda x: flow.log_prob({}, {}, x, key=key))(x) / jnp.log(2.0)
    np.testing.assert_allclose(bits, exact / np.log(2), atol=max(1e-3, 10 * error))
    z = jax.jit(lambda x: flow.encode({}, {}, x, key=key))(x)
    np.testing.assert_allclose(z, (x - MEAN) / SCALE, atol=10 * error)
    np.testing.assert_allclose(jax.jit(lambda z: flow.decode({}, {}, z, key=key))(z), x, atol=10 * error)


@pytest.mark.thorough
@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2), ("rk4", 4)])
def test_methods_have_their_order(method, order):
    with jax.enable_x64(True):
        z = jnp.linspace(-2.0, 2.0, 9)[:, None]

        def error(steps):
            flow = best_flow(steps=steps, method=method)
            x, log_det = flow.inverse({}, {}, z)
            return max(jnp.max(jnp.abs(x - MEAN - SCALE * z)), jnp.max(jnp.abs(log_det - np.log(SCALE))))

        coarse, fine = float(error(128)), float(error(256))
        assert np.log2(coarse / fine) == pytest.approx(order, abs=0.25)


@pytest.mark.thorough
def test_of_the_flow_of_a_denoiser_it_is_the_loss_of_diffusion_with_other_weights():
    """``‖v − u‖² = ¼ γ′² σ² ‖ε − ε̂‖²`` at equal noise and time."""
    with jax.enable_x64(True):
        rows = 7
        draw = np.random.default_rng(0)
        x, noise, t = draw.normal(size=(rows, 2)), draw.normal(size=(rows, 2)), draw.uniform(size=rows)
        schedule = diffusion.linear_log_snr(start=-6.0, end=4.0)
        network = from_functions(
            lambda key, z, t: jnp.array([0.3, -0.2]), lambda params, z, t: jnp.sin(params[None] * z) + t
        )
        for predicts in ("noise", "data", "v", "score"):
            reverse = diffusion.reverse(network, schedule, (2,), predicts=predicts)
            objective = matched(diffusion.flow(reverse, schedule), noise, t, path=matching.scheduled(schedule))
            batch = {"x": jnp.asarray(x)}
            params, state = objective.init(jax.random.key(0), batch)
            level = schedule.level(jnp.asarray(t))
            z = level.alpha[:, None] * x + level.sigma[:, None] * noise
            chain, _ = reverse.apply(params["velocity"], {"network": {}})
            errors = chain.denoise(z, level.gamma).squared_error(jnp.asarray(x), jnp.asarray(noise))
            expected = jnp.mean(100 * level.sigma**2 / 4 * errors)
            assert float(value_of(objective, params, batch, state)) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.thorough
def test_a_path_lies_between_what_is_before_and_behind_the_continuous_flow():
    draw = np.random.default_rng(1)
    x, noise, t = draw.uniform(0.2, 0.8, (6, 2, 1)), draw.normal(size=(6, 2)), draw.uniform(size=6)
    x, noise, t = (each.astype(np.float32) for each in (x, noise, t))
    network = from_functions(lambda key, x, t: jnp.array(0.5), lambda params, x, t: params * x + t[:, :, None])
    double = flows.pointwise("double", lambda x: 2 * x, lambda z: z / 2)
    further = flows.pointwise("further", lambda x: x + 1, lambda z: z - 1)
    layers = flows.logit(alpha=0.1), flows.continuous(network, time=2.0), flows.flatten(), double, further
    objective = matched(flows.chain(*layers), noise, t)
    params, state = objective.init(jax.random.key(0), {"x": jnp.asarray(x)})
    inside = np.log((0.1 + 0.8 * x) / (0.9 - 0.8 * x))
    end = ((noise - 1) / 2).reshape(6, 2, 1)
    s = t[:, None, None]
    expected = 2 * (0.5 * ((1 - s) * inside + s * end) + 2 * s) - (end - inside)
    loss, aux = objective.players["model"].loss(jax.random.key(0), params, state, {"x": jnp.asarray(x)})
    assert float(loss) == pytest.approx(float(np.mean(np.sum(expected**2, axis=(1, 2)))), rel=1e-5)
    assert jax.tree.structure(aux.state) == jax.tree.structure(state)


@pytest.mark.thorough
def test_conditions_reach_the_velocity_and_a_latent_comes_from_its_encoder_which_stands_still():
    draw = np.random.default_rng(2)
    encoder = from_functions(
        lambda key, x: jnp.array(2.0), lambda scale, x: Normal(scale * x, jnp.full_like(x, 1e-6)).to_event(1)
    )
    network = from_functions(lambda key, z, t, y: jnp.array(0.5), lambda a, z, t, y: a * z + y)
    flow = flows.conditioned(flows.continuous(network), from_functions(lambda key, y: {}, lambda params, y: y[:, None]))
    noise, t = draw.normal(size=(5, 2)).astype(np.float32), draw.uniform(size=5).astype(np.float32)
    generative = vifx.Joint(
        vifx.evidence("y"),
        vifx.transformed("z | y", Nodes(jnp.asarray(noise)), flow, name="velocity"),
        vifx.factor("x | z", lambda z: Normal(z, jnp.ones_like(z)).to_event(1)),
    )
    inference = vifx.Joint(vifx.evidence("x", "y"), vifx.factor("z | x", encoder, name="encoder"))
    fixed = TimeWeights("nodes", lambda rank: jnp.asarray(t))
    objective = vifx.flow_matching(inference, generative, weighting=fixed, on="z")
    x, y = draw.normal(size=(5, 2)).astype(np.float32), draw.normal(size=5).astype(np.float32)
    batch = {"x": jnp.asarray(x), "y": jnp.asarray(y)}
    params, state = objective.init(jax.random.key(0), batch)
    assert objective.players["model"].owns == ("velocity",)

    def loss(params):
        return value_of(objective, params, batch, state)

    value, gradient = jax.value_and_grad(loss)(params)
    s, z = t[:, None], 2 * x
    expected = 0.5 * ((1 - s) * z + s * noise) + y[:, None] - (noise - z)
    assert float(value) == pytest.approx(float(np.mean(np.sum(expected**2, axis=1))), rel=1e-3)
    assert float(gradient["encoder"]) == 0
    assert float(jnp.abs(gradient["velocity"]["bijection"])) > 0.01


@pytest.mark.thorough
def test_a_trained_flow_of_two_moons_is_a_bijection_with_the_density_of_its_samples():
    import optax

    from vifx import data, training

    moons = data.load(data.Config("two_moons"))
    bijection = flows.continuous(networks.PointDenoiser((32, 32)), steps=64)
    inference = vifx.Joint(vifx.evidence("x"))
    generative = vifx.Joint(vifx.transformed("x", vifx.standard_normal(2), bijection, name="velocity"))
    objective = vifx.flow_matching(inference, generative, pairing="optimal")
    step = training.averaged(training.optimize(objective, optax.adam(3e-3)), 0.98)
    source = data.Resident({"x": moons.train["x"]}, 128, 0)
    run = training.fit(jax.random.key(0), step, objective, source, steps=600, log_every=300, observe=None)
    trained = training.evaluated(run.train_state)
    own, state = trained.params["velocity"], trained.state["velocity"]
    found = flows.check(bijection, jnp.asarray(moons.test["x"][:8]), params=own, state=state, tolerance=20)
    assert found.round_trip < 1e-3
    log_prob = jax.jit(lambda x: generative.log_prob(trained.params, trained.state, {"x": x})["x"])
    truth = data.law("two_moons").log_prob(moons.test["x"][:1000])
    gap = float(np.mean(truth - np.asarray(log_prob(jnp.asarray(moons.test["x"][:1000])))))
    assert 0 < gap < 0.4
    samples = np.asarray(generative.sample(jax.random.key(1), trained.params, trained.state, examples=4000).values["x"])
    np.testing.assert_allclose(np.cov(samples.T), np.cov(moons.test["x"].T), atol=0.06)


@pytest.mark.thorough
def test_it_says_what_it_is_and_what_it_leaves_out():
    generative = vifx.Joint(vifx.transformed("x", vifx.standard_normal(2), flows.cnf(), name="velocity"))
    objective = vifx.flow_matching(
        vifx.Joint(vifx.evidence("x")), generative, pairing="optimal", weighting=matching.logit_normal()
    )
    assert objective.dropped == ("− ∫ w(t) E tr Var(u | x_t) dt",)
    text = vifx.explain(objective)
    assert "neither a divergence nor a bound" in text
    assert "weighted by w = logit_normal(mean=0, scale=1); noise by optimal transport in the batch" in text
    assert "logistic" not in text
    with pytest.raises(ValueError, match="verify"):
        vifx.verify(objective, {}, {}, {"x": jnp.ones((2, 2))})


LINE = vifx.Joint(vifx.evidence("x"))
FLOW = vifx.transformed("x", vifx.standard_normal(2), flows.cnf(hidden=(4,)), name="velocity")
BIASED = from_functions(lambda key, x, t: {}, lambda params, x, t: x[:, :1])
WRONG = [
    (lambda: vifx.flow_matching(LINE, vifx.Joint(FLOW), pairing="sinkhorn"), "pairing"),
    (lambda: vifx.flow_matching(LINE, vifx.Joint(FLOW), times="all"), "times"),
    (lambda: vifx.flow_matching(LINE, vifx.Joint(FLOW), on="y"), "no continuous flow of 'y'"),
    (lambda: vifx.flow_matching(vifx.Joint(vifx.evidence("y")), vifx.Joint(FLOW)), "has no 'x'"),
    (
        lambda: vifx.flow_matching(LINE, vifx.Joint(vifx.factor("x", vifx.standard_normal(2)))),
        "has no continuous flow; write",
    ),
    (
        lambda: vifx.flow_matching(
            vifx.Joint(vifx.evidence("x", "z")),
            vifx.Joint(FLOW, vifx.transformed("z", vifx.standard_normal(2), flows.cnf(), name="other")),
        ),
        "several continuous flows",
    ),
]


@pytest.mark.thorough
@pytest.mark.parametrize(("call", "words"), WRONG, ids=[words for _, words in WRONG])
def test_wrong_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.thorough
def test_wrong_batches_and_networks():
    batch = {"x": jnp.ones((1, 2))}
    objective = vifx.flow_matching(LINE, vifx.Joint(FLOW), pairing="optimal")
    params, state = objective.init(jax.random.key(0), batch)
    with pytest.raises(ValueError, match="two examples or more"):
        objective.players["model"].loss(jax.random.key(0), params, state, batch)
    other = vifx.transformed("x", vifx.standard_normal(2), flows.continuous(BIASED), name="velocity")
    with pytest.raises(ValueError, match="must return the event's shape"):
        vifx.flow_matching(LINE, vifx.Joint(other)).init(jax.random.key(0), batch)
    wide = vifx.transformed("x", vifx.standard_normal(4), flows.cnf(hidden=(4,)), name="velocity")
    objective = vifx.flow_matching(LINE, vifx.Joint(wide))
    params, state = objective.init(jax.random.key(0), batch)
    with pytest.raises(ValueError, match="its base has"):
        objective.players["model"].loss(jax.random.key(0), params, state, batch)
