"""Scored texts on the page of a run: a section like others, escaped like others."""

import markupsafe
import pytest

from xguide_jax import reporting

WORDS = ["A", " dog", "\nIt", " <script>alert(1)</script>", "\x1b[31m"]
TEXT = reporting.MarkedText(
    "<b>neutral</b>", WORDS, {"guided": [0.5, -1.0, 0, 0.25, 0]}, [0, 1, 0, 0, 0]
)


def write(path, **content):
    reporting.write_report(path, title="A run", **content)
    return path.read_text(encoding="utf-8")


def test_texts_are_a_section_between_figures_and_tables(tmp_path):
    page = write(
        tmp_path / "report.html",
        texts={"Gradient & input": reporting.token_marks([TEXT])},
        tables={"Results": [{"arm": "guided"}]},
    )
    places = [
        page.index(part) for part in ("<h2>Texts</h2>", "&amp; input</h3>", ">dog<")
    ]
    assert sorted(places) == places
    assert places[-1] < page.index("<h2>Tables</h2>")
    assert '<b class="against" style="--shade:0.800" title="-1"><u>dog</u></b>' in page
    assert "<h2>Texts</h2>" not in write(tmp_path / "none.html")


def test_they_are_escaped_once(tmp_path):
    marks = {"<i>caption</i>": reporting.token_marks([TEXT])}
    page = write(tmp_path / "report.html", texts=marks)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;neutral&lt;/b&gt;" in page
    assert "&lt;i&gt;caption&lt;/i&gt;" in page
    assert "&amp;lt;" not in page
    assert r"\x1b[31m" in page
    assert "\x1b" not in page


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    page = write(tmp_path / "r.html", texts={"t": reporting.token_marks([TEXT])})
    for word in ("url(", "@import", "http:", "https:", "src=", "href="):
        assert word not in page


def test_a_text_that_says_it_is_markup_is_escaped(tmp_path):
    sly = markupsafe.Markup("<script>alert(1)</script>")
    marks = reporting.token_marks([TEXT._replace(title=sly)])
    page = write(
        tmp_path / "r.html", findings=[sly], texts={sly: marks},
        tables={sly: [{sly: sly}]},
    )  # fmt: skip
    assert "<script" not in page


@pytest.mark.parametrize("name", ["MarkedText", "TokenMarks", "token_marks"])
def test_they_are_made_without_a_plotting_library_too(name):
    tables = pytest.importorskip("xguide_jax.tables")
    assert getattr(reporting, name) is getattr(tables, name)
