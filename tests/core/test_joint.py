"""Joints: notation, construction errors, ancestral sampling, densities."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from flax import linen

import vifx
from vifx import Joint, evidence, factor, implicit, standard_normal, transformed
from vifx.core.nets import from_functions
from vifx.core.types import Bijection
from vifx.distributions import Categorical, Normal

LINEAR = from_functions(
    lambda key, *inputs: jnp.full((inputs[0].shape[-1], 2), 0.5),
    lambda params, *inputs: Normal(inputs[0] @ params, jnp.full((len(inputs[0]), 2), 0.3)).to_event(1),
)
OTHER = from_functions(lambda key, x: {}, lambda params, x: Normal(x, jnp.ones_like(x)).to_event(1))
SCALE = Bijection(
    init=lambda key, x, given=None: (jnp.full(x.shape[-1], 0.7), {}),
    forward=lambda p, s, x, given=None, *, key=None: (
        (x - (0 if given is None else given)) / p[None],
        -jnp.full(len(x), jnp.sum(jnp.log(p))),
    ),
    inverse=lambda p, s, z, given=None, *, key=None: (
        z * p[None] + (0 if given is None else given),
        jnp.full(len(z), jnp.sum(jnp.log(p))),
    ),
)


def vae():
    return (
        Joint(evidence("x"), factor("z | x", LINEAR, name="encoder")),
        Joint(factor("z", standard_normal(2)), factor("x | z", LINEAR, name="decoder")),
    )


def test_printed_form():
    inference, generative = vae()
    assert str(inference) == "p̃(x) · encoder(z | x)"
    assert str(generative) == "Normal(z) · decoder(x | z)"
    assert str(Joint(evidence("x", "y"), implicit("z | x, y", OTHER, name="map"))) == "p̃(x, y) · δ map(z | x, y)"
    assert inference.variables == ("x", "z")
    assert inference.observed == ("x",)
    assert inference.owners == ("encoder",)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Joint(), "factors is empty"),
        (lambda: Joint(factor("x | z", LINEAR, name="d")), "parent 'z' has no factor"),
        (lambda: Joint(factor("x | z", LINEAR, name="d"), factor("z | x", LINEAR, name="e")), "cycle, x → z → x"),
        (lambda: Joint(factor("x | z", LINEAR, name="d"), factor("z", standard_normal(2))), "comes later; put Normal"),
        (lambda: Joint(evidence("x"), evidence("x")), "'x' is defined twice"),
        (
            lambda: Joint(evidence("x"), factor("z | x", LINEAR, name="e"), factor("w | x", OTHER, name="e")),
            "owner 'e' has two networks, in e\\(z \\| x\\) and in e\\(w \\| x\\)",
        ),
        (lambda: factor("x |", LINEAR, name="d"), "not a variable name"),
        (lambda: factor("x | z z", LINEAR, name="d"), "'z z' is not a variable name"),
        (lambda: factor("x | z | y", LINEAR, name="d"), "not a variable name"),
        (lambda: factor("x | z, z", LINEAR, name="d"), "a parent appears twice"),
        (lambda: factor("x | x", LINEAR, name="d"), "its own parent"),
        (lambda: factor("x | z", LINEAR), "name is missing"),
        (lambda: factor("x | z", LINEAR, name="a@b"), "without '@'"),
        (lambda: factor("x | z", standard_normal(2)), "a fixed distribution has no parents"),
        (lambda: factor("x", standard_normal(2), name="prior"), "no parameters to own"),
        (lambda: implicit("x", LINEAR, name="g"), "a map needs parents"),
        (
            lambda: transformed("x", Normal(jnp.zeros(2), jnp.ones(2)), SCALE, name="f"),
            r"base has batch shape \[2\].*to_event",
        ),
        (lambda: evidence(), "names is empty"),
        (lambda: Joint(evidence("x"), evidence("y")), r"two factors, p̃\(x\) and p̃\(y\).*write evidence\('x', 'y'\)"),
        (lambda: Joint(evidence("x"), factor("z | y", LINEAR, name="e")), "parent 'y' has no factor"),
    ],
)
def test_construction_errors_name_the_factor(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: factor("x | z", 3, name="d"), "got int"),
        (lambda: factor("x | z", Normal, name="d"), "got the class Normal"),
        (lambda: Joint("x"), "every argument must be a factor, got str"),
        (lambda: factor(3, LINEAR, name="d"), "notation must be a string"),
        (lambda: transformed("x", 1, SCALE, name="f"), "base must be a distribution"),
        (lambda: transformed("x", standard_normal(2), LINEAR, name="f"), "bijection must be a Bijection"),
    ],
)
def test_construction_type_errors(build, message):
    with pytest.raises(TypeError, match=message):
        build()


def test_network_output_must_be_a_distribution():
    joint = Joint(evidence("x"), factor("z | x", linen.Dense(2), name="encoder"))
    with pytest.raises(TypeError, match=r"encoder\(z \| x\): the network's output is an array float32\[5, 2\]"):
        joint.init(jax.random.key(0), {"x": jnp.ones((5, 3))})


def test_wrong_shapes_are_named():
    batch = {"x": jnp.ones((5, 3))}
    flat = from_functions(lambda key, x: {}, lambda params, x: Normal(x, jnp.ones_like(x)))
    with pytest.raises(ValueError, match=r"batch shape \[5, 3\], expected \[5\].*to_event"):
        Joint(evidence("x"), factor("z | x", flat, name="encoder")).init(jax.random.key(0), batch)
    generative = Joint(factor("z", standard_normal(2)), factor("x | z", LINEAR, name="decoder"))
    params, state = generative.init(jax.random.key(0), {}, examples=5)
    with pytest.raises(ValueError, match=r"events of shape \[2\], but 'x' has \[3\] per example"):
        generative.log_prob(params, state, {"x": batch["x"], "z": jnp.ones((5, 2))})
    with pytest.raises(ValueError, match="values lacks 'z'"):
        generative.log_prob(params, state, batch)
    with pytest.raises(ValueError, match="number of examples disagrees"):
        generative.log_prob(params, state, {"x": jnp.ones((4, 2)), "z": jnp.ones((5, 2))})


def test_missing_evidence_suggests_the_nearest_entry():
    inference, _ = vae()
    with pytest.raises(ValueError, match=r"batch lacks 'x'.*it has 'image', 'xs'; did you mean 'xs'"):
        inference.init(jax.random.key(0), {"image": jnp.ones((5, 3)), "xs": jnp.ones((5, 3))})
    params, state = inference.init(jax.random.key(0), {"x": jnp.ones((5, 3))})
    with pytest.raises(ValueError, match="no variable 'zz'; did you mean 'z'"):
        inference.sample(jax.random.key(0), params, state, {"x": jnp.ones((5, 3))}, fixed={"zz": jnp.ones((5, 2))})
    with pytest.raises(ValueError, match="params lacks 'encoder'"):
        inference.sample(jax.random.key(0), {}, {}, {"x": jnp.ones((5, 3))})


def test_examples_are_needed_without_evidence():
    _, generative = vae()
    params, state = generative.init(jax.random.key(0), {}, examples=3)
    with pytest.raises(ValueError, match="examples is missing"):
        generative.sample(jax.random.key(0), params, state)


def test_log_prob_against_scipy(x64):
    inference, generative = vae()
    x = jax.random.normal(jax.random.key(1), (5, 2), float)
    z = jax.random.normal(jax.random.key(2), (5, 2), float)
    params, state = generative.init(jax.random.key(0), {}, fixed={"x": x, "z": z})
    result = generative.log_prob(params, state, {"x": x, "z": z})
    np.testing.assert_allclose(result["z"], scipy.stats.norm.logpdf(z).sum(1), rtol=1e-12)
    expected = scipy.stats.norm.logpdf(x, np.asarray(z) @ np.full((2, 2), 0.5), 0.3).sum(1)
    np.testing.assert_allclose(result["x | z"], expected, rtol=1e-12)
    assert list(inference.log_prob({"encoder": params["decoder"]}, {}, {"x": x, "z": z})) == ["z | x"]


def test_sampling_statistics_and_fixed_variables():
    _, generative = vae()
    params, state = generative.init(jax.random.key(0), {}, examples=2)
    values = generative.sample(jax.random.key(3), params, state, examples=20_000).values
    covariance = np.cov(np.asarray(values["x"]).T)
    np.testing.assert_allclose(covariance, 0.25 * np.full((2, 2), 2.0) + 0.09 * np.eye(2), atol=0.02)
    z = jnp.ones((4, 2))
    drawn = generative.sample(jax.random.key(3), params, state, fixed={"z": z})
    np.testing.assert_array_equal(drawn.values["z"], z)
    np.testing.assert_allclose(drawn.conditionals["x"].mean, np.ones((4, 2)), rtol=1e-6)


def test_temperature_scales_the_prior():
    _, generative = vae()
    params, state = generative.init(jax.random.key(0), {}, examples=2)
    one = generative.sample(jax.random.key(3), params, state, examples=50)
    cool = generative.sample(jax.random.key(3), params, state, examples=50, temperature=0.5)
    np.testing.assert_allclose(cool.values["z"], 0.5 * one.values["z"], rtol=1e-6)
    flow = Joint(transformed("x", standard_normal(2), SCALE, name="flow"))
    params, state = flow.init(jax.random.key(0), {"x": jnp.ones((3, 2))})
    one = flow.sample(jax.random.key(3), params, state, examples=50).values["x"]
    cool = flow.sample(jax.random.key(3), params, state, examples=50, temperature=0.5).values["x"]
    np.testing.assert_allclose(cool, 0.5 * one, rtol=1e-6)
    with pytest.raises(ValueError, match="temperature"):
        generative.sample(jax.random.key(3), params, state, examples=5, temperature=-1.0)


def test_temperature_leaves_clamped_variables_alone():
    """Images of a given class at a lower temperature: the class has no temperature, and needs none."""
    joint = Joint(
        factor("y", Categorical(jnp.zeros(3))),
        factor("z", standard_normal(2)),
        factor("x | z, y", lambda z, y: Normal(z + y[:, None].astype(z.dtype), jnp.ones_like(z)).to_event(1)),
    )
    y = jnp.array([0, 2, 1])
    one = joint.sample(jax.random.key(3), {}, {}, fixed={"y": y})
    cool = joint.sample(jax.random.key(3), {}, {}, fixed={"y": y}, temperature=0.5)
    np.testing.assert_allclose(cool.values["z"], 0.5 * one.values["z"], rtol=1e-6)
    with pytest.raises(ValueError, match="got Categorical"):
        joint.sample(jax.random.key(3), {}, {}, examples=3, temperature=0.5)


def test_soft_labels_are_scored_by_their_weights():
    logits = jnp.array([[0.2, -0.4, 1.0], [0.5, 0.1, -0.3]])
    joint = Joint(evidence("x", "y"))
    classifier = Joint(evidence("x"), factor("y | x", lambda x: Categorical(x @ logits)))
    batch = {"x": jnp.eye(2), "y": jnp.array([[0.5, 0.5, 0.0], [0.2, 0.0, 0.8]])}
    expected = np.sum(np.asarray(batch["y"]) * scipy.special.log_softmax(np.asarray(logits), axis=1), axis=1)
    np.testing.assert_allclose(classifier.log_prob({}, {}, batch)["y | x"], expected, rtol=1e-5)
    value, _ = vifx.kl(joint, classifier).players["model"].loss(jax.random.key(0), {}, {}, batch)
    np.testing.assert_allclose(value, -expected.mean(), rtol=1e-5)
    pixels = Joint(evidence("x"), factor("y | x", lambda x: Categorical((x @ logits)[:, None]).to_event(1)))
    soft = {**batch, "y": batch["y"][:, None]}
    np.testing.assert_allclose(pixels.log_prob({}, {}, soft)["y | x"], expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"'y' has \[2\] per example"):
        classifier.log_prob({}, {}, {**batch, "y": jnp.eye(2)})


def test_a_factors_noise_does_not_depend_on_the_others():
    inference, _ = vae()
    more = Joint(evidence("x"), factor("w | x", OTHER, name="other"), *inference.factors[1:])
    batch = {"x": jnp.ones((5, 2))}
    params, state = more.init(jax.random.key(0), batch)
    few_params, _ = inference.init(jax.random.key(0), batch)
    np.testing.assert_array_equal(params["encoder"], few_params["encoder"])
    a = inference.sample(jax.random.key(4), params, state, batch).values["z"]
    b = more.sample(jax.random.key(4), params, state, batch).values
    np.testing.assert_array_equal(a, b["z"])
    assert not np.allclose(b["w"] - batch["x"], b["z"] - batch["x"])


def test_evidence_from_another_entry():
    joint = Joint(evidence(x="unlabelled"), factor("z | x", OTHER, name="e"))
    batch = {"x": jnp.zeros((3, 2)), "unlabelled": jnp.full((4, 2), 7.0)}
    params, state = joint.init(jax.random.key(0), batch)
    np.testing.assert_array_equal(
        joint.sample(jax.random.key(0), params, state, batch).values["x"], batch["unlabelled"]
    )


def test_transformed_density_is_a_change_of_variables(x64):
    joint = Joint(transformed("x", standard_normal(2), SCALE, name="flow"))
    x = jax.random.normal(jax.random.key(1), (6, 2), float)
    params, state = joint.init(jax.random.key(0), {"x": x}, examples=6)
    result = joint.log_prob(params, state, {"x": x})["x"]
    np.testing.assert_allclose(result, scipy.stats.norm.logpdf(x, 0, 0.7).sum(1), rtol=1e-12)
    values, log_prob = (
        joint.sample(jax.random.key(1), params, state, examples=4)
        .conditionals["x"]
        .sample_with_log_prob(jax.random.key(2), (4,))
    )
    np.testing.assert_allclose(log_prob, scipy.stats.norm.logpdf(values, 0, 0.7).sum(1), rtol=1e-12)


@pytest.mark.thorough
def test_conditional_transformed_density(x64):
    joint = Joint(evidence("y"), transformed("x | y", standard_normal(2), SCALE, name="flow"))
    y, x = (jax.random.normal(jax.random.key(i), (6, 2), float) for i in (1, 2))
    params, state = joint.init(jax.random.key(0), {"y": y, "x": x})
    conditional = joint.sample(jax.random.key(0), params, state, {"y": y}).conditionals["x"]
    expected = scipy.stats.norm.logpdf(x, y, 0.7).sum(1)
    np.testing.assert_allclose(conditional.log_prob(x), expected, rtol=1e-12)
    np.testing.assert_allclose(conditional.log_prob(jnp.stack([x, x])), np.stack([expected, expected]), rtol=1e-12)
    values, log_prob = conditional.sample_with_log_prob(jax.random.key(3), (5,))
    shift = np.asarray(y)[None]
    np.testing.assert_allclose(log_prob, scipy.stats.norm.logpdf(values, shift, 0.7).sum(-1), rtol=1e-12)


def test_conditional_flow_starts_from_noise_of_its_base():
    """A flow posterior: nothing has drawn its variable when it is initialized."""
    seen = []
    record = SCALE._replace(init=lambda key, x, given=None: (seen.append(np.asarray(x)), SCALE.init(key, x, given))[1])
    joint = Joint(evidence("y"), transformed("z | y", standard_normal(2), record, name="flow"))
    params, state = joint.init(jax.random.key(0), {"y": jnp.zeros((4000, 2))})
    assert scipy.stats.kstest(seen[0].reshape(-1), "norm").pvalue > 1e-4
    assert joint.sample(jax.random.key(1), params, state, {"y": jnp.zeros((3, 2))}).values["z"].shape == (3, 2)


def test_transformed_without_values_or_parents_is_initialized_on_noise():
    seen = []

    def init(key, x, given=None):
        seen.append(np.asarray(x))
        return SCALE.init(key, x, given)

    joint = Joint(transformed("x", standard_normal(2), SCALE._replace(init=init), name="flow"))
    params, _ = joint.init(jax.random.key(0), {}, examples=3)
    assert scipy.stats.kstest(seen[0].reshape(-1), "norm").pvalue > 1e-4
    np.testing.assert_allclose(params["flow"], [0.7, 0.7])


def test_implicit_factors_sample_and_have_no_density():
    net = from_functions(lambda key, z: jnp.full((2, 2), 0.5), lambda params, z: z @ params)
    joint = Joint(factor("z", standard_normal(2)), implicit("x | z", net, name="generator"))
    params, state = joint.init(jax.random.key(0), {}, examples=3)
    values = joint.sample(jax.random.key(1), params, state, examples=7).values
    np.testing.assert_allclose(values["x"], values["z"] @ np.full((2, 2), 0.5), rtol=1e-6)
    with pytest.raises(ValueError, match=r"δ generator\(x \| z\) is implicit.*adversarial\(..., on='x'\)"):
        joint.log_prob(params, state, values)


@pytest.mark.thorough
def test_functions_and_learned_priors():
    prior = from_functions(lambda key: jnp.zeros(3), lambda params: Categorical(logits=params))
    joint = Joint(
        factor("k", prior, name="prior"),
        factor("x | k", lambda k: Normal(k[:, None].astype(float), jnp.ones((len(k), 1))).to_event(1)),
    )
    params, state = joint.init(jax.random.key(0), {}, examples=4)
    values = joint.sample(jax.random.key(0), params, state, examples=6000).values
    counts = np.bincount(np.asarray(values["k"]), minlength=3)
    assert scipy.stats.chisquare(counts).pvalue > 1e-4
    log_prob = joint.log_prob(params, state, values)
    np.testing.assert_allclose(log_prob["k"], -np.log(3), rtol=1e-6)
    expected = scipy.stats.norm.logpdf(values["x"][:, 0], np.asarray(values["k"]), 1)
    np.testing.assert_allclose(log_prob["x | k"], expected, rtol=1e-5)


def test_shared_network_is_initialized_once_and_shared():
    inference = Joint(evidence("x"), factor("z | x", LINEAR, name="shared"))
    generative = Joint(factor("z", standard_normal(2)), factor("x | z", LINEAR, name="shared"))
    objective = vifx.kl(inference, generative)
    params, _ = objective.init(jax.random.key(0), {"x": jnp.ones((5, 2))})
    assert list(params) == ["shared"]
    assert objective.players["model"].owns == ("shared",)


def test_keys_are_typed_and_batches_are_mappings():
    inference, _ = vae()
    batch = {"x": jnp.ones((5, 2))}
    for bad in (0, jax.random.PRNGKey(0)):
        with pytest.raises(TypeError, match="key must be a typed random key"):
            inference.init(bad, batch)
    with pytest.raises(TypeError, match="batch must be a mapping"):
        inference.init(jax.random.key(0), batch["x"])
