"""Objectives as a vector space, and their printed derivations."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vifx
from vifx import Joint, evidence, factor
from vifx.core.nets import from_functions
from vifx.core.objective import Objective, Player
from vifx.core.types import Aux, Net
from vifx.distributions import Categorical
from vifx.verification import tabular

INFERENCE = Joint(evidence("x"), factor("z | x", tabular(3, states=2), name="encoder"))
GENERATIVE = Joint(factor("z", tabular(states=2), name="prior"), factor("x | z", tabular(2, states=3), name="decoder"))
BATCH = {"x": jnp.array([0, 1, 2, 1])}


def value(objective, params, state):
    return objective.players["model"].loss(jax.random.key(0), params, state, BATCH)


def test_sum_and_multiples():
    kl = vifx.kl(INFERENCE, GENERATIVE, name="one")
    extra = vifx.reconstruction(INFERENCE, GENERATIVE, name="two")
    both = 2.0 * kl + 0.5 * extra
    params, state = jax.jit(both.init)(jax.random.key(0), BATCH)
    values = jax.jit(lambda params: [value(each, params, state) for each in (kl, extra, both)])(params)
    (a, one), (b, two), (total, aux) = values
    np.testing.assert_allclose(total, 2 * a + 0.5 * b, rtol=1e-6)
    for name, metric in {**one.metrics, **two.metrics}.items():
        np.testing.assert_array_equal(aux.metrics[name], metric)
    assert both.dropped == ("− 2 H(p̃(x))",)
    assert repr(both).startswith("Objective(2 KL(inference ‖ generative) + 0.5 E[−log generative")


def gan(name):
    generator = Joint(factor("x", tabular(states=3), name="prior"))
    return vifx.adversarial(Joint(evidence("x")), generator, tabular_critic, on="x", name=name)


tabular_critic = from_functions(lambda key, x: jax.random.normal(key, (3,)), lambda table, x: table[x])

SPACE = {
    "negative": (lambda a, b: -a, (-1.0, 0.0), ("+ H(p̃(x))",)),
    "difference": (lambda a, b: a - b, (1.0, -1.0), ("− H(p̃(x))",)),
    "multiple": (lambda a, b: a * 2.0, (2.0, 0.0), ("− 2 H(p̃(x))",)),
    "integer": (lambda a, b: 3 * a, (3.0, 0.0), ("− 3 H(p̃(x))",)),
    "NumPy's number": (lambda a, b: np.float32(-0.5) * a, (-0.5, 0.0), ("+ 0.5 H(p̃(x))",)),
    "quotient": (lambda a, b: a / 2, (0.5, 0.0), ("− 0.5 H(p̃(x))",)),
    "sum": (lambda a, b: sum([a, b]), (1.0, 1.0), ("− H(p̃(x))",)),
    "nothing": (lambda a, b: 0.0 * a + b, (0.0, 1.0), ()),
    "all": (lambda a, b: -(2.0 * (a - b / 4)), (-2.0, 0.5), ("+ 2 H(p̃(x))",)),
}


@pytest.mark.first(1)
@pytest.mark.parametrize("name", SPACE)
def test_a_vector_space(name, x64):
    combined, (of_a, of_b), dropped = SPACE[name]
    a, b = vifx.kl(INFERENCE, GENERATIVE, name="a"), vifx.reconstruction(INFERENCE, GENERATIVE, name="b")
    whole = combined(a, b)
    params, state = jax.jit((a + b).init)(jax.random.key(0), BATCH)

    @jax.jit
    def run(params):
        return [jax.value_and_grad(lambda p, each=each: value(each, p, state)[0])(params) for each in (whole, a, b)]

    (found, gradient), one, two = jax.tree.map(np.asarray, run(params))
    expected = jax.tree.map(lambda x, y: of_a * x + of_b * y, one, two)
    np.testing.assert_allclose(found, expected[0], rtol=1e-12, atol=1e-12)
    chex.assert_trees_all_close(gradient, expected[1], rtol=1e-10, atol=1e-12)
    assert whole.dropped == dropped
    checked = vifx.verify(whole, params, state, BATCH)["model"]
    assert checked.value_error < 1e-12
    assert checked.gradient_error < 1e-12


def test_signs_are_written():
    a, b = vifx.kl(INFERENCE, GENERATIVE, name="a"), vifx.reconstruction(INFERENCE, GENERATIVE, name="b")
    assert repr(a - 2.5 * b).startswith("Objective(KL(inference ‖ generative) − 2.5 E[")
    text = vifx.explain(-a + b, BATCH)
    assert text.startswith("−KL(inference ‖ generative)\n")
    assert "  dropped     + H(p̃(x))\n" in text
    assert vifx.explain(-2.0 * a, style="latex").splitlines()[1].startswith("& -2 ")


def test_constants_belong_to_the_players_of_their_part(x64):
    """The critic of a sum has no part in the evidence's entropy, which the other part leaves out."""
    whole = gan("gan") - 2.0 * vifx.kl(Joint(evidence("x")), Joint(factor("x", tabular(states=3), name="other")))
    params, state = whole.init(jax.random.key(0), BATCH)
    for player, checked in vifx.verify(whole, params, state, BATCH).items():
        assert checked.value_error < 1e-12, player
        assert checked.gradient_error < 1e-12, player


def test_initial_parameters_do_not_depend_on_the_sum():
    kl = vifx.kl(INFERENCE, GENERATIVE, name="one")
    extra = vifx.reconstruction(INFERENCE, GENERATIVE, name="two")
    one, _ = kl.init(jax.random.key(4), BATCH)
    both, _ = (extra + kl).init(jax.random.key(4), BATCH)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), one, {k: both[k] for k in one}))


@pytest.mark.parametrize("weight", [float("nan"), float("-inf"), np.float32("inf"), "2", None, True, 1j])
def test_only_finite_numbers_scale(weight):
    objective = vifx.kl(INFERENCE, GENERATIVE)
    for scale in (lambda: weight * objective, lambda: objective * weight, lambda: objective / weight):
        with pytest.raises((ValueError, TypeError), match="the scale of an objective must be a finite number, got"):
            scale()


@pytest.mark.parametrize("weight", [np.ones(2), np.ones(()), jnp.ones(2), jnp.ones(())])
def test_arrays_do_not_scale(weight):
    objective = vifx.kl(INFERENCE, GENERATIVE)
    for scale in (lambda: weight * objective, lambda: objective * weight, lambda: objective / weight):
        with pytest.raises(TypeError, match="the scale of an objective must be a finite number, got an array float"):
            scale()


def test_zero_does_not_divide():
    with pytest.raises(ValueError, match="divided by a number that is not zero"):
        vifx.kl(INFERENCE, GENERATIVE) / 0


@pytest.mark.thorough
def test_metrics_of_a_sum_must_be_told_apart():
    both = vifx.kl(INFERENCE, GENERATIVE) + vifx.reconstruction(INFERENCE, GENERATIVE)
    params, state = both.init(jax.random.key(0), BATCH)
    with pytest.raises(ValueError, match="both objectives of player 'model' report 'nll/x'"):
        value(both, params, state)


def test_a_sum_refuses_two_networks_under_one_name():
    other = Joint(evidence("x"), factor("z | x", tabular(3, states=2), name="encoder"))
    with pytest.raises(ValueError, match="owner 'encoder' has two networks"):
        vifx.kl(INFERENCE, GENERATIVE, name="a") + vifx.kl(other, GENERATIVE, name="b")


def test_only_objectives_add_up():
    objective = vifx.kl(INFERENCE, GENERATIVE)
    for add in (lambda: objective + 1, lambda: 1 + objective, lambda: objective - 1, lambda: objective * objective):
        with pytest.raises(TypeError):
            add()


def test_explain_says_everything_that_a_reader_needs():
    text = vifx.explain(vifx.kl(INFERENCE, GENERATIVE, weights={"kl/z": 4.0}), BATCH)
    for line in (
        "  inference   p̃(x) · encoder(z | x)",
        "  generative  prior(z) · decoder(x | z)",
        "    1. KL = E[ log p̃(x) + log encoder(z | x) − log prior(z) − log decoder(x | z) ]   over (x, z)",
        "    2. the evidence's own term, − H(p̃(x)), has no parameters: it is dropped",
        "    3. L = E KL(encoder(z | x) ‖ prior(z)) + E[−log decoder(x | z)]",
        "    4. KL = L − H(p̃(x)) ≥ 0,  and  ELBO = −L ≤ E[log generative(x)]",
        "          by closed form; weight 4",
        "          by z: summed over all states",
        "  dropped     − H(p̃(x))",
        "  model moves encoder, prior, decoder",
    ):
        assert line.strip() in [each.strip() for each in text.splitlines()], line
    assert "nats" in text
    undecided = vifx.explain(vifx.kl(INFERENCE, GENERATIVE))
    assert "a batch decides" in undecided
    assert "by mean over the batch and the latents" in undecided
    assert undecided.count("closed form if") == 1
    latex = vifx.explain(vifx.kl(INFERENCE, GENERATIVE), BATCH, style="latex")
    assert r"\mathcal{L} = \mathbb{E}\,\mathrm{KL}(\mathrm{encoder}(z \mid x) \,\|\, \mathrm{prior}(z))" in latex
    assert latex.count("{") == latex.count("}")
    with pytest.raises(ValueError, match="style"):
        vifx.explain(vifx.kl(INFERENCE, GENERATIVE), style="html")


def test_explain_says_equal_where_there_are_no_latents():
    exact = Joint(factor("x", tabular(states=3), name="model"))
    assert "ELBO = −L = E[log generative(x)]" in vifx.explain(vifx.kl(Joint(evidence("x")), exact))
    classifier = Joint(evidence("x"), factor("y | x", tabular(3, states=2), name="classifier"))
    text = vifx.explain(vifx.kl(Joint(evidence("x", "y")), classifier))
    assert "ELBO = −L = E[log generative(y | x)]" in text
    assert "−L ≤" in vifx.explain(vifx.kl(INFERENCE, GENERATIVE))
    bound = vifx.importance_weighted(Joint(evidence("x")), exact, samples=3)
    assert "without latents the bound is the log-likelihood: L = −E log model(x), for every K" in vifx.explain(bound)
    # With weights of the terms the claim stays that of the plain loss: the value is that of the log-likelihood.
    params, state = bound.init(jax.random.key(0), BATCH)
    log_q = jax.nn.log_softmax(params["model"])[BATCH["x"]]
    for objective in (bound, vifx.kl(Joint(evidence("x")), exact)):
        np.testing.assert_allclose(value(objective, params, state)[0], -jnp.mean(log_q), rtol=1e-6)


@pytest.mark.parametrize("style", ["text", "latex"])
def test_explain_defines_every_letter_of_a_game(style):
    generator = Joint(factor("x", tabular(states=3), name="prior"))

    def explained(**options):
        return vifx.explain(
            vifx.adversarial(Joint(evidence("x")), generator, tabular_critic, on="x", **options), style=style
        )

    conjugate = "f*(t) = sup_u [u t − f(u)]" if style == "text" else r"f^*(t) = \sup_u [u t - f(u)]"
    ratio = "T = f′(e^ℓ), so that f*(T) = e^ℓ f′(e^ℓ) − f(e^ℓ)" if style == "text" else r"T = f'(e^{\ell})"
    for text in (explained(divergence="pearson"), explained(divergence="kl", critic_divergence="labelled_kl")):
        assert conjugate in text
        assert ratio in text
    activated = explained(divergence="pearson", parametrization="activation")
    assert conjugate in activated
    assert "T = g(v)" in activated
    if style == "text":
        assert "Σ (P − Q)²/Q = E_Q f(P/Q), P = A, Q = B" in activated
        assert "v is the critic's output" in activated
        assert "onto (−2, ∞)" in activated
        # ℓ is called a log ratio where it is one, and D is defined where it occurs.
        for options in ({"divergence": "hinge"}, {"divergence": "wasserstein"}, {"divergence": "least_squares"}):
            text = explained(**options)
            assert "ℓ is the critic's output" in text
            assert "estimates log A/B" not in text
            assert "D = σ" not in text
        assert "estimates log A/B, D = σ(ℓ)" in explained()
        skewed = explained(label_prior=0.25)
        assert skewed.count("D = σ(") == 1
        assert "D = σ(ℓ + log π/(1−π))" in skewed


def test_explain_names_estimators_of_the_bound():
    bound = vifx.importance_weighted(INFERENCE, GENERATIVE, samples=3)
    assert "all K-tuples of states, exactly; gradient: reparameterized" in vifx.explain(bound, BATCH)
    assert "E[w]" in vifx.explain(bound)


def test_enumeration_says_what_is_not_finite():
    normal = vifx.standard_normal(2)
    inference = Joint(evidence("x"), factor("z | x", lambda x: normal.expand((len(x),))))
    generative = Joint(factor("z", normal), factor("x | z", lambda z: Categorical(jnp.zeros((len(z), 3)))))
    with pytest.raises(ValueError, match=r"known\(z \| x\) is not over a finite variable"):
        vifx.verify(vifx.kl(inference, generative), {}, {}, BATCH)


def test_enumeration_needs_concrete_integers():
    objective = vifx.kl(INFERENCE, GENERATIVE)
    params, state = objective.init(jax.random.key(0), BATCH)
    claim = objective.parts[0].exact["model"]
    with pytest.raises(ValueError, match="traced"):
        jax.jit(lambda b: claim(params, state, b))(BATCH)
    with pytest.raises(ValueError, match="needs integers"):
        claim(params, state, {"x": jnp.ones((4, 2))})
    with pytest.raises(ValueError, match="batch lacks 'x'"):
        claim(params, state, {})


def test_evidence_beyond_the_decoders_states_is_named():
    objective = vifx.kl(INFERENCE, GENERATIVE)
    params, state = objective.init(jax.random.key(0), BATCH)
    with pytest.raises(ValueError, match=r"'x' takes the value 9, but decoder\(x \| z\) has the states 0, 1, 2"):
        vifx.verify(objective, params, state, {"x": jnp.array([0, 1, 9])})


@pytest.mark.thorough
def test_the_second_loss_of_a_sum_sees_the_state_that_the_first_has_written():
    """An encoder that counts its training calls: each of the two losses makes one."""
    table = tabular(3, states=2)

    def apply(params, state, *inputs, key=None, train=False):
        output, _ = table.apply(params, {}, *inputs)
        return output, {"calls": state["calls"] + 1} if train else state

    counting = Net(lambda key, x: (table.init(key, x)[0], {"calls": jnp.zeros((), jnp.int32)}), apply)
    inference = Joint(evidence("x"), factor("z | x", counting, name="encoder"))
    both = vifx.kl(inference, GENERATIVE, name="one") + vifx.kl(inference, GENERATIVE, name="two")
    params, state = both.init(jax.random.key(0), BATCH)
    assert int(state["encoder"]["calls"]) == 0
    _, aux = value(both, params, state)
    assert int(aux.state["encoder"]["calls"]) == 2
    _, aux = both.players["model"].loss(jax.random.key(0), params, state, BATCH, train=False)
    assert int(aux.state["encoder"]["calls"]) == 0


def test_a_sum_keeps_the_turns_of_both():
    """A critic moves before the model that it judges, on whichever side of the sum it stands."""

    def loss(key, params, state, batch, *, train=True):
        return jnp.zeros(()), Aux({}, state)

    def objective(*names):
        return Objective(lambda key, batch: ({}, {}), {name: Player((), loss) for name in names}, ())

    assert list((objective("model") + objective("critic", "model")).players) == ["critic", "model"]
    assert list((objective("critic", "model") + objective("model")).players) == ["critic", "model"]
    assert list((objective("a") + objective("b", "a", "c")).players) == ["b", "a", "c"]
    assert list((objective("a", "b") + objective("c")).players) == ["a", "b", "c"]


def test_a_loss_without_joints_is_an_objective_that_claims_nothing():
    def init(key, batch):
        return {"line": jax.random.normal(key, (2,))}, {}

    def loss(key, params, state, batch, *, train=True):
        error = params["line"][0] * batch["x"] + params["line"][1]
        return jnp.mean(error**2), Aux({"error": jnp.mean(error)}, state)

    bare = Objective.of_loss(init, loss, owns=["line"], title="squares")
    batch = {"x": jnp.array([1.0, 3.0])}
    params, state = bare.init(jax.random.key(0), batch)
    expected = np.mean((np.asarray(params["line"][0]) * [1, 3] + np.asarray(params["line"][1])) ** 2)
    double, aux = (2 * bare).players["model"].loss(jax.random.key(0), params, state, batch)
    np.testing.assert_allclose(double, 2 * expected, rtol=1e-5)
    assert set(aux.metrics) == {"error"}
    assert vifx.explain(2 * bare).startswith("2 squares\n\n  dropped     nothing\n\nplayers\n  model moves line\n")
    with pytest.raises(ValueError, match=r"player 'model' of Objective\(squares\) claims nothing"):
        vifx.verify(bare, params, state, batch)
    with pytest.raises(ValueError, match=r"owns must be the names of networks, such as \['model'\], got 'line'"):
        Objective.of_loss(init, loss, owns="line")
    with pytest.raises(TypeError, match=r"loss must be a function \(key, params, state, batch"):
        Objective.of_loss(init, 3.0, owns=["line"])
