"""Chains as factors of joints: against enumeration, Markov chains of tables, and the roles of their parents."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import vifx
from vifx import distributions as d
from vifx import dynamics, nets, networks
from vifx.core.support import check_supports
from vifx.dynamics import chain
from vifx.verification import tabular

T, K = 3, 2


def table(*shape):
    """A network of tables over the state before, the step, and what else is given as integers."""
    free = tabular(*shape, states=K)
    return nets.from_functions(
        lambda key, *read: free.init(key, *read)[0],
        lambda params, previous, t, *given: free.apply(params, {}, previous, t[:, 0].astype(int), *given)[0],
    )


def test_a_chain_of_data_is_the_divergence_that_it_claims(x64):
    """A finite latent, and sequences given it: enumerated, by value and by gradient."""
    emission = chain(tabular(2, states=K), table(K, T - 1, 2), T)
    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", READER, name="encoder"))
    generative = vifx.Joint(
        vifx.factor("z", tabular(states=2), name="prior"), vifx.factor("x | z", emission, name="emission")
    )
    objective = vifx.kl(inference, generative)
    batch = {"x": jnp.array([[0, 1, 1], [1, 0, 0], [1, 1, 1], [0, 1, 1]])}
    params, state = objective.init(jax.random.key(0), batch)
    found = vifx.verify(objective, params, state, batch)["model"]
    assert found.value_error < 1e-13
    assert found.gradient_error < 1e-13
    assert found.loss > 0.1


FREE = tabular(K, K, K, states=2)
READER = nets.from_functions(lambda key, x: FREE.init(key, *x.T)[0], lambda params, x: FREE.apply(params, {}, *x.T)[0])


def sequences(tabulated):
    """A latent chain of two states, whose posterior reads the data of each step by itself."""
    posterior = chain(tabular(3, states=K), table(K, T - 1, 3), T, parents=("step",), tabulated=tabulated)
    prior = chain(tabular(states=K), table(K, T - 1), T, tabulated=tabulated)
    decoder = tabular(K, states=3)
    each = nets.from_functions(
        lambda key, z: decoder.init(key, z)[0], lambda params, z: decoder.apply(params, {}, z)[0]
    )
    return (
        vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", posterior, name="encoder")),
        vifx.Joint(
            vifx.factor("z", prior, name="prior"), vifx.factor("x | z", vifx.em.each_step(each), name="emission")
        ),
    )


SEQUENCES = {"x": jnp.array([[0, 1, 2], [2, 2, 0]])}


@pytest.mark.thorough
def test_tables_of_a_latent_chain_are_exact(x64):
    """`kl` takes expectations by forward–backward: the enumerated divergence, by value and by gradient."""
    objective = vifx.kl(*sequences(tabulated=True))
    params, state = objective.init(jax.random.key(0), SEQUENCES)
    found = vifx.verify(objective, params, state, SEQUENCES)["model"]
    assert found.value_error < 1e-13
    assert found.gradient_error < 1e-13
    drawn = vifx.kl(*sequences(tabulated=False), samples=2)
    keys = jax.random.split(jax.random.key(1), 800)
    loss = lambda params, key: drawn.players["model"].loss(key, params, state, SEQUENCES, train=False)  # noqa: E731
    (values, aux), slopes = jax.jit(jax.vmap(jax.value_and_grad(loss, has_aux=True), in_axes=(None, 0)))(params, keys)
    assert set(aux.metrics) == {"kl/z_sampled", "nll/x", "elbo"}
    key = jax.random.key(0)
    exact = lambda params: objective.players["model"].loss(key, params, state, SEQUENCES, train=False)[0]  # noqa: E731
    value, slope = jax.jit(jax.value_and_grad(exact))(params)
    assert float(value) == pytest.approx(found.claim + np.log(2), rel=1e-12)  # the entropy of two sequences is left out
    for draws, exactly in zip(jax.tree.leaves((values, slopes)), jax.tree.leaves((value, slope)), strict=True):
        error = np.std(draws, axis=0) / np.sqrt(len(keys))
        np.testing.assert_array_less(np.abs(np.mean(draws, axis=0) - exactly), 4.5 * error + 1e-9)


def test_with_a_table_for_all_times_it_is_a_markov_chain(x64):
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(K, K)))
    initial = jnp.array([0.3, -0.8])
    net = chain(d.Categorical(initial), lambda previous: d.Categorical(logits[previous]), T, stationary=True)

    @jax.jit
    def found(key):
        law, _ = net.apply(*net.init(key))
        return law.log_prob(law.every_sequence()), law.tabulated().marginals

    expected = d.MarkovChain(initial, logits, T)
    log_probs, marginals = found(jax.random.key(0))
    np.testing.assert_allclose(log_probs, jax.jit(expected.log_prob)(expected.every_sequence()), rtol=1e-13)
    np.testing.assert_allclose(marginals, jax.jit(lambda: expected.marginals)(), rtol=1e-13)


class Told(linen.Module):
    """A normal law whose mean shows everything that the transition was called with."""

    @linen.compact
    def __call__(self, *read):
        weights = self.param("weights", linen.initializers.normal(), (3, sum(each.shape[-1] for each in read)))
        return d.Normal(jnp.concatenate(read, -1) @ weights.T, jnp.ones((len(read[0]), 3))).to_event(1)


GENERATOR = np.random.default_rng(1)
INPUTS = {
    "times": np.cumsum(GENERATOR.uniform(0.1, 1, (2, T)), axis=1).astype(np.float32),
    "example": GENERATOR.normal(size=(2, 4)).astype(np.float32),
    "step": GENERATOR.normal(size=(2, T, 5)).astype(np.float32),
    "lengths": np.array([3, 2], np.int32),
}


@pytest.mark.first(1)
@pytest.mark.parametrize("stationary", [False, True])
@pytest.mark.parametrize(
    "roles", [("step", "lengths", "example", "times"), ("example",), ("times", "step"), ("lengths",)]
)
def test_what_a_transition_is_told(roles, stationary):
    """The mean of every step is the affine map of value, time and parents, in their order."""
    given = tuple(jnp.asarray(INPUTS[role]) for role in roles)
    net = chain(d.standard_normal(3), Told(), T, parents=roles, stationary=stationary)
    x = GENERATOR.normal(size=(2, T, 3)).astype(np.float32)

    @jax.jit
    def found(key, x, *given):
        params, state = net.init(key, *given)
        law, after = net.apply(params, state, *given)
        return params, law.step_log_probs(x), after

    params, log_probs, after = found(jax.random.key(0), x, *given)
    assert after == {"start": {}, "transition": {}}
    weights = np.asarray(params["transition"]["weights"], np.float64)
    ends = INPUTS["lengths"] if "lengths" in roles else [T, T]
    for i in range(2):
        for t in range(1, T):
            clock = [] if stationary else [INPUTS["times"][i, t - 1] if "times" in roles else t - 1.0]
            clock += [INPUTS["times"][i, t] - INPUTS["times"][i, t - 1]] if "times" in roles else []
            read = [INPUTS[r][i] if r == "example" else INPUTS[r][i, t] for r in roles if r in ("example", "step")]
            mean = weights @ np.concatenate([x[i, t - 1], clock, *read])
            expected = -0.5 * ((x[i, t] - mean) ** 2).sum() - 1.5 * np.log(2 * np.pi)
            np.testing.assert_allclose(log_probs[i, t], expected * (t < ends[i]), rtol=2e-5)


def test_the_start_reads_the_parents_of_the_first_step():
    given = tuple(jnp.asarray(INPUTS[role]) for role in ("step", "times", "example"))
    net = chain(Told(), lambda previous, t, *rest: d.Normal(previous, jnp.ones_like(previous)).to_event(1), T,
                parents=("step", "times", "example"))  # fmt: skip

    @jax.jit
    def found(key):
        params, state = net.init(key, *given)
        return params, net.apply(params, state, *given)[0].start.mean

    params, mean = found(jax.random.key(0))
    read = np.concatenate([INPUTS["step"][:, 0], INPUTS["example"]], axis=1)
    np.testing.assert_allclose(mean, read @ np.asarray(params["start"]["weights"]).T, rtol=1e-5)


@pytest.mark.thorough
def test_fixed_times_and_copies_of_examples():
    """Times that all share, and several draws an example in `kl`: the density of each copy is that of its example."""
    net = chain(d.standard_normal(3), Told(), T, times=[0.0, 0.5, 2.0])
    z = jnp.asarray(INPUTS["example"])

    @jax.jit
    def found(key, other):
        params, state = net.init(key, z)
        law, _ = net.apply(params, state, z)
        x = law.sample(other, (5,))
        return params, x, law.step_log_probs(x), law.step_log_probs(x[3])

    params, x, each, alone = jax.tree.map(np.asarray, found(*jax.random.split(jax.random.key(0))))
    np.testing.assert_allclose(each[3], alone, rtol=1e-5)
    weights = params["transition"]["weights"].astype(np.float64)
    for copy in range(5):
        read = np.concatenate([x[copy, :, 1], np.full((2, 2), [0.5, 1.5]), INPUTS["example"]], axis=1)
        expected = -0.5 * ((x[copy, :, 2] - read @ weights.T) ** 2).sum(1) - 1.5 * np.log(2 * np.pi)
        np.testing.assert_allclose(each[copy, :, 2], expected, rtol=2e-5)


@pytest.mark.thorough
def test_noise_of_the_network_is_in_training_alone_and_of_every_step():
    body = networks.Conditional(networks.MLP((32,), dropout=0.5), networks.NormalFixedScale((1,), 1.0))
    net = chain(d.standard_normal(1), body, 6, stationary=True)

    @jax.jit
    def found(key, noise, draw):
        params, state = net.init(key)
        evaluated, _ = net.apply(params, state, key=noise)
        trained, _ = net.apply(params, state, key=jax.random.clone(noise), train=True)
        x, (drawn, log_prob) = jnp.ones((1, 6, 1)), trained.sample_with_log_prob(draw, (4,))
        return evaluated.step_log_probs(x), trained.step_log_probs(x), trained.log_prob(drawn), log_prob

    evaluated, trained, again, log_prob = found(*jax.random.split(jax.random.key(0), 3))
    np.testing.assert_allclose(evaluated[0, 1:], np.full(5, evaluated[0, 1]), rtol=1e-5)
    assert np.unique(np.round(trained[0, 1:], 5)).size > 3
    np.testing.assert_allclose(again, log_prob, rtol=1e-5)


def test_explain_says_how_the_divergence_of_chains_is_estimated():
    law = lambda scale: lambda z, t, *given: d.Normal(scale * z, jnp.ones_like(z)).to_event(1)  # noqa: E731
    normal = nets.from_functions(lambda key, x: {}, lambda params, x: d.Normal(x, jnp.ones_like(x)).to_event(1))
    posterior, prior = chain(normal, law(0.5), T), chain(d.standard_normal(1), law(0.9), T)
    around = networks.around(nets.from_functions(lambda key, z: {}, lambda params, z: z[:, -1]), 0.3)
    objective = vifx.kl(
        vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", posterior, name="encoder")),
        vifx.Joint(vifx.factor("z", prior, name="dynamics"), vifx.factor("x | z", around, name="decoder")),
    )
    batch = {"x": jnp.ones((2, 1))}
    assert "closed form of each step along a drawn path" in str(vifx.explain(objective, batch))
    params, state = objective.init(jax.random.key(0), batch)
    loss = jax.jit(objective.players["model"].loss)
    expected = 0.5 * (1 + 0.4**2 * (2 + 1.5))  # of the start, and of two steps from values of these squares
    found = [loss(key, params, state, batch)[1].metrics for key in jax.random.split(jax.random.key(1), 200)]
    assert set(found[0]) == {"kl/z_sampled", "nll/x", "elbo"}
    values = np.array([each["kl/z_sampled"] for each in found])
    assert abs(values.mean() - expected) < 4.5 * values.std() / np.sqrt(len(values))


def test_a_chain_over_what_was_observed_has_the_density_of_the_gaps(x64):
    """Brownian motion is its own law over any gaps: the steps that are left have the density of a dense Gaussian."""
    x = np.cumsum(GENERATOR.normal(size=(4, 6)), axis=1)
    present = np.array([[1, 0, 1, 1, 0, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 0, 0], [1, 0, 0, 0, 0, 1]], bool)
    values, times, lengths = dynamics.observed(np.where(present, x, np.nan), present, np.arange(1.0, 7.0))
    assert lengths.tolist() == [4, 6, 1, 2]
    walk = chain(
        d.Normal(jnp.zeros(()), jnp.ones(())),
        lambda previous, gap: d.Normal(previous, jnp.sqrt(gap[:, 0])),
        6,
        parents=("times", "lengths"),
        stationary=True,
    )

    @jax.jit
    def each(key, values, *given):
        return walk.apply(*walk.init(key, *given), *given)[0].step_log_probs(values)

    found = np.asarray(each(jax.random.key(0), values, times.astype(float), lengths))
    for i in range(4):
        at = np.flatnonzero(present[i]) + 1.0
        covariance = np.minimum(at[1:, None], at[None, 1:]) - at[0]
        apart = x[i, present[i]][1:] - x[i, present[i]][0]
        if len(apart):
            expected = -0.5 * (
                apart @ np.linalg.solve(covariance, apart) + np.linalg.slogdet(2 * np.pi * covariance)[1]
            )
            assert found[i, 1:].sum() == pytest.approx(expected, rel=1e-10)
        assert not found[i, lengths[i] :].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 3)), np.array([[True, True, True], [False] * 3])), "present has no observation of sequence 1"),
        ((np.zeros((2, 3)), np.ones((2, 3))), "present must be booleans"),
        ((np.zeros((2, 3)), np.ones((2, 4), bool)), r"present must be booleans .* got bool\[2, 4\]"),
        ((np.zeros((1, 3)), np.ones((1, 3), bool), [0.0, 1.0, 1.0]), "times must increase, got 1 and then 1"),
        ((np.zeros((1, 3)), np.ones((1, 3), bool), [0.0, 1.0]), r"times must be \[3\] or \[1, 3\]"),
    ],
)
def test_observations_that_are_none_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        dynamics.observed(*arguments)


STEP = lambda previous, t, *given: d.Normal(previous, jnp.ones_like(previous)).to_event(1)  # noqa: E731
NORMAL = d.standard_normal(1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: chain(NORMAL, STEP, 0), "chain: steps must be an integer ≥ 1, got 0"),
        (lambda: chain(3.0, STEP, 2), r"start must be a distribution, a network, or a function .* got a float"),
        (lambda: chain(NORMAL, linen.Dense, 2), "transition must be a network, .* got the class Dense"),
        (lambda: chain(NORMAL.expand((2,)), STEP, 2), r"start has batch shape \[2\], expected \[\]"),
        (lambda: chain(NORMAL, STEP, 2, parents="step"), "parents must be a sequence of roles"),
        (
            lambda: chain(NORMAL, STEP, 2, parents=("mask",)),
            r"parents\[0\] must be one of example, step, times, lengths",
        ),
        (lambda: chain(NORMAL, STEP, 2, parents=("times", "times")), "has 'times' 2 times, expected once"),
        (lambda: chain(NORMAL, STEP, 2, parents=("times",), times=[0, 1]), "the times are given twice"),
        (lambda: chain(NORMAL, STEP, 3, times=[0, 2, 2]), "times must increase from step to step, got 2 and then 2"),
        (lambda: chain(NORMAL, STEP, 3, times=[0, 2]), r"times must be floating point \[3\]"),
        (lambda: chain(NORMAL, STEP, 2, parents=("step",)).init(jax.random.key(0)), "says what 1 of them are, but the"),
        (
            lambda: chain(NORMAL, STEP, 3, parents=("step",)).init(jax.random.key(0), jnp.zeros((2, 2, 1))),
            r"of every step has shape \[2, 2, 1\], expected \[examples, 3, ...\]",
        ),
        (
            lambda: chain(NORMAL, lambda z, t: d.Normal(z, jnp.ones_like(z)), 3).init(jax.random.key(0)),
            r"the transition of a chain returned a Normal of batch shape \[1, 1\] .* declare event dimensions",
        ),
        (
            lambda: chain(NORMAL, STEP, 3, tabulated=True).apply({"start": {}, "transition": {}}, NO_STATE),
            "not over the integers",
        ),
    ],
)
def test_what_is_wrong_is_refused_where_it_enters(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


NO_STATE = {"start": {}, "transition": {}}


def test_observations_of_another_length_are_refused():
    generative = vifx.Joint(vifx.factor("x", chain(NORMAL, STEP, 3), name="walk"))
    with pytest.raises(ValueError, match=r"is over events of shape \[3, 1\], but 'x' has \[4, 1\] per example"):
        generative.log_prob({"walk": {"start": {}, "transition": {}}}, {"walk": NO_STATE}, {"x": jnp.zeros((2, 4, 1))})


def test_observations_outside_of_the_support_are_refused_before_training():
    """A number that is none in a step, and a symbol too many: the message has the example."""
    walk = vifx.Joint(vifx.factor("x", chain(d.standard_normal(2), STEP, 3), name="walk"))
    symbols = chain(d.uniform_categorical(3), lambda x, t: d.Categorical(jnp.zeros((len(x), 3))), 3)
    counts = vifx.Joint(vifx.factor("x", symbols, name="walk"))
    missing = np.zeros((4, 3, 2), np.float32)
    missing[2, 1, 0] = np.nan
    many = np.zeros((4, 3), np.int32)
    many[1, 2] = 3
    networks_of = {"walk": {"start": {}, "transition": {}}}, {"walk": NO_STATE}
    for joint, x, message in ((walk, missing, "'x' of example 2 is"), (counts, many, r"'x' of example 1 is \[0 0 3\]")):
        with pytest.raises(ValueError, match=message):
            check_supports(vifx.Joint(vifx.evidence("x")), joint, *networks_of, {"x": x})
