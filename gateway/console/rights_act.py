"""Carrying out what a person asked: rectify, erase, limit, object, withdraw. Only for an account that proved who it is.

Limitations and objections bear on the regimes and purposes of the open flows, whether she was told of them or not; if
she was, they name the same notice and controllers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from textwrap import shorten
from typing import Any, get_args

from gateway import basis, erasure, rectification, rights
from gateway.audit_queries import all_flows
from gateway.basis_record import Basis
from gateway.console import law_words
from gateway.console.blocks import Code, Field, Form, Link, Notice, Page, Table, Text, Title
from gateway.console.common import Answer, Go, Place, View, to_correct
from gateway.console.rights import MAX_LETTER, letter, pending_objections, records
from gateway.person_export import field_in_words, value_in_words
from gateway.person_history import HERSELF, head_of
from gateway.policy_obligations import hours
from gateway.problems import Conflict, Invalid
from gateway.rights import Demand
from gateway.words import say, says, word
from schemas.fields import FIELDS, shape

_FRENCH_DAY = re.compile(r"(\d\d)/(\d\d)/(\d{4})")
_BOOLEANS = {"oui": True, "non": False}


def places() -> list[Place]:
    """The page that carries a request out."""
    role, at = ("dpo",), "/console/droits/{id}/executer"
    return [
        Place(at, form, role, fresh=True),
        Place(at, act, role, "POST", fresh=True, upload=MAX_LETTER),
    ]


def form(view: View) -> Page:
    """What is to be decided, for the right of this request."""
    return _page(view, _open(view))


def act(view: View) -> Answer:
    """Do it; what was wrong in the form is said beside the form, and nothing is changed then."""
    one = _open(view)
    try:
        done, count = _ACTS[one.right](view, one)
    except (Invalid, Conflict) as refused:
        if refused.code in ("already-recorded", "already-erased"):
            return Go(f"/console/droits/{one.id}", "deja_fait")
        return _page(view, one, refused)
    return Go(f"/console/droits/{one.id}", done, count)


def _open(view: View) -> Demand:
    one = rights.get(view.work, view.at("id"))
    if one.state != "open" or one.right not in _ACTS:
        raise Conflict("request-state", "This request is answered, or asks for nothing to be done here.")
    return one


def _page(view: View, one: Demand, refused: Invalid | Conflict | None = None) -> Page:
    deciding = one.right == "objection" and pending_objections(view, one)
    page = Page(
        say("droits.decider" if deciding else f"droits.executer_{one.right}"),
        back=Link(say("droits.retour_demande"), f"/console/droits/{one.id}"),
    )
    if refused is not None:
        code = refused.code.replace("-", "_")
        said = word("probleme", code, "") or say("droits.executer_refuse", code=refused.code)
        page.blocks.append(to_correct(Link(said, "#valeur") if one.right == "rectification" else said))
        page.error, page.status = True, 422
    page.blocks += _FORMS[one.right](view, one)
    return page


def _form(one: Demand, fields: list[Field], *, submit: str = "", intro: str = "", upload: bool = False) -> Form:
    submit = submit or say(f"droits.executer_{one.right}")
    return Form(f"/console/droits/{one.id}/executer", submit, fields, intro=intro, upload=upload)


# --- rectification ------------------------------------------------------------


def _rectify_form(view: View, one: Demand) -> list[Any]:
    current = view.gateway.dossiers.current(view.work, head_of(view.work, one.person_id))
    view.journal("log.read", outcome="rectification", subject=view.reference(one.person_id), object_ref=one.id)
    known = sorted(path for path in current if not path.startswith("identifiants["))
    fields = [
        Field(
            "champ",
            say("droits.champ"),
            "select",
            value=view.given("champ"),
            options=[(path, _named(path, current[path].value)) for path in known],
        ),
        Field("valeur", say("droits.valeur"), hint=say("droits.valeur_aide"), value=view.given("valeur")),
        Field(
            "declaration",
            say("droits.declaration"),
            "textarea",
            hint=say("droits.declaration_aide"),
            value=_declared(view),
        ),
    ]
    rows = [
        [
            field_in_words(path),
            value_in_words(current[path].value, path),
            Code(str(current[path].value)) if _coded(path) else "–",
            view.body(current[path].source),
        ]
        for path in known
    ]
    heads = says("droits", "champ", "valeur_connue", "code", "source")
    return [
        Text(say("droits.rectifier_intro"), lead=True),
        _form(one, fields),
        Title(say("droits.connues")),
        Table("connues", say("droits.connues_legende"), heads, rows, say("droits.connues_vide")),
    ]


def _named(path: str, value: Any) -> str:
    """A field beside its value: two items of a list may have the same words otherwise."""
    return shorten(f"{field_in_words(path)} : {value_in_words(value, path)}", 160, placeholder="…")


def _coded(path: str) -> bool:
    champ = FIELDS.get(shape(path))
    return champ is not None and champ.codes() is not None


def _declared(view: View) -> str:
    """Her statement, whole: one that is too long is refused, never cut."""
    return view.given("declaration", rectification.MAX_STATEMENT + 1)


def _rectify(view: View, one: Demand) -> tuple[str, int]:
    path, said, statement = view.given("champ"), view.given("valeur"), _declared(view)
    facts = {path: _typed(path, said)} if said else {}
    statements = {path: statement} if statement else {}
    told = rectification.rectify(view.work, view.gateway, one.person_id, facts, statements=statements)
    rights.carried_out(view.work, view.gateway, one.id)
    return "rectifie", len(told.told)


def _typed(path: str, text: str) -> Any:
    """What was typed, as the field holds it. What fits no type is left as it is: the check of facts names it."""
    champ = FIELDS.get(shape(path))
    kind = champ.type if champ else "texte"
    if champ is not None and champ.multiple:
        return [part.strip() for part in text.split(",") if part.strip()]
    if kind == "booleen":
        return _BOOLEANS.get(text.lower(), text)
    if french := _FRENCH_DAY.fullmatch(text) if kind in ("date", "date_partielle") else None:
        return f"{french[3]}-{french[2]}-{french[1]}"
    if champ is not None and (codes := champ.codes()):
        return next((code for code in sorted(codes) if value_in_words(code, path).lower() == text.lower()), text)
    if kind == "entier" and text.lstrip("-").isdecimal():
        return int(text)
    return text


# --- erasure ------------------------------------------------------------


def _erase_form(view: View, one: Demand) -> list[Any]:
    law = view.gateway.policy.table
    needed = erasure.needs(view.work, view.gateway, head_of(view.work, one.person_id))
    rows = [
        [
            view.body(need.recipient),
            law_words.purpose(law, need.purpose),
            law_words.regime(law, need.regime),
            law_words.texts(need.articles),
        ]
        for need in needed
    ]
    heads = says("droits", "destinataire", "finalite", "regime", "texte")
    grounds = [(code, f"{word('effacement', code)} ({article})") for code, article in erasure.GROUNDS.items()]
    fields = [Field("motif", say("droits.motif_effacement"), "select", options=grounds)]
    if needed:
        fields.append(
            Field("lettre", say("droits.decision_ecrite"), "file", say("droits.decision_aide"), required=True)
        )
    return [
        Text(say("droits.effacer_intro"), lead=True),
        Title(say("droits.opposent")),
        Table("opposent", say("droits.opposent_legende"), heads, rows, say("droits.opposent_vide")),
        _form(one, fields, upload=bool(needed)),
    ]


def _erase(view: View, one: Demand) -> tuple[str, int]:
    told = erasure.erase(
        view.work,
        view.gateway,
        one.person_id,
        ground=view.given("motif") or "request",
        forced_by=letter(view),
    )
    return "efface", len(told.told)


# --- limitation, objection, withdrawal ------------------------------------------------------------


def _scope_form(view: View, one: Demand) -> list[Any]:
    """Choose what is limited or objected to. Neither right asks that she was told, or agreed to, anything before."""
    options = [
        (f"{regime}|{purpose}", _scope(view, regime, purpose))
        for regime, purpose in _scopes(view, one.right == "objection")
    ]
    if one.right == "limitation":
        options.insert(0, ("|", say("droits.tout")))
    lead = Text(say(f"droits.{one.right}_intro"), lead=True)
    if not options:
        return [lead, Notice(say("droits.sans_regime"), "wait")]
    channels = [(code, word("canal", code)) for code in get_args(Basis.model_fields["channel"].annotation)]
    fields = [
        Field("base", say("droits.sur_quoi"), "select", options=options),
        Field("canal", say("droits.canal"), "select", options=channels),
    ]
    return [lead, _form(one, fields)]


def _scope(view: View, regime: str, purpose: str) -> str:
    law = view.gateway.policy.table
    return f"{law_words.purpose(law, purpose)} – {law_words.regime(law, regime)}"


def _scopes(view: View, opposable: bool) -> list[tuple[str, str]]:
    """(regime, purpose) of the open flows; for an objection, only where the regime opens one."""
    law = view.gateway.policy.table
    return sorted(
        {
            (flow.regime, flow.purpose)
            for flow in all_flows(view.work, view.gateway)
            if flow.active
            and not (opposable and law.regimes[flow.regime].objection in ("not_available", "not_applicable"))
        }
    )


def _asked_for(view: View, one: Demand) -> dict[str, Any]:
    """A record of this request: as she was told of what she objects to, if she was, else as the law describes it."""
    regime, _, purpose = view.given("base").partition("|")
    everything = one.right == "limitation" and view.given("base") == "|"
    if not everything and (regime, purpose) not in _scopes(view, one.right == "objection"):
        raise Conflict("basis-unknown", "Choose one of the regimes and purposes.")
    person, law = head_of(view.work, one.person_id), view.gateway.policy.table
    content: dict[str, Any] = {
        "person_id": person, "subject_ref": view.gateway.keys.pseudonym(HERSELF, person), "regime": regime,
        "purpose": purpose, "purpose_text": say("droits.tout") if everything else law_words.purpose(law, purpose),
        "legal_basis": law.regimes[regime].bases[0] if regime else "e", "categories": [],
        "collection_method": say("droits.une", droit=word("droit", one.right)), "storage_location": say("site.nom"),
        "retention": law.regimes[regime].retention if regime else max(
            (each.retention for each in law.regimes.values()), key=hours),
        "withdrawal_method": say("droits.levee"), "rights": list(rights.ARTICLES),
    }  # fmt: skip
    for found in reversed(records(view, one.person_id)):
        kept = found["record"]
        if kept["kind"] in ("information", "consent") and (kept["regime"], kept["purpose"]) == (regime, purpose):
            told = {name: kept[name] for name in basis.Basis.model_fields if name in kept}
            fresh = {"valid_from": None, "valid_until": None, "evidence": None, "reason_hash": "", "supersedes": ""}
            content |= told | fresh
    return content | {
        "kind": one.right, "article": [rights.ARTICLES[one.right]], "age_status": "", "channel": view.given("canal"),
    }  # fmt: skip


def _once(view: View, one: Demand) -> dict[str, Any]:
    """What is asked, unless it stands already: the form was sent twice, or another account was first."""
    asked = _asked_for(view, one)
    for each in records(view, one.person_id):
        kept = each["record"]
        same = all(kept[name] == asked[name] for name in ("kind", "regime", "purpose"))
        if same and each["state"] in ("raised", "upheld", "set"):
            raise Conflict("already-recorded", "This person's record of it stands already.")
    return asked


def _limit(view: View, one: Demand) -> tuple[str, int]:
    told = rights.limit(view.work, view.gateway, _once(view, one))
    rights.carried_out(view.work, view.gateway, one.id)
    return "limite", len(told.notifications)


def _objection_form(view: View, one: Demand) -> list[Any]:
    """First write it down, which suspends at once; then decide."""
    pending = pending_objections(view, one)
    if not pending:
        return _scope_form(view, one)
    law = view.gateway.policy.table
    options = [(each["record"]["record_id"], law_words.purpose(law, each["record"]["purpose"])) for each in pending]
    outcomes = [("oui", say("droits.opposition_acceptee")), ("non", say("droits.opposition_rejetee"))]
    chosen, issue = view.given("opposition"), view.given("issue")  # to correct, a decision is not turned over
    fields = [
        Field("opposition", say("droits.opposition"), "select", value=chosen, options=options),
        Field("issue", say("droits.decision"), "select", value=issue, options=outcomes),
        Field("lettre", say("droits.lettre"), "file", say("droits.opposition_lettre_aide")),
    ]
    return [
        Text(say("droits.opposition_decider"), lead=True),
        _form(one, fields, submit=say("droits.decider"), upload=True),
    ]


def _object(view: View, one: Demand) -> tuple[str, int]:
    chosen = view.given("opposition")
    if not chosen:
        basis.object_(view.work, _once(view, one))
        return "oppose", 1
    states = {
        each["record"]["record_id"]: each["state"]
        for each in records(view, one.person_id)
        if each["record"]["kind"] == "objection"
    }
    if states.get(chosen, "raised") != "raised":
        raise Conflict("already-recorded", "This objection is decided already.")
    if chosen not in states:
        raise Conflict("basis-unknown", "Choose one of her objections.")
    upheld = view.given("issue") == "oui"
    told = rights.resolve(view.work, view.gateway, chosen, upheld=upheld, reason_hash=letter(view))
    if upheld:
        rights.carried_out(view.work, view.gateway, one.id)
    return "opposition_decidee", len(told.notifications)


def _withdraw_form(view: View, one: Demand) -> list[Any]:
    law = view.gateway.policy.table
    options = [
        (
            each["record"]["record_id"],
            f"{law_words.purpose(law, each['record']['purpose'])} – {_recipients(view, each['record'])}",
        )
        for each in _given(view, one)
    ]
    lead = Text(say("droits.withdrawal_intro"), lead=True)
    if not options:
        return [lead, Notice(say("droits.sans_consentement"), "wait")]
    return [lead, _form(one, [Field("base", say("droits.consentement"), "select", options=options)])]


def _recipients(view: View, record: dict[str, Any]) -> str:
    return ", ".join(view.body(id) for id in record["recipients"]) or "–"


def _given(view: View, one: Demand) -> list[dict[str, Any]]:
    return [
        each
        for each in records(view, one.person_id)
        if each["record"]["kind"] == "consent" and each["state"] == "given"
    ]


def _withdraw(view: View, one: Demand) -> tuple[str, int]:
    found = next((each for each in _given(view, one) if each["record"]["record_id"] == view.given("base")), None)
    if found is None:
        raise Conflict("basis-unknown", "Choose one of her consents.")
    told = rights.withdraw(view.work, view.gateway, found["record"]["record_id"])
    rights.carried_out(view.work, view.gateway, one.id)
    return "retire", len(told.notifications)


_FORMS: dict[str, Callable[[View, Demand], list[Any]]] = {
    "rectification": _rectify_form,
    "erasure": _erase_form,
    "limitation": _scope_form,
    "objection": _objection_form,
    "withdrawal": _withdraw_form,
}
_ACTS: dict[str, Callable[[View, Demand], tuple[str, int]]] = {
    "rectification": _rectify,
    "erasure": _erase,
    "limitation": _limit,
    "objection": _object,
    "withdrawal": _withdraw,
}
