"""Convolutions by matrix products against XLA's own, inside and outside a scan over training steps.

Prints the ratio of the two times (XLA's over ours, so that above 1 ours is faster), A B A B, with its spread.
"""

import statistics
import time

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from vifx.networks import convolve, convolve_transpose

pytestmark = pytest.mark.benchmark

CASES = {
    # name: (images, [(primitive, kernel, stride)])
    "3x3": ((32, 16, 16, 64), [(convolve, (3, 3, 64, 64), 1)] * 2),
    "critic": ((64, 28, 28, 1), [(convolve, (4, 4, 1, 64), 2), (convolve, (4, 4, 64, 128), 2)]),
    "generator": (
        (64, 7, 7, 128),
        [(convolve_transpose, (4, 4, 128, 64), 2), (convolve_transpose, (4, 4, 64, 1), 2)],
    ),
}
BLOCKS = 4


def program(layers, form, steps):
    """`steps` gradient steps on the kernels as one program; a scan when there are several."""

    def loss(kernels, x):
        for (primitive, _, stride), kernel in zip(layers, kernels, strict=True):
            x = jnp.tanh(primitive(x, kernel, stride=stride, form=form))
        return jnp.sum(x**2)

    def step(kernels, x):
        return jax.tree.map(lambda k, g: k - 1e-6 * g, kernels, jax.grad(loss)(kernels, x))

    def scan(kernels, x):
        return lax.scan(lambda kernels, _: (step(kernels, x), None), kernels, None, length=steps)[0]

    return jax.jit(step if steps == 1 else scan)


def seconds(run, *arguments):
    start = time.perf_counter()
    jax.block_until_ready(run(*arguments))
    return time.perf_counter() - start


@pytest.mark.parametrize("steps", [1, 2], ids=["one step", "scan"])
@pytest.mark.parametrize("name", CASES)
def test_ratio_to_xla(name, steps, capsys):
    shape, layers = CASES[name]
    x = jax.random.normal(jax.random.key(0), shape)
    kernels = [0.05 * jax.random.normal(jax.random.key(1), kernel) for _, kernel, _ in layers]
    runs = {form: program(layers, form, steps) for form in ("xla", "matmul")}
    for run in runs.values():
        jax.block_until_ready(run(kernels, x))
    times = [{form: seconds(run, kernels, x) for form, run in runs.items()} for _ in range(BLOCKS)]
    ratios = sorted(pair["xla"] / pair["matmul"] for pair in times)
    ratio = statistics.median(ratios)
    milliseconds = 1e3 * statistics.median(pair["matmul"] for pair in times) / steps
    with capsys.disabled():
        print(
            f"\n{name}, {'scan' if steps > 1 else 'one step'}, {jax.default_backend()}: XLA's time / ours "
            f"{ratio:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}), ours {milliseconds:.1f} ms a step"
        )
    if jax.default_backend() == "cpu" and steps > 1:
        assert ratio > 2
