"""Every public function of training, data, mixtures and flows says itself what a wrong argument is."""

from __future__ import annotations

import functools
import inspect
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from training.problems import line_data, regression

import vifx
from vifx import data, diffusion, dynamics, em, flows, matching, networks, quantization, training, verification
from vifx.core.nets import as_net
from vifx.core.types import Net
from vifx.flows import Flow

PACKAGE = str(pathlib.Path(vifx.__file__).parent)
KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
OBJECTIVE, BATCH = regression(), {name: jnp.asarray(value) for name, value in line_data().items()}
STEP = training.descend(OBJECTIVE, "model", optax.sgd(0.1))


def falling(x, t, *given):
    return -x


REVERSE = Net(lambda key: ({}, {}), lambda params, state, key=None, train=False: (None, state))


class Nothing:
    """What no argument may be."""


def state():
    return training.start(jax.random.key(0), STEP, OBJECTIVE, BATCH)


MODEL = em.mixture(em.gaussian, 2, covariance="diagonal")
EM = {"key": KEY, "model": MODEL, "x": X, "restarts": 1, "steps": 2, "weights": np.ones(12), "chunk": 4}
FLOW = Flow(vifx.standard_normal(2), flows.scale())
CODES = np.arange(97, 105, dtype=np.int32).reshape(2, 4)
TEXT = {"x": CODES}
PIXELS = {"x": np.zeros((4, 3), np.uint8)}
SOURCE = data.Resident(BATCH, 4, 0)
QUANTIZER = quantization.vector(networks.MLP((4,), 2), (2,), codes=3)
CODED = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", QUANTIZER, name="codes"))
TIMES, PATH = np.arange(3.0), np.ones((2, 3, 1), np.float32)
ROWS = [{"step": 1, "loss": 1.0}]
ALARM = training.Alarm("loss", "above", 2.0, rows=1, meaning="it is large")


@functools.cache
def fitted_mixture():
    return em.fit(**{**EM, "key": jax.random.key(0)})


@functools.cache
def flow_at():
    return FLOW.init(jax.random.key(0), jnp.asarray(X))


def at(module, name, /, **arguments):
    return pytest.param(getattr(module, name), arguments, id=f"{module.__name__.split('.')[-1]}.{name}")


# Right arguments; every one of them is replaced by what it may not be. `optional` ones are left out where right.
DOORS = [
    at(training, "accumulated", step=STEP, microbatches=2),
    at(training, "anchored", step=STEP, networks="line"),
    at(training, "converged", metric="loss", tolerance=0.1),
    at(training, "patience", metric="loss", evaluations=2),
    at(training, "several", step=STEP, starts=2, best="bias"),
    at(training, "averaged", step=STEP, decay=0.9),
    at(training, "blame", metrics={"loss": 1.0}),
    at(training, "cappe_moulines", exponent=0.7, offset=2.0),
    at(training, "compile", step=STEP, mesh=training.make_mesh(), sharding=training.fsdp(training.make_mesh(fsdp=2))),
    at(training, "csv_log", path="nowhere"),
    at(training, "constrained", step=STEP, loss=lambda loss: loss, update=lambda params: params),
    at(training, "cost", step=STEP, train_state=None, mesh=training.make_mesh(), sharding=lambda path, shape: None),
    at(training, "make_mesh", devices=jax.devices(), data=8, fsdp=1),
    at(training, "descend", objective=OBJECTIVE, player="model", optimizer=optax.sgd(0.1)),
    at(training, "episodes", alarms=[ALARM], history=ROWS),
    at(training, "evaluated", train_state=None),
    at(
        training,
        "fit",
        key=KEY,
        step=STEP,
        objective=OBJECTIVE,
        source=SOURCE,
        steps=1,
        directory=None,
        log_every=1,
        checkpoint_every=1,
        evaluate=lambda state: {},
        evaluate_every=1,
        best=None,
        alarms=(),
        monotone=None,
        stop=None,
        initial=None,
        mesh=None,
        sharding=None,
        draw=lambda state: None,
        draw_every=1,
        observe=print,
        config_hash="",
        resume_from=None,
        skips=2,
    ),
    at(
        training,
        "fit_together",
        runs=[{"key": KEY, "step": STEP, "objective": OBJECTIVE, "source": SOURCE, "steps": 1}],
    ),
    at(training, "fsdp", mesh=training.make_mesh(fsdp=2), minimum=1),
    at(training, "guarded", step=STEP),
    at(training, "in_turn"),
    at(training, "optimize", objective=OBJECTIVE, optimizers=optax.sgd(0.1), turns={"model": 1}, updates={"model": 1}),
    at(training, "raised", alarms=[ALARM], history=ROWS),
    at(training, "read_metrics", path="nowhere"),
    at(training, "repeat", step=STEP, times=2),
    at(training, "replicate", mesh=training.make_mesh()),
    at(training, "scanned", step=STEP, length=2),
    at(training, "shard_batch", batch=BATCH, mesh=training.make_mesh(), batches=1),
    at(
        training,
        "solve",
        objective=MODEL.objective,
        player="model",
        networks=("weights",),
        chunk=2,
        rate=training.cappe_moulines(),
        examples=2,
        like={"x": X},
        mesh=training.make_mesh(),
    ),
    at(training, "start", key=KEY, step=STEP, objective=OBJECTIVE, batch=BATCH, initial=None),
    at(training, "tensorboard_log", directory="nowhere"),
    at(training, "topology", name="cpu:1"),
    at(training, "wandb_log", directory="nowhere", config={}),
    at(training, "Checkpoints", directory="nowhere", config_hash="", keep=1, best="loss"),
    at(training, "Alarm", metric="loss", kind="above", limit=1.0, rows=1, meaning="it is large"),
    at(diffusion, "absorbing", classes=3, survival="linear"),
    at(diffusion, "ancestral", steps=2),
    at(diffusion, "cosine", start=-5.0, end=5.0, variance="preserving"),
    at(diffusion, "ddim", steps=2, eta=0.5),
    at(diffusion, "discrete_ancestral", steps=2, temperature=1.0),
    at(
        diffusion,
        "discrete_forward",
        noise=diffusion.absorbing(3),
        steps=2,
        times="uniform",
        states="drawn",
    ),
    at(
        diffusion,
        "discrete_reverse",
        network=Net(lambda key, *inputs: {}, lambda params, state, *inputs, key=None, train=False: (inputs[0], state)),
        noise=diffusion.absorbing(3),
        shape=(2,),
        steps=2,
        drop=0.1,
        guidance=0.0,
        sampler=None,
    ),
    at(diffusion, "flow", reverse=REVERSE, schedule=diffusion.cosine(), level=0.0, steps=2, trace="exact"),
    at(diffusion, "forward", schedule=diffusion.cosine(), steps=2, times="uniform"),
    at(diffusion, "heun", steps=2, rho=7.0),
    at(diffusion, "learned", units=2, start=-5.0, end=5.0, variance="preserving"),
    at(diffusion, "linear_beta", start=-5.0),
    at(diffusion, "linear_log_snr", start=-5.0, end=5.0, variance="preserving"),
    at(diffusion, "min_snr", largest=5.0),
    at(
        diffusion,
        "reverse",
        network=Net(lambda key, *inputs: {}, lambda params, state, *inputs, key=None, train=False: (inputs[0], state)),
        schedule=diffusion.cosine(),
        shape=(2,),
        steps=2,
        predicts="noise",
        weighting=diffusion.simple(),
        drop=0.1,
        guidance=0.0,
        sampler=None,
    ),
    at(diffusion, "schedule", gamma=lambda t: 2 * t, variance="preserving"),
    at(diffusion, "sigmoid", bias=2.0),
    at(diffusion, "uniform", classes=3, survival="cosine"),
    at(diffusion, "unnoised", noise=diffusion.uniform(3), pixels=True),
    at(
        matching,
        "flow_matching",
        inference=vifx.Joint(vifx.evidence("x")),
        generative=vifx.Joint(vifx.transformed("x", vifx.standard_normal(2), flows.cnf(), name="velocity")),
        on="x",
        path=matching.linear(),
        pairing="optimal",
        times="uniform",
        weighting=matching.logit_normal(),
    ),
    at(matching, "linear", noise=0.1),
    at(matching, "logit_normal", mean=0.5, scale=1.0),
    at(matching, "optimal_order", cost=np.ones((2, 2), np.float32)),
    at(matching, "scheduled", schedule=diffusion.cosine()),
    at(dynamics, "blow_up", path=PATH),
    at(
        dynamics,
        "fit_ode",
        f=falling,
        starts=np.ones(1),
        times=TIMES,
        values=PATH,
        x0=PATH[:, 0],
        observe=lambda path: path,
        mask=np.ones((2, 3), bool),
        knots=PATH,
        continuity=(1.0,),
        positive=False,
        steps=1,
        method="euler",
        substeps=1,
        step=1.0,
        solver=None,
    ),
    at(dynamics, "gaussian_around", start=lambda key, x: (x[0], x[0])),
    at(
        dynamics,
        "grad_norm",
        loss=lambda path: path.sum(),
        f=falling,
        x0=PATH[:, 0],
        times=TIMES,
        method="euler",
        substeps=1,
        step=1.0,
    ),
    at(dynamics, "laplace", residuals=lambda theta: theta, starts=np.ones((1, 2)), steps=1),
    at(dynamics, "least_squares", residuals=lambda x: x, starts=np.ones(1), positive=False, steps=1, tolerance=1e-3),
    at(dynamics, "ode_path", f=falling, method="euler", checkpoint=False, solver=None, adjoint=None),
    at(dynamics, "ode_step", f=falling, method="euler", substeps=1, length=1.0),
    at(dynamics, "require_finite", path=PATH, times=TIMES),
    at(dynamics, "scattered", key=KEY, center=1.0, starts=1, spread=0.1),
    at(
        dynamics,
        "solve",
        f=falling,
        x0=PATH[:, 0],
        times=TIMES,
        method="euler",
        substeps=1,
        step=1.0,
        checkpoint=False,
        solver=None,
        adjoint=None,
    ),
    at(quantization, "codebook_turn", inference=CODED, latent="z", rate=0.1, revive=2),
    at(quantization, "codes_of", inference=CODED, latent="z"),
    at(quantization, "commitment", inference=CODED, latent="z", weight=0.25, codebook=1.0),
    at(quantization, "finite_scalar", encoder=networks.MLP((4,), 2), grid=(2,), levels=(3, 3)),
    at(quantization, "measure_usage", inference=CODED, latent="z"),
    at(quantization, "usage", codes=np.arange(3), total=3, weights=np.ones(3)),
    at(quantization, "vector", encoder=networks.MLP((4,), 2), shape=(2,), codes=3),
    at(
        verification,
        "calibrate",
        key=KEY,
        generative=MODEL.generative,
        posterior=lambda key, x: x,
        latent="z",
        simulations=50,
        draws=9,
        chunk=1,
    ),
    at(
        data,
        "Config",
        name="digits",
        batch_size=2,
        validation=0.1,
        split_seed=0,
        directory="a",
        source="a",
        streaming=True,
        workers=1,
    ),
    at(data, "Combined"),
    at(data, "Full", arrays={"x": X}, transform=lambda key, batch: batch),
    at(data, "Resident", arrays={"x": X}, batch_size=2, seed=0, transform=lambda key, batch: batch),
    at(
        data,
        "Streaming",
        source={"x": X},
        batch_size=2,
        seed=0,
        transform=lambda key, batch: batch,
        threads=1,
        prefetch=1,
        workers=0,
    ),
    at(data, "Sprites", size=3, seed=0, first=0),
    at(data, "alphabet", codes=np.arange(4), least=1),
    at(data, "available", directory="nowhere"),
    at(data, "batches", source={"x": X}, size=2),
    at(data, "binarize", variable="x"),
    at(data, "compose"),
    at(data, "data_directory", directory="nowhere"),
    at(data, "dequantize", shades=4, variable="x"),
    at(data, "epoch_order", seed=0, epoch=0, size=4),
    at(data, "fixed_binarization", split=PIXELS, seed=0, variable="x"),
    at(data, "flatten", variable="x"),
    at(data, "from_arrays", train={"x": X}, test={"x": X + 1}, validation=2, split_seed=0, name="mine"),
    at(data, "hold_out", split={"x": X}, validation=2, split_seed=0),
    at(data, "law", name="ring"),
    at(data, "load", config=data.Config()),
    at(data, "mixup", alpha=1.0, per="batch", variables=("x",)),
    at(data, "modes", name="ring"),
    at(data, "normalize", low=0.0, high=1.0, variable="x"),
    at(data, "one_hot", classes=2, variable="y"),
    at(data, "open_splits", config=data.Config()),
    at(data, "pca", images=PIXELS["x"], features=1),
    at(data, "prepare", config=data.Config()),
    at(data, "read_idx", path="nowhere"),
    at(data, "read_keel", path="nowhere"),
    at(data, "sample_pairing", share=0.5, variable="x"),
    at(data, "shades_of", split=PIXELS, variable="x"),
    at(data, "source", split={"x": X}, config=data.Config(batch_size=2), seed=0, transform=lambda key, batch: batch),
    at(
        data,
        "spelled",
        splits=data.Dataset(TEXT, TEXT, TEXT, data.Info("text", (4,), None, 0, 9)),
        letters=data.alphabet(CODES, least=1),
    ),
    at(em, "fit", **EM, tolerance=1e-3, start="random", observe=lambda update, metrics: None, mesh=None),
    at(em, "filtered", model=em.hmm(em.gaussian, 2, length=3), x=X),
    at(em, "forecast", key=KEY, model=em.hmm(em.gaussian, 2, length=3), x=X, steps=1, samples=1),
    at(em, "hmm", make=em.gaussian, states=2, length=3, given=(), chain_prior=None, stickiness=0.0),
    at(em, "lds", latent=2, length=3),
    at(em, "k_means", key=KEY, x=X, states=2, steps=1),
    at(em, "mixture", make=em.gaussian, components=2, weights=None, weights_prior=None),
    at(em, "most_likely_path", model=em.hmm(em.gaussian, 2, length=3), x=X),
    at(em, "select", key=KEY, make=lambda k: MODEL, components=[2], x=X, criterion="bic", held_out=X),
    at(em, "starts", key=KEY, model=MODEL, batch={"x": jnp.asarray(X)}, start="random", restarts=1),
]
FLOW_DOORS = {
    "init": {"key": KEY, "x": jnp.asarray(X)},
    "log_prob": {"x": jnp.asarray(X), "key": KEY},
    "sample": {"key": KEY, "examples": 2, "temperature": 1.0},
    "encode": {"x": jnp.asarray(X), "key": KEY},
    "decode": {"z": jnp.asarray(X), "key": KEY},
    "interpolate": {"start": jnp.asarray(X), "end": jnp.asarray(X), "points": 2, "key": KEY},
}
FIT_DOORS = {
    "log_prob": {"x": X},
    "posterior": {"x": X},
    "sample": {"key": KEY, "examples": 2},
    "predict": {"x": X},
    "predict_proba": {"x": X},
    "score": {"x": X},
    "score_samples": {"x": X},
    "bic": {"x": X},
    "aic": {"x": X},
    "summary": {"names": ["east", "north"]},
    "plot": {"x": X, "image": None},
}


def refuses(call, arguments, name):
    """The error of one wrong argument comes from vifx, and names it."""
    with pytest.raises((TypeError, ValueError)) as raised:
        call(**{k: jax.random.clone(v) if v is KEY else v for k, v in {**arguments, name: Nothing()}.items()})
    where = [entry.path for entry in raised.traceback]
    assert str(where[-1]).startswith(PACKAGE), (name, raised.value)
    assert "Nothing" in str(raised.value) or name.rstrip("s") in str(raised.value), raised.value


@pytest.mark.parametrize(("function", "arguments"), DOORS)
def test_every_argument_is_checked_at_the_door(function, arguments):
    rest = {}
    if function is training.replicate:
        rest = {"tree": BATCH}
    if function is quantization.codes_of:
        rest = {"key": KEY, "params": {}, "state": {}, "split": {"x": X}}
    if function is quantization.measure_usage:
        rest = {"split": {"x": X}}
    if function is training.cost:
        rest = {"train_state": state(), "batch": BATCH}
    if function in (em.most_likely_path, em.filtered, em.forecast):
        rest = {"params": fitted_mixture().params, "state": fitted_mixture().state}
    for name in arguments:
        refuses(function, {**arguments, **rest}, name)
    first = next(iter(inspect.signature(function).parameters.values()))
    if first.kind is inspect.Parameter.VAR_POSITIONAL:
        with pytest.raises(TypeError, match="got a Nothing"):
            function(Nothing())


@pytest.mark.parametrize("method", FLOW_DOORS)
def test_every_argument_of_a_flow_is_checked(method):
    at_params = {} if method == "init" else {"params": flow_at()[0], "state": flow_at()[1]}
    for name in FLOW_DOORS[method]:
        refuses(getattr(FLOW, method), {**FLOW_DOORS[method], **at_params}, name)


@pytest.mark.parametrize("method", FIT_DOORS)
def test_every_argument_of_a_fitted_mixture_is_checked(method):
    for name in FIT_DOORS[method]:
        refuses(getattr(fitted_mixture(), method), FIT_DOORS[method], name)


def test_every_public_function_has_a_door():
    """What is new in one of these namespaces is listed here, or has no arguments to check."""
    listed = {parameter.values[0] for parameter in DOORS}
    values = {  # what functions return, types, and errors
        *(training.Diverged, training.Interrupted, training.CheckpointError),
        *(training.Step, training.Progress, training.TrainState, training.Fitted, training.Event, training.Raised),
        *(training.Stop, training.Cost, training.Memory, training.Collective),
        *(em.Fit, em.Filtered, em.Model, em.Candidate, em.Selection, em.Summary),
        vifx.exact_posterior,
        *(
            data.Alphabet,
            data.Casino,
            data.SpiralPaths,
            data.Tracking,
            data.Dataset,
            data.Grammar,
            data.Info,
            data.Modes,
            data.Pca,
            data.Standardization,
            data.Table,
            data.Unobserved,
            data.Window,
        ),
        training.averaged_params,
        *(quantization.CodePrior, quantization.Quantized, quantization.Quantizer, quantization.Usage),
    }
    found = {
        f"{module.__name__}.{name}"
        for module in (training, data, em, quantization)
        for name in module.__all__
        if inspect.isfunction(thing := getattr(module, name)) or inspect.isclass(thing)
        if thing not in listed and thing not in values and not thing.__module__.startswith("vifx.em.families")
    }
    assert found == set()


DATASET = data.from_arrays(train={"x": X}, test={"x": X + 1}, validation=2, name="mine")
OLD_KEY = np.asarray([0, 1], np.uint32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: training.fit(jax.random.key(0), STEP, OBJECTIVE, DATASET, steps=1),
            r"got a Dataset; give data.Resident\(dataset.tr",
        ),
        (
            lambda: training.fit(jax.random.key(0), STEP, OBJECTIVE, X, steps=1),
            r"got an array float32\[12, 2\]; give data.Resident",
        ),
        (
            lambda: training.fit(jax.random.key(0), STEP, OBJECTIVE, BATCH, steps=1),
            r"got a dict; give data.Resident\(batch",
        ),
        (
            lambda: training.fit(jax.random.key(0), optax.adam(1e-3), OBJECTIVE, SOURCE, steps=1),
            "step must be a training step, got a",
        ),
        (lambda: training.fit(0, STEP, OBJECTIVE, SOURCE, steps=1), r"got the integer 0; give jax.random.key\(0\)"),
        (
            lambda: training.start(jnp.asarray(OLD_KEY), STEP, OBJECTIVE, BATCH),
            "replace jax.random.PRNGKey",
        ),
        (
            lambda: training.start(jax.random.split(jax.random.key(0)), STEP, OBJECTIVE, BATCH),
            r"one key, got an array of keys \[2\]",
        ),
        (
            lambda: training.start(jax.random.key(0), OBJECTIVE, STEP, BATCH),
            "start: step must be a training step, got an Objective",
        ),
        (lambda: training.descend(OBJECTIVE, "model", optax.adam), "optimizer, got a function; give optax.adam"),
        (
            lambda: training.descend(lambda x: x, "model", optax.sgd(1.0)),
            "objective must be an Objective, got a function",
        ),
        (lambda: data.Resident(DATASET, 4, 0), "got a Dataset; give one of its splits, such as dataset.train"),
        (lambda: data.Resident(X, 4, 0), r"got an array float32\[12, 2\]; write \{\"x\": x\}"),
        (lambda: data.load("digits"), r"got 'digits'; write data.Config\('digits'\)"),
        (lambda: em.fit(jax.random.key(0), em.gaussian(2), X), "model must be a em.Model, got a"),
        (lambda: em.fit(jax.random.key(0), MODEL, {"x": X}), "got a dict; give one variable's values"),
        (lambda: Flow(flows.scale(), vifx.standard_normal(2)), "base must be a distribution, got a Bijection"),
        (
            lambda: Flow(vifx.standard_normal(3), flows.scale()).log_prob(*flow_at(), jnp.asarray(X)),
            "the base has events",
        ),
        (lambda: as_net(Net(lambda key, x: {}, lambda params, x: x)), "from_functions"),
        (
            lambda: vifx.factor("x | z", Net(None, lambda params, x: x), name="f"),
            "init must be a function, got NoneType",
        ),
    ],
)
def test_what_is_mistaken_for_another_thing_says_what_to_do(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


@pytest.mark.parametrize("x", [X[0], X[:, :1], X[None]])
def test_a_fitted_mixture_says_that_an_axis_is_missing(x):
    for ask in (fitted_mixture().log_prob, fitted_mixture().posterior):
        with pytest.raises(ValueError, match=r"x must have the shape \[examples, 2\], as what was fitted, got"):
            ask(x)
    np.testing.assert_allclose(fitted_mixture().log_prob(X[:1]), fitted_mixture().log_prob(X)[:1], rtol=1e-5)


def test_a_forgotten_axis_of_minibatches():
    twice = training.repeat(STEP, 2)
    together = training.in_turn(twice, STEP)
    for step in (twice, together, training.scanned(STEP, 2)):
        for train_state, batch, message in [
            (
                training.start(jax.random.key(0), step, OBJECTIVE, BATCH),
                BATCH,
                r"must have the shape \[2, examples, ...\]",
            ),
            (
                training.start(jax.random.key(0), step, OBJECTIVE, BATCH),
                {"x": jnp.zeros(2)},
                r"since one update takes 2 minibatches",
            ),
        ]:
            with pytest.raises(ValueError, match=message):
                training.compile(step)(train_state, batch)
            keys = jax.random.split(jax.random.key(0)) if step.length == 2 else jax.random.key(0)
            with pytest.raises(ValueError, match=message):
                step.update(keys, train_state.progress, batch)
    with pytest.raises(TypeError, match=r"batch must be a mapping from names to arrays, .* got an array"):
        training.compile(STEP)(state(), X)
    with pytest.raises(ValueError, match=r"batch\['x'\] must have an axis of examples"):
        training.compile(STEP)(state(), {"x": jnp.zeros(())})


def test_results_are_short():
    fitted = training.fit(jax.random.key(0), STEP, OBJECTIVE, SOURCE, steps=2, log_every=1)
    shapes = jax.eval_shape(state)
    assert repr(fitted.train_state) == "TrainState(4 parameters of line after 2 updates)"
    assert repr(shapes) == "TrainState(4 parameters of line)"
    assert repr(fitted).startswith("Fitted(TrainState(4 parameters of line after 2 updates), 2 rows, the last: {'step'")
    assert len(repr(fitted)) < 200
    assert repr(fitted_mixture()).startswith("Fit(weights(z) · components(x | z): -2.")
    assert repr(fitted_mixture()).endswith("nats per example of 12, not converged after 2 updates, messages: 1)")
    assert repr(MODEL) == "Model(weights(z) · components(x | z), 2 components)"
    assert repr(DATASET) == "Dataset(mine: train 10, validation 2, test 12; x float32[2])"
