"""The experiments whose networks follow from the data: of images and tables of one's own, by one command."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import stats

import vifx
from vifx import networks
from vifx.cli import main
from vifx.training import read_metrics

SMALL = ["--steps", "4", "--log-every", "2", "--checkpoint-every", "2", "--evaluate-every", "2"]
OWN = {
    "vae": ["--hidden", "8", "--bound-examples", "4", "--data.batch-size", "8"],
    "flow": ["--hidden", "4", "--depth", "2", "--data.batch-size", "8"],
    "gmm": ["--components", "2", "--restarts", "1"],
    "gan": ["--data.batch-size", "8"],
}
OF_IMAGES = {"gmm": ["--features", "4"], "gan": ["--quality-examples", "8"]}
OF_TABLES = {"gan": ["--hidden", "8"]}
METRIC = {"vae": "elbo", "flow": "nll/x", "gmm": "log_prob/test", "gan": "coverage"}
LOADINGS, NOISE = np.array([[30.0, 0.001, 0.0], [0.0, 0.002, 5.0]]), np.array([1.0, 1e-4, 1.0])
MEAN, UNITS = np.array([100.0, 0.5, -3.0]), np.array([30.0, 0.002, 5.0])
SCALED = stats.multivariate_normal(cov=(LOADINGS / UNITS).T @ (LOADINGS / UNITS) + np.diag((NOISE / UNITS) ** 2))


def law(x):
    """The log-density of the rows of the table."""
    return SCALED.logpdf((x - MEAN) / UNITS) - np.log(UNITS).sum()


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working directory with a folder of images of several sizes and a table of unlike columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIFX_DATA", str(tmp_path / "prepared"))
    (tmp_path / "prepared").mkdir()
    generator = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for index in range(60):
        pixels = generator.integers(0, 256, (17 + index % 3, 18, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{index}.png")
    hidden = generator.normal(size=(200, 2))
    rows = hidden @ LOADINGS + MEAN + generator.normal(size=(200, 3)) * NOISE
    text = "".join(f"{','.join(map(repr, row))}\n" for row in rows.tolist())
    (tmp_path / "table.csv").write_text(f"weight,share,change\n{text}")
    return tmp_path


def trained(arguments, capsys):
    code = main(["train", *arguments])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    return shown.out


@pytest.mark.thorough
@pytest.mark.parametrize("name", OWN)
def test_a_table_trains_and_its_samples_are_in_its_own_units(name, work, capsys):
    options = [*SMALL, *OWN[name], *OF_TABLES.get(name, [])]
    out = trained([name, "--data.path", "table.csv", "--run", "run", *options], capsys)
    assert "columns are standardized" in out
    found = json.loads((work / "run" / "results.json").read_text())["metrics"]
    assert np.isfinite(found[METRIC[name]]["value"])
    assert {path.stem for path in (work / "run" / "figures").iterdir()} >= {"columns"}
    run = vifx.open("run")
    table = run.experiment.splits.info.standardization
    drawn = run.sample(50, seed=1)
    values = run.generative.sample(jax.random.key(0), run.params, run.state, examples=500).values["x"]
    assert drawn.shape == (50, 3)
    expected = table.restore(np.asarray(values))
    spread = 4 * expected.std(axis=0) * np.sqrt(1 / 50 + 1 / 500)
    assert np.all(np.abs(drawn.mean(axis=0) - expected.mean(axis=0)) < spread)
    examples, seen = run.examples("test")["x"], run.experiment.splits.test["x"]
    np.testing.assert_allclose(table.standardize(examples), seen, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"x must be rows of the columns weight, share, change, \[examples, 3\]"):
        run.encode(examples[:, :2])
    shift = np.log(table.scale).sum()
    assert abs(shift) > 1
    if name == "flow":
        assert run.log_prob(examples).mean() == pytest.approx(-found["nll/x"]["value"] - shift, rel=1e-4)
    if name == "gmm":  # whose density is near the law that the table is of
        assert abs(run.log_prob(examples).mean() - law(examples).mean()) < 0.5
    if name == "vae":
        bounds = run.bound(examples, seed=3).mean()
        assert abs(bounds - found["elbo"]["value"] + shift) < 6 * found["elbo"]["standard_error"]
    if name == "vae":
        alone = run.inference.sample(jax.random.key(0), run.params, run.state, {"x": jnp.asarray(seen)})
        np.testing.assert_allclose(run.encode(examples), alone.conditionals["z"].mean, rtol=1e-4, atol=1e-4)
        codes = run.encode(examples)
        fixed = {"z": jnp.asarray(codes)}
        means = run.generative.sample(jax.random.key(0), run.params, run.state, fixed=fixed, examples=len(codes))
        np.testing.assert_allclose(run.decode(codes), table.restore(means.conditionals["x"].mean), rtol=1e-3)
    kept = json.loads((work / "run" / "standardization.json").read_text())
    assert kept["names"] == ["weight", "share", "change"]
    np.testing.assert_allclose(kept["scale"], table.scale, rtol=1e-12)
    # A table that has changed would undo another standardization.
    lines = (work / "table.csv").read_text().splitlines()
    (work / "table.csv").write_text("\n".join([lines[0], *("9" + line for line in lines[1:])]))
    with pytest.raises(ValueError, match=r"column 'weight' had mean .* the table has changed since"):
        vifx.open("run")


@pytest.mark.thorough
@pytest.mark.parametrize("name", OWN)
def test_a_folder_of_images_trains_by_one_command(name, work, capsys):
    options = [*SMALL, *OWN[name], *OF_IMAGES.get(name, [])]
    out = trained([name, "--data.path", "images", "--data.size", "16", "--run", "run", *options], capsys)
    assert "images are 16×16, 8 bits of red, green and blue, the middle square of each scaled to 16×16" in " ".join(
        out.split()
    )
    rows = read_metrics(work / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [2, 4]
    drawn = vifx.open("run").sample(3)
    assert drawn.shape == (3, 16, 16, 3)
    assert 0 <= drawn.min() <= drawn.max() <= 1


@pytest.mark.parametrize(
    ("shape", "encoder", "generator"),
    [
        ((8, 8, 1), None, (64, 32)),
        ((28, 28, 1), (32, 64), (64, 32)),
        ((32, 32, 3), (32, 64, 128), (128, 64, 32)),
        ((64, 48, 3), (32, 64, 128), (128, 64, 32)),
        ((128, 128, 3), (32, 64, 128, 256, 256), (256, 256, 128, 64, 32)),
    ],
)
def test_networks_follow_from_the_shape(shape, encoder, generator):
    """Halved while the map has four pixels or more a side, and its mirror image comes back to the shape."""
    body, back = networks.encoder_body(shape, (5, 6)), networks.decoder_body(shape, (5, 6))
    if encoder is None:
        assert (body.features, back.features) == ((5, 6), (5, 6))
    else:
        assert (body.channels, back.channels) == (encoder, encoder[::-1])
    made = networks.image_generator(shape)
    assert (made.channels, made.outputs) == (generator, shape[2])
    image = jax.eval_shape(
        lambda: made.init_with_output(jax.random.key(0), np.zeros((2, 3), np.float32), train=True)[0]
    )
    assert image.shape == (2, *shape)
    assert networks.image_critic(shape).channels == tuple(min(2 * c, 256) for c in generator[::-1])


def test_a_shape_that_cannot_be_halved_says_which_size_to_take():
    assert networks.encoder_body((30, 30, 1), (5,)).features == (5,)
    with pytest.raises(ValueError, match=r"divisible by 4, got 30×30; scale them, as with data.Config\(size=32\)"):
        networks.image_generator((30, 30, 1))
