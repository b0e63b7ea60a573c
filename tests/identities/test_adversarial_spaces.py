"""Adversarial losses against the joint divergence that they claim to be, on random finite spaces.

The oracle is plain arrays: both sides as tables, and KL(r ‖ t) by its definition, equation (5). Nothing of it is
shared with the package.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from identities import spaces

import vifx
from vifx import divergences, nets

X, Z = spaces.X, spaces.Z
SPACES = 200
BATCH = spaces.batch()
EVIDENCE = np.bincount(np.asarray(BATCH["x"]), minlength=X) / len(BATCH["x"])


def table_critic(*sizes):
    """A free logit for every point."""
    return nets.from_functions(lambda key, *at: jax.random.normal(key, sizes), lambda params, *at: params[at])


def fixed_prior():
    return vifx.factor("z", vifx.distributions.Categorical(logits=jnp.array([0.3, -0.2, 0.5])))


def gan():
    table = vifx.Joint(vifx.factor("x", spaces.tabular(states=X), name="table"))
    return vifx.Joint(vifx.evidence("x")), table, "x", (X,)


def aae():
    inference, generative = spaces.vae()
    return inference, vifx.Joint(fixed_prior(), generative.factors[1]), "z", (Z,)


def ali():
    return *spaces.vae(), ("x", "z"), (X, Z)


METHODS = {f.__name__: f for f in (gan, aae, ali)}


def tables(method, params):
    """A and B on the compared points, flattened."""
    evidence = jnp.asarray(EVIDENCE)
    if method == "gan":
        return evidence, jax.nn.softmax(params["table"])
    encoder = jax.nn.softmax(params["encoder"], axis=-1)
    joint = evidence[:, None] * encoder
    if method == "aae":
        return jax.nn.softmax(jnp.array([0.3, -0.2, 0.5])), jnp.sum(joint, axis=0)
    decoder = jax.nn.softmax(params["decoder"], axis=-1)
    prior = jax.nn.softmax(params["prior"])
    return joint.reshape(-1), (prior[:, None] * decoder).T.reshape(-1)


def labelled_kl(a, b, critic, prior):
    """KL(r ‖ t) by its definition, with t(s, y) = D^y (1−D)^(1−y) A(s)."""
    r = jnp.stack([prior * a, (1 - prior) * b])
    t = jnp.stack([critic * a, (1 - critic) * a])
    return jnp.sum(r * jnp.log(r / t))


def kl(first, second):
    return jnp.sum(first * jnp.log(first / second))


def entropy(prior):
    return -prior * np.log(prior) - (1 - prior) * np.log(1 - prior)


def objective_of(method, **options):
    inference, generative, on, sizes = METHODS[method]()
    return vifx.adversarial(inference, generative, table_critic(*sizes), on=on, **options)


def many(objective):
    """Parameters of many random spaces, and an anchor of every network at another point."""

    def draw(key):
        params = objective.init(key, BATCH)[0]
        other = objective.init(jax.random.fold_in(key, 1), BATCH)[0]
        return {**params, **{f"{name}@anchor": other[name] for name in objective.players["model"].owns}}

    state = jax.jit(objective.init)(jax.random.key(0), BATCH)[1]
    return jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(5), SPACES)), state


def at_anchors(params):
    """The anchors' values in the place of today's."""
    return {**params, **{k.removesuffix("@anchor"): v for k, v in params.items() if k.endswith("@anchor")}}


def compare(objective, player, oracle, prepare=lambda params: params):
    """Largest error of value and gradient over many spaces between a public loss and an oracle."""
    params, state = many(objective)
    owns = objective.players[player].owns

    def errors(params):
        params = prepare(params)
        mine = {name: params[name] for name in owns}

        def loss(mine):
            return objective.players[player].loss(jax.random.key(0), {**params, **mine}, state, BATCH)[0]

        value, gradient = jax.value_and_grad(loss)(mine)
        target, target_gradient = jax.value_and_grad(lambda mine: oracle({**params, **mine}))(mine)
        differences = [
            jnp.max(jnp.abs(one - other))
            for one, other in zip(jax.tree.leaves(gradient), jax.tree.leaves(target_gradient), strict=True)
        ]
        return jnp.maximum(jnp.abs(value - target), jnp.max(jnp.stack(differences)))

    found = jax.jit(jax.vmap(errors))(params)
    assert found.shape == (SPACES,)
    return float(jnp.max(found))


def log_ratio_at_anchor(method):
    """Put the critic where it is best against the anchors: ℓ* = log A°/B°."""

    def prepare(params):
        a, b = tables(method, at_anchors(params))
        return {**params, "critic": jnp.log(a / b).reshape(params["critic"].shape)}

    return prepare


def probability(params, prior):
    odds = prior * jnp.exp(params["critic"].reshape(-1))
    return odds / (odds + 1 - prior)


@pytest.mark.first(1)
@pytest.mark.parametrize("prior", [0.5, 0.2])
@pytest.mark.parametrize("method", METHODS)
def test_critic_minimizes_the_labelled_kl_of_equation_5(x64, method, prior):
    def oracle(params):
        a, b = tables(method, params)
        whole = labelled_kl(a, b, probability(params, prior), prior)
        return 2 * (whole - (1 - prior) * kl(b, a) + entropy(prior))

    assert compare(objective_of(method, label_prior=prior), "critic", oracle) < 1e-12


@pytest.mark.first(1)
@pytest.mark.parametrize("prior", [0.5, 0.2])
@pytest.mark.parametrize("method", ["gan", "ali"])
def test_full_form_is_the_labelled_kl_of_equations_6_and_8(x64, method, prior):
    """With the critic that is best at the anchors, KL(r ‖ t) itself, by its definition, in value and gradient."""

    def oracle(params):
        a, b = tables(method, params)
        critic = probability(params, prior)
        constant = 0.0 if method == "ali" else 2 * prior * jnp.sum(a * -jnp.log(critic))
        return 2 * (labelled_kl(a, b, critic, prior) - jnp.log(prior)) - constant

    objective = objective_of(method, form="full", label_prior=prior)
    assert compare(objective, "model", oracle, log_ratio_at_anchor(method)) < 1e-12


def test_full_form_of_a_marginal_is_the_bound_of_equation_7(x64):
    """The encoder's conditional KL stands in for the marginal one, which it bounds."""
    evidence = jnp.asarray(EVIDENCE)

    def conditional(params):
        new, old = (jax.nn.softmax(params[name], axis=-1) for name in ("encoder", "encoder@anchor"))
        return jnp.sum(evidence[:, None] * new * jnp.log(new / old))

    def oracle(params):
        a, b = tables("aae", params)
        critic = probability(params, 0.5)
        known = 2 * (labelled_kl(a, b, critic, 0.5) + jnp.log(2)) - jnp.sum(a * -jnp.log(critic))
        _, before = tables("aae", at_anchors(params))
        return known + conditional(params) - kl(b, before)

    objective = objective_of("aae", form="full")
    assert compare(objective, "model", oracle, log_ratio_at_anchor("aae")) < 1e-12
    params, _ = many(objective)
    gaps = jax.jit(jax.vmap(lambda p: conditional(p) - kl(tables("aae", p)[1], tables("aae", at_anchors(p))[1])))(
        params
    )
    assert float(jnp.min(gaps)) > -1e-12


@pytest.mark.thorough
def test_full_form_with_hidden_latents_is_a_bound_and_says_so(x64):
    """Equation (6) is of the marginal q(x): the loss lies above it by the divergence that the latents add."""
    _, generative = spaces.vae()
    evidence = vifx.Joint(vifx.evidence("x"))
    objective = vifx.adversarial(evidence, generative, table_critic(X), on="x", form="full")
    params, state = jax.jit(objective.init)(jax.random.key(3), BATCH)
    other = jax.jit(objective.init)(jax.random.key(4), BATCH)[0]
    params = {**params, "prior@anchor": other["prior"], "decoder@anchor": other["decoder"]}

    def joint(params, end=""):
        prior = jax.nn.softmax(params[f"prior{end}"])
        return prior[:, None] * jax.nn.softmax(params[f"decoder{end}"], axis=-1)

    def marginal_loss(params):
        """(6), twice, without its first term and its constant, by plain arrays."""
        b, before = joint(params).sum(0), joint(params, "@anchor").sum(0)
        return jnp.sum(b * -jnp.log(probability(params, 0.5))) + kl(b, before)

    def gap(params):
        whole = kl(joint(params), joint(params, "@anchor"))
        return whole - kl(joint(params).sum(0), joint(params, "@anchor").sum(0))

    found = vifx.verify(objective, params, state, BATCH)["model"]

    @jax.jit
    def oracle(params):
        bound = jax.value_and_grad(lambda p: marginal_loss(p) + gap(p))(params)
        return bound, jax.value_and_grad(marginal_loss)(params), kl(joint(params), joint(params, "@anchor"))

    (bound, slope), (claim, claim_slope), whole = oracle(params)
    np.testing.assert_allclose(found.claim, claim, rtol=1e-12)
    np.testing.assert_allclose(found.gap, bound - claim, rtol=1e-12)
    np.testing.assert_allclose(found.loss, found.claim + found.gap, rtol=1e-12)
    assert found.gap > 0.05
    assert found.value_error < 1e-12
    assert found.gradient_error < 1e-12
    slopes = [np.ravel(each["decoder"]) for each in (slope, claim_slope)]
    cosine = slopes[0] @ slopes[1] / np.linalg.norm(slopes[0]) / np.linalg.norm(slopes[1])
    np.testing.assert_allclose(found.cosines["decoder"], cosine, rtol=1e-10)
    assert "KL(B(x) ‖ B°(x)) ≤ KL(B(z, x) ‖ B°(z, x)), which is what is computed" in vifx.explain(objective)
    metrics = jax.jit(objective.players["model"].loss)(jax.random.key(0), params, state, BATCH)[1].metrics
    np.testing.assert_allclose(metrics["kl_to_anchor/x_at_most"], whole, rtol=1e-12)


@pytest.mark.first(1)
@pytest.mark.parametrize("method", METHODS)
def test_forms_at_the_best_critic_follow_known_divergences(x64, method):
    """Minimax moves down 2 JS; non-saturating, of a GAN, down KL(B ‖ A) − 2 JS."""

    def best(params):
        a, b = tables(method, params)
        return {**params, "critic": jnp.log(a / b).reshape(params["critic"].shape)}

    def jensen_shannon(a, b):
        return 0.5 * kl(a, 0.5 * (a + b)) + 0.5 * kl(b, 0.5 * (a + b))

    def gradient_errors(form, oracle):
        objective = objective_of(method, form=form)
        params, state = many(objective)

        def error(params):
            params = best(params)
            mine = {name: params[name] for name in objective.players["model"].owns}

            def loss(mine):
                return objective.players["model"].loss(jax.random.key(0), {**params, **mine}, state, BATCH)[0]

            one = jax.grad(loss)(mine)
            other = jax.grad(lambda mine: oracle(*tables(method, {**params, **mine})))(mine)
            pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
            return jnp.max(jnp.stack([jnp.max(jnp.abs(x - y)) for x, y in pairs]))

        return float(jnp.max(jax.jit(jax.vmap(error))(params)))

    assert gradient_errors("minimax", lambda a, b: 2 * jensen_shannon(a, b)) < 1e-12
    assert gradient_errors("saturating", lambda a, b: 2 * jensen_shannon(a, b)) < 1e-12
    if method != "ali":
        assert gradient_errors("nonsaturating", lambda a, b: kl(b, a) - 2 * jensen_shannon(a, b)) < 1e-12


@pytest.mark.thorough
def test_truncated_form_is_no_descent_direction_for_the_encoder(x64):
    """At the anchors and the best critic, on every random space the encoder's gradient points the wrong way."""
    objective = objective_of("ali", form="truncated")
    params, state = many(objective)
    params = jax.jit(jax.vmap(lambda p: log_ratio_at_anchor("ali")(at_anchors(p))))(params)

    def cosine(params):
        def truncated(encoder):
            loss = objective.players["model"].loss
            return loss(jax.random.key(0), {**params, "encoder": encoder}, state, BATCH)[0]

        def whole(encoder):
            a, b = tables("ali", {**params, "encoder": encoder})
            return labelled_kl(a, b, probability(params, 0.5), 0.5)

        one, other = (jax.grad(f)(params["encoder"]).reshape(-1) for f in (truncated, whole))
        return jnp.vdot(one, other) / (jnp.linalg.norm(one) * jnp.linalg.norm(other))

    cosines = jax.jit(jax.vmap(cosine))(params)
    assert float(jnp.max(cosines)) < -0.1

    single = jax.tree.map(lambda leaf: leaf[0], params)
    verification = vifx.verify(objective, single, state, BATCH)["model"]
    assert verification.cosines["encoder"] == pytest.approx(float(cosines[0]), abs=1e-9)
    assert verification.gradient_error > 1e-3
    metrics = jax.jit(objective.players["model"].loss)(jax.random.key(0), single, state, BATCH)[1].metrics
    assert list(metrics) == ["adversarial/x,z_truncated"]


DIVERGENCES = {name: divergences.named(name) for name in divergences.NAMES} | {
    "alpha(3)": divergences.alpha(3.0),
    "alpha(-0.5)": divergences.alpha(-0.5),
    "skew(0.3)": divergences.skew_jensen_shannon(0.3),
    "swapped pearson": divergences.swapped(divergences.pearson),
}


def perspective(divergence, a, b):
    """D_f(A ‖ B) by its definition, E_B f(A/B)."""
    return jnp.sum(b * divergence.generator(a / b))


ALL_CASES = [
    *(("ali", name, "ratio") for name, each in DIVERGENCES.items() if each.ratio_trains),
    *(("gan", name, "activation") for name, each in DIVERGENCES.items() if each.activation is not None),
    *(("aae", name, "ratio") for name in ("kl", "pearson")),
]
QUICK = ("total_variation", "kl", "pearson", "jensen_shannon", "gan")
CASES = [pytest.param(*case, marks=() if case[1] in QUICK else pytest.mark.slow) for case in ALL_CASES]


@pytest.mark.first(1)
@pytest.mark.parametrize(("method", "name", "parametrization"), CASES)
def test_f_bound_is_tight_at_the_best_critic(x64, method, name, parametrization):
    """Equations (9) and (10): the estimate equals D_f(A ‖ B) at ℓ*, is below it elsewhere, and has its gradient."""
    divergence = DIVERGENCES[name]
    objective = objective_of(method, divergence=divergence, form="minimax", parametrization=parametrization)
    params, state = many(objective)

    def output(ratio):
        """What the critic must output for the log ratio."""
        if parametrization == "ratio":
            return ratio
        target = jax.grad(lambda u: jnp.sum(divergence.generator(u)))(jnp.exp(ratio))
        low, high = jnp.full_like(target, -60.0), jnp.full_like(target, 60.0)
        rising = divergence.activation(jnp.float64(1.0)) > divergence.activation(jnp.float64(0.0))

        def halve(_, ends):
            low, high = ends
            middle = 0.5 * (low + high)
            above = (divergence.activation(middle) > target) == rising  # the activation is monotone
            return jnp.where(above, low, middle), jnp.where(above, middle, high)

        low, high = jax.lax.fori_loop(0, 100, halve, (low, high))  # a loop: unrolled, it takes long to compile
        return 0.5 * (low + high)

    def errors(params):
        a, b = tables(method, params)
        exact = perspective(divergence, a, b)
        best = {**params, "critic": output(jnp.log(a / b)).reshape(params["critic"].shape)}

        def estimate(params):
            aux = objective.players["critic"].loss(jax.random.key(0), params, state, BATCH)[1]
            return next(value for key, value in aux.metrics.items() if key.endswith("_at_least"))

        mine = {owner: params[owner] for owner in objective.players["model"].owns}

        def loss(mine):
            return objective.players["model"].loss(jax.random.key(0), {**best, **mine}, state, BATCH)[0]

        one = jax.grad(loss)(mine)
        other = jax.grad(lambda mine: perspective(divergence, *tables(method, {**params, **mine})))(mine)
        pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
        slope = jnp.max(jnp.stack([jnp.max(jnp.abs(x - y) / (1 + jnp.abs(y))) for x, y in pairs]))
        return jnp.abs(estimate(best) - exact) / (1 + exact), estimate(params) - exact, slope

    gap, excess, slope = jax.jit(jax.vmap(errors))(params)
    assert float(jnp.max(gap)) < 1e-10
    assert float(jnp.max(excess)) < 1e-10
    if divergence.ratio_trains:  # the total variation has no derivative where A = B, and a flat activation
        assert float(jnp.max(slope)) < (1e-9 if parametrization == "ratio" else 1e-6)


@pytest.mark.parametrize(
    ("name", "exact", "critic"),
    [
        ("hinge", lambda a, b: 0.5 * jnp.sum(jnp.abs(a - b)), lambda a, b: jnp.sign(a - b)),
        ("least_squares", lambda a, b: 0.5 * jnp.sum((a - b) ** 2 / (a + b)), lambda a, b: a / (a + b)),
        (
            "labelled_kl",
            lambda a, b: 0.5 * kl(a, 0.5 * (a + b)) + 0.5 * kl(b, 0.5 * (a + b)),
            lambda a, b: jnp.log(a / b),
        ),
    ],
)
@pytest.mark.parametrize("method", ["ali"])
def test_other_games_estimate_what_their_metric_says(x64, method, name, exact, critic):
    objective = objective_of(method, divergence=name)
    params, state = many(objective)

    def errors(params):
        a, b = tables(method, params)
        best = {**params, "critic": critic(a, b).reshape(params["critic"].shape)}

        def estimate(params):
            aux = objective.players["critic"].loss(jax.random.key(0), params, state, BATCH)[1]
            return next(value for key, value in aux.metrics.items() if key.endswith("_at_least"))

        return estimate(best) - exact(a, b), estimate(params) - exact(a, b)

    at_best, elsewhere = jax.jit(jax.vmap(errors))(params)
    assert float(jnp.max(jnp.abs(at_best))) < 1e-12
    assert float(jnp.max(elsewhere)) < 0


@pytest.mark.thorough
def test_relativistic_game_sums_over_all_pairs(x64):
    objective = objective_of("ali", divergence="relativistic")

    def oracle(sign):
        def value(params):
            a, b = tables("ali", params)
            logit = params["critic"].reshape(-1)
            difference = logit[:, None] - logit[None]
            return jnp.sum(a[:, None] * b[None] * jnp.log1p(jnp.exp(-sign * difference)))

        return value

    assert compare(objective, "critic", oracle(1.0)) < 1e-12
    assert compare(objective, "model", oracle(-1.0)) < 1e-12


def test_wasserstein_game_is_the_difference_of_means(x64):
    objective = objective_of("ali", divergence="wasserstein")

    def oracle(sign):
        def value(params):
            a, b = tables("ali", params)
            return sign * jnp.sum((a - b) * params["critic"].reshape(-1))

        return value

    assert compare(objective, "critic", oracle(-1.0)) < 1e-12
    assert compare(objective, "model", oracle(1.0)) < 1e-12


FORMS = ["nonsaturating", "minimax", "full"]


@pytest.mark.first(1)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pair", ["vae", "bottom_up", "top_down", "conditional", "labelled"])
def test_every_structure_equals_its_enumeration(x64, pair, form):
    """`vifx.verify` on structures with more latents, labels and evidence on both sides."""
    inference, generative = spaces.PAIRS[pair]()
    sizes = {"x": spaces.X, "y": spaces.Y, "z": spaces.Z, "w": spaces.W}
    critic = table_critic(*(sizes[name] for name in inference.variables))
    proximal = 0.0 if form == "full" else 0.7
    objective = vifx.adversarial(inference, generative, critic, on=inference.variables, form=form, proximal=proximal)
    params, state = jax.jit(objective.init)(jax.random.key(1), BATCH)
    other = jax.jit(objective.init)(jax.random.key(2), BATCH)[0]
    params = {**params, **{f"{name}@anchor": other[name] for name in objective.players["model"].owns}}
    for verification in vifx.verify(objective, params, state, BATCH).values():
        assert verification.value_error < 1e-12
        assert verification.gradient_error < 1e-12


@pytest.mark.thorough
@pytest.mark.parametrize("form", ["nonsaturating", "full"])
def test_single_precision(form):
    objective = objective_of("ali", form=form)
    params, state = jax.jit(objective.init)(jax.random.key(1), BATCH)
    other = jax.jit(objective.init)(jax.random.key(2), BATCH)[0]
    params = {**params, **{f"{name}@anchor": other[name] for name in objective.players["model"].owns}}
    for verification in vifx.verify(objective, params, state, BATCH).values():
        assert verification.value_error < 3e-6
        assert verification.gradient_error < 3e-6
