"""Chains against the product of their steps written as a loop, dense Gaussians, and enumeration of all sequences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vifx.distributions import Categorical, Chain, MarkovChain, Normal, standard_normal
from vifx.distributions.kl_estimates import estimate
from vifx.dynamics import Transition

T, EXAMPLES, D = 4, 3, 2
GENERATOR = np.random.default_rng(0)
PARAMS = {
    "matrix": 0.5 * GENERATOR.normal(size=(D, D)),
    "clock": GENERATOR.normal(size=(2, D)),
    "given": GENERATOR.normal(size=(D,)),
    "scale": np.array([0.7, 1.2]),
    "keep": np.array(0.6),
}
TIMES = np.cumsum(GENERATOR.uniform(0.2, 1.5, size=(EXAMPLES, T)), axis=1)
PLACE, INPUTS = GENERATOR.normal(size=(EXAMPLES, D)), GENERATOR.normal(size=(EXAMPLES, T, D))
LENGTHS = np.array([4, 1, 3])


def moved(params, features):
    """A normal law around what is linear in the value before, the time and the parents."""
    before, t, gap, place, inputs = features
    loc = (
        before @ params["matrix"]
        + jnp.concatenate([t, gap], 1) @ params["clock"]
        + params["given"][None] * place
        + inputs
    )
    return Normal(loc, jnp.broadcast_to(params["scale"], loc.shape)).to_event(1)


PLAIN = Transition(lambda key, *_: (PARAMS, {}), lambda params, state, features, key, train: moved(params, features))


def advance(params, state, memory, inputs):
    """A memory of all values before: a running mean that forgets."""
    previous, *rest = inputs
    memory = params["keep"] * memory + previous
    return memory, (memory, *rest)


REMEMBERING = PLAIN._replace(begin=lambda params, state, inputs: 0 * inputs[0], advance=advance)
KINDS = {"memory": REMEMBERING, "plain": PLAIN}


def chain(kind, params=None, **options):
    given = (jnp.asarray(PLACE), jnp.asarray(INPUTS))
    start = Normal(0.3 * given[0], jnp.ones_like(given[0])).to_event(1)
    options = {"times": jnp.asarray(TIMES), **options}
    params = jax.tree.map(jnp.asarray, PARAMS) if params is None else params
    shape = {"examples": EXAMPLES, "given": given, "sequences": (False, True)}
    return Chain(start, KINDS[kind], T, params=params, state={}, **shape, **options)


def by_steps(kind, x, params, lengths=(T,) * EXAMPLES):
    """The density as a loop over examples and steps, in NumPy."""
    total = np.zeros(EXAMPLES)
    for i in range(EXAMPLES):
        memory = np.zeros(D)
        total[i] = scipy.stats.norm.logpdf(x[i, 0], 0.3 * PLACE[i], 1).sum()
        for t in range(1, lengths[i]):
            memory = params["keep"] * memory + x[i, t - 1]
            before = memory if kind == "memory" else x[i, t - 1]
            clock = np.array([TIMES[i, t - 1], TIMES[i, t] - TIMES[i, t - 1]])
            loc = before @ params["matrix"] + clock @ params["clock"] + params["given"] * PLACE[i] + INPUTS[i, t]
            total[i] += scipy.stats.norm.logpdf(x[i, t], loc, params["scale"]).sum()
    return total


@pytest.mark.parametrize("kind", KINDS)
def test_the_density_is_the_product_of_the_steps_up_to_the_end_with_its_gradient(x64, kind):
    x = GENERATOR.normal(size=(2, EXAMPLES, T, D))
    noisy = np.where(np.arange(T)[:, None] < LENGTHS[:, None, None], x, np.nan)

    @jax.jit
    def found(params, direction, ends, padded):
        def total(step):
            own = jax.tree.map(lambda leaf, slope: leaf + step * slope, params, direction)
            return chain(kind, own).log_prob(jnp.asarray(x)), chain(kind, own, lengths=ends).log_prob(padded)

        value, slope = jax.jvp(total, (jnp.zeros(()),), (jnp.ones(()),))
        pulled = jax.grad(lambda params: jnp.sum(chain(kind, params, lengths=ends).log_prob(padded)))(params)
        return value, slope, pulled

    direction = jax.tree.map(lambda leaf: GENERATOR.normal(size=leaf.shape), PARAMS)
    (whole, ended), slopes, pulled = found(PARAMS, direction, LENGTHS, noisy)
    for copy in range(2):
        np.testing.assert_allclose(whole[copy], by_steps(kind, x[copy], PARAMS), rtol=1e-12)
        np.testing.assert_allclose(ended[copy], by_steps(kind, x[copy], PARAMS, LENGTHS), rtol=1e-12)
        near = [jax.tree.map(lambda p, d, h=h: p + h * d, PARAMS, direction) for h in (1e-5, -1e-5)]
        for slope, lengths in zip(slopes, ((T,) * EXAMPLES, LENGTHS), strict=True):
            high, low = (by_steps(kind, x[copy], params, lengths) for params in near)
            np.testing.assert_allclose(slope[copy], (high - low) / 2e-5, rtol=1e-6, atol=1e-7)
    along = sum(np.sum(a * b) for a, b in zip(jax.tree.leaves(pulled), jax.tree.leaves(direction), strict=True))
    np.testing.assert_allclose(along, slopes[1].sum(), rtol=1e-10)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_the_moments_of_the_dense_gaussian_and_their_own_density(x64, kind):
    law, draws = chain(kind), 4000
    samples, log_prob = jax.jit(lambda key: law.sample_with_log_prob(key, (draws,)))(jax.random.key(0))
    again = jax.jit(lambda key: law.sample(key, (draws,)))(jax.random.key(0))
    np.testing.assert_array_equal(samples, again)
    np.testing.assert_allclose(log_prob, jax.jit(law.log_prob)(samples), rtol=1e-12)
    # A chain that is linear in its own noise is Gaussian: its density is quadratic, with the precision as its Hessian.
    flat = lambda x: jnp.sum(law.log_prob(x.reshape(EXAMPLES, T, D)))  # noqa: E731
    zero = jnp.zeros(EXAMPLES * T * D)
    slope, precision = map(np.asarray, jax.jit(lambda: (jax.grad(flat)(zero), -jax.hessian(flat)(zero)))())
    covariance = np.linalg.inv(precision)
    mean, drawn = np.asarray(covariance @ slope), np.asarray(samples).reshape(draws, -1)
    deviation = np.sqrt(np.diag(covariance))
    assert np.abs((drawn.mean(0) - mean) / deviation).max() < 4.5 / np.sqrt(draws)
    scaled = (drawn - mean) / deviation
    correlation = covariance / np.outer(deviation, deviation)
    assert np.abs(scaled.T @ scaled / draws - correlation).max() < 4.5 * np.sqrt(2 / draws)
    one = law.sample(jax.random.key(1))
    assert one.shape == (EXAMPLES, T, D)
    assert scipy.stats.kstest(((np.asarray(one).reshape(-1) - mean) / deviation), "norm").pvalue > 1e-6


@pytest.mark.thorough
def test_a_sequence_goes_on_from_what_is_known_by_the_same_law(x64):
    """The rest given the first k steps: the conditional of the dense Gaussian, with k of each example."""
    law, draws, known = chain("memory"), 4000, np.array([1, 2, 3])
    value = jnp.asarray(GENERATOR.normal(size=(EXAMPLES, T, D)))
    hidden = jnp.where(np.arange(T)[:, None] < known[:, None, None], value, jnp.nan)
    drawn = np.asarray(jax.jit(lambda key: law.continued(key, hidden, jnp.asarray(known), (draws,)))(jax.random.key(2)))
    flat = lambda x: jnp.sum(law.log_prob(x.reshape(EXAMPLES, T, D)))  # noqa: E731
    slope, precision = jax.jit(lambda x: (jax.grad(flat)(x), -jax.hessian(flat)(x)))(value.reshape(-1))
    free = np.broadcast_to((np.arange(T) >= known[:, None])[..., None], (EXAMPLES, T, D)).reshape(-1)
    covariance = np.linalg.inv(np.asarray(precision)[np.ix_(free, free)])
    mean = np.asarray(value).reshape(-1)[free] + covariance @ np.asarray(slope)[free]
    flat_drawn = drawn.reshape(draws, -1)
    np.testing.assert_array_equal(
        flat_drawn[:, ~free], np.broadcast_to(value.reshape(-1)[~free], (draws, (~free).sum()))
    )
    scaled = (flat_drawn[:, free] - mean) / np.sqrt(np.diag(covariance))
    assert np.abs(scaled.mean(0)).max() < 4.5 / np.sqrt(draws)
    assert np.abs(scaled.var(0) - 1).max() < 4.5 * np.sqrt(2 / draws)


def dense(law, size):
    """Mean and covariance of a Gaussian chain of one row, from its density."""
    flat = lambda x: law.log_prob(x.reshape(1, T, size))[0]  # noqa: E731
    zero = jnp.zeros(T * size)
    covariance = jnp.linalg.inv(-jax.hessian(flat)(zero))
    return covariance @ jax.grad(flat)(zero), covariance


def gaussians(params):
    """Two chains of one example that read the same parents, of which the first has the parameters."""
    one, other = (
        Chain(
            Normal(params["loc"] * scale, jnp.full((1, D), 1.0)).to_event(1),
            PLAIN,
            T,
            params={**jax.tree.map(jnp.asarray, PARAMS), "matrix": params["matrix"] * scale, "scale": params["scale"]},
            state={},
            examples=1,
            given=(jnp.asarray(PLACE[:1]), jnp.asarray(INPUTS[:1])),
            sequences=(False, True),
            times=jnp.asarray(TIMES[0]),
        )
        for scale in (1.0, 0.4)
    )
    return one, other


def exact_kl(params):
    (mean, covariance), (other_mean, other) = (dense(law, D) for law in gaussians(params))
    precision, apart = jnp.linalg.inv(other), other_mean - mean
    log_det = jnp.linalg.slogdet(other)[1] - jnp.linalg.slogdet(covariance)[1]
    return 0.5 * (jnp.trace(precision @ covariance) + apart @ precision @ apart - T * D + log_det)


@pytest.mark.thorough
def test_the_divergence_along_a_path_is_unbiased_with_its_gradient_and_of_smaller_variance(x64):
    params = {"loc": jnp.asarray(PLACE[:1]), "matrix": jnp.asarray(PARAMS["matrix"]), "scale": jnp.array([0.7, 1.2])}
    found = estimate(*gaussians(params))
    assert (found.how, found.sampled) == ("closed form of each step along a drawn path", True)
    keys, others = jax.random.split(jax.random.key(0), (2, 1200))

    def one(params, key):
        return estimate(*gaussians(params)).value(key)[0]

    def ratio(key):
        first, second = gaussians(params)
        x = first.sample(key)
        return (first.log_prob(x) - second.log_prob(x))[0]

    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(one), in_axes=(None, 0)))(params, keys)
    expected, slopes = jax.jit(jax.value_and_grad(exact_kl))(params)
    pairs = zip(jax.tree.leaves((values, gradients)), jax.tree.leaves((expected, slopes)), strict=True)
    for draws, exactly in pairs:
        error = np.std(draws, axis=0) / np.sqrt(len(keys))
        np.testing.assert_array_less(np.abs(np.mean(draws, axis=0) - exactly), 4.5 * error + 1e-9)
    ratios = jax.jit(jax.vmap(ratio))(others)
    assert abs(np.mean(ratios) - expected) < 4.5 * np.std(ratios) / np.sqrt(len(keys))
    assert np.var(values) < 0.6 * np.var(ratios)


K = 3
TABLES = {"initial": GENERATOR.normal(size=(2, K)), "table": GENERATOR.normal(size=(2, T - 1, K, K))}
READ = Transition(
    lambda key, *_: ({}, {}),
    lambda params, state, features, key, train: Categorical(
        params["table"][jnp.arange(2), features[1][:, 0].astype(int), features[0]]
    ),
)


def finite(tables):
    """Two examples, each with tables of its own for every step."""
    return Chain(Categorical(tables["initial"]), READ, T, params=tables, state={}, examples=2)


@pytest.mark.thorough
def test_finitely_many_states_are_the_chain_of_their_tables(x64):
    law = finite(jax.tree.map(jnp.asarray, TABLES))
    expected = MarkovChain(jnp.asarray(TABLES["initial"]), jnp.asarray(TABLES["table"]), T)
    paths = law.every_sequence()
    np.testing.assert_array_equal(paths, expected.every_sequence())
    assert len({tuple(path) for path in np.asarray(paths).tolist()}) == K**T
    values = jnp.broadcast_to(paths[:, None], (K**T, 2, T))
    log_probs = np.asarray(jax.jit(law.log_prob)(values))
    np.testing.assert_allclose(log_probs, jax.jit(expected.log_prob)(values), rtol=1e-12)
    np.testing.assert_allclose(np.exp(log_probs).sum(0), 1, rtol=1e-12)
    found = jax.jit(lambda: (law.tabulated().marginals, law.tabulated().entropy()))()
    np.testing.assert_allclose(found[1], -np.sum(np.exp(log_probs) * log_probs, axis=0), rtol=1e-12)
    np.testing.assert_allclose(found[0], jax.jit(lambda: expected.marginals)(), rtol=1e-12)
    samples = np.asarray(jax.jit(lambda key: law.sample(key, (6000,)))(jax.random.key(0)))
    codes = samples @ K ** np.arange(T)[::-1]
    for example in range(2):
        share, probs = np.bincount(codes[:, example], minlength=K**T) / 6000, np.exp(log_probs[:, example])
        assert (np.abs(share - probs) < 4.5 * np.sqrt(probs * (1 - probs) / 6000) + 1e-3).all()
    assert np.isneginf(law.log_prob(jnp.array([[0, 1, 3, 0], [-1, 0, 0, 0]]))).all()


@pytest.mark.thorough
def test_the_divergence_of_finite_chains_has_the_gradient_of_the_score_function(x64):
    one = jax.tree.map(jnp.asarray, TABLES)
    other = jax.tree.map(lambda leaf: -0.7 * leaf, one)
    keys = jax.random.split(jax.random.key(1), 1500)

    def draw(tables, key):
        return jnp.sum(finite(tables).kl_estimate(finite(other)).value(key))

    def exactly(tables):
        return jnp.sum(finite(tables).tabulated().kl(finite(other).tabulated()))

    found = jax.jit(jax.vmap(jax.value_and_grad(draw), in_axes=(None, 0)))(one, keys)
    for draws, value in zip(
        jax.tree.leaves(found), jax.tree.leaves(jax.jit(jax.value_and_grad(exactly))(one)), strict=True
    ):
        error = np.std(draws, axis=0) / np.sqrt(len(keys))
        np.testing.assert_array_less(np.abs(np.mean(draws, axis=0) - value), 4.5 * error + 1e-9)


@pytest.mark.thorough
def test_a_chain_of_one_step_is_its_start(x64):
    start, other = Normal(jnp.asarray(PLACE), jnp.full((EXAMPLES, D), 0.5)).to_event(1), standard_normal(D)
    alone, second = (Chain(law, PLAIN, 1, examples=EXAMPLES) for law in (start, other))
    x = jnp.asarray(INPUTS[:, :1])
    np.testing.assert_array_equal(alone.log_prob(x), start.log_prob(x[:, 0]))
    found = alone.kl_estimate(second)
    assert (found.how, found.sampled) == ("closed form", False)
    np.testing.assert_array_equal(found.value(jax.random.key(0)), estimate(start, other).value(jax.random.key(0)))
    drawn = np.asarray(alone.sample(jax.random.key(0), (2000,)))
    scaled = (drawn[:, :, 0] - PLACE) / 0.5
    assert scipy.stats.kstest(scaled.reshape(-1), "norm").pvalue > 1e-6
    first = Chain(Categorical(jnp.asarray(TABLES["initial"])), READ, 1, examples=2).tabulated()
    np.testing.assert_allclose(first.marginals[:, 0], jax.nn.softmax(TABLES["initial"]), rtol=1e-12)


@pytest.mark.thorough
def test_without_a_closed_form_of_the_steps_there_is_no_estimate(x64):
    law = finite(jax.tree.map(jnp.asarray, TABLES))
    assert law.kl_estimate(law.tabulated()) is None
    skewed = PLAIN._replace(law=lambda params, state, features, key, train: Laplace(features).to_event(1))
    one, other = chain("plain"), chain("plain")
    other.transition = skewed
    assert one.kl_estimate(other) is None
    assert chain("plain", lengths=jnp.asarray(LENGTHS)).kl_estimate(one) is None


def Laplace(features):
    import numpyro.distributions as numpyro

    return numpyro.Laplace(features[0], jnp.ones_like(features[0]))


@pytest.mark.thorough
def test_steps_beyond_the_end_count_for_nothing_in_the_divergence_either(x64):
    """The estimate of ragged sequences is that of the same ones cut off, path by path."""
    other = {**PARAMS, "matrix": -PARAMS["matrix"]}
    laws = [chain("plain", jax.tree.map(jnp.asarray, p), lengths=jnp.asarray(LENGTHS)) for p in (PARAMS, other)]
    whole = [chain("plain", jax.tree.map(jnp.asarray, p)) for p in (PARAMS, other)]
    estimated = jax.jit(
        lambda key, other: [p.kl_estimate(q).value(k) for (p, q), k in zip((laws, whole), (key, other), strict=True)]
    )
    found, entire = estimated(jax.random.key(0), jax.random.key(0))
    sampled = jax.jit(lambda key, other: (whole[0].sample(key), laws[0].sample(other)))
    path, ragged = map(np.asarray, sampled(jax.random.key(0), jax.random.key(0)))
    apart = PARAMS["matrix"] - other["matrix"]
    steps, ends = (0.5 * (((x @ apart) / PARAMS["scale"]) ** 2).sum(-1) for x in (path, ragged))  # normals of one scale
    np.testing.assert_allclose(found, [ends[i, : LENGTHS[i] - 1].sum() for i in range(EXAMPLES)], rtol=1e-12)
    np.testing.assert_allclose(entire, steps[:, :-1].sum(1), rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"times": TIMES[:, ::-1]}, r"times must increase from step to step, got .* at steps 0 and 1 of sequence 0"),
        ({"times": TIMES[0, :3]}, r"times must be floating point \[4\]"),
        ({"times": np.arange(4)}, r"times must be floating point \[4\], one for each step, got int"),
        ({"lengths": np.array([4, 0, 1])}, "lengths must be from 1 to 4"),
        ({"lengths": np.array([4, 5, 1])}, "lengths must be from 1 to 4"),
        ({"lengths": np.array([4, 5])}, r"lengths must be integers \[3\]"),
    ],
)
def test_times_and_lengths_are_checked(x64, options, message):
    with pytest.raises(ValueError, match=message):
        chain("plain", **{name: jnp.asarray(value) for name, value in options.items()})


def test_in_compiled_code_wrong_times_and_lengths_are_nan(x64):
    x = jnp.asarray(INPUTS)
    late = jnp.asarray(TIMES).at[1, 2].set(0.0)
    found = jax.jit(lambda times: chain("plain", times=times).log_prob(x))(late)
    assert np.isnan(found).tolist() == [False, True, False]
    cut = jax.jit(lambda times, ends: chain("plain", times=times, lengths=ends).log_prob(x))
    assert np.isnan(cut(late, jnp.array([4, 2, 0]))).tolist() == [False, False, True]


def test_a_transition_that_is_not_over_the_state_is_refused():
    wide = Transition(PLAIN.init, lambda params, state, features, key, train: standard_normal(D + 1).expand((1,)))
    law = Chain(standard_normal(D), wide, T)
    message = r"a transition of a chain|the transition of a chain returned a .* event shape \[3\], expected .* \[2\]"
    for use in (lambda: law.log_prob(jnp.zeros((1, T, D))), lambda: law.sample(jax.random.key(0), (1,))):
        with pytest.raises(ValueError, match=message):
            use()
    with pytest.raises(ValueError, match="make the two agree in steps and in the shape of values"):
        law.kl_estimate(Chain(standard_normal(D), PLAIN, T + 1))
    with pytest.raises(ValueError, match=r"parent 0 has shape \[3, 3, 2\], expected \[examples, 4, ...\]"):
        Chain(standard_normal(D), PLAIN, T, examples=3, given=(jnp.asarray(INPUTS[:, :3]),), sequences=(True,))
    with pytest.raises(ValueError, match=r"start has batch shape \[2\], expected \[3\]"):
        Chain(standard_normal(D).expand((2,)), PLAIN, T, examples=3)
    with pytest.raises(ValueError, match=r"not over the integers 0 … K − 1"):
        law.tabulated()
    with pytest.raises(ValueError, match=r"a chain with a memory has no tables"):
        Chain(Categorical(jnp.zeros(2)), READ._replace(advance=advance, begin=advance), T).tabulated()
    with pytest.raises(ValueError, match=r"3 states at 13 steps have 3\^13 sequences"):
        Chain(Categorical(jnp.zeros(3)), READ, 13).every_sequence()
