"""Every option of every experiment is explained, by its own file or by the kind of experiment that it is of."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import docstring_parser
import pytest

from vifx import experiment

FILES = sorted((Path(__file__).parents[2] / "experiments").glob("*.py"))


def explained(config):
    """Return the fields of a config that help has a text for: those with one in the class or in a class above it."""
    parsed = [docstring_parser.parse_from_object(cls).params for cls in config.__mro__ if dataclasses.is_dataclass(cls)]
    return {field.arg_name for fields in parsed for field in fields if field.description}


@pytest.mark.thorough
def test_every_option_has_a_text():
    configs = {path.stem: experiment.load(path).config for path in FILES}
    missing = {
        (name, field.name)
        for name, config in configs.items()
        for field in dataclasses.fields(config)
        if field.name not in explained(config)
    }
    assert len(configs) > 40
    assert missing == set()
