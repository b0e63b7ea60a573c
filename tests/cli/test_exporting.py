"""`vifx export`: the functions of a run in one file, listed, with what was left out."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile

import jax
import numpy as np
import pytest


@pytest.mark.thorough
def test_writes_what_a_run_can_do(copied, vifx_command, tmp_path):
    copied("run")
    result = vifx_command("export", "run", "--samples", "3")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert (
        lines[-1] == f"run/export.zip, {(tmp_path / 'run' / 'export.zip').stat().st_size:,} bytes, for cpu, cuda, tpu"
    )
    assert "encode: key_data uint32[2], x float32[n, 4, 4, 1] → z float32[n, 2], z/mean float32[n, 2]" in result.out
    with zipfile.ZipFile(tmp_path / "run" / "export.zip") as file:
        manifest = json.loads(file.read("manifest.json"))
        parts = {name: file.read(name) for name in manifest["sha256"]}
    assert {name: hashlib.sha256(part).hexdigest() for name, part in parts.items()} == manifest["sha256"]
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert manifest["about"]["config"] == record["config"]
    assert manifest["about"]["config_hash"] == record["config_hash"]
    assert list(manifest["functions"]) == ["sample", "encode", "elbo", "importance_weighted_3"]
    parameters = [np.load(io.BytesIO(parts["parameters.npz"]))[name] for name in manifest["parameters"]]
    encode = jax.export.deserialize(bytearray(parts["encode.bin"])).call
    one, two = (encode(parameters, np.zeros(2, np.uint32), np.full((n, 4, 4, 1), 0.5, np.float32)) for n in (1, 2))
    np.testing.assert_allclose(one["z/mean"][0], two["z/mean"][1], rtol=1e-5)


@pytest.mark.thorough
def test_a_fixed_number_of_examples_and_a_place(copied, vifx_command, tmp_path):
    copied("run")
    result = vifx_command("export", "run", "--examples", "4", "--out", "there/model.zip")
    assert result.code == 0
    assert "sample: key_data uint32[2], count uint8[4] → " in result.out
    assert (tmp_path / "there" / "model.zip").is_file()
    assert vifx_command("export", "run", "--examples", "0").message.startswith("--examples must be a positive integer")
