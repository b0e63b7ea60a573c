"""The report by parsing it: everything is inside, everything is escaped, nothing is fetched."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from vifx import evaluation
from vifx.evaluation.captions import caption
from vifx.evaluation.style import STYLE

HOSTILE = "<script>alert('x')</script> & \"quoted\""
FIGURES = {
    f"images {HOSTILE}": evaluation.png(evaluation.image_grid(np.random.default_rng(0).random((4, 8, 8)))),
    "loss": evaluation.png(evaluation.loss_curves({"train": ([0, 1], [2.0, 1.0])})),
}
CONTENT = {
    "title": f"VAE {HOSTILE}",
    "summary": f"Summary {HOSTILE}",
    "metrics": evaluation.described(
        {"elbo": evaluation.Estimate(np.array([-100.0, -101.0, -102.0])), f"other {HOSTILE}": 3.0}
    ),
    "figures": FIGURES,
    "config": {"seed": 0, "data": {"name": "digits", "extra": {}}, "note": HOSTILE},
    "versions": {"jax": "0.10", "device": HOSTILE},
    "explanation": f"KL(p ‖ q) = … {HOSTILE}\n  second line",
    "commands": [f"vifx train vae.py --note {HOSTILE}"],
}


class Parsed(HTMLParser):
    """Collect tags with attributes, the text of each cell and preformatted block."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.rows, self.blocks, self.open = [], [], [], []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th", "pre", "h1", "figcaption"):
            self.text = ""

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.rows[-1].append(self.text)
        if tag in ("pre", "h1", "figcaption"):
            self.blocks.append((tag, self.text))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def parsed():
    return Parsed(evaluation.report_html(**CONTENT))


def test_figures_are_embedded_and_decode(parsed):
    images = [attributes for tag, attributes in parsed.tags if tag == "img"]
    assert len(images) == 2
    for attributes, (name, data) in zip(images, FIGURES.items(), strict=True):
        head, _, encoded = attributes["src"].partition(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(encoded, validate=True) == data
        with Image.open(io.BytesIO(data)) as image:
            image.verify()
        assert attributes["alt"] == name
        assert ("figcaption", caption(name).text) in parsed.blocks
    assert [attributes.get("class") for attributes in images] == [None, "chart"]
    assert ("figcaption", f"Images {HOSTILE.lower()}.") in parsed.blocks


def test_small_letters_keep_eleven_pixels_on_a_narrow_screen(parsed):
    for attributes, data in zip([a for tag, a in parsed.tags if tag == "img"], FIGURES.values(), strict=True):
        with Image.open(io.BytesIO(data)) as image:
            width = image.width
        least, most = (int(re.search(rf"{side}-width: (\d+)px", attributes["style"])[1]) for side in ("min", "max"))
        assert most == width
        assert STYLE.tick_size * STYLE.dpi / 72 * least / width == pytest.approx(11, rel=0.01)


def test_a_live_page_runs_its_own_script_alone():
    page = evaluation.report_html(title="live", live=True)
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(a["content"] for t, a in Parsed(page).tags if t == "meta" and a.get("http-equiv"))
    assert policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; connect-src 'self'; "
        f"script-src 'sha256-{digest}'"
    )


def test_nothing_is_fetched_or_run(parsed):
    names = {tag for tag, _ in parsed.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for _, attributes in parsed.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "srcset", "data", "poster"):
                assert value.startswith("data:image/png;base64,")
    page = evaluation.report_html(**CONTENT)
    assert "url(" not in page
    assert "@import" not in page
    assert "http://" not in page
    assert "https://" not in page
    policy = next(a["content"] for t, a in parsed.tags if t == "meta" and a.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


def test_every_text_survives_escaping(parsed):
    assert ("h1", CONTENT["title"]) in parsed.blocks
    preformatted = [text for tag, text in parsed.blocks if tag == "pre"]
    assert preformatted == [CONTENT["explanation"], CONTENT["commands"][0]]
    assert ["note", HOSTILE] in parsed.rows
    assert ["device", HOSTILE] in parsed.rows
    assert ["data.name", "digits"] in parsed.rows
    assert ["data.extra", "{}"] in parsed.rows


def test_metrics_have_unit_direction_and_error(parsed):
    assert ["elbo", "−101.00", "± 0.58", "nats", "↑ higher", "lower bound on log-likelihood"] in parsed.rows
    assert [f"other {HOSTILE}", "3", "", "", "", ""] in parsed.rows


def test_document_is_well_formed(parsed):
    void = {"meta", "img"}
    assert evaluation.report_html(**CONTENT).startswith("<!DOCTYPE html>")
    page = evaluation.report_html(**CONTENT)
    for tag in {tag for tag, _ in parsed.tags} - void:
        assert page.count(f"</{tag}>") == sum(name == tag for name, _ in parsed.tags), tag
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in parsed.tags


def test_empty_sections_are_left_out():
    page = evaluation.report_html(title="bare")
    assert "<section>" not in page
    assert "<h1>bare</h1>" in page


def test_report_is_written_whole_or_not_at_all(tmp_path):
    path = evaluation.write_report(tmp_path / "report.html", **CONTENT)
    assert path.read_text(encoding="utf-8") == evaluation.report_html(**CONTENT)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="figure 'Bad' must be PNG bytes"):
        evaluation.write_report(path, title="new", figures={"Bad": b"GIF89a"})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
