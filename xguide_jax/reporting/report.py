"""One static page for a run: what was found, how often nothing could be, and with what.

The page is a single file. Figures are inlined, nothing is loaded from elsewhere (a
content security policy forbids it), and every text on it is escaped.
"""

import base64
import importlib.resources
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import jinja2

from xguide_jax import files
from xguide_jax.reporting import formatting

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    summary: str,
    tables: Mapping[str, Sequence[formatting.Row]],
    figures: Mapping[str, bytes | str | os.PathLike[str]],
    config: Mapping[str, object],
    undefined: Mapping[str, int],
) -> pathlib.Path:
    """Writes the report of a run as one HTML file that needs nothing else.

    The file appears whole or not at all: it is written beside `path`, flushed to the
    disk and renamed. Missing folders are made.

    Args:
      path: of the file, e.g. `runs/digits/report.html`.
      title: of the page.
      summary: what was found, in paragraphs separated by empty lines.
      tables: {caption: rows of {column: value}}, in the order shown.
      figures: {caption: PNG as bytes, or the path of one}, in the order shown.
      config: the resolved configuration, nested as it likes; also the place for
        versions, commit and machine.
      undefined: {metric: number of undefined values}; those above 0 are listed.

    Returns:
      `path`.

    Raises:
      ValueError: if a figure is no PNG.
    """
    page = _template().render(
        title=title,
        paragraphs=[part for part in summary.split("\n\n") if part.strip()],
        tables={caption: _table(rows) for caption, rows in tables.items()},
        figures={caption: _data_uri(caption, png) for caption, png in figures.items()},
        config=list(_flat(config)),
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
        finalize=formatting.format_value,
    )
    source = importlib.resources.files(__package__).joinpath("report.html.j2")
    return environment.from_string(source.read_text(encoding="utf-8"))


def _table(rows: Sequence[formatting.Row]) -> dict[str, object]:
    columns = formatting.columns_of(rows)
    return {
        "columns": [(name, formatting.is_numeric(rows, name)) for name in columns],
        "rows": [[row.get(name) for name in columns] for row in rows],
    }


def _flat(config: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted name, value) of every leaf; what is empty counts as a leaf."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            # repr keeps '1' and 1, and 1e-4 and its neighbours, apart.
            yield f"{prefix}{name}", value if isinstance(value, str) else repr(value)


def _data_uri(caption: str, figure: bytes | str | os.PathLike[str]) -> str:
    png = figure if isinstance(figure, bytes) else pathlib.Path(figure).read_bytes()
    if not png.startswith(_PNG_SIGNATURE):
        raise ValueError(f"`figures`[{caption!r}] must be a PNG.")
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
