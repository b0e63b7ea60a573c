"""A config's annotations are its rules; JSON brings it back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from vifx.experiment import Config, NonNegativeFloat, PositiveFloat, PositiveInt
from vifx.experiment.config import identity
from vifx.experiment.rules import from_json, to_json


@dataclass(frozen=True)
class Mine(Config):
    """A config with a field of every kind."""

    rate: PositiveFloat = 0.1
    decay: NonNegativeFloat = 0.0
    sizes: tuple[PositiveInt, ...] = (3, 4)
    kind: Literal["round", "square"] = "round"
    place: Path | None = None
    limit: PositiveInt | None = None
    fast: bool = False
    names: tuple[str, ...] = field(default_factory=tuple)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"rate": 0.0}, ValueError, "rate must be a positive finite number; got 0.0"),
        ({"rate": -1.0}, ValueError, "rate must be a positive finite number; got -1.0"),
        ({"rate": float("nan")}, ValueError, "rate must be finite; got nan"),
        ({"rate": float("inf")}, ValueError, "rate must be finite; got inf"),
        ({"decay": -1e-9}, ValueError, "decay must be a finite number that is not negative"),
        ({"sizes": (3, 0)}, ValueError, r"sizes\[1\] must be a positive integer; got 0"),
        ({"sizes": [3]}, TypeError, "sizes must be a tuple"),
        ({"sizes": (1.5,)}, TypeError, r"sizes\[0\] must be of type int; got 1.5"),
        ({"kind": "sqare"}, ValueError, "kind must be one of round, square; got 'sqare'; did you mean 'square'"),
        ({"place": 3}, TypeError, "place must be of type Path; got 3"),
        ({"limit": 0}, ValueError, "limit must be a positive integer; got 0"),
        ({"limit": "x"}, TypeError, "limit must be of type int; got 'x'"),
        ({"fast": 1}, TypeError, "fast must be of type bool; got 1"),
        ({"steps": True}, TypeError, "steps must be of type int; got True"),
        ({"seed": -1}, ValueError, "seed must be an integer that is not negative; got -1"),
        ({"precision": "float16"}, ValueError, "precision must be one of float32, bfloat16, float64"),
        ({"data": "digits"}, TypeError, "data must be of type Config; got 'digits'"),
    ],
)
def test_rules(values, error, message):
    with pytest.raises(error, match=message):
        Mine(**values)


def test_integers_are_numbers():
    assert Mine(rate=1).rate == 1
    assert Mine(limit=None, place=Path("a")).place == Path("a")


def test_json_brings_it_back():
    config = Mine(rate=1e-37, sizes=(1, 2, 3), place=Path("a b/ü"), limit=4, fast=True, names=("a", "b"))
    tree = json.loads(json.dumps(to_json(config)))
    assert tree["sizes"] == [1, 2, 3]
    assert from_json(Mine, tree) == config
    assert from_json(Mine, {}) == Mine()


def test_json_with_mistakes():
    with pytest.raises(ValueError, match=r"Mine has no field named 'rat'; did you mean 'rate'\?"):
        from_json(Mine, {"rat": 1.0})
    with pytest.raises(ValueError, match="Config has no field named 'batchsize'; did you mean 'batch_size'"):
        from_json(Mine, {"data": {"batchsize": 3}})
    with pytest.raises(ValueError, match="rate must be"):
        from_json(Mine, {"rate": -1.0})


def test_identity_is_of_everything_but_the_steps():
    assert identity(Mine(steps=5)) == identity(Mine(steps=6))
    assert identity(Mine(steps=5), steps=True) != identity(Mine(steps=6), steps=True)
    others = [Mine(seed=1), Mine(rate=0.2), Mine(sizes=(4, 3)), Mine(limit=1), Mine(precision="bfloat16")]
    assert len({identity(config) for config in [Mine(), *others]}) == len(others) + 1
    assert len(identity(Mine())) == 16


def test_where_a_run_is_made_and_how_it_is_looked_at_are_no_part_of_it():
    same = [Mine(mesh="data=8"), Mine(draw_every=10), Mine(log=("csv", "tensorboard"))]
    assert {identity(config) for config in same} == {identity(Mine())}
