"""What a page is made of: a few kinds of blocks, accessible once and for all in `templates/blocks.html`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Link:
    text: str
    href: str
    kind: str = "link"
    about: str = ""
    """Words for the ear that make the link understood out of its row."""


@dataclass(frozen=True, slots=True)
class Code:
    """A technical name, shown as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Num:
    value: int
    kind: str = "num"


@dataclass(frozen=True, slots=True)
class When:
    instant: str | None
    kind: str = "when"


@dataclass(frozen=True, slots=True)
class Badge:
    """A state: its words, and a tone (`good`, `bad`, `wait`, `quiet`) that never speaks alone."""

    text: str
    tone: str = "quiet"
    kind: str = "badge"


@dataclass(frozen=True, slots=True)
class Lines:
    """Several things in one cell."""

    items: Sequence[Any]
    kind: str = "lines"


@dataclass(frozen=True, slots=True)
class Quiet:
    """A secondary remark."""

    text: str
    kind: str = "quiet"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form."""

    name: str
    label: str
    type: str = "text"
    hint: str = ""
    value: str = ""
    options: Sequence[tuple[str, str]] = ()
    required: bool = False
    error: str = ""
    autocomplete: str = "off"
    accept: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """A form. `method` is get for a filter; a post carries the session's token. `small` is one button in a cell."""

    action: str
    submit: str
    fields: Sequence[Field] = ()
    method: str = "post"
    hidden: Sequence[tuple[str, str]] = ()
    small: bool = False
    about: str = ""
    upload: bool = False
    tone: str = ""
    title: str = ""
    intro: str = ""
    kind: str = "form"


Cell = Any
"""Text, or one of the cells above."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under heads; the first cell of a row names it. `empty` is said when there is none."""

    id: str
    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    empty: str = ""
    numbers: frozenset[int] = frozenset()
    note: str = ""
    older: str = ""
    """Address of the next page."""
    kind: str = "table"


@dataclass(frozen=True, slots=True)
class Figures:
    """A few figures side by side: (label, value, tone)."""

    items: Sequence[tuple[str, Any, str]]
    kind: str = "figures"


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    lead: bool = False
    kind: str = "text"


@dataclass(frozen=True, slots=True)
class Title:
    text: str
    level: int = 2
    id: str = ""
    kind: str = "title"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the reader must see first; `tone` good, bad or wait. `focus`: a reader of the page begins there."""

    text: str
    tone: str = "wait"
    items: Sequence[Any] = ()
    focus: bool = False
    kind: str = "notice"


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn chart, with the sentence that replaces it."""

    source: str
    alternative: str
    caption: str
    kind: str = "picture"


@dataclass(frozen=True, slots=True)
class Facts:
    """A list of names and values."""

    items: Sequence[tuple[str, Cell]]
    kind: str = "facts"


@dataclass(frozen=True, slots=True)
class Fold:
    """Long text that opens on demand."""

    summary: str
    text: str
    kind: str = "fold"


@dataclass(frozen=True, slots=True)
class Prose:
    """HTML made by the gateway itself from one of its own pages, never from a partner's words."""

    html: str
    kind: str = "prose"


@dataclass(frozen=True, slots=True)
class Step:
    """One moment of a person's time line."""

    at: str
    title: str
    badge: Badge
    facts: Sequence[tuple[str, Cell]]
    links: Sequence[Link] = ()
    tone: str = "quiet"


@dataclass(frozen=True, slots=True)
class Timeline:
    label: str
    steps: Sequence[Step]
    empty: str = ""
    kind: str = "timeline"


@dataclass(frozen=True, slots=True)
class Tabs:
    """Neighbouring pages of the same subject: (text, address, here)."""

    label: str
    items: Sequence[tuple[str, str, bool]]
    kind: str = "tabs"


@dataclass(slots=True)
class Page:
    """One page: its title, and its blocks in order."""

    title: str
    blocks: list[Any] = field(default_factory=list)
    status: int = 200
    error: bool = False
    """Something in a form must be corrected: the title says so."""
    moving: bool = False
    """Something goes on by itself: the reader may follow it live, and stop."""
    back: Link | None = None
