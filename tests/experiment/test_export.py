"""A model as a file: loaded by the lines of the docs where there is no vifx, equal to the model, refused if damaged."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import vifx
from vifx import em, evaluation, experiment, flows, games, networks
from vifx.evaluation import average_metrics

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
LOADER = next(b for b in re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S) if "zipfile" in b)
LOADER = LOADER[: LOADER.index("\nkey_data")]
SEED = np.array([0, 7], np.uint32)


def key():
    return jax.random.wrap_key_data(jnp.asarray(SEED))


def vae():
    bits = jax.random.bernoulli(jax.random.key(1), 0.4, (6, 4, 4, 1)).astype(jnp.float32)
    encoder = networks.Conditional(networks.MLP((5,)), networks.DiagonalNormal((2,)))
    decoder = networks.Conditional(networks.MLP((5,)), networks.BernoulliHead((4, 4, 1)))
    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
    generative = vifx.Joint(vifx.factor("z", vifx.standard_normal(2)), vifx.factor("x | z", decoder, name="decoder"))
    return inference, generative, {"x": bits}, vifx.kl(inference, generative)


def flow():
    x = jax.random.normal(jax.random.key(1), (6, 3))
    inference = vifx.Joint(vifx.evidence("x"))
    layers = flows.chain(flows.actnorm(), flows.realnvp(depth=2, hidden=(4,)))
    generative = vifx.Joint(vifx.transformed("x", vifx.standard_normal(3), layers, name="flow"))
    return inference, generative, {"x": x}, vifx.kl(inference, generative)


def mixture():
    x = jax.random.normal(jax.random.key(1), (6, 2))
    model = em.mixture(em.gaussian, 3, covariance="diagonal")
    return model.inference, model.generative, {"x": x}, model.objective


def gan():
    x = jax.random.normal(jax.random.key(1), (6, 2))
    generator = nn.Sequential([nn.Dense(8), nn.tanh, nn.Dense(2)])
    model = games.gan(generator, networks.Critic(networks.MLP((4,))), prior=vifx.standard_normal(3))
    return model.inference, model.generative, {"x": x}, model.objective


MODELS = {"vae": vae, "flow": flow, "mixture": mixture, "gan": gan}


class Case:
    """A model with its parameters and its export."""

    def __init__(self, name, **options):
        self.inference, self.generative, self.batch, self.objective = MODELS[name]()
        self.params, self.state = self.objective.init(jax.random.key(0), self.batch)
        pair = self.inference, self.generative
        self.file = experiment.export(*pair, self.params, self.state, self.batch, samples=4, **options)


@cache
def case_of(name) -> Case:
    return Case(name)


def expected(case: Case) -> dict[str, dict[str, np.ndarray]]:
    """What this process computes: by sampling the joints, and by the measures of `evaluation`."""
    pair, at = (case.inference, case.generative), (case.params, case.state)
    drawn = case.generative.sample(key(), *at, examples=5)
    found = {"sample": dict(drawn.values)}
    if case.inference.modelled:
        found["encode"] = dict(case.inference.sample(key(), *at, case.batch).values)
        del found["encode"]["x"]
    if "log_prob" in case.file.manifest["functions"]:
        found["log_prob"] = {"log_prob": evaluation.elbo(key(), *pair, *at, case.batch)["elbo"].values}
    if "elbo" in case.file.manifest["functions"]:
        found["elbo"] = {"elbo": evaluation.elbo(key(), *pair, *at, case.batch)["elbo"].values}
        loss = vifx.importance_weighted(*pair, samples=4).players["model"].loss
        found["importance_weighted_4"] = {
            "importance_weighted_4": -average_metrics(key(), loss, *at, case.batch)["loss"].values
        }
    return found


def assert_equal(found, case: Case) -> None:
    """Compare arrays by function and output with what this process computes."""
    for function, values in expected(case).items():
        for output, value in values.items():
            mine = np.asarray(found[f"{function}:{output}"])
            assert mine.dtype == value.dtype
            np.testing.assert_allclose(mine, value, rtol=2e-5, atol=1e-6 * float(np.abs(value).max()))


def bare(folder: Path) -> Path:
    """Make a folder of packages that has JAX and what it needs, and nothing else."""
    site = folder / "site"
    site.mkdir()
    needed = ("jax", "jaxlib", "numpy", "ml_dtypes", "opt_einsum", "scipy", "flatbuffers")
    for path in Path(np.__file__).parents[1].iterdir():
        if path.name.split("-")[0].split(".")[0] in needed:
            (site / path.name).symlink_to(path)
    return site


ALONE = """
import importlib.util, sys
sys.path = [p for p in sys.path if "site-packages" not in p] + [sys.argv[1]]
for name in ("vifx", "flax", "optax", "numpyro"):
    assert importlib.util.find_spec(name) is None, name
LOADER
given = np.load("given.npz")
found = {}
for name, function in functions.items():
    inputs = [given[each["name"]] for each in manifest["functions"][name]["inputs"]]
    for output, value in function(parameters, *inputs).items():
        found[f"{name}:{output}"] = np.asarray(value)
assert "vifx" not in sys.modules
np.savez("found.npz", **found)
"""


@pytest.mark.thorough
@pytest.mark.parametrize("name", MODELS)
def test_a_file_runs_where_there_is_no_vifx(name, tmp_path):
    case = case_of(name)
    (tmp_path / "model.zip").write_bytes(case.file.content)
    given = {"key_data": SEED, "count": np.zeros(5, np.uint8), **{n: np.asarray(v) for n, v in case.batch.items()}}
    np.savez(tmp_path / "given.npz", **given)
    (tmp_path / "alone.py").write_text(ALONE.replace("LOADER", LOADER), encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "XLA_FLAGS")} | {
        "JAX_PLATFORMS": "cpu"
    }
    call = [sys.executable, "-I", "-S", "alone.py", str(bare(tmp_path))]
    result = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert_equal(np.load(tmp_path / "found.npz"), case)


def loaded(content: bytes, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.zip").write_bytes(content)
    names: dict = {}
    exec(compile(LOADER, "docs/export.md", "exec"), names)
    return names


def test_a_file_computes_what_the_model_does(monkeypatch, tmp_path):
    case = case_of("flow")
    names = loaded(case.file.content, monkeypatch, tmp_path)
    call = {name: partial(function, names["parameters"], SEED) for name, function in names["functions"].items()}
    drawn, log_prob = call["sample"](np.zeros(5, np.uint8)), call["log_prob"](case.batch["x"])
    assert_equal({"sample:x": drawn["x"], "log_prob:log_prob": log_prob["log_prob"]}, case)


@pytest.mark.thorough
def test_the_facts_of_a_conditional_are_those_of_its_family(monkeypatch, tmp_path):
    case = case_of("vae")
    names = loaded(case.file.content, monkeypatch, tmp_path)
    found = names["functions"]["encode"](names["parameters"], SEED, case.batch["x"])
    encoder = case.inference.factor_of("z").source
    conditional = encoder.apply({"params": case.params["encoder"]}, case.batch["x"])
    np.testing.assert_allclose(found["z/mean"], conditional.mean, rtol=1e-5)
    np.testing.assert_allclose(found["z/variance"], conditional.variance, rtol=1e-5)
    drawn = names["functions"]["sample"](names["parameters"], SEED, np.zeros(3, np.uint8))
    decoder = case.generative.factor_of("x").source
    means = decoder.apply({"params": case.params["decoder"]}, jnp.asarray(drawn["z"])).mean
    np.testing.assert_allclose(drawn["x/mean"], means, rtol=1e-5)
    with pytest.raises((ValueError, TypeError)):
        names["functions"]["encode"](names["parameters"], SEED, case.batch["x"][:, :3])


@pytest.mark.thorough
@pytest.mark.parametrize("name", MODELS)
def test_what_a_model_cannot_do_is_left_out_and_said(name):
    manifest = case_of(name).file.manifest
    assert (
        set(manifest["functions"])
        == {
            "vae": {"sample", "encode", "elbo", "importance_weighted_4"},
            "flow": {"sample", "log_prob"},
            "mixture": {"sample", "encode", "log_prob"},
            "gan": {"sample"},
        }[name]
    )
    assert (
        set(manifest["left_out"])
        == {"vae": set(), "flow": {"encode"}, "mixture": set(), "gan": {"encode", "log_prob"}}[name]
    )
    assert set(manifest["sha256"]) == {"parameters.npz", *(f"{function}.bin" for function in manifest["functions"])}
    for function in manifest["functions"].values():
        assert all(each["shape"][0] == "n" for each in function["outputs"])


@pytest.mark.parametrize("part", ["parameters.npz", "sample.bin"])
def test_a_damaged_file_is_refused(part, monkeypatch, tmp_path):
    content = {}
    with zipfile.ZipFile(io.BytesIO(case_of("flow").file.content)) as file:
        content = {name: bytearray(file.read(name)) for name in file.namelist()}
    content[part][len(content[part]) // 2] ^= 1
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, value in content.items():
            file.writestr(name, bytes(value))
    with pytest.raises(ValueError, match=f"{part} is damaged"):
        loaded(buffer.getvalue(), monkeypatch, tmp_path)


@pytest.mark.thorough
def test_the_parameters_are_there_by_name():
    case = case_of("flow")
    with zipfile.ZipFile(io.BytesIO(case.file.content)) as file:
        assert json.loads(file.read("manifest.json")) == case.file.manifest
        arrays = np.load(io.BytesIO(file.read("parameters.npz")))
    for path, leaf in jax.tree_util.tree_flatten_with_path(case.params)[0]:
        name = f"params/{jax.tree_util.keystr(path, simple=True, separator='/')}"
        np.testing.assert_array_equal(arrays[name], leaf)


@pytest.mark.thorough
def test_a_fixed_number_of_examples(monkeypatch, tmp_path):
    case = Case("flow", examples=5)
    names = loaded(case.file.content, monkeypatch, tmp_path)
    drawn = names["functions"]["sample"](names["parameters"], SEED, np.zeros(5, np.uint8))["x"]
    np.testing.assert_allclose(
        drawn, case.generative.sample(key(), case.params, case.state, examples=5).values["x"], rtol=1e-5
    )
    with pytest.raises(ValueError, match="shape"):
        names["functions"]["sample"](names["parameters"], SEED, np.zeros(4, np.uint8))


@pytest.mark.thorough
def test_a_network_that_counts_its_examples_needs_a_number():
    class Counts(nn.Module):
        @nn.compact
        def __call__(self, z):
            return nn.Dense(2)(z) * (1.0 if z.shape[0] > 3 else 2.0)

    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(2)), vifx.implicit("x | z", Counts(), name="generator")
    )
    batch = {"x": jnp.zeros((6, 2))}
    params, state = generative.init(jax.random.key(0), batch)
    arguments = vifx.Joint(vifx.evidence("x")), generative, params, state, batch
    with pytest.raises(ValueError, match=r"^examples must be a number for this model, whose sample"):
        experiment.export(*arguments)
    assert experiment.export(*arguments, examples=6).manifest["functions"]["sample"]["inputs"][1]["shape"] == [6]


@pytest.mark.thorough
def test_programs_are_for_every_platform():
    with zipfile.ZipFile(io.BytesIO(case_of("vae").file.content)) as file:
        program = jax.export.deserialize(bytearray(file.read("sample.bin")))
    assert program.platforms == ("cpu", "cuda", "tpu")
