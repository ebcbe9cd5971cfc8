"""Our own Markdown as a page's prose."""

from __future__ import annotations

from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML

from gateway.words import typeset


class _Renderer(RendererHTML):
    """French sentences typeset; tables that scroll by themselves and have a name, whatever their width."""

    def text(self, tokens: Any, idx: int, options: Any, env: Any) -> str:
        return escapeHtml(typeset(tokens[idx].content))

    def table_open(self, tokens: Any, idx: int, options: Any, env: Any) -> str:
        env["tables"] = env.get("tables", 0) + 1
        heading = next((tokens[i + 1].content for i in range(idx, -1, -1) if tokens[i].type == "heading_open"), "")
        name = f"{heading} ({env['tables']})".replace('"', "").replace("<", "").replace("&", "et")
        return f'<div class="scroll" role="region" aria-label="{name}" tabindex="0"><table aria-label="{name}">'

    def table_close(self, tokens: Any, idx: int, options: Any, env: Any) -> str:
        return "</table></div>"

    def th_open(self, tokens: Any, idx: int, options: Any, env: Any) -> str:
        return '<th scope="col">'


def prose(markdown: str) -> str:
    """Our own Markdown as HTML; raw HTML inside it is shown as text."""
    return str(MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table").render(markdown))
