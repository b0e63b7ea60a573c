"""Parameters of differential equations: the article's numbers, SciPy's minimum, multiple against single shooting."""

from __future__ import annotations

import sys

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
from dynamics.competition import PUBLISHED, TABLE, TIMES, competition

from vifx import dynamics
from vifx.dynamics.shooting import Shooting

EULER = {"method": "euler", "step": 0.1}


def starts(count, spread, seed=0):
    return dynamics.scattered(jax.random.key(seed), PUBLISHED, count, spread=spread)


def rows(params, count=1):
    return jax.tree.map(lambda leaf: np.broadcast_to(leaf, (count, *np.shape(leaf))), params)


def test_the_table_of_the_article(x64):
    """All twelve entries."""
    path = dynamics.solve(competition, TABLE[:, 0], TIMES, rows(PUBLISHED), **EULER)
    np.testing.assert_array_equal(np.round(path), TABLE)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("how", "rss", "expected"),
    [
        (
            {"method": "rk4", "step": 1.0},  # the exact equation: its error is below 1e-6
            0.529,
            {"rate": [0.0993, 0.2987], "crowding": [1 / 491.1, 1 / 335.4], "meeting": [9.55e-5, 2.05e-4]},
        ),
        (EULER, 0.542, {}),
        ({"method": "euler", "step": 1.0}, 0.697, {}),
    ],
    ids=["exact", "euler 0.1", "euler 1"],
)
def test_the_best_fit_to_the_table_from_every_near_start(x64, how, rss, expected):
    """From factors within ``e^{±0.6}``: all of 64; and the minimum is the one that SciPy finds."""
    fit = dynamics.fit_ode(competition, starts(64, 0.6), TIMES, TABLE, x0=TABLE[:, 0], **how)
    assert fit.failures == 0
    assert repr(fit) == f"LeastSquares(RSS {fit.rss:.4g}, reached by 64 of 64 starts)"
    assert abs(fit.rss - rss) < 5e-4
    for name, values in expected.items():
        np.testing.assert_allclose(fit.params[name], values, rtol=3e-3)
    names, solved = tuple(PUBLISHED), jax.jit(lambda p: dynamics.solve(competition, TABLE[:, 0], TIMES, p, **how))

    def residuals(raw):
        params = dict(zip(names, np.exp(raw).reshape(3, 1, 2), strict=True))
        return np.ravel(solved(params) - TABLE)

    other = scipy.optimize.least_squares(
        residuals, np.log(np.concatenate([PUBLISHED[name] for name in names])), xtol=1e-12, ftol=1e-12, x_scale="jac"
    )
    np.testing.assert_allclose(fit.rss, 2 * other.cost, rtol=1e-7)
    found = np.concatenate([fit.params[name] for name in names])
    np.testing.assert_allclose(found, np.exp(other.x), rtol=1e-4)


@pytest.mark.thorough
def test_exact_data_are_fitted_exactly_and_far_starts_are_counted(x64):
    """Single shooting alone, from factors within ``e^{±3}``: what fails is counted, and is not called a minimum."""
    exact = dynamics.solve(competition, TABLE[:, 0], TIMES, rows(PUBLISHED), **EULER)
    fit = dynamics.fit_ode(competition, starts(32, 3.0), TIMES, exact, x0=exact[:, 0], continuity=(), **EULER)
    assert fit.rss < 1e-8
    for name, values in PUBLISHED.items():
        np.testing.assert_allclose(fit.params[name], values, rtol=1e-6)
    close = np.stack([np.abs(fit.every[name] / values[None] - 1).max(1) for name, values in PUBLISHED.items()]).max(0)
    np.testing.assert_array_equal(fit.reached, close < 1e-3)
    assert 0 < fit.failures < 16
    assert f"reached by {32 - fit.failures} of 32 starts" in repr(fit)
    assert f"{np.sum(~np.isfinite(fit.every_rss))} had no finite residuals" in repr(fit)


def swinging(x, t, params):
    """A pendulum with friction; what is seen is the angle."""
    return jnp.stack([x[:, 1], -params["pull"] * jnp.sin(x[:, 0]) - params["friction"] * x[:, 1]], axis=1)


@pytest.mark.thorough
def test_multiple_shooting_converges_where_single_shooting_does_not(x64):
    """Five swings, from pulls a half to twice the true one: out of phase, single shooting finds bad minima.

    Moreover the speed is never seen, the first state is unknown, and a fifth of the angles is missing.
    """
    times, truth = np.linspace(0, 16, 33), {"pull": 4.0, "friction": 0.02}
    how = {"substeps": 3}
    exact = dynamics.solve(swinging, np.array([[1.2, 0.4]]), times, rows(truth), **how)
    mask = np.random.default_rng(0).uniform(size=(1, 33)) < 0.8
    values = np.where(mask[:, :, None], exact[:, :, :1], 1e6)  # what is missing may be anything
    begin = {
        "pull": 4 * np.exp(np.linspace(-0.6, 0.6, 8)),
        "friction": np.full(8, 0.03),
        "first": np.tile([1.0, 0.5], (8, 1)),
    }
    guess = np.stack([np.where(mask, exact[:, :, 0], 0), np.zeros((1, 33))], axis=2)

    def fit(continuity):
        return dynamics.fit_ode(
            swinging,
            begin,
            times,
            values,
            x0=lambda params: params["first"],
            observe=lambda path: path[:, :, :1],
            mask=mask,
            knots=guess,
            continuity=continuity,
            steps=60,
            **how,
        )

    single, multiple = fit(()), fit((1.0,))
    assert multiple.failures == 0
    assert multiple.rss < 1e-8
    assert single.failures > 2
    for name, value in truth.items():
        np.testing.assert_allclose(multiple.params[name], value, rtol=1e-6)
    np.testing.assert_allclose(multiple.params["first"], [1.2, 0.4], rtol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "how",
    [
        {"method": "euler", "step": 0.7},
        {"method": "rk4", "substeps": 3},
        {"solver": diffrax.Tsit5(), "tolerance": 1e-10},
    ],
    ids=["euler", "rk4", "tsit5"],
)
def test_a_path_has_no_gaps(x64, how):
    """Knots on the path of single shooting, in intervals of unequal length, of two examples with times of their own."""
    times = np.stack([TIMES, TIMES**1.1 + 1])
    params = {name: np.log(value) for name, value in PUBLISHED.items()}
    natural = rows(PUBLISHED, 2)
    path = dynamics.solve(competition, np.repeat(TABLE[:, 0], 2, 0), times, natural, **how)
    problem = Shooting(
        f=competition,
        times=times,
        values=path,
        seen=jnp.ones(path.shape, bool),
        x0=path[:, 0],
        observe=lambda path: path,
        positive=True,
        how={"method": "rk4", "substeps": None, "step": None, **how},
    )
    misfit, gaps = problem.multiple(params, path[:, 1:], 10.0)
    np.testing.assert_array_equal(misfit, 0)
    np.testing.assert_allclose(gaps, 0, atol=1e-9 if "solver" not in how else 1e-5)
    np.testing.assert_allclose(problem.single(params), 0, atol=1e-9)
    moved, apart = problem.multiple(params, path[:, 1:] + 0.5, 10.0)
    np.testing.assert_array_equal(moved, path[:, 1:] + 0.5 - path[:, 1:])
    expected = dynamics.solve(competition, path[:, 1] + 0.5, times[:, 1:3], natural, **how)[:, 1] - path[:, 2] - 0.5
    if (
        how.get("step") is None
    ):  # with the longest step, intervals alone may have fewer steps than all examples together
        np.testing.assert_allclose(apart[:, 1], 10 * expected, rtol=1e-5)


@pytest.mark.thorough
def test_several_examples_with_times_of_their_own(x64):
    """One parameter for all, against the slope of a regression: ``log x`` falls by the rate; signs are free."""
    times = np.array([[0.0, 1.0, 2.5], [1.0, 1.5, 4.0]])
    x0 = np.array([[1.0], [2.0]])
    values = x0[:, None] * np.exp(-0.7 * (times - times[:, :1]))[:, :, None]
    how = {"x0": x0, "positive": False, "substeps": 40}
    fit = dynamics.fit_ode(lambda x, t, rate: rate[:, None] * x, np.array([0.5, -2.0, 0.1]), times, values, **how)
    np.testing.assert_allclose(fit.every, np.full(3, -0.7), rtol=1e-6)
    assert fit.rss < 1e-12


@pytest.mark.thorough
def test_a_path_that_blows_up_is_no_step(x64):
    """``ẋ = a x²`` from 1 has its pole at 1/a: starts beyond it have no finite residuals, and the others avoid it."""
    times = np.linspace(0, 1, 6)
    values = (1 / (1 - 0.9 * times))[None, :, None]
    begin = np.array([0.2, 0.5, 0.95, 5.0])
    how = {"x0": np.ones((1, 1)), "substeps": 50, "continuity": ()}
    fit = dynamics.fit_ode(lambda x, t, a: a[:, None] * x**2, begin, times, values, **how)
    np.testing.assert_array_equal(fit.reached, [True, True, True, False])
    assert "1 had no finite residuals" in repr(fit)
    np.testing.assert_allclose(fit.params, 0.9, rtol=1e-3)


@pytest.mark.thorough
def test_adaptive_steps(x64):
    fit = dynamics.fit_ode(
        competition, starts(4, 0.6), TIMES, TABLE, x0=TABLE[:, 0], solver=diffrax.Tsit5(), tolerance=1e-7
    )
    assert fit.failures == 0
    assert abs(fit.rss - 0.5288) < 1e-4


def test_linear_least_squares(x64):
    """Against NumPy's, from several starts, of a tree of residuals."""
    design, aim = np.random.default_rng(0).normal(size=(9, 3)), np.random.default_rng(1).normal(size=9)
    expected, rss, *_ = np.linalg.lstsq(design, aim, rcond=None)
    residuals = lambda x: {"first": design[:4] @ x - aim[:4], "rest": design[4:] @ x - aim[4:]}  # noqa: E731
    fit = dynamics.least_squares(residuals, np.random.default_rng(2).normal(size=(5, 3)), tolerance=1e-12)
    np.testing.assert_allclose(fit.every, np.broadcast_to(expected, (5, 3)), rtol=1e-9)
    np.testing.assert_allclose(fit.rss, rss[0], rtol=1e-12)
    assert fit.failures == 0


def test_other_minima_are_counted(x64):
    """Of a polynomial with minima at 1 and near −1, by their value."""
    fit = dynamics.least_squares(lambda x: jnp.stack([x**2 - 1, 0.3 * (x - 1)]), np.array([0.5, 3.0, -2.0, -1.0]))
    np.testing.assert_array_equal(fit.reached, [True, True, False, False])
    other = scipy.optimize.minimize_scalar(lambda x: (x**2 - 1) ** 2 + 0.09 * (x - 1) ** 2, bounds=(-2, 0))
    np.testing.assert_allclose(fit.every_rss[2:], other.fun, rtol=1e-6)
    assert repr(fit).endswith(f"2 of 4 starts, 2 converged to other minima (the next: RSS {other.fun:.4g}))")


def test_starts_are_uniform_in_the_logarithm():
    center = {"a": np.float32(3.0), "b": np.array([1e-4, 2.0], np.float32)}
    drawn = dynamics.scattered(jax.random.key(0), center, 4000, spread=0.6)
    for name, value in center.items():
        raw = np.log(np.asarray(drawn[name]) / value[None]).ravel()
        assert abs(raw).max() < 0.6 + 1e-5
        assert abs(raw.mean()) < 4.3 * 0.6 / np.sqrt(3 * len(raw))
        assert abs(raw.var() / 0.12 - 1) < 4.3 * np.sqrt(0.8 / len(raw))


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"values": TABLE[0]}, ValueError, r"values must have the shape \[examples, times, \*observed\], got \[7, 2\]"),
        ({"times": TIMES[::-1]}, ValueError, "times must increase"),
        ({"times": TIMES[:-1]}, ValueError, r"times must have as many times as values, \[7\], got \[6\]"),
        ({"mask": np.ones((1, 7))}, ValueError, r"mask must be booleans \[1, 7\] or \[1, 7, 2\], got float"),
        ({"mask": np.zeros((1, 7), bool)}, ValueError, "hides every value after the first time"),
        ({"knots": TABLE[:, :3]}, ValueError, r"knots must have the shape \[1, 7, \*event\], got \[1, 3, 2\]"),
        ({"continuity": (-1.0,)}, ValueError, "continuity must be a finite number > 0, got -1"),
        ({"steps": 0}, ValueError, "steps must be an integer ≥ 1"),
        ({"method": "rk"}, ValueError, "must be one of euler, midpoint, heun, rk4"),
        ({"starts": rows({**PUBLISHED, "rate": np.array([-1.0, 1.0])})}, ValueError, r"\['rate'\] must be positive"),
        ({"starts": rows({**PUBLISHED, "rate": np.array([np.inf, 1.0])})}, ValueError, "from none of 1 starts"),
        ({"f": "decay"}, TypeError, "f must be a function"),
        ({"observe": 0}, TypeError, "observe must be a function"),
        ({"solver": "tsit5"}, TypeError, "fit_ode: solver must be an instance"),
    ],
)
def test_bad_input(x64, changed, error, message):
    right = {"f": competition, "starts": rows(PUBLISHED), "times": TIMES, "values": TABLE, "x0": TABLE[:, 0]}
    arguments = {**right, "steps": 2, "step": 5.0, "method": "euler", "continuity": (), **changed}
    if "solver" in changed:
        arguments["step"] = None
    with pytest.raises(error, match=message):
        dynamics.fit_ode(**arguments)


def test_without_optimistix_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optimistix", None)
    with pytest.raises(ImportError, match=r"needs optimistix, which is not installed; pip install 'vifx\[ode\]'"):
        dynamics.least_squares(lambda x: x, np.ones(2))
