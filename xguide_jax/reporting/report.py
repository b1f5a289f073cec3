"""One static page for a run: what came out, pictures of it, and every number.

The page is a single file. Figures are inlined, nothing is loaded from elsewhere (a
content security policy forbids it), and every text on it is escaped.
"""

import base64
import importlib.resources
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import jinja2
import markupsafe
from matplotlib.figure import Figure

from xguide_jax import files
from xguide_jax.reporting import style
from xguide_jax.tables import formatting, marked_texts, tabulating

Picture = Figure | bytes | str | os.PathLike[str]

_WIDE = 1200  # pixels from which a figure takes the whole line, not half of it
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    findings: Sequence[str] = (),
    figures: Mapping[str, Picture] | None = None,
    texts: Mapping[str, marked_texts.TokenMarks] | None = None,
    tables: Mapping[str, Sequence[tabulating.Row]] | Sequence[tabulating.Table] = (),
    summary: str = "",
    config: Mapping[str, object] | None = None,
    undefined: Mapping[str, int] | None = None,
) -> pathlib.Path:
    """Writes the report of a run as one HTML file that needs nothing else.

    The page begins with what came out, then shows the figures and the texts, then the
    tables, each folded under its caption. The file appears whole or not at all: it is
    written beside `path`, flushed to the disk and renamed. Missing folders are made.

    Args:
      path: of the file, e.g. `runs/digits/report.html`.
      title: of the page.
      findings: what came out, a paragraph each, as `finding` makes them.
      figures: {caption: a Matplotlib figure, or a PNG as bytes or by its path}, in the
        order shown.
      texts: {caption: scored texts, of `token_marks`}, in the order shown.
      tables: `Table`s, or {caption: rows of {column: value}}, in the order shown.
      summary: what was run and how to read it, in paragraphs separated by empty lines;
        folded where there are findings.
      config: the resolved configuration, nested as it likes; also the place for
        versions, commit and machine. None leaves the section out.
      undefined: {metric: number of undefined values}; those above 0 are listed. None
        leaves the section out.

    Returns:
      `path`.

    Raises:
      ValueError: if a figure is no PNG.
    """
    if isinstance(tables, Mapping):
        tables = [tabulating.table_of(name, rows) for name, rows in tables.items()]
    page = _template().render(
        title=title,
        findings=[findings] if isinstance(findings, str) else list(findings),
        paragraphs=[part for part in summary.split("\n\n") if part.strip()],
        tables=[(table.caption, tabulating.laid_out(table)) for table in tables],
        figures=[
            _drawn(caption, figure) for caption, figure in (figures or {}).items()
        ],
        texts=texts or {},
        config=None if config is None else list(_flat(config)),
        undefined=undefined,
    )
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, page.encode())
    return path


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Every value on the page passes here, before it is escaped.
        finalize=_finalised,
    )
    source = importlib.resources.files(__package__).joinpath("report.html.j2")
    return environment.from_string(source.read_text(encoding="utf-8"))


def _finalised(value: object) -> object:
    if isinstance(value, marked_texts.TokenMarks):
        return markupsafe.Markup(value._repr_html_())  # escapes its texts itself
    return formatting.format_value(value)


def _flat(config: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted name, value) of every leaf; what is empty counts as a leaf."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            # repr keeps '1' and 1, and 1e-4 and its neighbours, apart.
            yield f"{prefix}{name}", value if isinstance(value, str) else repr(value)


def _drawn(caption: str, figure: Picture) -> dict[str, object]:
    if isinstance(figure, Figure):
        figure = style.to_png(figure)
    png = figure if isinstance(figure, bytes) else pathlib.Path(figure).read_bytes()
    if not png.startswith(_PNG_SIGNATURE):
        raise ValueError(f"`figures`[{caption!r}] must be a PNG.")
    # In every PNG the width stands here, behind the signature and a header's name.
    width = int.from_bytes(png[16:20], "big")
    return {
        "caption": caption,
        "source": "data:image/png;base64," + base64.b64encode(png).decode("ascii"),
        "is_wide": width > _WIDE,
    }
