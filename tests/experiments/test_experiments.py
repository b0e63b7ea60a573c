"""Every experiment of the VAE family builds, trains, measures and draws: a full run's code, with small numbers."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.scipy.special import logsumexp

from vifx import data, experiment
from vifx.cli import main
from vifx.training import read_metrics

FOLDER = Path(__file__).parents[2] / "experiments"
FILES = sorted(path for path in FOLDER.glob("*.py") if path.stem.split("_")[0] in ("vae", "iwae", "hvae", "cvae"))
SMALL = ["--steps", "4", "--log-every", "2", "--evaluate-every", "2", "--hidden", "16", "--data.batch-size", "10"]
FASHION = ["--data.name", "fashion_mnist", "--data.validation", "10", "--bound-examples", "4"]
EXTRA = {
    "vae_fashion_mnist": [["--precision", "bfloat16"], ["--likelihood", "discretized_logistic"]],
    "iwae_fashion_mnist": [["--samples", "3"], ["--samples", "2", "--gradient", "doubly_reparameterized"]],
    "hvae_fashion_mnist": [["--latents", "3", "2"], ["--latents", "4", "3", "2", "--direction", "bottom_up"]],
}
CASES = [(path, extra) for path in FILES for extra in EXTRA.get(path.stem, [[]])]
DRAWN = {"vae": "traversal", "iwae": "traversal", "hvae": "levels", "cvae": "styles"}


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Prepared digits, and a small data set in Fashion-MNIST's format."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    for prefix, size in (("train", 60), ("t10k", 20)):
        images = generator.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", np.arange(size, dtype=np.uint8) % 10)
    data.prepare(data.Config("digits", directory=str(folder)))
    data.prepare(data.Config("fashion_mnist", directory=str(folder), source=str(folder)))
    return folder


@pytest.mark.parametrize(
    ("path", "extra"), CASES, ids=lambda value: value.stem if isinstance(value, Path) else " ".join(value)
)
def test_trains_to_the_end(path, extra, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VIFX_DATA", str(folder))
    options = [*SMALL, *(FASHION if "fashion" in path.stem else []), *extra]
    code = main(["train", str(path), *options, "--run", str(tmp_path / "run")])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [2, 4]
    assert rows[1]["loss/model"] < rows[0]["loss/model"]
    assert all(np.isfinite(value) for row in rows for value in row.values())
    found = {
        name: m["value"] for name, m in json.loads((tmp_path / "run" / "results.json").read_text())["metrics"].items()
    }
    assert found["iwae/1"] <= found["iwae/50"] <= found["iwae/1000"]
    terms = sum(value for name, value in found.items() if name.startswith(("kl/", "nll/")))
    assert found["elbo"] == pytest.approx(-terms, rel=1e-4)
    drawn = {p.stem for p in (tmp_path / "run" / "figures").iterdir()}
    assert drawn >= {"samples", "reconstructions", "loss", "bound", DRAWN[path.stem.split("_")[0]]}
    assert "report" in shown.out


def test_there_are_the_experiments_of_the_readme():
    assert {path.stem for path in FILES} >= {
        *("vae_digits", "vae_fashion_mnist", "iwae_fashion_mnist", "hvae_fashion_mnist", "cvae_digits"),
    }


def build(name, folder, **values):
    file = experiment.load(FOLDER / f"{name}.py")
    source = "fashion_mnist" if "fashion" in name else "digits"
    config = file.config(data=data.Config(source, batch_size=8, directory=str(folder), validation=10), **values)
    return config, file.build(config)


def test_vae_digits_minimizes_the_negative_elbo(folder):
    """The loss equals −log w averaged over the encoder's draws, computed here from the joints' factors."""
    _, built = build("vae_digits", folder, hidden=(16,), latent=2)
    batch = {name: jax.numpy.asarray(array[:4]) for name, array in built.splits.test.items()}
    params, state = built.objective.init(jax.random.key(0), batch)
    loss = built.objective.players["model"].loss

    def negative_log_weight(key):
        values = built.inference.sample(key, params, state, batch).values
        above = sum(built.generative.log_prob(params, state, values).values())
        return sum(built.inference.log_prob(params, state, values).values()) - above

    keys = jax.random.split(jax.random.key(1), 4000)
    values = jax.vmap(lambda key: loss(key, params, state, batch)[0])(keys)
    oracle = jax.vmap(negative_log_weight)(keys).mean(axis=1)
    error = float(oracle.std() + values.std()) / np.sqrt(len(keys))
    assert abs(float(values.mean() - oracle.mean())) < 4.3 * error


def test_iwae_maximizes_the_bound_with_its_k(folder):
    """At the initial parameters the loss averages to −log (1/K) Σ w over K draws."""
    config, built = build("iwae_fashion_mnist", folder, hidden=(8,), latent=2, samples=3)
    batch = {"x": jax.numpy.asarray((built.splits.test["x"][:2] > 127).astype(np.float32))}
    params, state = built.objective.init(jax.random.key(0), batch)

    def log_weight(key):
        values = built.inference.sample(key, params, state, batch).values
        below = sum(built.inference.log_prob(params, state, values).values())
        return sum(built.generative.log_prob(params, state, values).values()) - below

    weights = jax.vmap(log_weight)(jax.random.split(jax.random.key(1), 3000)).reshape(1000, config.samples, 2)
    oracle = -(logsumexp(weights, axis=1) - np.log(config.samples)).mean(axis=1)
    keys = jax.random.split(jax.random.key(2), 1000)
    values = jax.vmap(lambda key: built.objective.players["model"].loss(key, params, state, batch)[0])(keys)
    error = float(jax.numpy.hypot(oracle.std(), values.std())) / np.sqrt(1000)
    assert abs(float(values.mean() - oracle.mean())) < 4.3 * error


@pytest.mark.parametrize(
    ("direction", "inference"),
    [
        ("top_down", "p̃(x) · encoder_z3(z3 | x) · encoder_z2(z2 | z3, x) · encoder_z1(z1 | z2, x)"),
        ("bottom_up", "p̃(x) · encoder_z1(z1 | x) · encoder_z2(z2 | z1) · encoder_z3(z3 | z2)"),
    ],
)
def test_hvae_has_its_levels_in_order(direction, inference, folder):
    _, built = build("hvae_fashion_mnist", folder, direction=direction, latents=(4, 3, 2), hidden=(8,))
    assert str(built.inference) == inference
    assert str(built.generative) == "Normal(z3) · decoder_z2(z2 | z3) · decoder_z1(z1 | z2) · decoder_x(x | z1)"


def test_hvae_needs_two_levels():
    file = experiment.load(FOLDER / "hvae_fashion_mnist.py")
    with pytest.raises(ValueError, match="latents needs at least two levels"):
        file.config(latents=(3,))


def test_cvae_draws_what_it_is_asked_for(folder):
    """Samples change with the class and not with the classes of other images."""
    _, built = build("cvae_digits", folder, hidden=(16,), latent=2)
    batch = {name: jax.numpy.asarray(array[:4]) for name, array in built.splits.test.items()}
    params, state = built.objective.init(jax.random.key(0), batch)
    z = jax.numpy.ones((3, 2))
    labels = jax.numpy.asarray([0, 1, 0])
    drawn = built.generative.sample(jax.random.key(1), params, state, {"y": labels}, fixed={"z": z})
    means = np.asarray(drawn.conditionals["x"].mean)
    np.testing.assert_allclose(means[0], means[2], rtol=1e-5)
    assert np.abs(means[0] - means[1]).max() > 1e-3
