"""Devices that are not there: their names, and what is missing."""

from __future__ import annotations

import importlib.util

import jax
import pytest

from vifx import training

REFUSED = {
    "cpu8": "must be a kind of device and a number",
    "pentium:8": "must be a kind of device and a number",
    "v5e-0": "must be a kind of device and a number",
    "": "must be a kind of device and a number",
    "cpu:2x4": "has no grid but a number for CPUs and GPUs",
    "h200:2x4": "has no grid but a number for CPUs and GPUs",
    "v5e-12": "1 to 256 of them by powers of two",
    "v5p-8": "give the grid, such as v5p:2x2x1",
    "cpu:9000": "--xla_force_host_platform_device_count=9000",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_is_no_topology(name):
    with pytest.raises(ValueError, match=f"^topology [^\n]*{REFUSED[name]}[^\n]*$"):
        training.topology(name)


def test_virtual_cpu_devices_are_those_of_the_process():
    assert list(training.topology("cpu:4")) == jax.devices("cpu")[:4]
    assert list(training.topology("CPU-1")) == jax.devices("cpu")[:1]


def described(monkeypatch):
    asked = []

    class Topology:
        devices = (0, 1)

    def describe(name, platform, **options):
        asked.append((name, platform, options))
        return Topology

    monkeypatch.setattr("jax.experimental.topologies.get_topology_desc", describe)
    return asked


@pytest.mark.parametrize(
    ("name", "grid"),
    [
        ("v5e-1", "v5e:1x1"),
        ("v5e-8", "v5e:2x4"),
        ("v6e-16", "v6e:4x4"),
        ("v5e-256", "v5e:16x16"),
        ("v5p:2x2x1", "v5p:2x2x1"),
    ],
)
def test_a_number_of_chips_is_the_grid_of_cloud_tpu(name, grid, monkeypatch):
    asked = described(monkeypatch)
    assert training.topology(name) == (0, 1)
    small = {"chips_per_host_bounds": (1, 1, 1)} if grid == "v5e:1x1" else {}  # hosts have four chips otherwise
    assert asked == [(grid, "tpu", small)]


def test_gpus_are_described_by_their_data_sheet(monkeypatch):
    asked = described(monkeypatch)
    training.topology("h200:8")
    ((name, platform, options),) = asked
    assert (name, platform, options["topology"]) == ("", "cuda", "1x1x8")
    config = " ".join(options["target_config"].split())
    # NVIDIA H200 data sheet: 141 GB, 4.8 TB/s; compute capability 9.0, 132 multiprocessors, 228 KB of shared memory
    for fact in (
        "core_count: 132",
        "memory_bandwidth: 4800000000000",
        "major: 9 minor: 0",
        "shared_memory_per_core: 233472",
    ):
        assert fact in config


@pytest.mark.parametrize(
    ("name", "package", "remedy"),
    [("v5e-8", "libtpu", r"pip install 'jax\[tpu\]'"), ("h200:8", "jax_cuda13_plugin", r"pip install 'jax\[cuda13\]'")],
)
def test_says_in_one_line_what_to_install_or_has_the_devices(name, package, remedy):
    if importlib.util.find_spec(package) is None:
        with pytest.raises(ValueError, match=f"^topology cannot be described: [^\n]*{remedy}[^\n]*$"):
            training.topology(name)
    else:
        assert len(training.topology(name)) == 8
