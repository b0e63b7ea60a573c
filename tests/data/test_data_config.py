"""What the data settings accept, and what they say otherwise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vifx.data import Config, data_directory


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be an integer from 1 to 4294967295, got 0"),
        ({"batch_size": 2.0}, TypeError, "batch_size must be an integer"),
        ({"batch_size": True}, TypeError, "batch_size must be an integer"),
        ({"split_seed": -1}, ValueError, "split_seed must be an integer from 0 to"),
        ({"validation": 1.0}, ValueError, "below 1, got 1.0"),
        ({"validation": -0.1}, ValueError, "at least 0"),
        ({"validation": float("nan")}, ValueError, "below 1, got nan"),
        ({"validation": -1}, ValueError, "must not be negative, got -1"),
        ({"validation": "half"}, TypeError, "validation must be a fraction"),
        ({"name": "../elsewhere"}, ValueError, "got '../elsewhere'"),
        ({"name": "a/../b"}, ValueError, "name must be a dataset"),
        ({"name": ""}, ValueError, "name must be a dataset"),
        ({"name": 3}, TypeError, "name must be a string"),
        ({"directory": ""}, ValueError, "directory must not be empty"),
        ({"source": 3}, TypeError, "source must be a path"),
        ({"streaming": 1}, TypeError, "streaming must be True or False, got 1"),
        ({"workers": 2}, ValueError, r"workers must be 0 unless data is streamed \(streaming\), got 2"),
        ({"workers": -1, "streaming": True}, ValueError, "workers must be an integer ≥ 0, got -1"),
        ({"test": 0}, ValueError, "test must hold out examples, got 0"),
        ({"test": 1.5}, ValueError, "test as a fraction must be at least 0 and below 1, got 1.5"),
        ({"features": "image"}, ValueError, "such as 'x=image,y=label'; got 'image'"),
        ({"features": "y=label"}, ValueError, "x among them"),
        ({"features": "x=a,x=b"}, ValueError, "each once"),
        ({"features": {"x": "a"}}, TypeError, "features must be a string such as 'x=image,y=label'"),
    ],
)
def test_bad_field(fields, error, message):
    with pytest.raises(error, match=message):
        Config(**fields)


def test_data_directory_precedence(monkeypatch, tmp_path):
    monkeypatch.setenv("VIFX_DATA", "/of/environment")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data_directory("/of/argument") == Path("/of/argument")
    assert data_directory() == Path("/of/environment")
    monkeypatch.setenv("VIFX_DATA", "")
    assert data_directory() == tmp_path / "vifx" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_directory() == Path.home() / ".cache" / "vifx" / "data"


@pytest.mark.thorough
def test_import_is_light():
    slow = "tensorflow_datasets", "tensorflow", "sklearn", "grain", "array_record"
    program = f"import sys, vifx.data; print([name for name in {slow!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
