"""What a journal entry may say: a closed list of events and fields, each with the only values it takes.

An entry holds codes, counts, keyed digests and pseudonyms, so that keeping it for years tells nothing of the person.
A field outside this list, or a value outside its form, is refused: content cannot slip in. The bytes are RFC 8785
canonical JSON; for these flat shapes of ASCII keys they are written directly (a property test compares with rfc8785).
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from itertools import product
from operator import itemgetter
from typing import Any

from schemas.champ import CATEGORIES

VERSION = 1
MAX_ENTRY = 65_535
MAX_LIST = 64
MAX_COUNT = 2**53 - 1

EVENTS = frozenset(
    f"{family}.{name}" if name else family
    for family, names in {
        "exchange": "request permit deny deliver ack",
        "consent": "request give refuse withdraw expire supersede invalidate reconfirm",
        "basis": "inform object object_upheld object_rejected protect validate",
        "right": "request access rectify erase limit unlimit object portability answer",
        "identity": "resolve merge unmerge review",
        "habilitation": "grant change revoke",
        "convention": "add change end",
        "policy": "change",
        "referential": "change",
        "key": "create rotate retire destroy",
        "admin": "partner_add partner_rotate partner_suspend partner_resume contact setting delivery_retry replay "
        "alert prune recover",
        "breach": "open notify close",
        "input": "reject quarantine release",
        "log": "read",
        "export": "",
    }.items()
    for name in names.split() or [""]
)

GAVE = {"exchange.permit": ("dossier",), "exchange.ack": ("delivered", "duplicate")}
"""Event → outcomes by which a body holds what the entry says: it was given it, or had it already."""

_WORDS_OF_PURPOSE = """
identification orientation diagnostic_global contrat_engagement controle_conjoint sanction continuite_parcours
accompagnement instruction_rsa liquidation_controle_rsa acces_droits_non_recours aide_facultative_ccas
statistiques_pilotage droits_personne audit_dpo urgence_vitale inconnu
"""
PURPOSES = frozenset(_WORDS_OF_PURPOSE.split()) | {f"P{n}" for n in range(1, 17)}
REGIMES = frozenset(
    {"SIFT", "RSA", "PIE", "L121-6-2", "DLNUF", "CSS_ACCORD", "CONSENT_6_1_a", "MAIRE", "VITAL", "inconnu"}
)
_WORDS_OF_LAW = """
ct casf lil crpa csp css cnil rgpd gdpr rgs eidas dc ue jo jorf code pénal penal civil du de des la le les l et ou à a
au aux article articles art al alinéa alinéas last dernier premier décret decret arrêté arrete loi délibération
deliberation convention règle regle rule default défaut par and of the to on criteria orientation bis ter quater
quinquies janvier février mars avril mai juin juillet août septembre octobre novembre décembre jan feb mar apr may jun
jul aug sep oct nov dec
"""
_ARTICLE_WORDS = frozenset(_WORDS_OF_LAW.split())
_LAW = re.compile(r"[LRDA]\.?\*?\d{1,4}(?:-.*)?")
_NUMBERING = re.compile(
    r"(?:[LRDA]?\.?\*?\d{1,4}(?:[-.]\d{1,4}){0,4}(?:°|bis|ter|quater)*|[IVX]{1,6}[°.]?|[a-z][°.]?|C\d{1,2}[a-z.]*)"
)


class EntryRefused(ValueError):
    """The gateway tried to write what an entry may not say: a defect of the caller. The value is never repeated."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"journal entry refused: {reason} ({field})")
        self.field = field
        self.reason = reason


Render = Callable[[Any], str | None]
"""A value's JSON text, or None when the field does not take it."""


def _text(pattern: str, max_length: int) -> Render:
    match = re.compile(pattern, re.ASCII).fullmatch

    def render(value: Any) -> str | None:
        return f'"{value}"' if isinstance(value, str) and len(value) <= max_length and match(value) else None

    return render


def _one_of(values: frozenset[str]) -> Render:
    return lambda value: f'"{value}"' if isinstance(value, str) and value in values else None


def _list_of(render: Render) -> Render:
    def render_list(values: Any) -> str | None:
        if not isinstance(values, tuple | list) or len(values) > MAX_LIST:
            return None
        texts = [render(value) for value in values]
        return None if None in texts else f"[{','.join(texts)}]"  # type: ignore[arg-type]

    return render_list


def _count(value: Any) -> str | None:
    return str(value) if type(value) is int and 0 <= value <= MAX_COUNT else None


def _article(value: Any) -> str | None:
    """References to texts: each word is a known abbreviation or a short numbering, and one at least names a text."""
    if isinstance(value, tuple | list):
        value = "; ".join(map(str, value))
    if not isinstance(value, str) or not 2 <= len(value) <= 400 or not value.isprintable():
        return None
    words = [word for word in re.split(r"[\s,;:/()'’]+", value) if word]
    named = [word for word in words if word.rstrip(".").lower() in _ARTICLE_WORDS]
    if not any(len(word) > 1 for word in named) and not any(_LAW.fullmatch(word) for word in words):
        return None
    if all(word in named or _NUMBERING.fullmatch(word) for word in words):
        return json.dumps(value, ensure_ascii=False)
    return None


def _network(value: Any) -> str | None:
    """A named network (`rie`, `interne`) or one no narrower than /24 (IPv4) or /48 (IPv6)."""
    if not isinstance(value, str):
        return None
    if re.fullmatch(r"[a-z][a-z_]{1,31}", value):
        return f'"{value}"'
    try:
        network = ipaddress.ip_network(value)
    except ValueError:
        return None
    return f'"{network}"' if network.prefixlen <= (24 if network.version == 4 else 48) else None


_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# Ten digits in a row would be room for a telephone number or a NIR.
_SLUG = r"(?!.*\d{10})[a-z][a-z0-9]*(?:[_.:-][a-z0-9]+)*"

_DIGEST = r"[0-9a-f]{64}"
_PSEUDONYM = r"[0-9a-f]{40}(?:[0-9a-f]{24})?"

_uuid = _text(_UUID, 36)
_digest = _text(_DIGEST, 64)
_pseudonym = _text(_PSEUDONYM, 64)
_event = _one_of(EVENTS)
_UNLISTED = '"unlisted"'


def _reason(value: Any) -> str | None:
    """A kebab-case code. A partner's own words become `unlisted`: what it answered is journaled whatever it says."""
    return _slug(value) or (_UNLISTED if isinstance(value, str) else None)


_any = _text(".*", 64)
_slug = _text(_SLUG, 80)
_reference = _text(rf"{_UUID}|{_SLUG}", 80)
_body = _text(rf"\d{{9}}|\d{{14}}|{_SLUG}", 64)
_rules = _list_of(_text(r"[A-Z]\d{2,3}|" + _SLUG, 64))
_categories = _list_of(_one_of(frozenset(CATEGORIES) | {f"C{n}" for n in range(1, 25)}))

FIELDS: Mapping[str, Render] = {
    "exchange_id": _uuid,
    "delivery_id": _uuid,
    "document": _slug,
    "idem_key_h": _digest,
    "sender_org": _body,
    "recipient_org": _body,
    "client_id": _reference,
    "jkt": _text(r"[A-Za-z0-9_-]{43}", 43),
    "agent": _pseudonym,
    "agent_role": _slug,
    "habilitation_id": _reference,
    "subject": _pseudonym,
    "purpose": _one_of(PURPOSES),
    "regime": _one_of(REGIMES),
    "article": _article,
    "basis": _one_of(frozenset("acde")),
    "art9_gate": _one_of(frozenset({"none", "9.2.a", "9.2.b", "9.2.c", "9.2.g", "9.2.h"})),
    "consent_ref": _reference,
    "notice_ref": _text(r"(?!.*\d{10})(?=.*[a-z])[a-z0-9][a-z0-9-]{0,63}(?::\d{1,6})?", 71),
    "convention": _reference,
    "categories_sent": _categories,
    "categories_redacted": _categories,
    "n_records": _count,
    "size": _count,
    "decision": _one_of(frozenset({"permit", "redact", "deny"})),
    "rule_ids": _rules,
    "policy_h": _digest,
    "decision_h": _digest,
    "payload_h": _digest,
    "outcome": _slug,
    "reason_code": _reason,
    "reason_h": _digest,
    "object_ref": _reference,
    "key_id": _text(r"[0-9a-f]{8}", 8),
    "src_net": _network,
    "peer_idx": _count,
    "peer_checkpoint_h": _digest,
}
"""Field name → form of its value. `subject` and `agent` are pseudonyms, `*_h` keyed digests in hexadecimal."""

_FORMS = {
    "exchange_id": ("0" * 8 + "-0000-0000-0000-" + "0" * 12,),
    "delivery_id": ("0" * 8 + "-0000-0000-0000-" + "0" * 12,),
    "idem_key_h": ("0" * 64,),
    "subject": ("0" * 40, "0" * 64),
    "payload_h": ("0" * 64,),
    "peer_checkpoint_h": ("0" * 64,),
    "nonce": ("0" * 32,),
    "ts": ("0000-00-00T00:00:00.000Z",),
}
_AS_ZERO = bytes.maketrans(b"123456789abcdef", b"0" * 15)
"""Written with every hexadecimal digit as 0, a value of these fields is one of their forms: checked all at once."""
_VARYING = frozenset(_FORMS) | {name for name, render in FIELDS.items() if render is _count}
"""Fields that differ in nearly every entry. The others repeat, and are remembered."""
COLUMNS = ("exchange_id", "subject", "sender_org", "recipient_org", "purpose", "decision")
"""Fields that the database repeats beside the entry, to find it by them."""
_ABSENT = ""
_MEMO_SIZE = 4_096


class _Shape:
    """How to write the entries that have the same fields: codes already seen cost one look-up for all of them."""

    __slots__ = ("checked", "codes", "columns", "counts", "forms", "known", "names", "varying")

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.names = sorted((*given, "v"))
        self.counts = [name for name in given if FIELDS.get(name) is _count]
        self.varying = itemgetter(*(name for name in self.names if name in _VARYING))
        self.columns = itemgetter("ts", "event", *(name if name in given else _ABSENT for name in COLUMNS))
        self.codes = itemgetter("event", *(name for name in sorted(given) if name not in _VARYING and name != "event"))
        formed = [name for name in self.names if name in _FORMS]
        self.checked = itemgetter(*formed)
        self.forms = frozenset("\n".join(form).encode() for form in product(*(_FORMS[name] for name in formed)))
        self.known: dict[Any, list[bytes]] = {}
        """Codes → the entry cut at its varying values: even places are written, odd ones wait for a value."""

    def values(self, given: Mapping[str, Any]) -> list[bytes]:
        """The varying values, in their places; KeyError for one that is not a form of its field."""
        formed = "\n".join(self.checked(given)).encode()
        if formed.translate(_AS_ZERO) not in self.forms:
            raise KeyError
        if not self.counts:
            return formed.split(b"\n")
        counted = {name: _count(given[name]) for name in self.counts}
        return "\n".join(self.varying({**given, **counted})).encode().split(b"\n")

    def cut(self, given: Mapping[str, Any]) -> list[bytes]:
        parts, lead = [], "{"
        for name in self.names:
            lead += f'"{name}":'
            if name in _VARYING:
                quote = "" if name in self.counts else '"'
                parts += [lead + quote, ""]
                lead = quote
            elif name == "v":
                lead += str(VERSION)
            else:
                text = (_event if name == "event" else FIELDS[name])(given[name])
                if text is None:
                    raise EntryRefused(name, "value outside its form")
                lead += text
            lead += ","
        return [part.encode() for part in (*parts, lead[:-1] + "}")]


_shapes: dict[tuple[str, ...], _Shape] = {}


def encode(event: str, ts: str, nonce: str, fields: dict[str, Any]) -> tuple[bytes, tuple[str | None, ...]]:
    """Canonical bytes of an entry, and its (ts, event, *COLUMNS).

    A field that is None or "" is absent; a list may be given as a list or a tuple.

    `ts` (RFC 3339 UTC, milliseconds) and `nonce` (32 hexadecimal digits) come from the gateway itself. `fields` is
    the caller's own dict: it comes back changed. Raises `EntryRefused`.
    """
    names = tuple(fields)
    fields["event"] = event
    fields["nonce"] = nonce
    fields["ts"] = ts
    fields[_ABSENT] = None
    try:
        shape = _shapes[names]
        parts = shape.known[shape.codes(fields)].copy()
        parts[1::2] = shape.values(fields)
        return b"".join(parts), shape.columns(fields)
    except (KeyError, TypeError, UnicodeEncodeError):
        return _encode_new(names, fields)


def _encode_new(names: tuple[str, ...], fields: dict[str, Any]) -> tuple[bytes, tuple[str | None, ...]]:
    """The same for codes or a shape met for the first time, lists, absent fields, and whatever must be refused."""
    for name in names:
        if name not in FIELDS:
            raise EntryRefused(name if name.isidentifier() and len(name) < 40 else "?", "unknown field")
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items() if v is not None and v != ""}
    for name, value in given.items():
        if name in _VARYING and FIELDS.get(name, _any)(value) is None:
            raise EntryRefused(name, "value outside its form")
    present = tuple(name for name in names if name in given)
    if len(_shapes) > 512:
        _shapes.clear()
    shape = _shapes.get(present) or _shapes.setdefault(present, _Shape(given))
    parts = shape.cut(given)
    if len(shape.known) >= _MEMO_SIZE:
        shape.known.clear()
    shape.known[shape.codes(given)] = parts.copy()
    parts[1::2] = shape.values(given)
    entry = b"".join(parts)
    if len(entry) > MAX_ENTRY:
        raise EntryRefused("entry", "too long")
    return entry, shape.columns(fields)


def fitting(field: str, value: Any, otherwise: str | None = None) -> Any:
    """The value when this field takes it as it is, else `otherwise`: for codes that come from elsewhere."""
    text = FIELDS[field](value)
    return otherwise if text is None or text == _UNLISTED else value
