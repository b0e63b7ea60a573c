"""CONTRIBUTING.md, followed: a new bijection is found by its contract, which tells a right one from a wrong one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIJECTION = '''"""A map of one's own."""

from __future__ import annotations

__all__ = ["{name}"]

import jax.numpy as jnp

from vifx.core.types import Bijection
from vifx.flows.checked import checked


def {name}() -> Bijection:
    """Double every number."""

    def forward(params, state, x, given, key):
        return 2 * x, jnp.full(len(x), x[0].size * {slope}, x.dtype)

    def inverse(params, state, z, given, key):
        return z / 2, jnp.full(len(z), -z[0].size * {slope}, z.dtype)

    return checked("{name}", lambda key, x, given: ({{}}, {{}}), forward, inverse)
'''


@pytest.mark.thorough
def test_a_new_bijection_is_found_and_checked(tmp_path):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition("## A bijection\n")[2].partition("\n## ")[0]
    steps = re.findall(r"^\d\. `([^`]+)`", section, re.MULTILINE)
    assert steps[:3] == [
        *("vifx/flows/bijections/<name>.py", "vifx/flows/__init__.py", "tests/contracts/test_bijections.py")
    ]
    shutil.copytree(ROOT / "vifx", tmp_path / "vifx", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "tests/conftest.py", "tests/browser.py", "tests/contracts/test_bijections.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    exports = (tmp_path / "vifx/flows/__init__.py").read_text(encoding="utf-8")
    for name, slope in {"doubled": "jnp.log(2.0)", "crooked": "2.0"}.items():
        (tmp_path / steps[0].replace("<name>", name)).write_text(BIJECTION.format(name=name, slope=slope))
        exports = exports.replace("__all__ = [\n", f'__all__ = [\n    "{name}",\n')
        exports += f"from vifx.flows.bijections.{name} import {name}\n"
    (tmp_path / steps[1]).write_text(exports)

    command = re.search(r"^pytest (.*) -k <name>$", section, re.MULTILINE)
    assert command is not None
    arguments = [*command[1].split(), "-k", "doubled or crooked", "-rA", "--tb=line"]
    options = {"cwd": tmp_path, "capture_output": True, "text": True, "check": False, "timeout": 300}
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "pytest", *arguments], env=environment, **options)
    outcomes = dict(
        reversed(found) for found in re.findall(r"^(PASSED|FAILED) \S*::(\w+\[\w+\])", done.stdout, re.MULTILINE)
    )
    agree = "test_both_directions_and_the_jacobian_agree"
    assert (outcomes[f"{agree}[doubled]"], outcomes[f"{agree}[crooked]"]) == ("PASSED", "FAILED"), done.stdout
    assert [name for name, outcome in outcomes.items() if outcome == "FAILED"] == [f"{agree}[crooked]"]
