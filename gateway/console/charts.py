"""Charts drawn on the server: an SVG inside the page, without script, readable in both themes."""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from pygal import HorizontalStackedBar  # type: ignore[attr-defined]
from pygal.style import Style

# pygal leaves an importer for its map plug-ins without `find_spec`: whoever walks the importers stumbles on it.
sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]

_STYLE = Style(  # type: ignore[no-untyped-call]
    background="transparent",
    plot_background="transparent",
    foreground="#4b5568",
    foreground_strong="#1d2433",
    foreground_subtle="#c9d0da",
    opacity="1",
    opacity_hover="1",
    colors=("#0b7285", "#c0353a", "#b7791f", "#5b6b8c"),
    font_family="system-ui, sans-serif",
    label_font_size=15,
    major_label_font_size=15,
    legend_font_size=16,
    value_font_size=14,
)
_THEMES = """inline:
  .axis .guides .guide, .axis .guides .major { stroke: #d5dbe3 !important; stroke-dasharray: none !important; }
  @media screen and (prefers-color-scheme: dark) {
    text { fill: #e8ecf2 !important; }
    .axis .guides .guide, .axis .guides .major, .axis .line { stroke: #3a4454 !important; }
    .color-0 { fill: #4fb3c4 !important; stroke: #4fb3c4 !important; }
    .color-1 { fill: #ff8f8f !important; stroke: #ff8f8f !important; }
    .color-2 { fill: #f0c36d !important; stroke: #f0c36d !important; }
    .color-3 { fill: #a9b6d1 !important; stroke: #a9b6d1 !important; }
  }
"""


def stacked(labels: Sequence[str], series: Sequence[tuple[str, Sequence[int]]]) -> str:
    """Horizontal stacked bars, one per label, as a `data:` address for an image."""
    chart: Any = HorizontalStackedBar(  # type: ignore[no-untyped-call]
        style=_STYLE,
        js=[],
        css=["file://style.css", "file://graph.css", _THEMES],
        explicit_size=True,
        width=940,
        height=90 + 44 * max(1, len(labels)),
        legend_at_bottom=True,
        legend_at_bottom_columns=len(series),
        margin=8,
        show_y_guides=False,
        show_x_guides=True,
        truncate_label=-1,
        truncate_legend=-1,
        disable_xml_declaration=True,
        no_prefix=True,
        spacing=8,
    )
    # pygal draws the first label at the bottom.
    chart.x_labels = list(reversed(labels))
    for name, values in series:
        chart.add(name, list(reversed(values)))
    return "data:image/svg+xml;base64," + b64encode(chart.render(is_unicode=True).encode()).decode()
