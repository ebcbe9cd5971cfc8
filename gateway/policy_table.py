"""The decision table as data: reading it, refusing what a reader could not sign, checking who signed it.

The table is one TOML file (`gateway/policies/`), its signature a file beside it (`.sig`: base64 of 64 bytes, Ed25519
over the file's bytes), so that a data protection officer signs and verifies with `openssl pkeyutl -rawin` alone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.policy_obligations import hours
from gateway.problems import Misconfigured

FOLDER = Path(__file__).parent / "policies"
DEFAULT = FOLDER / "decision.v1.toml"

FACTS = (
    "sender", "recipient", "regime", "purpose", "basis", "art9_gate", "consent_state", "objection_state",
    "convention_active", "client_habilitated", "agent_habilitated", "link_active", "referent", "recipient_secrecy",
    "both_professionals_act", "strict_necessity", "reason_given", "person_informed", "limitation",
    "data_origin_regime", "household_link", "age_status", "representative_notified", "record_expired",
    "rate_exceeded", "break_glass", "human_validations", "clock_ok",
)  # fmt: skip
DERIVED = (
    "own_rights", "recipient_listed", "regime_consent", "regime_pending", "referent_is_sender",
    "referent_is_recipient",
)  # fmt: skip
OBLIGATIONS = frozenset({
    "redact", "mask", "log", "list_removed", "same_as_unknown", "alert", "notify", "purge", "human_review",
    "second_person", "identity_check", "aggregate", "watermark", "inform", "reason", "retain", "expiry", "no_onward",
    "rectify_propagate",
})  # fmt: skip
"""What this gateway knows how to carry out, or to pass on."""

Condition = tuple[tuple[str, frozenset[Any]], ...]
"""Every named fact must have one of its values."""
Obligation = tuple[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One row of the table."""

    id: str
    effect: str
    reason: str
    when: tuple[Condition, ...]
    """One of these must hold."""
    unless: tuple[Condition, ...]
    asks: frozenset[str]
    """When not empty, applies only if one of these categories is asked for."""
    categories: frozenset[str]
    articles: tuple[str, ...]
    text_fr: str
    text_falc: str
    obligations: tuple[Obligation, ...]
    http: int
    in_force: bool
    proposed: bool
    silent_for: frozenset[str]
    within: str
    any_pair: bool
    notice: str
    basis: str
    default: bool
    to_verify: bool
    """Its text was not read at source."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The most that one role may send to another under one regime."""

    id: str
    allowed: frozenset[str]
    only_by: Mapping[str, str]
    never: frozenset[str]
    requires: Condition
    articles: tuple[str, ...]
    to_verify: bool


@dataclass(frozen=True, slots=True)
class Regime:
    id: str
    bases: tuple[str, ...]
    recipients: frozenset[str]
    consent: str
    objection: str
    pending: str
    information: str
    retention: str
    archive: str
    traces: str
    articles: tuple[str, ...]
    shorter: Mapping[str, str]
    """C-codes kept for less than `retention`."""
    to_verify: bool


@dataclass(frozen=True, slots=True)
class Onward:
    """A value said by `origin` does not reach `to` through anybody."""

    id: str
    origin: str
    to: frozenset[str]
    unless: tuple[Condition, ...]
    categories: frozenset[str]
    articles: tuple[str, ...]
    text_fr: str
    proposed: bool


@dataclass(frozen=True, slots=True)
class Table:
    """A decision table that passed every check of `lint`."""

    version: str
    """SHA-256 of the bytes of the file, hexadecimal."""
    signed: bool
    domains: Mapping[str, frozenset[Any]]
    categories: Mapping[str, Mapping[str, Any]]
    purposes: Mapping[str, str]
    """Name to P-code."""
    regimes: Mapping[str, Regime]
    pairs: Mapping[tuple[str, str, str], Pair]
    rules: tuple[Rule, ...]
    onward: tuple[Onward, ...]
    source: Mapping[str, Any]

    @property
    def discreet(self) -> frozenset[str]:
        """Categories that are sensitive or secret: that somebody said something of them already tells something."""
        rows = self.categories.items()
        return frozenset(code for code, row in rows if row.get("secret") or row["sensitivity"] != "ordinaire")

    def rule(self, identifier: str) -> Rule:
        return next(rule for rule in self.rules if rule.id == identifier)

    def reachable(self, sender: str, recipient: str, regime: str, purpose: str) -> dict[str, Rule]:
        """Every category that some permit rule, signed or proposed, could ever send this way, with that rule."""
        way = {"sender": sender, "recipient": recipient, "regime": regime, "purpose": purpose}
        pair = self.pairs.get((sender, recipient, regime))
        found: dict[str, Rule] = {}
        for rule in self.rules:
            if rule.effect != "permit" or not any(could_hold(when, way) for when in rule.when):
                continue
            own = {code for code, identifier in pair.only_by.items() if identifier == rule.id} if pair else set()
            limit = rule.categories if rule.any_pair else (pair.allowed | own) - pair.never if pair else frozenset()
            for code in rule.categories & limit:
                found.setdefault(code, rule)
        return found


def read(path: Path = DEFAULT, *, require_signature: bool = False, trusted: bytes = b"") -> Table:
    """Read and check a table.

    `trusted` is a PEM bundle of the public keys whose signature counts. Raises `Misconfigured`: `policy-invalid`
    (a row nobody could sign), `policy-unsigned`, `policy-altered` (signature or annex does not match the bytes),
    `policy-trusted` (a key of the bundle cannot be read).
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        act = "the operator puts the decision table there, or names it in MAILLON_POLICY_FILE"
        raise Misconfigured("policy-missing", f"{path} does not exist: {act}.") from None
    signed = _signed(path, content, trusted, require_signature)
    table = parse(content, path.name, signed)
    for name, digest in table.source.get("annexes", {}).items():
        # The installed one is applied; a copy beside the table is what its reader believes.
        beside = path.parent / name
        for one in (FOLDER / name, *([beside] if beside.is_file() else [])):
            if not one.is_file() or hashlib.sha256(one.read_bytes()).hexdigest() != digest:
                act = "the data protection officer reads it, cites its SHA-256 under [annexes] and signs again"
                raise Misconfigured("policy-altered", f"{one} is not the one that {path.name} was signed with: {act}.")
    return table


@lru_cache(maxsize=1)
def shipped() -> Table:
    """The table that this release comes with."""
    return read()


_MENDED = "whoever wrote the table mends it, and the data protection officer signs it again"


def parse(content: bytes, name: str, signed: bool = False, *, act: str = _MENDED) -> Table:
    """The table of these bytes, without looking at its signature and annexes. Raises `Misconfigured`, which says who
    does what next: `act`."""
    try:
        source = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # also a number of 5,000 digits, and lists in lists without end
        raise Misconfigured("policy-invalid", f"{name} is not readable TOML ({error}): {act}.") from None
    for _, code, message in _problems(source):
        raise Misconfigured("policy-invalid", f"{name}: {code}: {message}: {act}.")
    return _table(source, hashlib.sha256(content).hexdigest(), signed)


def sign(content: bytes, key: Ed25519PrivateKey) -> bytes:
    """The signature file of a table: base64, one line."""
    return base64.b64encode(key.sign(content)) + b"\n"


def activate(content: bytes, rules: Iterable[str], signed_by: str, signed_on: str) -> bytes:
    """A copy of the table in which these proposed rules name who signed them; it counts once the file is signed."""
    text = content.decode()
    for identifier in rules:
        head, mark, rest = text.partition(f'id = "{identifier}"\n')
        before, status, after = rest.partition('status = "proposed"\n')
        if not mark or not status or "[[rule]]" in before:
            raise ValueError(f"{identifier} is not a proposed rule of this table")
        text = f'{head}{mark}{before}{status}signed_by = "{signed_by}"\nsigned_on = "{signed_on}"\n{after}'
    return text.encode()


def lint(path: Path = DEFAULT) -> list[str]:
    """What keeps this table from being signed: `file:line: code message`. Empty when it is sound."""
    try:
        text = path.read_bytes().decode()
        source = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        return [f"{path}:1: policy-toml {error}"]
    lines = {m[1]: text[: m.start()].count("\n") + 1 for m in re.finditer(r'^id = "([^"]+)"', text, re.M)}
    found = [(lines.get(row, 1), code, message) for row, code, message in _problems(source)]
    whole = not any(code in ("policy-section", "policy-form") for _, code, _ in found)
    for rule in source["rule"] if whole else ():
        for name, _ in map(parse_obligation, rule.get("obligations", ())):
            if name not in source["obligations"] or name not in OBLIGATIONS:
                found.append(
                    (lines.get(rule["id"], 1), "policy-obligation", f"{rule['id']}: unknown obligation {name}")
                )
    return [f"{path}:{line}: {code} {message}" for line, code, message in sorted(found)]


def parse_obligation(text: str) -> Obligation:
    """`retain(P5M)` → `("retain", ("P5M",))`."""
    name, _, rest = text.partition("(")
    return name.strip(), tuple(part.strip() for part in rest.rstrip(") ").split(",") if part.strip())


def _signed(path: Path, content: bytes, trusted: bytes, required: bool) -> bool:
    beside = path.with_name(path.name + ".sig")
    if not beside.is_file():
        if required:
            raise Misconfigured("policy-unsigned", f"{path.name} needs a signature file {beside.name}.")
        return False
    blocks = re.findall(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", trusted, re.S)
    try:
        signature = base64.b64decode(beside.read_bytes(), validate=False)
    except binascii.Error:
        signature = b""
    for rank, block in enumerate(blocks, 1):
        try:
            key = serialization.load_pem_public_key(block)
        except (ValueError, UnsupportedAlgorithm):
            raise Misconfigured("policy-trusted", f"Key {rank} of MAILLON_POLICY_TRUSTED is unreadable.") from None
        if isinstance(key, Ed25519PublicKey):
            try:
                key.verify(signature, content)
            except InvalidSignature:
                continue
            return True
    if required or blocks:
        raise Misconfigured("policy-altered", f"No trusted key signed these bytes of {path.name}.")
    return False


def _alternatives(value: Any) -> list[dict[str, Any]]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _domains(source: Mapping[str, Any]) -> dict[str, frozenset[Any]]:
    named = {
        "roles": frozenset(source["roles"]),
        "regimes": frozenset(source["regimes"]),
        "purposes": frozenset(source["purposes"]),
        "origins": frozenset(source["regimes"]) | {"none"},
        "yes-no": frozenset({True, False}),
    }
    domains = {
        name: named[row["values"]] if isinstance(row["values"], str) else frozenset(row["values"])
        for name, row in source["facts"].items()
    }
    regimes = source["regimes"].values()
    truth = frozenset({True, False})
    return domains | dict.fromkeys(DERIVED, truth) | {
        "regime_consent": frozenset(row["consent"] for row in regimes) | {"required", "not_applicable"},
        "regime_pending": frozenset({"suspends", "suspends_unless_motivated", "continues"}),
    }  # fmt: skip


def _problems(source: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    """Rows that nobody could sign: (row id, code, sentence)."""
    try:
        yield from _wrong_rows(source)
        for regime in _table(source, "", False).regimes.values():
            for duration in (regime.retention, *regime.shorter.values()):
                hours(duration)
        source["obligations"].keys()
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        yield "", "policy-form", "a word is missing or of another kind than in gateway/policies/decision.v1.toml"


def _wrong_rows(source: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    missing = {
        "facts",
        "derived",
        "purposes",
        "roles",
        "categories",
        "regimes",
        "pair",
        "onward",
        "obligations",
        "rule",
    }
    if missing := missing - set(source):
        yield "", "policy-section", f"missing sections: {', '.join(sorted(missing))}"
        return
    if set(source["facts"]) != set(FACTS) or set(source["derived"]) != set(DERIVED):
        yield "", "policy-facts", "the listed facts are not those the engine receives"
        return
    domains = _domains(source)
    for identifier, regime in source["regimes"].items():
        if not regime.get("article") or not set(regime["recipients"]) <= domains["sender"]:
            yield identifier, "policy-regime", f"{identifier}: needs an article and known recipients"
        if not regime.get("shorter", {}).keys() <= set(source["categories"]):
            yield identifier, "policy-regime", f"{identifier}: a shorter retention names a known category"
    for pair in source["pair"]:
        named = {*pair["allowed"], *pair["never"], *pair.get("only_by", {})}
        if (
            not pair.get("article")
            or not named <= set(source["categories"])
            or not {pair["from"], pair["to"]} <= domains["sender"]
        ):
            yield pair["id"], "policy-pair", f"{pair['id']}: needs an article, known roles and known categories"
    for row in source["onward"]:
        if not row.get("article"):
            yield row["id"], "policy-article", f"{row['id']}: no article"
        yield from _bad_conditions(row["id"], [*_alternatives(row.get("unless"))], domains, set(source["categories"]))
    seen: set[str] = set()
    for rule in source["rule"]:
        yield from _bad_rule(rule, source, domains, seen)
        seen.add(rule.get("id", ""))
    if {"D00", "D05", "D99"} - seen:
        yield "", "policy-default", "the rules D00, D05 and D99 must exist"


def _bad_rule(
    rule: Mapping[str, Any], source: Mapping[str, Any], domains: Mapping[str, frozenset[Any]], seen: set[str]
) -> Iterable[tuple[str, str, str]]:
    identifier = str(rule.get("id", ""))
    needed = ("id", "effect", "reason", "article", "text_fr", "text_falc", "obligations", "status")
    for name in needed:
        if name not in rule:
            yield identifier, "policy-field", f"{identifier}: no {name}"
            return
    if identifier in seen:
        yield identifier, "policy-duplicate", f"{identifier}: written twice"
    if not rule["article"] or not all(rule["article"]):
        yield identifier, "policy-article", f"{identifier}: no article"
    if rule["effect"] not in ("deny", "redact", "permit") or rule["status"] not in ("active", "proposed"):
        yield identifier, "policy-field", f"{identifier}: unknown effect or status"
    if rule["effect"] == "permit" and not (rule["obligations"] and rule.get("notice") and rule.get("categories")):
        yield identifier, "policy-permit", f"{identifier}: a permit needs an obligation, a notice and its categories"
    if rule["effect"] == "deny" and "http" not in rule:
        yield identifier, "policy-field", f"{identifier}: a refusal needs its HTTP status"
    if "when" not in rule and not rule.get("default"):
        yield identifier, "policy-field", f"{identifier}: no when"
    if bool(rule.get("signed_by")) != bool(rule.get("signed_on")):
        yield identifier, "policy-field", f"{identifier}: signed_by and signed_on go together"
    codes = set(source["categories"])
    unknown = {code for code in rule.get("categories", []) if code not in codes | {"@art9", "@secret", "@validated"}}
    if unknown:
        yield identifier, "policy-category", f"{identifier}: unknown categories {', '.join(sorted(unknown))}"
    conditions = [*_alternatives(rule.get("when")), *_alternatives(rule.get("unless"))]
    yield from _bad_conditions(identifier, conditions, domains, codes)


def _bad_conditions(
    identifier: str, conditions: Iterable[Mapping[str, Any]], domains: Mapping[str, frozenset[Any]], codes: set[str]
) -> Iterable[tuple[str, str, str]]:
    for condition in conditions:
        for fact, value in condition.items():
            values = set(value) if isinstance(value, list) else {value}
            domain = codes if fact == "asks" else domains.get(fact)
            if domain is None:
                yield identifier, "policy-fact", f"{identifier}: unknown fact {fact}"
            elif not values <= domain:
                yield identifier, "policy-value", f"{identifier}: unknown value for {fact}"


def could_hold(condition: Condition, facts: Mapping[str, Any]) -> bool:
    """Does none of these facts keep the condition from holding?"""
    return all(facts[name] in values for name, values in condition if name in facts)


def _condition(row: Mapping[str, Any]) -> Condition:
    return tuple(
        (fact, frozenset(value) if isinstance(value, list) else frozenset({value}))
        for fact, value in row.items()
        if fact != "asks"
    )


def _rule(row: Mapping[str, Any], groups: Mapping[str, frozenset[str]], signed: bool) -> Rule:
    categories = frozenset().union(*(groups.get(code, frozenset({code})) for code in row.get("categories", [])))
    proposed = row["status"] == "proposed"
    restricts = row["effect"] != "permit"
    return Rule(
        id=row["id"],
        effect=row["effect"],
        reason=row["reason"],
        when=tuple(map(_condition, _alternatives(row.get("when")))),
        unless=tuple(map(_condition, _alternatives(row.get("unless")))),
        asks=frozenset(code for when in _alternatives(row.get("when")) for code in when.get("asks", ())),
        categories=categories,
        articles=tuple(row["article"]),
        text_fr=row["text_fr"],
        text_falc=row["text_falc"],
        obligations=tuple(map(parse_obligation, row["obligations"])),
        http=row.get("http", 403),
        in_force=restricts or not proposed or (signed and bool(row.get("signed_by"))),
        proposed=proposed,
        silent_for=frozenset(row.get("silent_for", ())),
        within=row.get("within", ""),
        any_pair=row.get("any_pair", False),
        notice=row.get("notice", ""),
        basis=row.get("basis", ""),
        default=row.get("default", False),
        to_verify=_to_verify(row),
    )


def _to_verify(row: Mapping[str, Any]) -> bool:
    return bool(row.get("checked") == "to_verify")


def _pairs(source: Mapping[str, Any]) -> dict[tuple[str, str, str], Pair]:
    pairs: dict[tuple[str, str, str], Pair] = {}
    for row in source["pair"]:
        pair = Pair(
            id=row["id"],
            allowed=frozenset(row["allowed"]),
            only_by=row.get("only_by", {}),
            never=frozenset(row["never"]),
            requires=_condition(row.get("requires", {})),
            articles=tuple(row["article"]),
            to_verify=_to_verify(row),
        )
        ways = [(row["from"], row["to"])] + ([(row["to"], row["from"])] if row.get("both_ways") else [])
        pairs |= {(sender, recipient, regime): pair for sender, recipient in ways for regime in row["regimes"]}
    return pairs


def _table(source: Mapping[str, Any], version: str, signed: bool) -> Table:
    categories = source["categories"]
    groups = {
        "@art9": frozenset(code for code, row in categories.items() if row["sensitivity"] == "art9"),
        "@secret": frozenset(code for code, row in categories.items() if row.get("secret")),
        "@validated": frozenset(code for code, row in categories.items() if row.get("validations")),
    }
    regimes = {
        name: Regime(
            name, tuple(row["bases"]), frozenset(row["recipients"]), row["consent"], row["objection"], row["pending"],
            row["information"], row["retention"], row.get("archive", ""), row["traces"], tuple(row["article"]),
            row.get("shorter", {}), _to_verify(row),
        )
        for name, row in source["regimes"].items()
    }  # fmt: skip
    onward = tuple(
        Onward(
            row["id"], row["origin"], frozenset(row["to"]), tuple(map(_condition, _alternatives(row.get("unless")))),
            frozenset(row.get("categories", categories)), tuple(row["article"]), row["text_fr"],
            row["status"] == "proposed",
        )
        for row in source["onward"]
    )  # fmt: skip
    return Table(
        version=version,
        signed=signed,
        domains=_domains(source),
        categories=categories,
        purposes={name: row["code"] for name, row in source["purposes"].items()},
        regimes=regimes,
        pairs=_pairs(source),
        rules=tuple(_rule(row, groups, signed) for row in source["rule"]),
        onward=onward,
        source=source,
    )
