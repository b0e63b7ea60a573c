"""The proximal term, score functions, variational Bayes by a critic, and what an adversarial objective refuses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vifx
from vifx import Joint, evidence, factor, implicit, nets, standard_normal
from vifx.core.conditional import fold
from vifx.distributions import Categorical, Normal
from vifx.verification import tabular

RUNS = 3000


class Laplace:
    """A family without a closed form here: location [rows] and one scale."""

    event_shape = ()

    def __init__(self, loc, scale, has_rsample):
        self.loc, self.scale, self.has_rsample, self.batch_shape = loc, scale, has_rsample, loc.shape

    def sample(self, key, sample_shape=()):
        shape = (*sample_shape, *self.loc.shape)
        noise = jax.random.laplace(key, shape, self.loc.dtype)
        value = jnp.broadcast_to(self.loc, shape) + self.scale * noise
        return value if self.has_rsample else jax.lax.stop_gradient(value)

    def log_prob(self, value):
        loc = jnp.broadcast_to(self.loc, value.shape)
        return -jnp.abs(value - loc) / self.scale - jnp.log(2 * self.scale)


def known(value):
    """A network's initial parameters that are given."""
    return lambda key, *inputs: jax.tree.map(jnp.asarray, value)


def linear_critic(slope=1.0):
    return nets.from_functions(known(slope), lambda v, x: v * x.reshape(len(x), -1)[:, 0])


def gradients(objective, params, keys, batch, metric=None):
    """Gradients of the model's loss, or of one of its metrics, for many keys: means and standard errors."""
    player = objective.players["model"]

    def value(owned, key):
        total, aux = player.loss(key, {**params, **owned}, {}, batch)
        return total if metric is None else aux.metrics[metric]

    owned = {name: params[name] for name in player.owns}
    found = jax.jit(jax.vmap(jax.grad(value), (None, 0)))(owned, keys)
    flat = np.concatenate([np.asarray(leaf).reshape(len(keys), -1) for leaf in jax.tree.leaves(found)], axis=1)
    return flat.mean(axis=0), flat.std(axis=0) / np.sqrt(len(keys))


def expect_mean(found, expected):
    """The mean is within 4 standard errors of what is expected, and these are small beside it."""
    mean, error = found
    assert np.max(np.abs(mean - expected) / error) < 4
    assert np.max(np.abs(expected) / error) > 12  # zero would be refused


@pytest.mark.thorough
@pytest.mark.parametrize("has_rsample", [True, False])
def test_proximal_term_without_a_closed_form_is_the_mean_log_ratio(x64, has_rsample):
    """Its value on the draws; its gradient the divergence's in the mean, and zero draw by draw at the anchor."""
    net = nets.from_functions(
        known({"m": 0.0, "s": 0.0}), lambda p, y: Laplace(p["m"] + y, jnp.exp(p["s"]), has_rsample)
    )
    generative = Joint(evidence("y"), factor("x | y", net, name="generator"))
    objective = vifx.adversarial(Joint(evidence("y", "x")), generative, linear_critic(0.0), on="x", proximal=1.0)
    batch = {name: jnp.asarray(np.random.default_rng(1).normal(size=4)) for name in ("y", "x")}
    now, anchor = {"m": jnp.asarray(0.6), "s": jnp.asarray(0.2)}, {"m": jnp.asarray(0.0), "s": jnp.asarray(-0.1)}
    params = {"critic": jnp.asarray(0.0), "generator": now, "generator@anchor": anchor}

    def divergence(p):
        """Between Laplace distributions: log(b/a) + (a e^(−d/a) + d)/b − 1."""
        a, b, d = jnp.exp(p["s"]), jnp.exp(anchor["s"]), jnp.abs(p["m"] - anchor["m"])
        return jnp.log(b / a) + (a * jnp.exp(-d / a) + d) / b - 1

    key = jax.random.key(3)
    x = generative.sample(fold(key, "generative"), params, {}, batch).values["x"]
    log_prob = [Laplace(p["m"] + batch["y"], jnp.exp(p["s"]), True).log_prob(x) for p in (now, anchor)]
    metrics = objective.players["model"].loss(key, params, {}, batch)[1].metrics
    np.testing.assert_allclose(metrics["proximal/x"], jnp.mean(log_prob[0] - log_prob[1]), rtol=1e-12)
    keys = jax.random.split(jax.random.key(4), RUNS)
    slopes = np.asarray(jax.tree.leaves(jax.grad(divergence)(now)))
    expect_mean(gradients(objective, params, keys, batch, "proximal/x"), slopes)
    params["generator@anchor"] = now
    mean, error = gradients(objective, params, jax.random.split(jax.random.key(5), 50), batch, "proximal/x")
    np.testing.assert_allclose([mean, error], 0, atol=1e-15)


def test_the_weight_of_the_proximal_term_is_that_of_a_gaussian_of_all_elements(x64):
    """Equation (7): λ times the mean over D elements is the KL between Gaussians around G and G°, λ = D/(2σ²)."""
    elements, scale = 6, 0.5
    weight = elements / (2 * scale**2)
    generator = nets.from_functions(known(np.ones(elements)), lambda v, z: z + v[None])
    generative = Joint(factor("z", standard_normal(elements)), implicit("x | z", generator, name="generator"))
    batch = {"x": jnp.zeros((50, elements))}
    losses = []
    for proximal in (0.0, weight):
        objective = vifx.adversarial(
            Joint(evidence("x")), generative, linear_critic(), on="x", proximal=proximal, form="nonsaturating"
        )
        params, state = objective.init(jax.random.key(0), batch)
        params = {**params, "generator@anchor": params["generator"], "generator": params["generator"] + 0.1}
        loss = objective.players["model"].loss(jax.random.key(1), params, state, batch)
        losses.append(loss[0])
    between = elements * 0.1**2 / (2 * scale**2)  # KL(N(G, σ² I) ‖ N(G°, σ² I))
    np.testing.assert_allclose(losses[1] - losses[0], between, rtol=1e-9)


@pytest.mark.thorough
def test_proximal_schedules_count_the_updates_of_the_model(x64):
    generator = nets.from_functions(known(2.0), lambda v, z: v * z)
    generative = Joint(factor("z", standard_normal(3)), implicit("x | z", generator, name="generator"))
    schedule = lambda count: 5.0 / (1 + count.astype(float))  # noqa: E731
    batch = {"x": jnp.zeros((4, 3))}
    plain, scheduled = (
        vifx.adversarial(Joint(evidence("x")), generative, linear_critic(), on="x", proximal=each)
        for each in (5.0, schedule)
    )
    params, state = scheduled.init(jax.random.key(0), batch)
    assert int(state["model@updates"]) == 0
    assert "model@updates" not in plain.init(jax.random.key(0), batch)[1]
    params = {**params, "generator@anchor": jnp.asarray(1.5)}
    state = {**state, "model@updates": jnp.asarray(3, jnp.int32)}
    key = jax.random.key(1)
    z = standard_normal(3).sample(fold(key, "generative", "z", "draw"), (4,))
    squares = float(jnp.mean((0.5 * z) ** 2))
    adversarial = float(jnp.mean(jnp.log1p(jnp.exp(-2 * z[:, 0]))))
    value, aux = plain.players["model"].loss(key, params, state, batch)
    np.testing.assert_allclose(value, adversarial + 5 * squares, rtol=1e-12)
    np.testing.assert_allclose(aux.metrics["proximal/x"], squares, rtol=1e-12)  # unweighted
    value, aux = scheduled.players["model"].loss(key, params, state, batch)
    np.testing.assert_allclose(value, adversarial + 5 / 4 * squares, rtol=1e-12)
    np.testing.assert_allclose(aux.metrics["weight/proximal/x"], 1.25)
    with pytest.raises(ValueError, match="state lacks 'model@updates', which scheduled weights read"):
        scheduled.players["model"].loss(key, params, {}, batch)


@pytest.mark.thorough
def test_finite_latents_beside_reals_use_the_score_function(x64):
    """The gradient's mean is that of the mixture by quadrature, of its weights too."""

    def component(p, k):
        return Normal(p[k][:, None], jnp.full((len(k), 1), 0.5)).to_event(1)

    means = nets.from_functions(known([-1.0, 0.5, 2.0]), component)
    generative = Joint(factor("k", tabular(states=3), name="weights"), factor("x | k", means, name="components"))
    objective = vifx.adversarial(Joint(evidence("x")), generative, linear_critic(1.5), on="x")
    batch = {"x": jnp.zeros((8, 1))}
    params = {
        "weights": jnp.asarray([0.2, -0.4, 0.3]),
        "components": jnp.asarray([-1.0, 0.5, 2.0]),
        "critic": jnp.asarray(1.5),
    }
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()

    def exact(owned):
        x = owned["components"][:, None] + 0.5 * nodes[None]
        at = jnp.sum(weights[None] * jnp.log1p(jnp.exp(-1.5 * x)), axis=1)
        return jnp.sum(jax.nn.softmax(owned["weights"]) * at)

    owned = {name: params[name] for name in objective.players["model"].owns}
    expected = np.concatenate([np.asarray(leaf) for leaf in jax.tree.leaves(jax.grad(exact)(owned))])
    found = gradients(objective, params, jax.random.split(jax.random.key(2), RUNS), batch)
    expect_mean(found, expected)
    assert np.max(np.abs(found[0] - expected)[3:] / found[1][3:]) < 4  # of the weights alone
    assert np.max(np.abs(expected)[3:] / found[1][3:]) > 12


def by_critic(inference, critic, prior, **options):
    """KL(p(z|x) ‖ q(z)) by a critic that sees x and z: adversarial variational Bayes."""
    other = Joint(evidence("x"), factor("z", prior))
    how = {"divergence": "reverse_kl", "form": "minimax", "critic_divergence": "labelled_kl"}
    return vifx.adversarial(inference, other, critic, on=("x", "z"), **how, **options)


@pytest.mark.thorough
def test_adversarial_variational_bayes_has_the_gradient_of_the_elbo_on_finite_spaces(x64):
    prior = Categorical(logits=jnp.asarray([0.3, -0.2, 0.5]))
    inference = Joint(evidence("x"), factor("z | x", tabular(4, states=3), name="encoder"))
    generative = Joint(factor("z", prior), factor("x | z", tabular(3, states=4), name="decoder"))
    critic = nets.from_functions(lambda key, x, z: jnp.zeros((4, 3)), lambda table, x, z: table[x, z])
    objective = by_critic(inference, critic, prior) + vifx.reconstruction(inference, generative)
    explicit = vifx.kl(inference, generative)
    batch = {"x": jnp.asarray([0, 1, 1, 2, 3, 3])}
    params, state = objective.init(jax.random.key(0), batch)
    log_ratio = jax.nn.log_softmax(jnp.asarray([0.3, -0.2, 0.5]))[None] - jax.nn.log_softmax(params["encoder"], axis=1)
    params["critic"] = log_ratio

    def value(objective, owned):
        return objective.players["model"].loss(jax.random.key(1), {**params, **owned}, state, batch)[0]

    owned = {name: params[name] for name in ("encoder", "decoder")}
    one, other = (jax.value_and_grad(lambda own, made=made: value(made, own))(owned) for made in (objective, explicit))
    np.testing.assert_allclose(one[0], other[0] + 1, rtol=1e-12)  # f*(T) is ℓ − 1
    for name in owned:
        np.testing.assert_allclose(one[1][name], other[1][name], atol=1e-13)
    # The critic's turn is a classification, whose best output is that ratio.
    slope = jax.grad(
        lambda c: objective.players["critic"].loss(jax.random.key(1), {**params, "critic": c}, state, batch)[0]
    )
    np.testing.assert_allclose(slope(log_ratio), 0, atol=1e-13)
    assert float(jnp.max(jnp.abs(slope(log_ratio + 0.3)))) > 1e-2


@pytest.mark.thorough
def test_adversarial_variational_bayes_on_normals(x64):
    """With the exact log ratio as critic, the gradient's mean is that of the closed-form divergence."""

    def moments(p, x):
        return p["w"] * x, jnp.exp(p["s"]) * jnp.ones_like(x)

    start = {"w": 0.8, "s": -0.4}
    encoder = nets.from_functions(known(start), lambda p, x: Normal(*moments(p, x)).to_event(1))

    def ratio(p, x, z):
        mean, scale = moments(p, x)
        return jnp.sum(-0.5 * z**2 + 0.5 * ((z - mean) / scale) ** 2 + jnp.log(scale), axis=1)

    inference = Joint(evidence("x"), factor("z | x", encoder, name="encoder"))
    objective = by_critic(inference, nets.from_functions(known(start), ratio), standard_normal(1))
    batch = {"x": jnp.asarray(np.random.default_rng(0).normal(size=(8, 1)))}
    params = {"encoder": jax.tree.map(jnp.asarray, start), "critic": jax.tree.map(jnp.asarray, start)}

    def closed(p):
        mean, scale = moments(p, batch["x"])
        return jnp.mean(0.5 * (mean**2 + scale**2 - 1) - jnp.log(scale))

    expected = np.asarray(jax.tree.leaves(jax.grad(closed)(params["encoder"])))
    expect_mean(gradients(objective, params, jax.random.split(jax.random.key(2), RUNS), batch), expected)


def pair():
    generator = nets.from_functions(known(np.eye(2, dtype=np.float32)), lambda v, z: z @ v)
    return Joint(evidence("x")), Joint(factor("z", standard_normal(2)), implicit("x | z", generator, name="generator"))


BATCH = {"x": jnp.ones((4, 2))}


def test_bad_arguments_are_refused():
    inference, generative = pair()

    def make(critic=None, *, on="x", **options):
        return vifx.adversarial(inference, generative, linear_critic() if critic is None else critic, on=on, **options)

    refused = {
        r"on='z', but the inference joint p̃\(x\) has no such variable": {"on": "z"},
        "on must name one or more different variables": {"on": ()},
        r"form must be one of .*got 'nonsaturatin'; did you mean 'nonsaturating'\?": {"form": "nonsaturatin"},
        r"divergence 'pearsonn' is unknown; did you mean 'pearson'\?": {"divergence": "pearsonn"},
        "form='full' is of divergence='labelled_kl' alone; hinge has": {"form": "full", "divergence": "hinge"},
        "form='full' needs the density of every network, but δ generator": {"form": "full"},
        "proximal must be a finite number ≥ 0, got -1; or give a schedule": {"proximal": -1},
        "proximal must be a finite number ≥ 0, got nan": {"proximal": float("nan")},
        "the weight of a penalty must be a finite number ≥ 0": {"penalties": ((-0.1, lambda *at: None),)},
        "critic_divergence: the critic of divergence='hinge' does not": {
            "divergence": "hinge",
            "critic_divergence": "labelled_kl",
        },
        "critic_divergence: the critic of critic_divergence='hinge'": {"critic_divergence": "hinge"},
    }
    for message, options in refused.items():
        with pytest.raises(ValueError, match=message):
            make(**options)
    for penalty in (3.0, (1.0, 2.0)):
        with pytest.raises(TypeError, match=r"penalties: expected functions such as vifx\.lipschitz\.r1"):
            make(penalties=(penalty,))
    with pytest.raises(TypeError, match="critic must be a Net, a Flax Linen or an NNX module"):
        make(lambda x: x)
    with pytest.raises(TypeError, match="inference must be a Joint, got int"):
        vifx.adversarial(3, generative, linear_critic(), on="x")
    with pytest.raises(ValueError, match="there is nothing to train"):
        vifx.adversarial(inference, Joint(factor("x", standard_normal(2))), linear_critic(), on="x")


def test_full_form_refuses_a_variable_of_a_that_the_critic_does_not_see(x64):
    """E_B log A°/A of the joints is not that of the marginals: its gradient at the anchor is another one."""
    joints = (
        Joint(
            evidence("x"),
            factor("w | x", tabular(4, states=2), name="high"),
            factor("z | w, x", tabular(2, 4, states=3), name="low"),
        ),
        Joint(
            factor("w", tabular(states=2), name="prior"),
            factor("z | w", tabular(2, states=3), name="middle"),
            factor("x | z, w", tabular(3, 2, states=4), name="decoder"),
        ),
    )
    critic = nets.from_functions(lambda key, x, z: jnp.zeros((4, 3)), lambda table, x, z: table[x, z])
    with pytest.raises(ValueError, match=r"has 'w' too; compare all its variables, on=\('x', 'w', 'z'\)"):
        vifx.adversarial(*joints, critic, on=("x", "z"), form="full")
    assert vifx.adversarial(*joints, critic, on=("x", "z")).players["model"].anchors == ()


@pytest.mark.thorough
def test_what_networks_and_batches_give_is_checked():
    inference, generative = pair()

    def run(critic, batch=BATCH, player="critic", **options):
        objective = vifx.adversarial(inference, generative, critic, on="x", **options)
        params, state = objective.init(jax.random.key(0), BATCH)
        return objective.players[player].loss(jax.random.key(1), params, state, batch)

    def critic(function):
        return nets.from_functions(known(1.0), lambda v, x: function(x))

    for function, shape in ((lambda x: x, r"\[4, 2\]"), (lambda x: x[:, :, None], r"\[4, 2, 1\]"), (jnp.sum, r"\[\]")):
        with pytest.raises(ValueError, match=rf"shape \[4\] or \[4, 1\], got {shape}; end it with a layer of one unit"):
            run(critic(function))
    with pytest.raises(TypeError, match="must be floating logits, got an array of bool"):
        run(critic(lambda x: x[:, 0] > 0))
    with pytest.raises(TypeError, match="must be floating logits, got Normal"):
        run(critic(lambda x: Normal(x[:, 0], jnp.ones(4))))
    with pytest.raises(ValueError, match=r"'x' is uint8\[2\] per example in the inference joint, but float32\[2\]"):
        run(linear_critic(), {"x": jnp.ones((4, 2), jnp.uint8)})
    with pytest.raises(ValueError, match=r"float32\[3\] per example in the inference joint, but float32\[2\]"):
        run(linear_critic(), {"x": jnp.ones((4, 3))})
    for empty in ({}, {"x": jnp.ones((0, 2))}):
        with pytest.raises(ValueError, match="batch is empty; its leading axis says how many examples"):
            run(linear_critic(), empty, "model")
    with pytest.raises(ValueError, match=r"params lacks 'generator@anchor'.*training.anchored\(step, 'generator'\)"):
        run(linear_critic(), player="model", proximal=1.0)
    objective = vifx.adversarial(inference, generative, linear_critic(), on="x")
    with pytest.raises(ValueError, match="params lacks 'critic', the critic"):
        objective.players["critic"].loss(jax.random.key(0), {"generator": jnp.eye(2)}, {}, BATCH)

    tables = Joint(factor("x", tabular(states=3), name="table"))
    flat = critic(lambda x: jnp.zeros(x.shape))
    penalized = vifx.adversarial(inference, tables, flat, on="x", penalties=(vifx.lipschitz.r1(1.0),))
    batch = {"x": jnp.arange(3)}
    params, state = penalized.init(jax.random.key(0), batch)
    with pytest.raises(ValueError, match="penalties act on drawn reals, but the variables x are finite and summed"):
        penalized.players["critic"].loss(jax.random.key(0), params, state, batch)


def test_owners_are_unique_also_in_sums():
    inference, generative = pair()
    clash = Joint(
        factor("z", standard_normal(2)),
        implicit("x | z", nets.from_functions(known(1.0), lambda v, z: v * z), name="critic"),
    )
    with pytest.raises(ValueError, match="owner 'critic' has two networks"):
        vifx.adversarial(inference, clash, linear_critic(), on="x")
    first, second = (vifx.adversarial(inference, generative, linear_critic(), on="x") for _ in range(2))
    with pytest.raises(ValueError, match="owner 'critic' has two networks"):
        first + second
    named = vifx.adversarial(inference, generative, linear_critic(), on="x", name="other")
    both = first + named
    assert both.players["critic"].owns == ("critic", "other_critic")
    params, state = both.init(jax.random.key(0), BATCH)
    value, aux = both.players["critic"].loss(jax.random.key(1), params, state, BATCH)
    np.testing.assert_allclose(value, 2 * first.players["critic"].loss(jax.random.key(1), params, state, BATCH)[0])
    assert {"critic/accuracy", "other/critic/accuracy", "js/x_at_least", "other/js/x_at_least"} <= set(aux.metrics)
