"""The strictness that every test runs under (docs/design.md, rule 10)."""

from __future__ import annotations

import gc
import itertools
import os
from collections import Counter
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["VIFX_CACHE"] = "off"  # commands in processes of their own leave the user's cache alone

import jax
import pytest
from browser import BROWSER

_DEVICES = "--xla_force_host_platform_device_count=8"
_QUICK_TO_COMPILE = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_parallel_codegen_split_count=1",
    *(("--xla_cpu_use_fusion_emitters=false",) if jax.__version_info__ < (0, 11) else ()),  # an unknown flag aborts
)


def pytest_configure(config: pytest.Config) -> None:
    """Compile without XLA's optimizations: most programs of the tests run once. The slow ones train for minutes.

    Flags that are given, such as those of another instruction set, come in addition; the benchmarks give none, empty.
    """
    given = os.environ.get("XLA_FLAGS")
    if given == "":
        return
    flags = (_DEVICES,) if config.option.markexpr == "slow" else (_DEVICES, *_QUICK_TO_COMPILE)
    words = (given or "").split()
    named = {word.partition("=")[0] for word in words}
    missing = [flag for flag in flags if flag.partition("=")[0] not in named]
    os.environ["XLA_FLAGS"] = " ".join([*words, *missing])  # read at the first use of a device


def pytest_report_header() -> list[str]:
    """Say what this machine lacks, so that its tests are not there."""
    return [] if BROWSER else ["no browser (chromium or google-chrome): the pages of the docs are not measured in one"]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the benchmarks alone where none is asked for: they import the libraries that they compare with."""
    return True if collection_path.name == "benchmarks" and "not benchmark" in config.option.markexpr else None


def pytest_collection_finish() -> None:
    """Look less often for garbage, and not among the modules: tracing makes many objects, few of them in cycles."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


@pytest.hookimpl(tryfirst=True)  # before cases are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the later cases of a test that has the mark `first` as thorough."""
    seen = Counter[str]()
    for item in items:
        test = item.nodeid.partition("[")[0]
        seen[test] += 1
        first = item.get_closest_marker("first")
        slow = item.get_closest_marker("slow") or item.get_closest_marker("benchmark")
        if first is not None and not slow and seen[test] > first.args[0]:
            item.add_marker("thorough")


jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)
# A cache for each worker: two processes would read each other's half-written entries.
_CACHE = Path(__file__).parents[1] / ".jax_cache" / os.environ.get("PYTEST_XDIST_WORKER", "main")
jax.config.update("jax_compilation_cache_dir", str(_CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(scope="session")
def finished_files():
    """Count the files that are done."""
    return itertools.count(1)


@pytest.fixture(autouse=True, scope="module")
def forgotten_programs(finished_files):
    """Forget the programs now and then: thousands of them would fill the memory, but files share the small ones."""
    yield
    if next(finished_files) % 8 == 0:
        jax.clear_caches()


@pytest.fixture
def x64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield
