"""The IDX reader against arrays written byte by byte here."""

from __future__ import annotations

import contextlib
import gzip
import struct
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from vifx.data import read_idx
from vifx.data.idx import read_labelled_images

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
fuzz = partial(settings, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


def encoded(array):
    code = CODES[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 5), ("t10k", 3)):
        images = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        labels = np.arange(count, dtype=np.uint8)
        (tmp_path / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(encoded(images)))
        (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(encoded(labels))
    return tmp_path


@fuzz(max_examples=60)
@given(
    array=st.sampled_from(sorted(CODES)).flatmap(
        lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
    ),
    compressed=st.booleans(),
)
def test_round_trip(tmp_path, array, compressed):
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(encoded(array)) if compressed else encoded(array))
    found = read_idx(path)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("compressed", [False, True])
def test_every_truncation_and_every_extension_is_an_error(tmp_path, compressed):
    content = encoded(np.arange(24, dtype=np.uint8).reshape(4, 2, 3))
    content = gzip.compress(content) if compressed else content
    path = tmp_path / "images"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"images: expected .*, found .*; fetch the file again"):
            read_idx(path)
    path.write_bytes(content + b"\1")
    with pytest.raises(ValueError, match="images: expected"):
        read_idx(path)


@fuzz(max_examples=300)
@given(data=st.data())
def test_any_bytes_give_an_array_or_a_value_error(tmp_path, data):
    content = bytearray(encoded(np.arange(24, dtype=np.uint8).reshape(4, 6)))
    if data.draw(st.booleans()):
        content = bytearray(gzip.compress(content, mtime=0))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "fuzzed"
    path.write_bytes(content)
    with contextlib.suppress(ValueError):
        assert read_idx(path).dtype.str[1:] in CODES


def test_wrong_magic_says_what_was_found(tmp_path):
    (tmp_path / "page").write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match=r"page: expected an IDX magic number .*, found 3c 68 74 6d"):
        read_idx(tmp_path / "page")


def test_labelled_images(folder):
    images, labels = read_labelled_images(folder, "train", classes=10)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, np.arange(5))
    expected = np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(np.uint8)
    np.testing.assert_array_equal(images, expected[..., None])


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("train-labels-idx1-ubyte", np.zeros(4, np.uint8), "found 4 labels for 5 images"),
        (
            "train-labels-idx1-ubyte",
            np.array([0, 1, 10, 3, 4], np.uint8),
            r"labels in 0 \.\. 9, found label 10 at example 2",
        ),
        ("train-labels-idx1-ubyte", np.zeros((5, 1), np.uint8), "with 1 axes, found uint8 with 2 axes"),
        ("train-images-idx3-ubyte.gz", np.zeros((5, 28, 28), np.float32), "found float32 with 3 axes"),
        ("train-images-idx3-ubyte.gz", np.zeros((0, 28, 28), np.uint8), "found 5 labels for 0 images"),
    ],
)
def test_files_that_disagree(folder, name, array, message):
    (folder / name).write_bytes(encoded(array))
    with pytest.raises(ValueError, match=message):
        read_labelled_images(folder, "train", classes=10)


def test_missing_files(folder, tmp_path):
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(
        ValueError, match=r"expected t10k-labels-idx1-ubyte.gz, t10k-labels-idx1-ubyte, .*, found 'train-"
    ):
        read_labelled_images(folder, "t10k", classes=10)
    with pytest.raises(ValueError, match=r"nowhere: expected the folder of the IDX files, found none"):
        read_labelled_images(tmp_path / "nowhere", "train", classes=10)
    with pytest.raises(ValueError, match=r"nowhere: expected an IDX file, found none"):
        read_idx(tmp_path / "nowhere")


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_names_with_a_dot(folder, ending):
    expected = read_labelled_images(folder, "train", classes=10)
    for path in list(folder.iterdir()):
        content = path.read_bytes()
        plain = gzip.decompress(content) if path.suffix == ".gz" else content
        name = path.name.removesuffix(".gz").replace("-idx", ".idx") + ending
        path.unlink()
        (folder / name).write_bytes(gzip.compress(plain) if ending else plain)
    found = read_labelled_images(folder, "train", classes=10)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_misspelt_file_is_named(folder):
    (folder / "train-labels-idx1-ubyte").rename(folder / "train_labels_idx1_ubyte")
    with pytest.raises(ValueError, match="found 'train_labels_idx1_ubyte', which is nearest; rename it"):
        read_labelled_images(folder, "train", classes=10)


@pytest.mark.parametrize("sizes", [[1] * 70, [0] * 255, [0, 2**32 - 1, 2**32 - 1, 2**32 - 1], [1] * 33])
def test_headers_that_no_array_can_have_name_the_file(tmp_path, sizes):
    path = tmp_path / "images"
    elements = b"" if 0 in sizes else b"\1"
    path.write_bytes(struct.pack(f">BBBB{len(sizes)}I", 0, 0, 8, len(sizes), *sizes) + elements)
    with pytest.raises(
        ValueError, match=f"images: expected a header of at most 32 axes .*, found {len(sizes)} axes of"
    ):
        read_idx(path)


def test_images_of_another_shape_name_the_file(folder):
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz: expected images of 32×32 pixels, found 28×28"):
        read_labelled_images(folder, "train", classes=10, shape=(32, 32))


def test_no_examples(folder):
    (folder / "train-images-idx3-ubyte.gz").write_bytes(encoded(np.zeros((0, 28, 28), np.uint8)))
    (folder / "train-labels-idx1-ubyte").write_bytes(encoded(np.zeros(0, np.uint8)))
    with pytest.raises(ValueError, match="expected at least one image"):
        read_labelled_images(folder, "train", classes=10)
