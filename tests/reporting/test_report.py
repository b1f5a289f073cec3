"""The page of a run: complete, self-contained, and safe whatever its texts say."""

import base64
import html.parser
import os
import shutil
import subprocess
import sys

import matplotlib.figure
import pytest

from xguide_jax import reporting

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
    "awAAAABJRU5ErkJggg=="
)
_HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><script src=http://example.org/x.js></script>",
    "{{ 7 * 7 }} {% raw %}",
    "\x00\x1b[31m\u202e\ud800",
)


class _Page(html.parser.HTMLParser):
    """Every element with its attributes, and the text between them."""

    def __init__(self, source):
        super().__init__()
        self.elements, self.text, self.style = [], [], ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] == "style" and not self.style:
            self.style = data
        else:
            self.text.append(data)

    def having(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def _write(path, **changes):
    content = {
        "title": "A run",
        "summary": "First.\n\nSecond.",
        "tables": {"Results": [{"arm": "guided", "accuracy": 0.98765}]},
        "figures": {"Curves": _PNG},
        "config": {"seed": 0, "optimizer": {"name": "adam", "rate": 1e-3, "extra": {}}},
        "undefined": {"energy": 0},
    }
    reporting.write_report(path, **{**content, **changes})
    return _Page(path.read_text(encoding="utf-8"))


def _tag_counts(page):
    tags = [tag for tag, _ in page.elements]
    return {tag: tags.count(tag) for tag in set(tags)}


def test_everything_given_is_on_the_page(tmp_path):
    page = _write(tmp_path / "report.html")
    text = [part.strip() for part in page.text if part.strip()]
    for part in ("A run", "First.", "Second.", "Results", "guided", "0.9877", "Curves"):
        assert part in text
    rows = list(zip(text[-8:], text[-7:], strict=False))[::2]
    assert rows == [
        ("seed", "0"),
        ("optimizer.name", "adam"),
        ("optimizer.rate", "0.001"),
        ("optimizer.extra", "{}"),
    ]
    (figure,) = page.having("img")
    assert (
        base64.b64decode(figure["src"].removeprefix("data:image/png;base64,")) == _PNG
    )
    assert figure["alt"] == "Curves"


def test_the_page_loads_nothing_from_elsewhere(tmp_path):
    page = _write(tmp_path / "report.html")
    policies = [
        meta["content"] for meta in page.having("meta") if meta.get("http-equiv")
    ]
    assert policies == [
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    ]
    assert not {"script", "link", "iframe", "object", "form", "base"} & {
        tag for tag, _ in page.elements
    }
    for _, attributes in page.elements:
        assert not {"href", "srcset", "action", "data"} & attributes.keys()
        assert (attributes.get("src") or "data:").startswith("data:")
    assert page.style
    assert "url(" not in page.style
    assert "@import" not in page.style


@pytest.mark.parametrize("text", _HOSTILE)
def test_hostile_text_is_shown_and_never_becomes_markup(tmp_path, text):
    harmless = _write(
        tmp_path / "harmless.html",
        title="t",
        summary="s",
        findings=["f"],
        tables={"c": [{"k": "v"}]},
        figures={"f": _PNG},
        config={"n": {"m": "v"}},
        undefined={"u": 1},
    )
    page = _write(
        tmp_path / "hostile.html",
        title=text,
        summary=text,
        findings=[text],
        tables={text: [{text: text}]},
        figures={text: _PNG},
        config={text: {text: text}},
        undefined={text: 1},
    )
    assert _tag_counts(page) == _tag_counts(harmless)
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert not str(attributes.get("src", "")).startswith("http")
    # Shown in full, with control characters written out, in every place.
    shown = (
        text.replace("\x00", r"\x00")
        .replace("\x1b", r"\x1b")
        .replace("\u202e", r"\u202e")
        .replace("\ud800", r"\ud800")
    )
    # Title and heading 2, finding 1, summary 1, undefined 1, table 3, figure 1,
    # configuration 3.
    assert "".join(page.text).count(shown) == 12
    assert [figure["alt"] for figure in page.having("img")] == [shown]


def test_no_control_character_reaches_the_file(tmp_path):
    _write(tmp_path / "report.html", title=_HOSTILE[-1])
    written = (tmp_path / "report.html").read_bytes()
    assert not set(written) & (set(range(32)) - {ord("\n")})


def test_undefined_values_are_counted_on_the_page(tmp_path):
    page = _write(tmp_path / "a.html", undefined={"energy": 3, "pointing game": 0})
    text = " ".join("".join(page.text).split())
    assert "3 values were undefined energy: 3 none in 1 other count" in text
    page = _write(tmp_path / "d.html", undefined={"a": 0, "b": 1, "c": 0})
    text = " ".join("".join(page.text).split())
    assert "1 value was undefined b: 1 none in 2 other counts" in text
    page = _write(tmp_path / "e.html", undefined={"a": 1})
    assert "other count" not in "".join(page.text)
    page = _write(tmp_path / "b.html", undefined={"energy": 0})
    assert "every metric was defined on every example" in "".join(page.text)
    page = _write(tmp_path / "c.html", undefined={})
    assert "No metric of this run counts undefined values" in "".join(page.text)


def test_undefined_and_missing_cells_are_not_numbers(tmp_path):
    rows = [{"arm": "a", "x": 1.5}, {"arm": "b", "x": float("nan")}, {"arm": "c"}]
    page = _write(tmp_path / "report.html", tables={"t": rows})
    assert "undefined" in page.text
    assert "\u2013" in page.text
    numbers = [cell for cell in page.having("td") if cell.get("class") == "number"]
    assert len(numbers) == 3


def test_figures_may_be_files_and_must_be_png(tmp_path):
    (tmp_path / "curve.png").write_bytes(_PNG)
    by_path = _write(tmp_path / "a.html", figures={"Curves": tmp_path / "curve.png"})
    by_bytes = _write(tmp_path / "b.html", figures={"Curves": _PNG})
    assert by_path.having("img") == by_bytes.having("img")
    with pytest.raises(ValueError, match=r"`figures`\['Curves'\] must be a PNG"):
        _write(tmp_path / "c.html", figures={"Curves": b"<svg onload=alert(1)>"})


def test_a_report_without_tables_and_figures_is_one_too(tmp_path):
    page = _write(tmp_path / "report.html", tables={}, figures={})
    assert not page.having("img")
    assert "Results" not in "".join(page.text)


def test_a_title_is_all_a_report_needs(tmp_path):
    reporting.write_report(tmp_path / "report.html", title="A run")
    page = _Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "".join(page.text).split() == ["A", "run", "A", "run"]


def test_findings_come_first_then_figures_then_folded_tables(tmp_path):
    page = _write(tmp_path / "report.html", findings=["It holds.", "It costs."])
    headings = [part for part in page.text if part.strip()]
    order = ["It holds.", "It costs.", "First.", "Figures", "Curves", "Results", "seed"]
    assert [part for part in headings if part in order] == order
    assert len(page.having("details")) == 3  # the summary, a table, the configuration
    assert not [element for element in page.having("details") if "open" in element]
    # A summary alone is what the page begins with, and is not folded.
    page = _write(tmp_path / "report.html", findings=())
    assert len(page.having("details")) == 2
    # One finding may be given as it is.
    page = _write(tmp_path / "report.html", findings="It holds.")
    assert "It holds." in page.text


def test_the_best_is_marked_and_controls_stand_below(tmp_path):
    columns = [reporting.Column("arm"), reporting.Column("accuracy", 2, "max")]
    rows = [("unguided", 0.9), ("a", 0.5), ("b", 0.75), ("c", 0.625)]
    tables = [reporting.Table("Results", columns, rows, apart=["unguided"])]
    page = _write(tmp_path / "report.html", tables=tables, config=None)
    marks = [cell["class"] for cell in page.having("td") if "class" in cell]
    assert marks[1::2] == ["number worst", "number best", "number", "number"]
    shown = [part for part in page.text if part.startswith(("0.", "unguided"))]
    assert shown == ["0.50", "0.75", "0.62", "unguided", "0.90"]
    assert [group.get("class") for group in page.having("tbody")][:2] == [
        "arms", "apart",
    ]  # fmt: skip


def test_figures_may_be_those_of_matplotlib(tmp_path):
    figure = matplotlib.figure.Figure(figsize=(7, 1))
    page = _write(tmp_path / "a.html", figures={"f": figure, "g": _PNG})
    first, second = page.having("img")
    png = base64.b64decode(first["src"].removeprefix("data:image/png;base64,"))
    assert png == reporting.to_png(figure)
    # Seven inches take the line, one pixel does not.
    assert [element.get("class") for element in page.having("figure")] == ["wide", None]
    assert second["alt"] == "g"


def test_the_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "folder" / "report.html"
    _write(path)
    before = path.read_bytes()

    def broken(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="no space left"):
        _write(path, title="Another run")
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_shows_hostile_texts_as_texts_and_asks_the_network_for_nothing(
    tmp_path,
):
    rows = [{"arm": text, "x": 1.5} for text in _HOSTILE]
    report, log = tmp_path / "report.html", tmp_path / "net.json"
    _write(report, title=_HOSTILE[0], tables={_HOSTILE[1]: rows})
    shown = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update",
            f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}",
            "--dump-dom", report.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout  # fmt: skip
    assert "<script" not in shown  # what is not escaped is an element here
    assert "&lt;script&gt;alert(1)&lt;/script&gt;</td>" in shown
    # Chromium's own requests go elsewhere; the texts ask for this host.
    assert "example.org" not in log.read_text()
    assert "data:image/png;base64" in shown


def test_reporting_needs_neither_jax_nor_a_display():
    program = (
        "import sys, xguide_jax.reporting; "
        "print(sorted({'jax', 'matplotlib.pyplot', 'tkinter'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
