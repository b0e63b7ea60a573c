"""Data of one's own: tables, arrays and folders of images, against NumPy, Pillow and pyarrow by hand."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet, table

from vifx import data

ROWS = np.array([[1.5, -20, 7], [2.5, 10, 7.5], [0.5, 40, 9], [9.5, 10, 1], [3, 3e5, -4], [7, 8, 2.25]])
KINDS = ["cat", "dog", "cat", "ant", "dog", "cat"]
TEXT = "age, height,weight,kind\n" + "".join(
    f"{','.join(map(repr, row))},{kind}\n" for row, kind in zip(ROWS.tolist(), KINDS, strict=True)
)


def write_table(path, form):
    columns = {"age": ROWS[:, 0], "height": ROWS[:, 1], "weight": ROWS[:, 2], "kind": KINDS}
    if form == "parquet":
        parquet.write_table(table(columns), path)
    else:
        path.write_text({"csv": TEXT, "tsv": TEXT.replace(",", "\t"), "semicolons.csv": TEXT.replace(",", ";")}[form])
    return str(path)


def rows_of(splits):
    """All rows in one order, with the split that each is in."""
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    return {name: {k: np.asarray(v) for k, v in part.items()} for name, part in parts.items()}


@pytest.mark.parametrize("form", ["csv", "tsv", "semicolons.csv", "parquet"])
def test_a_table_is_read_divided_and_standardized(form, tmp_path):
    path = write_table(tmp_path / f"people.{form}", form)
    config = data.Config(path=path, label="kind", validation=1, test=2, split_seed=3)
    splits, plain = data.load(config), data.load(data.Config(**{**vars(config), "standardize": False}))
    assert (splits.info.name, splits.info.shape, splits.info.classes) == (f"people.{form}", (3,), 3)
    assert splits.info.label_names == ("ant", "cat", "dog")
    found = splits.info.standardization
    train = plain.train["x"].astype(np.float64)
    np.testing.assert_allclose(found.location, train.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.scale, train.std(axis=0), rtol=1e-12)
    assert plain.info.standardization is None
    assert f"{np.log(train.std(axis=0)).sum():.4f} nats less" in splits.info.notes[-1]
    seen = []
    for name, part in rows_of(splits).items():
        np.testing.assert_allclose(found.restore(part["x"]), rows_of(plain)[name]["x"], rtol=1e-6)
        for x, y in zip(rows_of(plain)[name]["x"], part["y"], strict=True):
            row = int(np.argmin(np.abs(ROWS - x).sum(axis=1)))
            np.testing.assert_array_equal(x, ROWS[row].astype(np.float32))
            assert splits.info.label_names[y] == KINDS[row]
            seen.append(row)
    assert sorted(seen) == list(range(6))  # each row in one split
    assert [len(part["x"]) for part in rows_of(splits).values()] == [3, 1, 2]


def test_columns_are_chosen_and_ordered_as_asked(tmp_path):
    path = write_table(tmp_path / "people.csv", "csv")
    splits = data.load(data.Config(path=path, columns="weight, age", validation=0, test=1, standardize=False))
    assert set(splits.train) == {"x"}
    order = {tuple(row) for row in np.concatenate([splits.train["x"], splits.test["x"]]).tolist()}
    assert order == {tuple(row) for row in ROWS[:, [2, 0]].astype(np.float32).tolist()}
    array = tmp_path / "rows.npy"
    np.save(array, ROWS)
    of_array = data.load(data.Config(path=str(array), columns="2,0", validation=0, test=1, standardize=False))
    np.testing.assert_array_equal(of_array.train["x"], splits.train["x"])
    (tmp_path / "bare.csv").write_text("1,2\n3,4\n5,6\n7,8\n")
    bare = data.load(data.Config(path=str(tmp_path / "bare.csv"), columns="x2", test=1, validation=0))
    assert len(bare.train["x"]) == 3


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        ("a,b\n1,2\n3\n", {}, r"line 3: expected 2 fields, found 1"),
        ("a,b\n1,2\n\n3,nan\n", {}, r"line 4: expected a finite number in column 'b', found 'nan' \(1 such rows"),
        ("a,b\n1,2\n3,\n", {}, r"found ''"),
        ("a,b\n1,2\n3,1e39\n", {}, r"expected a finite number in column 'b', found '1e39'"),
        ("a,b\n1,2\n3,1_0\n", {}, r"found '1_0'"),
        ("a,b\n1,x\n3,y\n", {}, r"or make it the label"),
        ("a,a\n1,2\n", {}, r"line 1: expected a different name for each column"),
        ("", {}, r"found an empty file"),
        ("a,b\n", {}, r"expected rows under the names"),
        ("a,b\n1,2\n2,2\n4,2\n5,2\n", {}, r"column 'b' must vary over the training rows"),
        ("a,b\n1,2\n2,3\n", {}, r"path must hold three examples or more, of which one is for testing, got 2"),
        ("a,bee\n1,2\n2,3\n", {"columns": "be"}, r"columns must name columns of t.csv, a, bee; got 'be'; did you mean"),
        ("a,b\n1,2\n2,3\n", {"label": "c"}, r"label must name columns of t.csv, a, b; got 'c'"),
        ("a,b\n1,2\n2,3\n", {"label": "a", "columns": "a,b"}, r"once each, and the label not among them"),
        ("a,b\n1,2\n2,3\n4,5\n", {"size": 8}, r"size must be left out for a table, got 8"),
        ("a\n1\n2\n3\n4\n", {"streaming": True}, r"streaming must be left out here"),
        ("a\n1\n2\n3\n4\n", {"test": 0.01}, r"test must hold out examples, got 0.01 of 4; raise it"),
    ],
)
def test_a_bad_table_is_refused_by_line_and_column(text, fields, message, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        data.load(data.Config(path=str(tmp_path / "t.csv"), validation=0, **{"test": 1, **fields}))


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"columns": "a"}, ValueError, "columns must be left out without a path of one's own data, got 'a'"),
        ({"standardize": False}, ValueError, "standardize must be left out without a path"),
        ({"path": "x", "size": 0}, ValueError, "size must be an integer from 1 to 65535, got 0"),
        ({"path": ""}, ValueError, "path must not be empty"),
        ({"path": 3}, TypeError, "path must be a string or None"),
        ({"path": "x", "standardize": 1}, TypeError, "standardize must be True or False"),
        ({"path": "x", "source": "y"}, ValueError, "source must be left out with a path, 'x', got 'y'"),
    ],
)
def test_bad_fields_of_own_data(fields, error, message):
    with pytest.raises(error, match=message):
        data.Config(**fields)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    path = write_table(tmp_path / "people.parquet", "parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match=r"not installed; run `pip install pyarrow`, or save a CSV file"):
        data.load(data.Config(path=path))
    (tmp_path / "no.parquet").write_text("a,b")
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"no.parquet: expected a Parquet file"):
        data.load(data.Config(path=str(tmp_path / "no.parquet")))


def test_a_path_that_is_nothing(tmp_path):
    (tmp_path / "tables.csv").write_text(TEXT)
    with pytest.raises(ValueError, match=r"path must be a file or a folder.*did you mean 'tables.csv'"):
        data.load(data.Config(path=str(tmp_path / "table.csv")))
    (tmp_path / "a.xlsx").write_text("")
    with pytest.raises(ValueError, match=r"must end in .npy, .npz, .csv, .tsv, .parquet, or be a folder of images"):
        data.load(data.Config(path=str(tmp_path / "a.xlsx")))
    with pytest.raises(ValueError, match=r"path must be left out here"):
        data.prepare(data.Config(path=str(tmp_path / "tables.csv")))
    (tmp_path / "images").mkdir()
    with pytest.raises(ValueError, match=r"expected images \(.png, .jpg, .jpeg\), found an empty folder"):
        data.load(data.Config(path=str(tmp_path / "images")))
    (tmp_path / "images" / "a.gif").write_text("")
    with pytest.raises(ValueError, match=r"found only the endings .gif"):
        data.load(data.Config(path=str(tmp_path / "images")))
    (tmp_path / "images" / "a.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"a.png: expected a whole PNG or JPEG image"):
        data.load(data.Config(path=str(tmp_path / "images")))


def test_known_name_is_not_taken_for_a_known_data_set(tmp_path):
    (tmp_path / "digits").mkdir()
    config = data.Config(path=str(tmp_path / "digits"))
    assert config.name == "digits"
    assert config.outlined() is config  # no noise of the shape of the digits


GENERATOR = np.random.default_rng(0)
GREY = GENERATOR.integers(0, 256, (7, 6, 4), dtype=np.uint8)
COLOUR = GENERATOR.integers(0, 256, (7, 6, 4, 3), dtype=np.uint8)


def by_content(splits):
    """Every image of a data set with its label, in one order."""
    parts = rows_of(splits).values()
    return sorted((x.tobytes(), int(y)) for part in parts for x, y in zip(part["x"], part["y"], strict=True))


def test_a_folder_of_images_with_classes_and_streamed(tmp_path):
    for index, pixels in enumerate(GREY):
        folder = tmp_path / ("b" if index % 2 else "a")
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{index}.PNG")
    (tmp_path / ".thumbnails").mkdir()
    Image.fromarray(GREY[0, :2]).save(tmp_path / ".thumbnails" / "0.png")
    config = data.Config(path=str(tmp_path), test=2, validation=1)
    splits = data.load(config)
    assert splits.info.shape == (6, 4, 1)
    assert splits.info.label_names == ("a", "b")
    assert by_content(splits) == sorted((x.tobytes(), index % 2) for index, x in enumerate(GREY))
    streamed = data.load(data.Config(**{**vars(config), "streaming": True, "batch_size": 2}))
    np.testing.assert_array_equal(streamed.test["x"], splits.test["x"])
    np.testing.assert_array_equal(
        np.concatenate([batch["x"] for batch in data.batches(streamed.train, 3)]), splits.train["x"]
    )


def test_images_become_eight_bit_colours_as_it_is_said(tmp_path):
    """16 bits are rounded, palettes are looked up, alpha is seen on white, and grey has three equal channels."""
    sixteen = GENERATOR.integers(0, 65536, (6, 4)).astype(np.uint16)
    alpha = GENERATOR.integers(0, 256, (6, 4, 4), dtype=np.uint8)
    palette = Image.fromarray(COLOUR[0]).quantize(16)
    Image.fromarray(sixteen).save(tmp_path / "a.png")
    Image.fromarray(alpha).save(tmp_path / "b.png")
    palette.save(tmp_path / "c.png")
    Image.fromarray(GREY[0] > 127).save(tmp_path / "d.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # shown turned by 90° to the right
    Image.fromarray(np.rot90(GREY[1])).save(tmp_path / "e.jpg", quality=100, exif=turned)
    splits = data.load(data.Config(path=str(tmp_path), test=1, validation=1))
    found = np.concatenate([part["x"] for part in rows_of(splits).values()]).astype(int)

    def there(expected, error=0):
        distances = np.abs(found - expected.reshape(1, 6, 4, -1)).max(axis=(1, 2, 3))
        return distances.min() <= error

    assert found.shape == (5, 6, 4, 3)
    grey = np.rint(sixteen / 257)
    assert there(np.repeat(grey[..., None], 3, axis=2))
    share = alpha[..., 3:] / 255
    assert there(alpha[..., :3] * share + 255 * (1 - share), error=1)
    assert there(np.asarray(palette.convert("RGB")))
    assert there(np.repeat((GREY[0] > 127)[..., None] * 255, 3, axis=2))
    assert there(np.repeat(GREY[1][..., None], 3, axis=2), error=4)  # JPEG


def test_sizes_differ_or_are_made_equal(tmp_path):
    Image.fromarray(GREY[0]).save(tmp_path / "a.png")
    wide = np.zeros((8, 20), np.uint8)
    wide[:, 6:14] = 200  # the middle square
    for name in "bcd":
        Image.fromarray(wide).save(tmp_path / f"{name}.png")
    with pytest.raises(ValueError, match=r"size must be given where images differ.*: a.png is 6×4 and b.png 8×20"):
        data.load(data.Config(path=str(tmp_path)))
    splits = data.load(data.Config(path=str(tmp_path), size=4, test=1, validation=1))
    images = np.concatenate([part["x"] for part in rows_of(splits).values()])
    assert images.shape == (4, 4, 4, 1)
    assert sum(bool(np.all(image == 200)) for image in images) == 3


def test_folders_of_splits_stay_as_they_are(tmp_path):
    for name, rows in {"train": range(4), "test": range(4, 7)}.items():
        (tmp_path / name).mkdir()
        for index in rows:
            Image.fromarray(COLOUR[index]).save(tmp_path / name / f"{index}.png")
    splits = data.load(data.Config(path=str(tmp_path), validation=0))
    np.testing.assert_array_equal(splits.train["x"], COLOUR[:4])
    np.testing.assert_array_equal(splits.test["x"], COLOUR[4:])
    assert splits.info.classes is None


def test_arrays_of_images(tmp_path):
    labels = np.arange(7) % 3
    path = str(tmp_path / "images.npz")
    for stored in (GREY, GREY.astype(np.uint16) * 257, GREY / 255, GREY[..., None]):
        np.savez(path, x=stored, y=labels)
        splits = data.load(data.Config(path=path, test=2, validation=1))
        assert splits.info.classes == 3
        assert by_content(splits) == sorted((x.tobytes(), index % 3) for index, x in enumerate(GREY))
    np.savez(path, x_train=COLOUR[:4], x_test=COLOUR[4:], y_train=labels[:4], y_test=labels[4:])
    splits = data.load(data.Config(path=path, validation=0))
    np.testing.assert_array_equal(splits.train["x"], COLOUR[:4])
    np.testing.assert_array_equal(splits.test["y"], labels[4:])
    np.savez(path, rows=ROWS, kinds=labels[:6])
    rows = data.load(data.Config(path=path, label="kinds", test=1, validation=0))
    assert rows.info.shape == (3,)
    assert rows.info.classes == 3


@pytest.mark.parametrize(
    ("arrays", "fields", "message"),
    [
        ({"x": np.array(["a"])}, {}, r"expected arrays of numbers with an axis of examples"),
        ({"x": 1.5 * np.ones((5, 4, 4))}, {}, r"expected images of real numbers in \[0, 1\], found 1.5 to 1.5"),
        ({"x": np.ones((5, 4, 4), int)}, {}, r"found int64; convert them first"),
        ({"x": np.ones((5, 4, 4, 2), np.uint8)}, {}, r"found \[5, 4, 4, 2\]"),
        ({"a": ROWS, "b": ROWS}, {}, r"expected one array of examples, or one that is called x, found a, b"),
        ({"x": ROWS, "y": np.arange(5)}, {}, r"expected one label for each example, found 5 for 6"),
        ({"x": ROWS, "y": -np.arange(6)}, {}, r"expected labels 0, 1, …, one integer an example, found -5"),
        ({"x": ROWS, "kind": np.arange(6)}, {"label": "kin"}, r"label must be an array of a.npz, x, kind; got 'kin'"),
        ({"x": np.where(ROWS == 9, np.inf, ROWS)}, {}, r"row 2: expected a finite number in column '2', found 'inf'"),
        ({"x_train": GREY, "x_test": GREY, "z": GREY}, {}, r"such as y_test, found 'z'"),
    ],
)
def test_bad_arrays_are_refused(arrays, fields, message, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        data.load(data.Config(path=str(tmp_path / "a.npz"), **fields))


def test_a_damaged_file_and_pickled_objects_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 damaged")
    for name in ("a.npy", "b.npz"):
        with pytest.raises(ValueError, match="expected arrays of numbers, found a file that cannot be read so"):
            data.load(data.Config(path=str(tmp_path / name)))
