"""Compiled programs that are kept: found by the next process, whole, in a place that is said; never where not asked."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from vifx.experiment import programs
from vifx.experiment.programs import keep_programs, place_of_programs, publish_programs


class Settings:
    """JAX's settings in a process that compiles nothing."""

    jax_enable_compilation_cache = True

    def __init__(self, folder):
        self.jax_compilation_cache_dir = folder

    def update(self, name, value):
        setattr(self, name, value)


@contextmanager
def process(number, folder=None):
    """A process of that number, with settings of its own."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(os, "getpid", lambda: number)
        monkeypatch.setattr(programs, "jax", SimpleNamespace(config=Settings(folder)))
        yield


def own():
    return Path(programs.jax.config.jax_compilation_cache_dir)


def test_programs_go_from_one_process_to_the_next_and_only_whole_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("VIFX_CACHE", str(tmp_path))
    alive = {1, 2, 3}
    monkeypatch.setattr(programs, "_lives", alive.__contains__)
    with process(1):
        place = keep_programs()
        assert place == keep_programs() == place_of_programs() == own().parent
        assert place.parent == tmp_path / "programs"
        (own() / "a-cache").write_bytes(b"first")
        publish_programs()
        (own() / "b-cache").write_bytes(b"hal")  # it is being written
        with process(2):
            keep_programs()
            assert (own() / "a-cache").read_bytes() == b"first"
            assert {path.name for path in own().iterdir()} == {"a-cache"}
            (own() / "c-cache").write_bytes(b"killed in the")  # and never published
            killed = own()
            alive.remove(2)
        (own() / "b-cache").write_bytes(b"half, and the rest")
        publish_programs(last=True)
        assert not own().exists()
    with process(3):
        keep_programs()
        assert not killed.exists()
        assert {path.name: path.read_bytes() for path in own().iterdir()} == {
            "a-cache": b"first",
            "b-cache": b"half, and the rest",
        }
        publish_programs(last=True)
    assert place_of_programs() is None


def test_the_oldest_programs_go_first(tmp_path, monkeypatch):
    monkeypatch.setenv("VIFX_CACHE", str(tmp_path))
    monkeypatch.setattr(programs, "_LIMIT", 25)
    with process(1):
        place = keep_programs()
        for age, name in enumerate(("new", "old", "oldest")):
            (own() / f"{name}-cache").write_bytes(b"0123456789")
            os.utime(own() / f"{name}-cache", (1e9 - age, 1e9 - age))
        publish_programs(last=True)
    assert {path.name for path in place.glob("*-cache")} == {"new-cache", "old-cache"}


@pytest.mark.parametrize("case", ["off", "user's own", "a home that is a file"])
def test_programs_are_kept_nowhere(case, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("VIFX_CACHE", "off" if case == "off" else str(tmp_path / "file"))
    with process(1, str(tmp_path / "mine") if case == "user's own" else None):
        before = programs.jax.config.jax_compilation_cache_dir
        assert keep_programs() is None
        assert programs.jax.config.jax_compilation_cache_dir == before
        publish_programs(last=True)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.thorough
def test_by_default_they_are_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("VIFX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with process(1):
        assert keep_programs().parent == tmp_path / "vifx" / "programs"
        publish_programs(last=True)
