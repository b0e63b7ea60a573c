"""Checkpoints come back to the bit, or are an error that names the file and the remedy."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training.problems import equal

from vifx.training import CheckpointError, Checkpoints, make_mesh


class Slot(NamedTuple):
    mu: Any
    count: Any


def tree(seed=0, size=600):
    rng = np.random.default_rng(seed)
    return {
        "params": {"net.a/b": {"w": jnp.asarray(rng.normal(size=(size, 5)), jnp.float32)}},
        "slot": (Slot(jnp.asarray(rng.normal(size=7), jnp.bfloat16), jnp.asarray(seed, jnp.int32)), ()),
        "empty": jnp.zeros((0, 3)),
        "keys": jax.random.split(jax.random.key(seed), 3),
        "rbg": jax.random.key(seed, impl="rbg"),
        "flag": jnp.asarray([True, False]),
    }


def shapes():
    return jax.eval_shape(tree)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved")
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(10, tree(1), {"elbo": 1.5})
        checkpoints.save(20, tree(2), {"elbo": float("nan")})
    return directory


@pytest.fixture
def copy(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def restore(directory, **kwargs):
    with Checkpoints(directory, write=False) as checkpoints:
        return checkpoints.restore(shapes(), **kwargs)


def test_every_leaf_comes_back_to_the_bit(saved):
    assert equal(restore(saved), tree(2))
    assert equal(restore(saved, step=10), tree(1))
    back = restore(saved)
    assert isinstance(back["slot"][0], Slot)
    assert back["rbg"].dtype == jax.random.key(0, impl="rbg").dtype
    with Checkpoints(saved, write=False) as checkpoints:
        assert checkpoints.metrics(10) == {"elbo": 1.5}
        assert np.isnan(checkpoints.metrics(20)["elbo"])


def test_doubles_come_back(x64, tmp_path):
    value = {"x": jnp.asarray([1 / 3, np.pi], jnp.float64)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, value)
        assert equal(checkpoints.restore(value), value)


def test_a_checkpoint_goes_to_any_mesh(tmp_path):
    eight, two = make_mesh(), make_mesh(jax.devices()[:2])
    value = {"w": jnp.arange(12.0), "key": jax.random.key(1)}
    spread = jax.device_put(
        value["w"].reshape(4, 3), jax.sharding.NamedSharding(two, jax.sharding.PartitionSpec("data"))
    )
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, value | {"spread": spread})
        template = jax.eval_shape(lambda: value | {"spread": value["w"].reshape(4, 3)})
        for mesh in (eight, two):
            back = checkpoints.restore(template, mesh=mesh)
            assert all(len(leaf.sharding.device_set) == mesh.size for leaf in jax.tree.leaves(back))
            assert equal(back, value | {"spread": value["w"].reshape(4, 3)})


@pytest.mark.thorough
def test_the_last_and_the_best_are_kept_and_nan_is_never_best(tmp_path):
    values = {1: 3.0, 2: float("nan"), 3: 1.0, 4: float("-inf"), 5: 2.0, 6: 1.0, 7: 4.0, 8: 5.0}
    for best, expected in (("loss", [6, 7, 8]), ("-loss", [7, 8]), (None, [7, 8])):
        with Checkpoints(tmp_path / str(best), best=best) as checkpoints:
            for step, value in values.items():
                checkpoints.save(step, {"x": jnp.asarray(step)}, {"loss": value})
            assert checkpoints.steps() == expected
    with Checkpoints(tmp_path / "None", best="other") as checkpoints:
        assert checkpoints.best_step() is None
        checkpoints.save(9, {"x": jnp.asarray(9)})
        assert checkpoints.steps() == [8, 9]


def everything(directory):
    return sorted(path for path in (directory / "20").rglob("*") if path.is_file())


def test_one_flipped_bit_in_any_file_is_refused_by_name(copy, caplog):
    files = everything(copy)
    assert len(files) > 8
    for path in files:
        whole = path.read_bytes()
        for at in {0, len(whole) // 3, len(whole) // 2, len(whole) - 1} if whole else ():
            damaged = bytearray(whole)
            damaged[at] ^= 4
            path.write_bytes(damaged)
            with pytest.raises(
                CheckpointError, match=r"damaged; resume from another step by naming it: \[10\]"
            ) as caught:
                restore(copy)
            assert "\n" not in str(caught.value)
            assert str(path) in str(caught.value) or path.name == "sha256"
        path.write_bytes(whole)
    assert not caplog.records
    assert equal(restore(copy), tree(2))


def test_a_checkpoint_without_a_seal_is_whole(copy):
    """A run killed between the rename and the seal leaves such a one."""
    (copy / "20" / "sha256").unlink()
    assert equal(restore(copy), tree(2))


@pytest.mark.slow
def test_without_the_seal_a_flipped_bit_still_never_changes_a_value(copy):
    """Then the leaves' checksums decide; in a process of its own, since orbax's threads die noisily."""
    code = """
    import sys
    sys.path.insert(0, sys.argv[2])
    import conftest
    from training.test_checkpoint import CheckpointError, Path, equal, everything, restore, tree
    copy, refused = Path(sys.argv[1]), 0
    (copy / "20" / "sha256").unlink()
    for path in everything(copy):
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[len(whole) // 2] ^= 4
        path.write_bytes(damaged)
        try:
            assert equal(restore(copy), tree(2)), path
        except CheckpointError as error:
            refused += 1
            assert str(copy / "20") in str(error)
        path.write_bytes(whole)
    print(refused)
    """
    done = child(code, copy, Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5


def test_a_bit_flipped_in_stored_numbers_is_found_by_the_checksum(copy, monkeypatch):
    """orbax gives back a damaged array without a word when its own container is intact."""
    from orbax.checkpoint import Checkpointer

    honest = Checkpointer.restore

    def damaging(self, *args, **kwargs):
        result = honest(self, *args, **kwargs)
        array = np.array(result["3"])
        array.reshape(-1).view(np.uint8)[5] ^= 1
        return result | {"3": array}

    monkeypatch.setattr(Checkpointer, "restore", damaging)
    with pytest.raises(
        CheckpointError, match=r"20: leaf \['params'\].*is damaged \(its checksum is wrong\); resume from .*\[10\]"
    ):
        restore(copy)


def test_a_file_cut_at_any_page_is_refused(copy):
    cuts = 0
    for path in everything(copy):
        whole = path.read_bytes()
        for at in range(0, len(whole), 4096):
            path.write_bytes(whole[:at])
            cuts += 1
            # Cut to nothing, the seal seals nothing, and the leaves' checksums hold.
            if path.name == "sha256" and at == 0:
                assert equal(restore(copy), tree(2))
                continue
            with pytest.raises(CheckpointError, match="damaged"):
                restore(copy)
        path.write_bytes(whole)
    assert cuts > len(everything(copy))


def test_a_damaged_latest_is_reported_and_an_earlier_one_may_be_named(copy):
    shutil.rmtree(copy / "20" / "state")
    with pytest.raises(
        CheckpointError, match=r"20/state.* is missing: damaged; resume from another step by naming it: \[10\]"
    ):
        restore(copy)
    assert equal(restore(copy, step=10), tree(1))


def test_an_empty_directory_named_like_a_step_is_reported(copy):
    (copy / "30").mkdir()
    with pytest.raises(CheckpointError, match=r"30.*damaged or incomplete.*\[10, 20\]"):
        restore(copy)
    with Checkpoints(copy, best="elbo") as checkpoints:
        checkpoints.save(40, tree(4), {"elbo": 2.0})
        assert checkpoints.steps() == [10, 30, 40]  # 10 is the best, 30 is not ours to delete


def test_a_renamed_directory_and_a_newer_format_are_refused(copy):
    (copy / "20").rename(copy / "21")
    with pytest.raises(CheckpointError, match="holds step 20, not 21: the directory was renamed"):
        restore(copy)
    path = copy / "10" / "manifest" / "metadata"
    (copy / "10" / "sha256").unlink()
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 3}))
    with pytest.raises(CheckpointError, match="has format 3, this version of vifx reads up to 2; update vifx"):
        restore(copy, step=10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {k: v for k, v in t.items() if k != "flag"}, r"a leaf \['flag'\], which the step does not know"),
        (lambda t: {**t, "more": t["flag"]}, r"has no leaf \['more'\], which the step needs"),
        (lambda t: {**t, "flag": jnp.zeros(3, bool)}, r"\['flag'\] has shape \(2,\), expected \(3,\)"),
        (lambda t: {**t, "flag": jnp.zeros(2)}, r"\['flag'\] has dtype bool, expected float32"),
        (lambda t: {**t, "rbg": jax.random.key(0)}, r"\['rbg'\] has shape \(4,\), expected \(2,\)"),
        (lambda t: {**t, "keys": jnp.zeros((3, 2), jnp.uint32)}, r"\['keys'\] has dtype key:.*, expected uint32"),
    ],
)
def test_another_structure_is_refused_by_leaf(saved, change, message):
    with Checkpoints(saved, write=False) as checkpoints, pytest.raises(CheckpointError, match=message):
        checkpoints.restore(change(tree()))


def test_another_config_is_refused(tmp_path):
    with Checkpoints(tmp_path, config_hash="abc") as checkpoints:
        checkpoints.save(1, {"x": jnp.zeros(())})
    match = r"another config \(hash 'abc', expected 'abd'\); go on with"
    with Checkpoints(tmp_path, config_hash="abd") as checkpoints, pytest.raises(CheckpointError, match=match):
        checkpoints.restore({"x": jnp.zeros(())})


def test_nothing_to_restore(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(CheckpointError, match="holds no checkpoint; start the run anew"):
            checkpoints.restore({})
        checkpoints.save(3, {"x": jnp.zeros(())})
        with pytest.raises(CheckpointError, match=r"has no checkpoint of step 4; there are: \[3\]"):
            checkpoints.restore({}, step=4)
        with pytest.raises(ValueError, match="a checkpoint of step 3 already"):
            checkpoints.save(3, {"x": jnp.zeros(())})
    (tmp_path / "3").rename(tmp_path / "3.orbax-checkpoint-tmp")
    match = r"only '3.orbax-checkpoint-tmp', which a killed run left"
    with Checkpoints(tmp_path, write=False) as checkpoints, pytest.raises(CheckpointError, match=match):
        checkpoints.restore({})
    with pytest.raises(CheckpointError, match="there is no such directory"), Checkpoints(tmp_path / "no", write=False):
        pass
    with pytest.raises(ValueError, match="keep must be an integer ≥ 1, got 0"):
        Checkpoints(tmp_path, keep=0)


def test_two_writers_are_refused_and_a_reader_is_not(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"x": jnp.ones(())})
        checkpoints.wait()
        with (
            pytest.raises(CheckpointError, match="another process is training in this directory"),
            Checkpoints(tmp_path),
        ):
            pass
        with Checkpoints(tmp_path, write=False) as reader:
            assert float(reader.restore({"x": jnp.zeros(())})["x"]) == 1.0
    with Checkpoints(tmp_path) as again:
        assert again.steps() == [1]


def test_later_checkpoints_are_set_aside_not_deleted(copy):
    with Checkpoints(copy) as checkpoints:
        assert checkpoints.set_aside(after=10) == [copy / "20.set-aside"]
        assert checkpoints.steps() == [10]
        checkpoints.save(20, tree(5))
        assert equal(checkpoints.restore(shapes()), tree(5))
        assert checkpoints.set_aside(after=10) == [copy / "20.set-aside-2"]


def test_what_is_no_directory_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(CheckpointError, match=r"cannot be written .*choose another directory"),
        Checkpoints(tmp_path / "file"),
    ):
        pass


def test_a_read_only_directory_is_refused(tmp_path, monkeypatch):
    real = Path.open

    def refusing(path, *args, **kwargs):
        if path.name == ".lock":
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refusing)
    with pytest.raises(CheckpointError, match=r"cannot be written \(Read-only file system\)"), Checkpoints(tmp_path):
        pass


def child(code, *arguments):
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
    )


def test_a_full_disk_loses_nothing(tmp_path):
    code = """
    import resource, signal, sys
    import jax.numpy as jnp, numpy as np
    from vifx.training import CheckpointError, Checkpoints
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    value = lambda seed: {"x": jnp.asarray(np.random.default_rng(seed).normal(size=50_000), jnp.float32)}
    with Checkpoints(sys.argv[1]) as checkpoints:
        checkpoints.save(1, value(1))
        checkpoints.wait()
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, -1))
        try:
            checkpoints.save(2, value(2))
            checkpoints.wait()
        except CheckpointError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
        assert checkpoints.steps() == [1], checkpoints.steps()
        assert (checkpoints.restore(value(0))["x"] == value(1)["x"]).all()
        checkpoints.save(2, value(2))
        assert (checkpoints.restore(value(0))["x"] == value(2)["x"]).all()
    """
    done = child(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "/2: cannot be written" in done.stdout
    assert "free some space" in done.stdout
    assert "Checkpoints that are whole: [1]" in done.stdout
    assert done.stdout.count("\n") == 1


@pytest.mark.slow
def test_killed_between_write_and_rename_the_one_before_is_whole(tmp_path):
    code = """
    import os, signal, sys
    import jax.numpy as jnp
    from vifx.training import Checkpoints
    with Checkpoints(sys.argv[1]) as checkpoints:
        checkpoints.save(1, {"x": jnp.arange(1000.0)})
        honest = os.rename
        def rename(source, target, **kwargs):
            if str(target).endswith("/2"):
                os.kill(os.getpid(), signal.SIGKILL)
            return honest(source, target, **kwargs)
        os.rename = os.replace = rename
        checkpoints.save(2, {"x": jnp.arange(1000.0) + 1})
    """
    done = child(code, tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert list(tmp_path.glob("2.*")), "the half-written checkpoint is there"
    template = {"x": jnp.zeros(1000)}
    with Checkpoints(tmp_path, write=False) as reader:
        assert float(reader.restore(template)["x"][-1]) == 999.0
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps() == [1]
        assert not list(tmp_path.glob("2.*"))
        checkpoints.save(2, {"x": jnp.arange(1000.0) + 1})
        assert float(checkpoints.restore(template)["x"][-1]) == 1000.0


@pytest.mark.thorough
@pytest.mark.parametrize("files", [1, 0, 5])
def test_killed_while_an_old_checkpoint_is_deleted_nothing_is_left_half(files, tmp_path):
    code = """
    import os, signal, sys
    import jax.numpy as jnp
    from vifx.training import Checkpoints
    left = int(sys.argv[2])
    def unlink(*args, honest=os.unlink, **kwargs):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return honest(*args, **kwargs)
    def prune(*args, honest=Checkpoints._prune):
        os.unlink = os.remove = unlink
        honest(*args)
    with Checkpoints(sys.argv[1], keep=1) as checkpoints:
        checkpoints.save(1, {"x": jnp.arange(1000.0)})
        checkpoints.wait()
        Checkpoints._prune = prune
        checkpoints.save(2, {"x": jnp.arange(1000.0) + 1})
    """
    done = child(code, tmp_path, files)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with Checkpoints(tmp_path, write=False) as reader:
        assert reader.steps() == [2]
        assert float(reader.restore({"x": jnp.zeros(1000)})["x"][-1]) == 1000.0
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(3, {"x": jnp.arange(1000.0) + 2})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "3", "metrics.json"]


def test_too_little_space_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    with Checkpoints(tmp_path / "run") as checkpoints:
        checkpoints.save(1, {"a": np.ones(3)})
        monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
        with pytest.raises(CheckpointError, match=r"run/2: needs 8.0 MB and 0.0 MB are free.*whole: \[1\]"):
            checkpoints.save(2, {"a": np.ones(1_000_000)})
        assert checkpoints.steps() == [1]
        assert sorted(path.name for path in (tmp_path / "run").iterdir() if path.name[0].isdigit()) == ["1"]
