"""The prepared script for accelerators, tiny, on a CPU; and what it counts, against closed forms."""

from __future__ import annotations

import json
import math

import jax
import jax.numpy as jnp
import pytest
from device import run
from device.peaks import of_update, operations, peak
from device.workloads import WORKLOADS

sections = run.sections


@pytest.fixture(autouse=True)
def _plain():
    with jax.debug_key_reuse(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def counted(function, *arguments):
    return operations(jax.make_jaxpr(function)(*arguments).jaxpr)


def test_operations_are_those_of_the_products_and_convolutions():
    a, b = jnp.ones((2, 3, 4)), jnp.ones((2, 4, 5))
    assert counted(lambda a, b: jnp.sin(a) @ b, a, b) == 2 * 2 * 3 * 4 * 5
    image, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 5))

    def convolve(x, k):
        return jax.lax.conv_general_dilated(x, k, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    assert counted(convolve, image, kernel) == 2 * (2 * 4 * 4 * 5) * (3 * 3 * 3)
    square = jnp.ones((4, 4))

    def loop(x):
        return jax.lax.scan(lambda x, _: (jax.jit(jnp.matmul)(x, x), None), x, length=7)[0]

    assert counted(loop, square) == 7 * 2 * 4**3

    def branch(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

    assert counted(branch, square) == 2 * 2 * 4**3


@pytest.mark.thorough
def test_the_operations_of_an_update_of_a_vae_are_known():
    """Forward, gradient of the weights, gradient of the inputs; of the first layer there is none of the inputs."""
    parts = WORKLOADS["W1"].parts("float32", True)
    layers = [(784, 512), (512, 512), (512, 64), (32, 512), (512, 512), (512, 784)]
    expected = 2 * 128 * (3 * sum(map(math.prod, layers)) - 784 * 512)
    assert of_update(parts.step, parts.train_state, parts.batch) == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA H200", 989.5e12),
        ("NVIDIA L40S", 362e12),
        ("TPU v5 lite", 197e12),
        ("TPU v5", 459e12),
    ],
)
def test_a_peak_is_that_of_the_longest_name_that_fits(kind, expected):
    assert peak(kind, "bfloat16")[0] == expected
    assert peak(kind, "float32")[0] <= expected
    assert peak(kind + "X" if kind[-1].isdigit() else "another", "bfloat16") is None


def results(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.mark.thorough
def test_a_section_that_fails_is_said_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    def refuse(*, tiny):
        raise ArithmeticError(f"tiny is {tiny}\nand more")

    monkeypatch.setattr(run, "convolutions", refuse)
    monkeypatch.setattr(run, "sections", lambda *given, **options: dict(reversed(sections(*given, **options).items())))
    options = ["--tiny", "--sections", "memory", "convolutions", "--workloads", "W3", "--out", str(tmp_path)]
    assert run.main(options) == 1
    failed, measured = results(tmp_path)["sections"].values()
    assert failed["error"] == "ArithmeticError: tiny is True"
    assert measured["found"]["ratio"] == pytest.approx(1, abs=0.3)
    page = (tmp_path / "results.md").read_text()
    assert "| memory W3 |" in page
    assert "**failed**: ArithmeticError: tiny is True" in page
    assert "failed: convolutions" in capsys.readouterr().out


@pytest.mark.thorough
def test_what_differs_from_the_cpu_fails(monkeypatch):
    monkeypatch.setattr(run, "TOLERANCE", -1.0)
    with pytest.raises(ArithmeticError, match=r"\['model'\]\[0\] differs from the CPU's by 0.00e\+00"):
        run.equality(WORKLOADS["W3"], tiny=True)


def check(result, workloads):
    sections = result["sections"]
    assert not [section["error"] for section in sections.values() if "error" in section]
    for workload in workloads:
        for precision, found in sections[f"speed {workload}"]["found"].items():
            assert precision in WORKLOADS[workload].precisions
            assert found["updates a second"] > 0
            assert found["share of peak"] == "unknown"
        assert sections[f"equality {workload}"]["found"]["largest relative difference"] == 0
        assert sections[f"determinism {workload}"]["found"]["equal to the bit"]
        assert 0.1 < sections[f"memory {workload}"]["found"]["ratio"] < 1.5
    assert sections["convolutions"]["found"]["chosen"] == "matmul"


@pytest.mark.thorough
def test_all_sections_on_a_flow_and_a_mixture(tmp_path):
    assert run.main(["--tiny", "--workloads", "W3", "W4", "--out", str(tmp_path)]) == 0
    check(results(tmp_path), ("W3", "W4"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_sections_of_all_workloads(tmp_path):
    assert run.main(["--tiny", "--out", str(tmp_path)]) == 0
    check(results(tmp_path), WORKLOADS)
