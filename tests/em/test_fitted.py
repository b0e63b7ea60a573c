"""What a fitted model answers: against scikit-learn and hmmlearn at the same parameters, and SciPy's densities."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest
import scipy.special
import scipy.stats
from hmmlearn.hmm import CategoricalHMM, GaussianHMM, PoissonHMM
from sklearn.datasets import load_iris
from sklearn.mixture import GaussianMixture
from sklearn.utils.validation import check_is_fitted

from vifx import em

pytestmark = pytest.mark.filterwarnings("ignore:Setting the shape on a NumPy array:DeprecationWarning:hmmlearn")

IRIS = load_iris().data
SCIKIT = {"full": "full", "tied": "tied", "diagonal": "diag", "spherical": "spherical"}
DRAW = np.random.default_rng(0)
LENGTHS = [9, 4, 1, 7, 12]
VECTORS = [DRAW.normal(size=(n, 2)) + 3 * (np.arange(n) // 3 % 2)[:, None] for n in LENGTHS]
SYMBOLS = [DRAW.integers(0, 4, n) // (1 + np.arange(n) // 3 % 2) for n in LENGTHS]
COUNTS = [DRAW.poisson(1 + 5 * (np.arange(n) // 3 % 2)[:, None] * np.array([1.0, 0.2])) for n in LENGTHS]


def fitted(model, x, *, steps=4, **options):
    return em.fit(jax.random.key(0), model, x, steps=steps, tolerance=0.0, **options)


def spreads(estimates):
    return next(estimates[name] for name in ("covariances", "covariance", "variances") if name in estimates)


def scikit(fit, kind):
    """scikit-learn's model with the estimates of a fit."""
    own = fit.estimates
    peer = GaussianMixture(len(own["weights"]), covariance_type=SCIKIT[kind])
    peer.weights_, peer.means_, peer.covariances_ = own["weights"], own["means"], spreads(own)
    if kind in ("full", "tied"):
        inverse = np.linalg.inv(np.linalg.cholesky(peer.covariances_))
        peer.precisions_cholesky_ = np.swapaxes(inverse, -1, -2)
    else:
        peer.precisions_cholesky_ = 1 / np.sqrt(peer.covariances_)
    check_is_fitted(peer)
    return peer


@pytest.mark.first(1)
@pytest.mark.parametrize("kind", SCIKIT)
def test_a_gaussian_mixture_answers_as_scikit_learns(x64, kind):
    fit = fitted(em.mixture("gaussian", 3, covariance=kind), IRIS)
    peer, other = scikit(fit, kind), IRIS[::2] + 0.1
    for name in ("predict_proba", "score_samples", "score", "bic", "aic"):
        found, expected = getattr(fit, name)(other), getattr(peer, name)(other)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
        assert type(found) is (float if name in ("score", "bic", "aic") else np.ndarray)
    np.testing.assert_array_equal(fit.predict(other), peer.predict(other))
    assert np.issubdtype(fit.predict(other).dtype, np.integer)
    # Of the data that were fitted, without giving them again.
    np.testing.assert_allclose([fit.bic(), fit.aic()], [peer.bic(IRIS), peer.aic(IRIS)], rtol=1e-9)


def _bernoulli(own, x):
    return scipy.stats.bernoulli.logpmf(x[:, None], own["probabilities"]).sum(-1)


def _poisson(own, x):
    return scipy.stats.poisson.logpmf(x[:, None], own["rates"]).sum(-1)


def _multinomial(own, x):
    return np.stack([scipy.stats.multinomial.logpmf(x, x.sum(1), each) for each in own["probabilities"]], axis=1)


def _categorical(own, x):
    """Of vectors of variables: the probability of each one's class."""
    places = np.arange(x.shape[1])
    return np.log(np.stack([each[places, x] for each in own["probabilities"]], axis=1)).sum(-1)


def _normal(own, x):
    laws = [scipy.stats.multivariate_normal(m, c) for m, c in zip(own["means"], own["covariances"], strict=True)]
    return np.stack([law.logpdf(x) for law in laws], axis=1)


def _student(own, x):
    parts = zip(own["locations"], own["shapes"], own["df"], strict=True)
    return np.stack([scipy.stats.multivariate_t(m, s, df=nu).logpdf(x) for m, s, nu in parts], axis=1)


BINARY = (DRAW.uniform(size=(60, 5)) < np.where(np.arange(60)[:, None] % 2, 0.2, 0.7)).astype(int)
FAMILIES = {
    "bernoulli": ({}, BINARY, _bernoulli),
    "categorical": ({"classes": 2}, BINARY, _categorical),
    "factor_analysis": ({"latent": 1}, IRIS, _normal),
    "multinomial": ({"trials": 9}, BINARY + 1, _multinomial),
    "poisson": ({}, BINARY * 3, _poisson),
    "ppca": ({"latent": 2}, IRIS, _normal),
    "student_t": ({}, IRIS, _student),
}


@pytest.mark.thorough
@pytest.mark.parametrize("family", FAMILIES)
def test_the_answers_of_a_family_are_those_of_its_estimates_by_scipy(x64, family):
    options, x, density = FAMILIES[family]
    fit = fitted(em.mixture(family, 2, **options), x)
    joint = np.log(fit.estimates["weights"]) + density(fit.estimates, x)
    total = scipy.special.logsumexp(joint, axis=1)
    np.testing.assert_allclose(fit.score_samples(x), total, rtol=1e-9)
    np.testing.assert_allclose(fit.predict_proba(x), np.exp(joint - total[:, None]), atol=1e-9)
    np.testing.assert_array_equal(fit.predict(x), joint.argmax(axis=1))
    assert fit.score(x) == pytest.approx(total.mean(), rel=1e-9)
    assert fit.bic(x) == pytest.approx(fit.bic(), rel=1e-9)
    assert fit.bic(x) == pytest.approx(fit.degrees * np.log(len(x)) - 2 * total.sum(), rel=1e-9)
    drawn = fit.sample(jax.random.key(1), 7)
    assert all(type(value) is np.ndarray for value in drawn.values())
    assert drawn["x"].shape == (7, *x.shape[1:])


HIDDEN = {
    "full": ("gaussian", {"covariance": "full"}, VECTORS),
    "diagonal": ("gaussian", {"covariance": "diagonal"}, VECTORS),
    "categorical": ("categorical", {"classes": 4}, SYMBOLS),
    "poisson": ("poisson", {}, COUNTS),
}


def hmmlearn(fit, kind):
    own = fit.estimates
    if kind == "categorical":
        peer = CategoricalHMM(2, n_features=4)
        peer.emissionprob_ = own["probabilities"]
    elif kind == "poisson":
        peer = PoissonHMM(2)
        peer.lambdas_, peer.n_features = own["rates"], 2
    else:
        peer = GaussianHMM(2, covariance_type="diag" if kind == "diagonal" else "full")
        peer.means_, peer.n_features = own["means"], 2
        peer.covars_ = spreads(own)
    peer.startprob_, peer.transmat_ = own["initial"], own["transitions"]
    return peer


@pytest.mark.thorough
@pytest.mark.parametrize("kind", HIDDEN)
def test_a_hidden_markov_model_of_a_list_of_sequences_answers_as_hmmlearns(x64, kind):
    family, options, sequences = HIDDEN[kind]
    fit = fitted(em.hmm(family, 2, length=12, **options), sequences, start="random")
    peer, flat = hmmlearn(fit, kind), np.concatenate(sequences).reshape(sum(LENGTHS), -1)
    assert fit.observations == sum(LENGTHS)
    probabilities, path = fit.predict_proba(sequences), fit.predict(sequences)
    assert [len(each) for each in path] == LENGTHS == [len(each) for each in probabilities]
    np.testing.assert_allclose(np.concatenate(probabilities), peer.predict_proba(flat, LENGTHS), atol=1e-9)
    np.testing.assert_array_equal(np.concatenate(path), peer.predict(flat, LENGTHS))
    each = [peer.score(sequence.reshape(len(sequence), -1)) for sequence in sequences]
    np.testing.assert_allclose(fit.score_samples(sequences), each, rtol=1e-9)
    assert fit.score(sequences) == pytest.approx(peer.score(flat, LENGTHS) / 5, rel=1e-9)
    # The rows of categorical emissions sum to one, which hmmlearn's count of their numbers knows.
    for name in ("bic", "aic"):
        expected = getattr(peer, name)(flat, LENGTHS)
        np.testing.assert_allclose([getattr(fit, name)(), getattr(fit, name)(sequences)], expected, rtol=1e-9)


@pytest.mark.thorough
def test_the_likeliest_path_is_that_of_all_and_not_of_each_step(x64):
    """Of a chain and emissions that are known: against the enumeration of all 81 paths."""
    law = np.random.default_rng(1)
    initial, transitions, faces = (law.dirichlet(np.ones(size), rows) for size, rows in ((3, 1), (3, 3), (2, 3)))
    known = {"initial": np.log(initial[0]), "transitions": np.log(transitions)}
    model = em.hmm("categorical", 3, length=4, classes=2, chain=known, fixed={"logits": np.log(faces)})
    x = np.array(list(itertools.product(range(2), repeat=4)))
    fit = fitted(model, x, steps=1)
    paths = np.array(list(itertools.product(range(3), repeat=4)))
    log_prob = np.log(initial[0])[paths[:, 0]] + np.log(transitions)[paths[:, :-1], paths[:, 1:]].sum(axis=1)
    joint = log_prob + np.log(faces)[paths[None], x[:, None]].sum(axis=-1)
    best = paths[joint.argmax(axis=1)]
    np.testing.assert_array_equal(fit.predict(x), best)
    shares = scipy.special.softmax(joint, axis=1)
    marginals = np.stack([(shares[:, :, None] * (paths == k)).sum(axis=1) for k in range(3)], axis=-1)
    np.testing.assert_allclose(fit.predict_proba(x), marginals, atol=1e-12)
    assert (marginals.argmax(axis=-1) != best).any()
    assert fit.degrees == 0


@pytest.mark.thorough
def test_sequences_of_any_length_are_answered_for_alone_as_together(x64):
    """An array, a list, a mapping, one sequence and one longer than those fitted: the same parameters say the same."""
    x = np.stack([VECTORS[0], VECTORS[4][:9]])
    fit = fitted(em.hmm("gaussian", 2, length=9), x)
    longer = [np.concatenate([VECTORS[0], VECTORS[4]]), VECTORS[1]]
    for n, sequence in enumerate(longer):
        assert fit.score_samples([sequence])[0] == pytest.approx(fit.score_samples(longer)[n], rel=1e-12)
        np.testing.assert_array_equal(fit.predict([sequence])[0], fit.predict(longer)[n])
        np.testing.assert_array_equal(fit.predict(sequence[None])[0], fit.predict(longer)[n])
    np.testing.assert_allclose(fit.log_prob(list(x)), fit.log_prob(x), rtol=1e-12)
    ragged = fitted(em.hmm("gaussian", 2, length=12), VECTORS, start="random")
    padded = np.full((5, 12, 2), 77.0)
    for row, sequence in zip(padded, VECTORS, strict=True):
        row[: len(sequence)] = sequence
    named = {"x": padded, "lengths": np.array(LENGTHS)}
    np.testing.assert_allclose(ragged.score_samples(named), ragged.score_samples(VECTORS), rtol=1e-12)
    assert ragged.bic(named) == pytest.approx(ragged.bic(), rel=1e-12)
    by_name = fitted(em.hmm("gaussian", 2, length=12, given=("lengths",)), named, start="random")
    np.testing.assert_allclose(by_name.history, ragged.history, rtol=1e-10)
    whole = fit.score_samples(x)
    np.testing.assert_allclose(by_name.log_prob(x), by_name.log_prob(list(x)), rtol=1e-12)
    np.testing.assert_allclose(fit.score_samples(x), whole)
    assert ragged.sample(jax.random.key(2), 3)["x"].shape == (3, 12, 2)


def dense(own, steps):
    """The mean and the covariance of all observations of a linear dynamical system, step by step."""
    loadings, transitions = own["loadings"], own["transitions"]
    size, latent = loadings.shape
    means, blocks = np.zeros((steps, latent)), np.zeros((steps, steps, latent, latent))
    means[0], blocks[0, 0] = own["initial_mean"], own["initial_covariance"]
    for t in range(1, steps):
        means[t] = transitions @ means[t - 1] + own["offset"]
        blocks[t, t] = transitions @ blocks[t - 1, t - 1] @ transitions.T + own["transition_covariance"]
        for s in range(t):
            blocks[t, s] = transitions @ blocks[t - 1, s]
            blocks[s, t] = blocks[t, s].T
    covariance = np.einsum("di,tsij,ej->tdse", loadings, blocks, loadings).reshape(steps * size, steps * size)
    noise = np.diag(own["emission_covariance"])
    return (means @ loadings.T + own["emission_mean"]).ravel(), covariance + np.kron(np.eye(steps), noise)


@pytest.mark.thorough
def test_a_linear_dynamical_system_scores_as_one_normal_distribution(x64):
    fit = fitted(em.lds(1, length=12), VECTORS)
    for n, sequence in enumerate(VECTORS):
        mean, covariance = dense(fit.estimates, len(sequence))
        expected = scipy.stats.multivariate_normal(mean, covariance).logpdf(sequence.ravel())
        assert fit.score_samples(VECTORS)[n] == pytest.approx(expected, rel=1e-9)
    assert fit.bic() == pytest.approx(fit.degrees * np.log(sum(LENGTHS)) - 2 * fit.log_likelihood, rel=1e-12)
    with pytest.raises(ValueError, match=r"predict: the latent of .* is continuous"):
        fit.predict(VECTORS)
    with pytest.raises(ValueError, match=r"predict_proba: the latent of .* is continuous"):
        fit.predict_proba(VECTORS)
    lines = str(fit.summary())
    assert f"of {sum(LENGTHS)} steps in all" in lines
    assert f"{fit.estimates['transitions'][0, 0]:.4g}" in lines


@pytest.mark.thorough
def test_hidden_steps_are_no_observations(x64):
    x, mask = np.stack([VECTORS[0], VECTORS[4][:9]]), np.ones((2, 9), bool)
    mask[1, 3:] = False
    model = em.lds(1, length=9, given=("mask",))
    fit = fitted(model, {"x": x, "mask": mask}, weights=np.array([2, 1]))
    assert fit.observations == 2 * 9 + 3


@pytest.mark.thorough
def test_answers_are_of_temperature_one(x64):
    hard = fitted(em.mixture("gaussian", 2, temperature=0.0), IRIS)
    soft = scikit(hard, "full")
    assert set(np.unique(hard.posterior(IRIS).probs)) == {0.0, 1.0}
    np.testing.assert_allclose(hard.predict_proba(IRIS), soft.predict_proba(IRIS), atol=1e-9)


def cells(table):
    return [[float(cell) for cell in row[1:]] for row in table.rows]


@pytest.mark.thorough
def test_a_summary_has_the_estimates_as_text_and_as_html(x64):
    """Of a chain: transitions row by row, what is of each state, and names of features."""
    fit = fitted(em.hmm("gaussian", 2, length=12, covariance="diagonal"), VECTORS, start="random")
    own, summary = fit.estimates, fit.summary(["east", "north"])
    tables = {table.title: table for table in summary.tables}
    assert set(tables) == {"initial", "transitions, from a row to a column", "means", "variances"}
    expected = {"initial": own["initial"][:, None], "means": own["means"], "variances": own["variances"]}
    expected["transitions, from a row to a column"] = own["transitions"]
    for title, value in expected.items():
        np.testing.assert_allclose(cells(tables[title]), value, rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(own["transitions"].sum(axis=1), 1, rtol=1e-12)
    assert tables["means"].columns == ("state", "east", "north")
    text = str(summary)
    assert text.startswith("chain(z | lengths) · emissions(x | z, lengths), 2 states") or "2 states" in text
    assert f"BIC {fit.bic():.6g}, AIC {fit.aic():.6g} nats" in text
    assert f"{fit.degrees} free parameters" in text
    shown = summary._repr_html_()
    assert shown.count("<table>") == 4
    assert all(f"<td>{cell}</td>" in shown for row in tables["means"].rows for cell in row[1:])
    with pytest.raises(ValueError, match="names must be one for each of the 2 features"):
        fit.summary(["east"])


@pytest.mark.thorough
def test_a_summary_of_much_shows_the_first_and_the_last(x64):
    x = np.concatenate([DRAW.normal(size=(40, 12)), DRAW.normal(size=(40, 12)) + 3])
    fit = fitted(em.mixture("gaussian", 2), x)
    means = next(table for table in fit.summary().tables if table.title == "means")
    assert means.columns == ("component", "x0", "x1", "x2", "x3", "x4", "x5", "…", "x11")
    assert means.rows[0][-1] == f"{fit.estimates['means'][0, 11]:.4g}"
    covariance = next(table for table in fit.summary().tables if table.title == "covariances of component 1")
    assert [row[0] for row in covariance.rows] == ["x0", "x1", "x2", "x3", "x4", "x5", "…", "x11"]
    assert covariance.rows[-1][1] == f"{fit.estimates['covariances'][1, 11, 0]:.4g}"


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([np.zeros((3, 2)), np.zeros((13, 2))], "sequence 1 has 13 steps, but the model is one of at most 12"),
        ([np.zeros((3, 2)), np.zeros((4, 3))], r"as the first one is, got shape \[4, 3\] for sequence 1"),
        ([np.zeros((3, 2)), np.zeros((0, 2))], r"of one or more steps, .* got shape \[0, 2\] for sequence 1"),
        ([], "a list must have one or more sequences"),
    ],
)
def test_bad_lists_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        em.fit(jax.random.key(0), em.hmm("gaussian", 2, length=12), x)


def test_what_may_be_known_of_sequences():
    with pytest.raises(ValueError, match=r"hmm: given must be \(\) or \('lengths',\), got \('mask',\)"):
        em.hmm("gaussian", 2, length=3, given=("mask",))
    with pytest.raises(ValueError, match="emissions that depend on the step before need sequences of one length"):
        em.fit(jax.random.key(0), em.hmm("autoregressive", 2, length=12), VECTORS)
    model = em.lds(1, length=12, given=("mask",))
    with pytest.raises(ValueError, match="no more may be known than they are"):
        em.fit(jax.random.key(0), model, VECTORS)
