"""Adversarial losses on continuous variables against the same losses written by hand on the same draws."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vifx
from vifx import Joint, evidence, factor, implicit, nets, networks, standard_normal
from vifx.core.conditional import fold
from vifx.distributions import Normal

EXAMPLES, DATA, LATENT, CLASSES = 6, 2, 3, 3
KEY = 7
LOG_99 = np.log(99)
GAMES = ["labelled_kl", "wasserstein", "hinge", "least_squares", "relativistic"]


def network(*sizes, outputs):
    """One hidden layer on all inputs side by side; integers are one-hot."""

    def init(key, *inputs):
        del inputs
        keys = jax.random.split(key, 3)
        shapes = ((sum(sizes), 5), (5, outputs), (1, outputs))
        return [jax.random.normal(k, shape, jnp.result_type(float)) for k, shape in zip(keys, shapes, strict=True)]

    def apply(params, *inputs):
        first, second, bias = params
        real = [
            x if jnp.issubdtype(x.dtype, jnp.floating) else jax.nn.one_hot(x, size, dtype=first.dtype)
            for x, size in zip(inputs, sizes, strict=True)
        ]
        return jnp.tanh(jnp.concatenate(real, axis=1) @ first) @ second + bias

    return nets.from_functions(init, apply), apply


def normal(*sizes, outputs):
    """A network whose output is a normal conditional, and the functions of its mean and scale."""
    net, apply = network(*sizes, outputs=2 * outputs)

    def moments(params, *inputs):
        mean, spread = jnp.split(apply(params, *inputs), 2, axis=1)
        return mean, 0.5 + jax.nn.softplus(spread)

    def conditional(params, *inputs):
        return Normal(*moments(params, *inputs)).to_event(1)

    return nets.from_functions(lambda key, *inputs: net.init(key, *inputs)[0], conditional), moments


GENERATOR, generate = network(LATENT, outputs=DATA)
CRITIC, judge = network(DATA, outputs=1)


def data():
    rng = np.random.default_rng(0)
    real = jnp.result_type(float)
    return {
        "x": jnp.asarray(rng.normal(size=(EXAMPLES, DATA)), real),
        "y": jnp.asarray(rng.integers(0, CLASSES, EXAMPLES)),
    }


def gan_joints(generator=GENERATOR):
    return (
        Joint(evidence("x")),
        Joint(factor("z", standard_normal(LATENT)), implicit("x | z", generator, name="generator")),
    )


def gan(critic=CRITIC, **options):
    return vifx.adversarial(*gan_joints(), critic, on="x", **options)


def start(objective, anchors=False):
    """Parameters, and with `anchors` an anchor of every network of the model elsewhere."""
    params, state = objective.init(jax.random.key(1), data())
    if anchors:
        other = objective.init(jax.random.key(2), data())[0]
        params |= {f"{name}@anchor": other[name] for name in objective.players["model"].owns}
    return params, state


def noise():
    """The latents of a GAN's loss with this key."""
    return standard_normal(LATENT).sample(fold(jax.random.key(KEY), "generative", "z", "draw"), (EXAMPLES,))


def latents(joint, params, state, role="generative"):
    """What a loss with this key draws."""
    key = fold(jax.random.key(KEY), role)
    return joint.sample(key, params, state, data(), examples=EXAMPLES, train=True).values


def loss(objective, player, params, state):
    return objective.players[player].loss(jax.random.key(KEY), params, state, data())[0]


def largest(objective, player, params, state, oracle):
    """The largest error, absolute or relative, of the value and of any partial derivative that the player follows."""
    owned = {name: params[name] for name in objective.players[player].owns}
    one = jax.value_and_grad(lambda own: loss(objective, player, {**params, **own}, state))(owned)
    other = jax.value_and_grad(lambda own: oracle({**params, **own}))(owned)
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(float(np.max(np.abs(x - y) / np.maximum(1, np.abs(y)))) for x, y in pairs)


def compare(cases, anchors=False):
    """Check many ``{label: (objective, player, oracle)}``, whose networks the last one has."""
    params, state = start(list(cases.values())[-1][0], anchors)  # not compiled: each would be a program of its own
    found = {label: largest(objective, player, params, state, f) for label, (objective, player, f) in cases.items()}
    assert {label: error for label, error in found.items() if not error < 1e-11} == {}


def outputs(params, z):
    """The critic at the data and at the samples."""
    return judge(params["critic"], data()["x"])[:, 0], judge(params["critic"], generate(params["generator"], z))[:, 0]


def gan_cases(label, objective, critic, models):
    """Cases of one game: the critic's pair of functions, and the model's at B for each form."""
    z, (at_a, at_b) = noise(), critic

    def critic_oracle(params):
        a, b = outputs(params, z)
        return jnp.mean(at_a(a)) + jnp.mean(at_b(b))

    yield f"{label} critic", (objective, "critic", critic_oracle)
    for form, (made, of_b) in models.items():
        yield f"{label} {form}", (made, "model", lambda params, f=of_b: jnp.mean(f(outputs(params, z)[1])))


@pytest.mark.thorough
@pytest.mark.first(1)
@pytest.mark.parametrize("prior", [0.5, 0.2])
def test_labelled_kl_by_hand(x64, prior):
    def critic(logit):
        odds = prior / (1 - prior) * jnp.exp(logit)
        return odds / (1 + odds)

    def options(form):
        return gan(label_prior=prior, form=form)

    share_a, share_b = 2 * prior, 2 * (1 - prior)
    pair = (lambda a: -share_a * jnp.log(critic(a)), lambda b: -share_b * jnp.log(1 - critic(b)))

    def nonsaturating(b):
        return -share_b * jnp.log(critic(b))

    def minimax(b):
        return share_b * jnp.log(1 - critic(b))

    models = {form: (options(form), nonsaturating) for form in ("nonsaturating", "truncated")}
    models |= {form: (options(form), minimax) for form in ("minimax", "saturating")}
    compare(dict(gan_cases("labelled_kl", options("nonsaturating"), pair, models)))


# f by its definition; f(1) = 0 but for "gan".
GENERATORS = {
    "kl": lambda u: u * jnp.log(u),
    "reverse_kl": lambda u: -jnp.log(u),
    "pearson": lambda u: (u - 1) ** 2,
    "neyman": lambda u: (1 - u) ** 2 / u,
    "squared_hellinger": lambda u: (jnp.sqrt(u) - 1) ** 2,
    "jeffreys": lambda u: (u - 1) * jnp.log(u),
    "jensen_shannon": lambda u: 0.5 * (u * jnp.log(u) - (1 + u) * jnp.log((1 + u) / 2)),
    "gan": lambda u: u * jnp.log(u) - (1 + u) * jnp.log(1 + u),
    "alpha(3)": lambda u: (u**3 - 1 - 3 * (u - 1)) / 6,
}


@pytest.mark.thorough
def test_f_divergences_in_the_ratio_parametrization_by_hand(x64):
    cases = {}
    for name, f in GENERATORS.items():
        slope = jnp.vectorize(jax.grad(f))

        def value(logit, slope=slope):
            return slope(jnp.exp(logit))

        def conjugate(logit, f=f, value=value):
            return jnp.exp(logit) * value(logit) - f(jnp.exp(logit))

        models = {
            "saturating": (gan(divergence=name, form="saturating"), lambda b, g=conjugate: -g(b)),
            "nonsaturating": (gan(divergence=name), lambda b, g=value: -g(b)),
        }
        cases |= gan_cases(name, gan(divergence=name), (lambda a, g=value: -g(a), conjugate), models)
    compare(cases)


# The published activations and conjugates, in the order of the table.
ACTIVATIONS = {
    "total_variation": (lambda v: 0.5 * jnp.tanh(v), lambda t: t),
    "kl": (lambda v: v, lambda t: jnp.exp(t - 1)),
    "reverse_kl": (lambda v: -jnp.exp(v), lambda t: -1 - jnp.log(-t)),
    "pearson": (lambda v: jnp.exp(v) - 2, lambda t: t + t**2 / 4),
    "neyman": (lambda v: 1 - jnp.exp(v), lambda t: 2 - 2 * jnp.sqrt(1 - t)),
    "squared_hellinger": (lambda v: 1 - jnp.exp(v), lambda t: t / (1 - t)),
    "jensen_shannon": (
        lambda v: 0.5 * jnp.log(2) - 0.5 * jnp.log(1 + jnp.exp(-v)),
        lambda t: -0.5 * jnp.log(2 - jnp.exp(2 * t)),
    ),
    "gan": (lambda v: -jnp.log(1 + jnp.exp(-v)), lambda t: -jnp.log(1 - jnp.exp(t))),
}


@pytest.mark.thorough
def test_f_divergences_with_their_activations_by_hand(x64):
    cases = {}
    for name, (value, conjugate) in ACTIVATIONS.items():

        def bound(v, g=conjugate, t=value):
            return g(t(v))

        options = {"divergence": name, "parametrization": "activation"}
        models = {
            "minimax": (gan(form="minimax", **options), lambda b, g=bound: -g(b)),
            "nonsaturating": (gan(**options), lambda b, t=value: -t(b)),
        }
        cases |= gan_cases(name, gan(**options), (lambda a, t=value: -t(a), bound), models)
    compare(cases)


@pytest.mark.thorough
def test_other_games_by_hand(x64):
    cases = {}
    pairs = {
        "wasserstein": (lambda a: -a, lambda b: b, lambda b: -b, lambda b: -b),
        "hinge": (
            lambda a: jnp.maximum(0, 1 - a),
            lambda b: jnp.maximum(0, 1 + b),
            lambda b: -b,
            lambda b: -jnp.maximum(0, 1 + b),
        ),
        "least_squares": (
            lambda a: 0.5 * (a - 1) ** 2,
            lambda b: 0.5 * b**2,
            lambda b: 0.5 * (b - 1) ** 2,
            lambda b: -0.5 * b**2,
        ),
    }
    for name, (at_a, at_b, nonsaturating, minimax) in pairs.items():
        models = {
            "nonsaturating": (gan(divergence=name), nonsaturating),
            "minimax": (gan(divergence=name, form="minimax"), minimax),
        }
        cases |= gan_cases(name, gan(divergence=name), (at_a, at_b), models)

    z = noise()

    def over_pairs(params, sign, of):
        a, b = outputs(params, z)
        return jnp.mean(jnp.stack([of(sign * (one - other)) for one in a for other in b]))

    for form, sign, outer in (("nonsaturating", 1.0, 1.0), ("minimax", -1.0, -1.0)):
        made = gan(divergence="relativistic", form=form)
        cases[f"relativistic critic, {form}"] = (
            made,
            "critic",
            lambda params: over_pairs(params, -1.0, lambda d: jnp.log1p(jnp.exp(d))),
        )
        cases[f"relativistic model, {form}"] = (
            made,
            "model",
            lambda params, s=sign, o=outer: o * over_pairs(params, s, lambda d: jnp.log1p(jnp.exp(d))),
        )
    compare(cases)


@pytest.mark.thorough
def test_the_critic_may_be_fitted_by_another_divergence(x64):
    objective = gan(divergence="pearson", form="minimax", critic_divergence="labelled_kl")
    z = noise()

    def critic(params):
        a, b = outputs(params, z)
        return jnp.mean(jnp.log1p(jnp.exp(-a))) + jnp.mean(jnp.log1p(jnp.exp(b)))

    def model(params):
        return -jnp.mean(jnp.exp(2 * outputs(params, z)[1]) - 1)

    compare({"critic": (objective, "critic", critic), "model": (objective, "model", model)})
    metrics = objective.players["critic"].loss(jax.random.key(KEY), *start(objective), data())[1].metrics
    assert {"js/x_at_least", "critic/accuracy", "critic/saturation"} < set(metrics)


@pytest.mark.thorough
def test_conditional_and_hierarchical_generators(x64):
    """Labels in both joints; and a generator of two stages, of which one has a density and both have anchors."""
    labelled, conditional = network(LATENT, CLASSES, outputs=DATA)
    critic, score = network(DATA, CLASSES, outputs=1)
    inference = Joint(evidence("x", "y"))
    generative = Joint(
        evidence("y"), factor("z", standard_normal(LATENT)), implicit("x | z, y", labelled, name="generator")
    )
    objective = vifx.adversarial(inference, generative, critic, on=("x", "y"))
    z = noise()
    y = data()["y"]

    def logits(params):
        made = conditional(params["generator"], z, y)
        return score(params["critic"], data()["x"], y)[:, 0], score(params["critic"], made, y)[:, 0]

    def critic_oracle(params):
        a, b = logits(params)
        return jnp.mean(jnp.log1p(jnp.exp(-a))) + jnp.mean(jnp.log1p(jnp.exp(b)))

    def model_oracle(params):
        return jnp.mean(jnp.log1p(jnp.exp(-logits(params)[1])))

    top, moments = normal(LATENT, outputs=2)
    low, below = network(2, LATENT, outputs=DATA)
    stages = Joint(
        factor("z", standard_normal(LATENT)),
        factor("h | z", top, name="top"),
        implicit("x | h, z", low, name="low"),
    )
    two = vifx.adversarial(Joint(evidence("x")), stages, CRITIC, on="x", proximal=0.7)
    params, state = start(two)
    drawn = latents(stages, params, state)
    mean, scale = moments(params["top"], drawn["z"])
    own_noise = (drawn["h"] - mean) / scale

    def two_stages(params):
        mean, scale = moments(params["top"], drawn["z"])
        old_mean, old_scale = moments(params["top@anchor"], drawn["z"])
        h = mean + scale * own_noise
        x, old = below(params["low"], h, drawn["z"]), below(params["low@anchor"], h, drawn["z"])
        divergence = jnp.sum(
            jnp.log(old_scale / scale) + (scale**2 + (mean - old_mean) ** 2) / (2 * old_scale**2) - 0.5, axis=1
        )
        pull = jnp.mean(divergence) + jnp.mean((x - old) ** 2)
        return jnp.mean(jnp.log1p(jnp.exp(-judge(params["critic"], x)[:, 0]))) + 0.7 * pull

    compare({"critic": (objective, "critic", critic_oracle), "model": (objective, "model", model_oracle)})
    compare({"two stages": (two, "model", two_stages)}, anchors=True)
    assert two.players["model"].anchors == two.players["model"].owns == ("top", "low")


@pytest.mark.thorough
@pytest.mark.parametrize("role", ["gan", "ali"])
def test_full_form_by_hand(x64, role):
    """Equations (6) and (8) on normal densities, each network against its anchor."""
    prior = 0.3
    decoder, decode = normal(LATENT, outputs=DATA)
    encoder, encode = normal(DATA, outputs=LATENT)
    critic, score = network(DATA, LATENT, outputs=1)
    if role == "gan":
        critic, score = CRITIC, lambda params, x, z: judge(params, x)
    factors = (evidence("x"), factor("z | x", encoder, name="encoder"))
    inference = Joint(*factors[:1]) if role == "gan" else Joint(*factors)
    generative = Joint(factor("z", standard_normal(LATENT)), factor("x | z", decoder, name="decoder"))
    on = "x" if role == "gan" else ("x", "z")
    objective = vifx.adversarial(inference, generative, critic, on=on, form="full", label_prior=prior)
    params, state = start(objective)
    drawn = latents(generative, params, state)
    mean, scale = decode(params["decoder"], drawn["z"])
    own_noise = (drawn["x"] - mean) / scale

    def minus_log_critic(logit):
        return jnp.log1p((1 - prior) / prior * jnp.exp(-logit))

    def log_prob(moments, value):
        mean, scale = moments
        return jnp.sum(-0.5 * ((value - mean) / scale) ** 2 - jnp.log(scale) - 0.5 * jnp.log(2 * jnp.pi), axis=1)

    def oracle(params):
        z = drawn["z"]
        (mean, scale), (old, old_scale) = decode(params["decoder"], z), decode(params["decoder@anchor"], z)
        x = mean + scale * own_noise
        divergence = jnp.log(old_scale / scale) + (scale**2 + (mean - old) ** 2) / (2 * old_scale**2) - 0.5
        at_b = jnp.mean(minus_log_critic(score(params["critic"], x, z)[:, 0])) + jnp.mean(jnp.sum(divergence, axis=1))
        if role == "gan":
            return 2 * (1 - prior) * at_b
        ratio = log_prob(encode(params["encoder@anchor"], x), z) - log_prob(encode(params["encoder"], x), z)
        centre, spread = encode(params["encoder"], data()["x"])
        codes = centre + spread * code_noise
        at_a = jnp.mean(minus_log_critic(score(params["critic"], data()["x"], codes)[:, 0]))
        return 2 * prior * at_a + 2 * (1 - prior) * (at_b + jnp.mean(ratio))

    if role == "ali":
        codes = latents(inference, params, state, "inference")["z"]
        centre, spread = encode(params["encoder"], data()["x"])
        code_noise = (codes - centre) / spread
    compare({role: (objective, "model", oracle)}, anchors=True)
    assert objective.players["model"].anchors == objective.players["model"].owns
    assert objective.players["model"].least_updates == (2 if role == "gan" else 1)
    words = ("critic: + 2(1−π) KL(B ‖ A) − 2 H(y), of 2 KL(r ‖ t)",)
    constant = "+ 2π E_A[−log D] + 2 log π" if role == "gan" else "+ 2 log π"
    assert objective.dropped == (*words, f"model: {constant}, of 2 KL(r ‖ t)")


def hand_written_penalty(key, critic, at_a, at_b):
    share = jax.random.uniform(key, (EXAMPLES,), jnp.result_type(float))[:, None]
    slopes = jax.grad(lambda x: jnp.sum(critic(x)))(share * at_a[0] + (1 - share) * at_b[0])
    return jnp.sum(slopes**2, axis=1), {"penalty/mine": jnp.max(slopes)}


@pytest.mark.thorough
def test_penalties_are_weighted_scheduled_and_see_both_samples(x64):
    """Plain, with a weight and with a schedule of the critic's updates; each has a key of its own."""
    penalties = (
        hand_written_penalty,
        (3.0, hand_written_penalty),
        (lambda count: 0.1 * count.astype(float), vifx.lipschitz.r1(1.0)),
    )
    objective = gan(penalties=penalties)
    params, state = start(objective)
    assert int(state["critic@updates"]) == 0
    state = {**state, "critic@updates": jnp.asarray(4, jnp.int32)}
    z = noise()

    def oracle(params):
        a, b = outputs(params, z)
        x, made = data()["x"], generate(params["generator"], z)
        total = jnp.mean(jnp.log1p(jnp.exp(-a))) + jnp.mean(jnp.log1p(jnp.exp(b)))

        def critic(at):
            return judge(params["critic"], at)[:, 0]

        for index, weight in ((0, 1.0), (1, 3.0)):
            key = fold(jax.random.key(KEY), "penalty", str(index))
            total = total + weight * jnp.mean(hand_written_penalty(key, critic, (x,), (made,))[0])
        slopes = jax.grad(lambda x: jnp.sum(critic(x)))(x)
        return total + 0.1 * 4 * 0.5 * jnp.mean(jnp.sum(slopes**2, axis=1))

    assert largest(objective, "critic", params, state, oracle) < 1e-11
    metrics = objective.players["critic"].loss(jax.random.key(KEY), params, state, data())[1].metrics
    np.testing.assert_allclose(metrics["weight/penalty/2"], 0.4)
    np.testing.assert_allclose(metrics["js/x_at_least"], gan_estimate(params, z), rtol=1e-12)


def gan_estimate(params, z):
    """The divergence without its penalties."""
    a, b = outputs(params, z)
    return jnp.log(2) - 0.5 * (jnp.mean(jnp.log1p(jnp.exp(-a))) + jnp.mean(jnp.log1p(jnp.exp(b))))


@pytest.mark.thorough
def test_only_the_critic_moves_in_its_turn(x64):
    """Samples of both sides stand still, so its loss has no gradient for the model."""
    objective = gan(penalties=(vifx.lipschitz.r2(1.0),))
    params, state = start(objective)
    gradient = jax.grad(lambda params: loss(objective, "critic", params, state))(params)
    assert all(float(jnp.max(jnp.abs(leaf))) == 0 for leaf in jax.tree.leaves(gradient["generator"]))
    assert all(float(jnp.max(jnp.abs(leaf))) > 0 for leaf in jax.tree.leaves(gradient["critic"]))
    owns = {name: player.owns for name, player in objective.players.items()}
    assert owns == {"critic": ("critic",), "model": ("generator",)}
    assert list(objective.players) == ["critic", "model"]
    gradient = jax.grad(lambda params: loss(objective, "model", params, state))(params)
    assert max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(gradient["generator"])) > 0


def test_metrics_at_known_critics():
    """A constant critic, whatever is drawn, and one that tells the two apart."""

    def constant(value):
        return nets.from_functions(lambda key, x: jnp.full((), value), lambda v, x: jnp.broadcast_to(v, x.shape[:1]))

    def metrics(objective, batch=None):
        batch = batch or data()

        @jax.jit
        def run():
            params, state = objective.init(jax.random.key(1), batch)
            return objective.players["critic"].loss(jax.random.key(KEY), params, state, batch)[1].metrics

        return run()

    estimates = {
        "labelled_kl": ("js/x_at_least", np.log(2) - 0.5 * (np.log1p(np.exp(-5)) + np.log1p(np.exp(5)))),
        "hinge": ("total_variation/x_at_least", 1 - 0.5 * 6),
        "least_squares": ("le_cam/x_at_least", 1 - 4 * (0.5 * 16 + 0.5 * 25)),
        "wasserstein": ("wasserstein/x_estimate", 0.0),
        "relativistic": ("relativistic/x_at_least", 0.0),
        "pearson": ("pearson/x_at_least", 2 * np.expm1(5) - np.expm1(10)),
    }
    for name, (metric, expected) in estimates.items():
        found = metrics(gan(constant(5.0), divergence=name))
        np.testing.assert_allclose(found[metric], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found["critic/logit/inference"], 5.0)
        np.testing.assert_allclose(found["critic/logit/generative"], 5.0)
        accuracy = {"relativistic": 0.0, "wasserstein": None}.get(name, 0.5)
        assert found.get("critic/accuracy") == accuracy
        saturation = {"labelled_kl": 0.5, "pearson": 0.5, "relativistic": 0.0}
        assert found.get("critic/saturation") == saturation.get(name)
    assert metrics(gan(constant(LOG_99 - 0.01)))["critic/saturation"] == 0
    assert metrics(gan(constant(-LOG_99 - 0.01)))["critic/saturation"] == 0.5

    far = nets.from_functions(lambda key, x: jnp.zeros(()), lambda v, x: 1e3 * (x[:, 0] + v))
    generator = nets.from_functions(lambda key, z: jnp.zeros(()), lambda v, z: z[:, :2] * 1e-3 - 10.0 + v)
    objective = vifx.adversarial(*gan_joints(generator), far, on="x")
    found = metrics(objective, {"x": jnp.full((EXAMPLES, DATA), 10.0)})
    assert (found["critic/accuracy"], found["critic/saturation"]) == (1.0, 1.0)
    np.testing.assert_allclose(found["js/x_at_least"], np.log(2), rtol=1e-6)


@pytest.mark.thorough
def test_vae_gan_is_the_sum_of_its_parts(x64):
    encoder, _ = normal(DATA, outputs=LATENT)
    decoder, _ = normal(LATENT, outputs=DATA)
    inference = Joint(evidence("x"), factor("z | x", encoder, name="encoder"))
    generative = Joint(factor("z", standard_normal(LATENT)), factor("x | z", decoder, name="decoder"))
    explicit = vifx.kl(inference, generative)
    critic = vifx.adversarial(inference, generative, CRITIC, on="x", proximal=0.5)
    objective = explicit + 2.0 * critic
    player = objective.players["model"]
    assert set(player.owns) == {"encoder", "decoder"}
    assert (player.anchors, player.least_updates) == (("decoder",), 2)

    params, state = start(objective, anchors=True)

    def oracle(params):
        return loss(explicit, "model", params, state) + 2 * loss(critic, "model", params, state)

    assert largest(objective, "model", params, state, oracle) < 1e-12
    assert largest(objective, "critic", params, state, lambda p: 2 * loss(critic, "critic", p, state)) < 1e-12
    metrics = player.loss(jax.random.key(KEY), params, state, data())[1].metrics
    assert {"elbo", "kl/z", "nll/x", "adversarial/x", "proximal/x"} <= set(metrics)


@pytest.mark.thorough
def test_batch_statistics_are_threaded_and_the_anchor_sees_the_same_batch():
    module = networks.MLP((8,), norm="batch", outputs=DATA)
    objective = vifx.adversarial(*gan_joints(module), networks.MLP((8,), outputs=1), on="x", proximal=1.0)
    params, state = start(objective, anchors=True)
    z = latents(gan_joints(module)[1], params, state)["z"]

    def generated(params):
        variables = {"params": params, **state["generator"]}
        return module.apply(variables, z, train=True, mutable=["batch_stats"])

    made, written = generated(params["generator"])
    value, aux = objective.players["model"].loss(jax.random.key(KEY), params, state, data())
    chex.assert_trees_all_close(aux.state["generator"], written, rtol=1e-6)  # moved once, by G alone
    before = generated(params["generator@anchor"])[0]
    np.testing.assert_allclose(aux.metrics["proximal/x"], jnp.mean((made - before) ** 2), rtol=1e-5)
    np.testing.assert_allclose(value, aux.metrics["adversarial/x"] + aux.metrics["proximal/x"], rtol=1e-6)
    kept = objective.players["model"].loss(jax.random.key(KEY), params, state, data(), train=False)[1].state
    chex.assert_trees_all_equal(kept, state)


NOISY = {
    "dropout": lambda: networks.MLP((8,), norm="batch", dropout=0.5, outputs=DATA),
    "spectral normalization": lambda: vifx.lipschitz.spectral_normalization(networks.MLP((8,), outputs=DATA)),
}


@pytest.mark.thorough
@pytest.mark.parametrize("kind", NOISY)
def test_an_anchor_that_is_the_model_is_at_no_distance(kind):
    """It has the model's noise and the model's state before the call, so the difference is zero to the bit."""
    objective = vifx.adversarial(*gan_joints(NOISY[kind]()), CRITIC, on="x", proximal=1.0)
    params, state = start(objective)
    here = {**params, "generator@anchor": params["generator"]}
    run = jax.jit(objective.players["model"].loss)
    aux = run(jax.random.key(KEY), here, state, data())[1]
    assert float(aux.metrics["proximal/x"]) == 0
    moved = {
        **here,
        "generator": jax.tree.map(
            lambda leaf: leaf + 0.1 * jnp.arange(leaf.size, dtype=leaf.dtype).reshape(leaf.shape), params["generator"]
        ),
    }
    aux = run(jax.random.key(KEY), moved, state, data())[1]
    assert float(aux.metrics["proximal/x"]) > 1e-3


def test_the_proximal_term_is_of_b_alone():
    """Of ALI's two networks the generator is pulled; the full form compares both with their anchors."""
    encoder, _ = normal(DATA, outputs=LATENT)
    critic, _ = network(DATA, LATENT, outputs=1)
    inference = Joint(evidence("x"), factor("z | x", encoder, name="encoder"))
    generative = gan_joints()[1]
    objective = vifx.adversarial(inference, generative, critic, on=("x", "z"), proximal=1.0)
    player = objective.players["model"]
    assert (player.owns, player.anchors, player.least_updates) == (("encoder", "generator"), ("generator",), 2)
