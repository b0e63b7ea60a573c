"""The list that is read from the source is what importing the library gives."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest

from vifx import divergences
from vifx.cli.parts import formulas, parts

PACKAGES = [
    "variational",
    "games",
    "divergences",
    "em",
    "flows",
    "lipschitz",
    "training",
    "networks",
    "data",
]


@pytest.mark.parametrize("package", [*PACKAGES, "distributions"])
def test_parts_are_those_that_can_be_imported(package):
    module = import_module(f"vifx.{package}")
    exported = {name: getattr(module, name) for name in module.__all__}
    assert [tuple(part) for part in parts(package)] == [
        (
            name,
            inspect.getdoc(part).partition("\n")[0],
            part.__annotations__["return"] if inspect.isfunction(part) else "",
        )
        for name, part in exported.items()
        if inspect.isfunction(part) or inspect.isclass(part)
    ]


def test_formulas_are_those_of_the_divergences():
    assert formulas() == {name: divergences.named(name).formula for name in sorted(divergences.NAMES)}
