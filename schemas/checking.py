"""What is wrong in canonical facts, named without showing them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from schemas import nomenclatures
from schemas.fields import FIELDS, Champ, keys, shape
from schemas.record import NON_PARTAGE, Fact, Finding

_BAD = {
    "date": "bad-date", "date_partielle": "bad-date", "instant": "bad-instant", "decimal": "bad-number",
    "entier": "bad-number", "booleen": "bad-boolean", "code": "unknown-code",
}  # fmt: skip


@cache
def _adapter(shape_: str) -> TypeAdapter[Any]:
    return TypeAdapter(FIELDS[shape_].annotation, config={"strict": True, "hide_input_in_errors": True})


def check(facts: Mapping[str, Any]) -> list[Finding]:
    """What is wrong in these facts: unknown paths and keys, values of the wrong type, codes outside their list.

    Codes of the findings: `unknown-path`, `bad-key`, `unknown-code`, `excluded-code` (never read into the record),
    `wrong-theme`, `key-mismatch`, `empty-value`, `bad-text`, `bad-date`, `bad-instant`, `bad-number`, `bad-boolean`.
    """
    findings: list[Finding] = []
    for path, told in facts.items():
        value = told.value if isinstance(told, Fact) else told
        named = keys(path)
        champ = FIELDS.get(shape(path) if named else path)
        if champ is None or len(champ.cles) != len(named):
            findings.append(Finding("unknown-path", shape(path)))
        elif found := (named and _check_keys(champ, named)) or _check_value(champ, named, value):
            findings.append(found)
    return findings


def check_value(champ: Champ, value: Any) -> Finding | None:
    """What is wrong in a value that any item of this field would hold."""
    return _check_value(champ, [""] * len(champ.cles), value)


def _public(champ: Champ, named: list[str]) -> str:
    """The path with the keys that are codes of a list, without those that may identify someone."""
    path = champ.path
    for cle, key in zip(champ.cles, named, strict=True):
        path = path.replace("[]", f"[{key}]" if cle.liste and cle.knows(key) else "[\0]", 1)
    return path.replace("\0", "")


def _check_keys(champ: Champ, named: list[str]) -> Finding | None:
    for cle, key in zip(champ.cles, named, strict=True):
        if not cle.accepts(key):
            return Finding("bad-key", champ.path, raw=key, detail=f"expected: {cle.nom}")
        if not cle.knows(key):
            return Finding("unknown-code", champ.path, raw=key, detail=f"list {cle.liste}")
        if cle.liste and (wrong := _check_code(cle.liste, key)):
            return Finding(wrong, champ.path, raw=key, detail=f"list {cle.liste}")
    if champ.path.startswith("freins[].situations[]."):
        theme, situation = named
        if nomenclatures.codes("crosswalk/freins_situations")[situation].parent != theme:
            return Finding("wrong-theme", _public(champ, named), raw=situation, detail="situation of another theme")
    return None


def _check_code(liste: str, code: str) -> str:
    """The finding's code for a code of a list, empty when it is right."""
    if code not in nomenclatures.codes(liste):
        return "" if code == NON_PARTAGE else "unknown-code"
    return "excluded-code" if code in nomenclatures.excluded_codes(liste) else ""


def _check_value(champ: Champ, named: list[str], value: Any) -> Finding | None:
    try:
        _adapter(champ.path).validate_python(value)
    except ValidationError:
        code = _BAD.get(champ.type, "bad-text")
        return Finding(code, _public(champ, named), raw=str(value), detail=_expected(champ))
    if value == []:
        return Finding("empty-value", _public(champ, named), detail="absent is absent")
    if champ.repete_cle and value != named[-1]:
        return Finding("key-mismatch", champ.path, raw=str(value), detail="the value must be the key of its item")
    if champ.liste:
        for code in value if champ.multiple else (value,):
            if wrong := _check_code(champ.liste, code):
                return Finding(wrong, _public(champ, named), raw=str(code), detail=f"list {champ.liste}")
    return None


def _expected(champ: Champ) -> str:
    kind = " | ".join(champ.valeurs) or champ.type
    return f"expected: list of {kind}" if champ.multiple else f"expected: {kind}"
