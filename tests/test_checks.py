"""Checks of arguments: what passes, what is refused, and what the message says."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from vifx import checks
from vifx.checks import ArgumentError


def test_integers() -> None:
    """Integers in the range come back; others are refused by type, then by range, with one rule in words."""
    assert [checks.require_integer(value, "n", least=0, most=2) for value in (0, 1, 2)] == [0, 1, 2]
    for value in (True, 1.0, "1", None, np.float32(1)):
        with pytest.raises(TypeError, match=r"^kl: n must be an integer ≥ 1, got "):
            checks.require_integer(value, "kl: n")
    for value in (-1, 3):
        with pytest.raises(ArgumentError, match=rf"^n must be an integer from 0 to 2, got {value}$"):
            checks.require_integer(value, "n", least=0, most=2)


def test_an_error_knows_the_config_whose_field_is_refused() -> None:
    """So the command can name the option."""
    owner = object()
    for refuse in (
        lambda: checks.require_integer(0, "depth", owner=owner),
        lambda: checks.require_number(-1, "depth", least=0, owner=owner),
        lambda: checks.require_choice("up", ("left", "right"), "depth", owner=owner),
    ):
        with pytest.raises(ArgumentError) as caught:
            refuse()
        assert caught.value.owner is owner
        assert caught.value.naming("--depth").startswith("--depth must be ")


@pytest.mark.parametrize(
    ("limits", "inside", "outside", "rule"),
    [
        ({}, (-1e300, 0, 1e300), (math.inf, -math.inf, math.nan), "a finite number, got"),
        ({"least": 0}, (0, 0.5), (-1e-9, math.nan, math.inf), "a finite number ≥ 0, got"),
        ({"above": 0}, (1e-9, 0.5), (0, math.nan, math.inf), "a finite number > 0, got"),
        ({"most": 2}, (2, -7), (2.5, math.nan, -math.inf), "a finite number ≤ 2, got"),
        ({"below": 2}, (1.5, -7), (2, math.nan, -math.inf), "a finite number < 2, got"),
        ({"above": 0, "below": 1}, (1e-300, 0.5), (0, 1, math.nan), r"a number in \(0, 1\), got"),
        ({"above": 0.5, "most": 1}, (0.75, 1), (0.5, 1.25), r"a number in \(0.5, 1\], got"),
    ],
)
def test_numbers(limits: dict[str, Any], inside: tuple[float, ...], outside: tuple[float, ...], rule: str) -> None:
    """Bounds are strict or not as they say; what is not finite is in no range."""
    for value in inside:
        assert checks.require_number(value, "x", **limits) == value
    for value in outside:
        with pytest.raises(ArgumentError, match=f"^x must be {rule} {value}; take another$"):
            checks.require_number(value, "x", hint="take another", **limits)
    for value in (True, "1", None, 1j):
        with pytest.raises(TypeError, match=f"^x must be {rule} .*; take another"):
            checks.require_number(value, "x", hint="take another", **limits)


def test_widths() -> None:
    """One integer or more; the message has the place of the wrong one."""
    assert checks.require_widths([3, 4], "hidden") == (3, 4)
    assert checks.require_widths((width for width in (1, 2)), "hidden") == (1, 2)
    with pytest.raises(ArgumentError, match=r"hidden\[1\] must be an integer ≥ 1, got 0"):
        checks.require_widths((3, 0), "hidden")
    with pytest.raises(ArgumentError, match=r"hidden must have at least one integer ≥ 1, got none"):
        checks.require_widths((), "hidden")
    for value in (3, "34", None):
        with pytest.raises(TypeError, match=r"hidden must be a sequence of integers ≥ 1, got"):
            checks.require_widths(value, "hidden")
    with pytest.raises(TypeError, match=r"hidden\[0\] must be an integer ≥ 1, got True"):
        checks.require_widths((True,), "hidden")


def test_choices_and_names() -> None:
    """The nearest name is offered, where there is one."""
    assert checks.nearest("decoer", ["encoder", "decoder"]) == "; did you mean 'decoder'?"
    assert checks.nearest("zzz", ["encoder", "decoder"]) == ""
    assert checks.require_choice("up", ("up", "down"), "way") == "up"
    with pytest.raises(ArgumentError, match=r"^way must be one of up, down; got 'dwn'; did you mean 'down'\?$"):
        checks.require_choice("dwn", ("up", "down"), "way")
    with pytest.raises(ArgumentError, match=r"^way must be one of up, down; got 7$"):
        checks.require_choice(7, ("up", "down"), "way")
    assert checks.require_name("min", {"min": 1}, "player") == "min"
    with pytest.raises(ValueError, match=r"^unknown player 'mn'; did you mean 'min'\? There are: 'min', 'max'\.$"):
        checks.require_name("mn", ("min", "max"), "player")
    with pytest.raises(ValueError, match=r"^unknown player 'zzz'\. There are: none\.$"):
        checks.require_name("zzz", (), "player")
    with pytest.raises(TypeError, match=r"player must be a name, got 3; there are: 'min'"):
        checks.require_name(3, ("min",), "player")


def test_the_command_checks_its_options_without_jax() -> None:
    """The module takes neither JAX nor NumPy to import."""
    code = "import sys, vifx.checks; print(sorted({'jax', 'numpy', 'numpyro'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
