"""Opening a partner's XML without trusting it.

Two rules, written once: a document with a DOCTYPE is refused before any parser sees it (entities, external files and
out-of-band requests all need one), and what is parsed is parsed with no network, no entity, no huge text, bounded
depth and bounded attributes. Records are handed over one at a time and released, so that memory stays constant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, cast

from lxml import etree

from connectors.archive import refuse_archive
from connectors.contract import DocumentRefused

ENCODINGS = frozenset({"utf-8", "us-ascii", "iso-8859-1", "iso-8859-15", "windows-1252"})
"""Encodings in which markup is plain ASCII: anything else is refused rather than guessed."""
MAX_PROLOG = 65_536
MAX_DEPTH = 32
MAX_ATTRIBUTES = 64
HARDENED = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "huge_tree": False,
    "remove_pis": True,
    "remove_comments": True,
}
_DECLARED = re.compile(rb"""^<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_MISC = re.compile(rb"\s+|<\?.*?\?>|<!--.*?-->", re.DOTALL)


class Guarded:
    """A binary source whose prolog was checked; `read` gives the whole document back, prolog included."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._head = _prolog(source)

    def read(self, size: int = -1) -> bytes:
        if self._head:
            head, self._head = (self._head, b"") if size < 0 else (self._head[:size], self._head[size:])
            return head + self._source.read() if size < 0 else head
        return self._source.read(size)


def _prolog(source: BinaryIO) -> bytes:
    """Read up to the root element and refuse what must not precede it. Returns the bytes read."""
    head = source.read(4096)
    refuse_archive(head)
    # Also without a mark of their own: the parser would know them by the NUL in their first two bytes.
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in head[:2]:
        raise DocumentRefused("xml-encoding", "send UTF-8 or ISO-8859-1; UTF-16 and UTF-32 are not read")
    # Looked for again with each block: spaces in the declaration may push the encoding beyond any first one.
    while _readable(head) and (position := _root_at(head)) < 0:
        more = source.read(4096)
        if not more or len(head) > MAX_PROLOG:
            raise DocumentRefused("xml-not-well-formed", "no root element was found")
        head += more
    if b"\x00" in head[:position]:
        raise DocumentRefused("xml-not-well-formed", "a NUL byte stands before the root element")
    return head


def _readable(head: bytes) -> bool:
    """Whether the encoding declared, if it is there yet, is one that is read. Raises `DocumentRefused`."""
    declared = _DECLARED.match(head.removeprefix(b"\xef\xbb\xbf"))
    if declared and declared.group(1).decode("ascii").lower() not in ENCODINGS:
        raise DocumentRefused("xml-encoding", "the declared encoding is not one the gateway reads")
    return True


def _root_at(head: bytes) -> int:
    """Index of the root element's `<`, or -1 when more bytes are needed."""
    position = 3 if head.startswith(b"\xef\xbb\xbf") else 0
    while misc := _MISC.match(head, position):
        position = misc.end()
    rest = head[position : position + 9]
    if rest[:9].upper() == b"<!DOCTYPE":
        raise DocumentRefused("xml-doctype", "remove the DOCTYPE: documents with one are never read")
    if len(rest) < 2 or rest.startswith((b"<?", b"<!--")) or b"<!DOCTYPE".startswith(rest.upper()):
        return -1
    if not rest.startswith(b"<") or rest.startswith(b"<!"):
        raise DocumentRefused("xml-not-well-formed", "only comments may stand before the root element")
    return position


def stream(source: BinaryIO, root: str, *tags: str, container: str = "") -> Iterator[etree._Element]:
    """Yield each complete element named in `tags`, in document order, then release it.

    `root` is the expected name of the root element, `container` of the element under it that holds records, if any:
    nothing else stands outside `tags`. The yielded element lives until the next step only. Raises `DocumentRefused`:
    ``xml-doctype``, ``xml-encoding``, ``xml-not-well-formed``, ``xml-too-deep``, ``xml-too-many-attributes``,
    ``wrong-root``, ``unknown-element``, ``archive-unopened``.
    """
    depth, opened = 0, 0
    try:
        for event, element in etree.iterparse(Guarded(source), events=("start", "end"), **HARDENED):
            if event == "start":
                depth += 1
                _check(element, depth, root)
                if not opened and element.tag in tags:
                    opened = depth
                elif not opened and depth > 1 and element.tag != container:
                    raise DocumentRefused("unknown-element", f"line {element.sourceline}", path=str(element.tag)[:80])
                continue
            if depth == opened:
                opened = 0
            depth -= 1
            if element.tag in tags:
                yield element
                release(element)
    except etree.XMLSyntaxError as error:
        line = error.position[0] if error.position else 0
        raise DocumentRefused("xml-not-well-formed", f"the XML breaks at line {line}") from None


def _check(element: etree._Element, depth: int, root: str) -> None:
    if depth == 1 and element.tag != root:
        raise DocumentRefused("wrong-root", f"the root element must be {root}")
    if depth > MAX_DEPTH:
        raise DocumentRefused("xml-too-deep", f"more than {MAX_DEPTH} nested elements at line {element.sourceline}")
    if len(element.attrib) > MAX_ATTRIBUTES:
        raise DocumentRefused("xml-too-many-attributes", f"more than {MAX_ATTRIBUTES} at line {element.sourceline}")


def release(element: etree._Element) -> None:
    """Forget an element that was read, and those before it: the tree does not grow with the document."""
    element.clear()
    while element.getprevious() is not None:
        del cast(etree._Element, element.getparent())[0]


def parse(source: BinaryIO, root: str) -> etree._Element:
    """The whole document, for small ones. Same rules and refusals as `stream`."""
    whole: etree._Element | None = None
    depth = 0
    try:
        for event, element in etree.iterparse(Guarded(source), events=("start", "end"), **HARDENED):
            depth += 1 if event == "start" else -1
            if event == "start":
                _check(element, depth, root)
            whole = element
    except etree.XMLSyntaxError as error:
        line = error.position[0] if error.position else 0
        raise DocumentRefused("xml-not-well-formed", f"the XML breaks at line {line}") from None
    if whole is None:
        raise DocumentRefused("xml-not-well-formed", "the document is empty")
    return whole
