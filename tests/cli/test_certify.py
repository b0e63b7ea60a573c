"""`vifx certify`: an interval with its sides and its budget, the same for the same seed, and what it refuses."""

from __future__ import annotations

import dataclasses
import inspect
import re

import numpy as np
import pytest

import vifx
from vifx import evaluation
from vifx.cli.options import CertifyOptions

QUICK = ("--temperatures", "4", "--chains", "4", "--leapfrog", "2")


@pytest.mark.thorough
def test_says_the_interval_and_what_it_rests_on(copied, vifx_command, files, tmp_path):
    copied("run")
    before = files(tmp_path)
    result = vifx_command("certify", "run", *QUICK)
    assert (result.code, result.err) == (0, "")
    lines = ["", *result.out[result.out.index("log q(x)") :].splitlines()]
    low, high = (
        float(each.replace("−", "-")) for each in re.match(r"log q\(x\) ∈ \[(\S+), (\S+)\] nats", lines[1]).groups()
    )
    assert lines[1].endswith("over examples of the same distribution")
    assert "the mean of 20 examples" in lines[1]
    assert lines[3].startswith("lower end: rigorous, with probability 97.5 %")
    assert lines[4].startswith("upper end: calibrated, not rigorous")
    assert "4 temperatures × 4 chains × 2 leapfrog steps" in lines[6]
    assert lines[1] in vifx_command("certify", "run", *QUICK).out.splitlines()
    assert files(tmp_path) == before
    run = vifx.open("run")
    split = run.examples("test")
    found = run.certify(split["x"], temperatures=4, chains=4, leapfrog=2)
    assert (round(found.lower, 3), round(found.upper, 3)) == (low, high)
    bound = run.bound(split["x"], samples=500)
    assert low < bound.mean() + 0.05
    assert bound.mean() < high
    np.testing.assert_allclose(found.bits_per_dim, (-high / 16 / np.log(2), -low / 16 / np.log(2)), rtol=1e-3)


@pytest.mark.thorough
def test_what_is_unreliable_ends_with_an_error(copied, vifx_command):
    copied("run")
    result = vifx_command("certify", "run", *QUICK, "--examples", "5")
    assert result.code == 1
    assert "unreliable: of 5 examples, given or simulated, nothing can be certified; take at least 20" in result.message
    assert "log q(x) ∈" in result.out
    odd = vifx_command("certify", "run", "--chains", "3")
    assert odd.code == 2
    assert odd.message.startswith("--chains must be even")
    noisy = vifx_command("certify", "run", "--noise", "0.1")
    assert noisy.code == 2
    assert noisy.message.startswith("--noise must be left out")


def test_the_defaults_are_those_of_the_function():
    defaults = {field.name: field.default for field in dataclasses.fields(CertifyOptions)}
    function = {name: parameter.default for name, parameter in inspect.signature(evaluation.certify).parameters.items()}
    shared = {"temperatures", "chains", "leapfrog", "start", "noise", "confidence", "widest", "simulations"}
    assert {name: defaults[name] for name in shared} == {name: function[name] for name in shared}
