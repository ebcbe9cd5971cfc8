"""Commands about the law: what exchanges rest on, the rights of persons, the register, the list of breaches."""

from __future__ import annotations

import getpass
import hashlib
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import select

from gateway import (
    art30,
    basis,
    breach,
    clock,
    erasure,
    journal,
    person_export,
    purge,
    rectification,
    reidentification,
    retention,
    rights,
)
from gateway.basis_states import states
from gateway.commands import group
from gateway.commands.output import WRONG_USAGE, data, fail, json_object, text_of
from gateway.person_history import HERSELF, head_of, people_of
from gateway.person_search import facts_of
from gateway.problems import Conflict
from gateway.registry import Gateway
from gateway.settings import settings
from gateway.storage.tables.basis import basis_record, notice
from gateway.unit_of_work import UnitOfWork

File = Annotated[
    Path,
    typer.Argument(
        exists=True,
        dir_okay=False,
        help="Its fields, as JSON: those of `POST /v1/persons/{ref}/basis`, and `person_id`.",
    ),
]
Given = Annotated[str, typer.Argument(help="A JSON file, or - for standard input.")]
Person = Annotated[str, typer.Argument(help="Id given by `maillon person search`.")]
Basis = Annotated[str, typer.Argument(help="Id given by `maillon basis list`.")]
Breach = Annotated[str, typer.Argument(help="Id given by `maillon breach list`.")]
Asked = Annotated[str, typer.Argument(help="Id given by `maillon reidentify list`.")]
Reason = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="The written reason; its digest is kept.")
]

ForRequest = Annotated[
    str, typer.Option("--request", help="The request that this carries out (`maillon person requests`).")
]


def register(app: typer.Typer) -> None:
    group(
        app, "basis", "Information, consent and objection records.",
        record=record, reconfirm=reconfirm, withdraw=withdraw, invalidate=invalidate, object=object_, resolve=resolve,
        limit=limit, lift=lift, notified=notified, list=list_,
    )  # fmt: skip
    group(
        app, "person", "Rights of a person: search, access, rectification, erasure.",
        search=search, export=export, portability=portability, rectify=rectify, erase=erase, request=request,
        answer=answer, requests=requests,
    )  # fmt: skip
    group(
        app, "breach", "List of breaches (GDPR 33(5)).",
        draft=breach_draft, complete=breach_complete, close=breach_close, list=breach_list, touched=breach_touched,
    )  # fmt: skip
    group(
        app, "notice",
        "Information notices: a version is published once, in each language, with its easy-to-read variant.",
        publish=notice_publish, list=notice_list,
    )  # fmt: skip
    group(app, "retention", "What is past its retention.", due=retention_due, purge=retention_purge)
    group(
        app, "reidentify", "From a pseudonym back to a person: two accounts and a reason.",
        request=reidentify_request, approve=reidentify_approve, use=reidentify_use, list=reidentify_list,
    )  # fmt: skip
    app.command(name="register")(register_)


def _record(work: UnitOfWork, gateway: Gateway, file: Path) -> dict[str, Any]:
    """The record that a file holds, with the pseudonym that nobody types. Raises `Unknown` (`person-unknown`)."""
    said = json_object(file)
    if "person_id" not in said:
        fail("basis-invalid", "Add person_id, as `maillon person search` gives it.")
    if isinstance(person := said["person_id"], str):
        head_of(work, person)
        said.setdefault("subject_ref", gateway.keys.pseudonym(HERSELF, person))
    return said


def _digest(path: Path | None) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else ""


# --- what exchanges rest on -------------------------------------------------------------------------------------------


def record(
    file: File,
    decision: Annotated[
        str, typer.Option(help="For a consent: requested, given or refused. An answer is another record.")
    ] = "",
) -> None:
    """Record an information given, a consent, an objection, a limitation, a protection or a validation."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        told = rights.record(work, gateway, _record(work, gateway, file), decision=decision)
    data({"id": told.id, "kind": told.kind, "state": told.state, "receipt": told.receipt})


def withdraw(id: Basis, request: ForRequest = "") -> None:
    """The person withdraws a consent; every past recipient is told. No reason is asked."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        told = rights.withdraw(work, gateway, id)
        _for_request(work, gateway, request, "withdrawal", told.basis.person_id)
    _changed(told)


def reconfirm(id: Basis) -> None:
    """The person was asked again and confirms a consent that she gave; it still ends on the day it said."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        told = basis.reconfirm(work, id)
    _changed(told)


def invalidate(
    id: Basis,
    reason: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="The written finding; its digest is kept.")],
) -> None:
    """A DPO or a judge finds that a consent was never valid: it opens nothing, past recipients are told to erase."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        told = rights.invalidate(work, gateway, id, reason_hash=_digest(reason))
    _changed(told)


def object_(file: File) -> None:
    """The person objects, where the regime allows it; what it suspends stops at once."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        told = basis.object_(work, _record(work, gateway, file))
    _changed(told)


def resolve(
    id: Basis,
    upheld: Annotated[bool, typer.Option("--upheld/--rejected", help="What was decided of the objection.")],
    reason: Reason = None,
    request: ForRequest = "",
) -> None:
    """Answer an objection. A rejection needs its written reason."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        told = rights.resolve(work, gateway, id, upheld=upheld, reason_hash=_digest(reason))
        if upheld:
            _for_request(work, gateway, request, "objection", told.basis.person_id)
    _changed(told)


def limit(file: File, request: ForRequest = "") -> None:
    """Set a limitation (GDPR 18): flows stop at once, past recipients are told."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        told = rights.limit(work, gateway, _record(work, gateway, file))
        _for_request(work, gateway, request, "limitation", told.basis.person_id)
    _changed(told)


def lift(id: Basis, reason: Reason = None) -> None:
    """Lift a limitation (its reason: the letter that informed the person before, GDPR 18(3)), end a protection, or
    retract an objection not yet answered."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        told = rights.lift(work, gateway, id, reason_hash=_digest(reason))
    _changed(told)


def _for_request(work: UnitOfWork, gateway: Gateway, request: str, right: str, person: str) -> None:
    """What was just done carries out this request of hers, if one is named: it can be refused no more."""
    if not request:
        return
    one = rights.get(work, request)
    if (one.right, head_of(work, one.person_id)) != (right, head_of(work, person)):
        raise Conflict("request-state", "This request asks for something else, or is another person's.")
    rights.carried_out(work, gateway, request)


def _changed(told: basis.Change) -> None:
    data({"id": told.id, "kind": told.kind, "state": told.state, "notified": len(told.notifications)})


def notified(id: Basis) -> None:
    """The representative of a protected person received the notice: her flows no longer wait for it."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        told = basis.representative_notified(work, id)
    _changed(told)


def notice_publish(
    id: Annotated[str, typer.Argument(help="Its id, as conventions and records cite it (`id:version`).")],
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="What the person reads, as UTF-8 text.")],
    version: Annotated[int, typer.Option(min=1, help="A new text is a new version.")],
    language: Annotated[str, typer.Option(help="Two letters (ISO 639-1), as records cite it.")] = "fr",
    falc: Annotated[bool, typer.Option("--falc", help="The easy-to-read variant of this version.")] = False,
) -> None:
    """Publish a notice: whoever was only given an earlier version is no longer informed."""
    reference = f"{id}:{version}"
    if journal.FIELDS["notice_ref"](reference) is None:
        fail("notice-id", "Name it in lower case letters, digits and hyphens.", WRONG_USAGE)
    if not re.fullmatch("[a-z]{2}", language):
        fail("notice-language", "Name the language by its two letters: fr.", WRONG_USAGE)
    if not (text := text_of(file)).strip():
        fail("notice-empty", "The file holds no word: a published notice never changes.", WRONG_USAGE)
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        digest = basis.publish_notice(work, id, version, text, language=language, falc=falc)
        journal.append(work, "admin.setting", notice_ref=reference, outcome="published")
    data({"id": id, "version": version, "language": language, "falc": falc, "sha256": digest})


def notice_list() -> None:
    """Every published notice, one JSON object per line."""
    gateway = Gateway.open(settings())
    with gateway.engine.connect().execution_options(read_only=True) as connection:
        for row in connection.execute(select(notice).order_by(notice.c.id, notice.c.version, notice.c.falc)):
            data({name: value for name, value in row._asdict().items() if name != "content"})


def list_(person: Annotated[str, typer.Option(help="Person id; all by default.")] = "") -> None:
    """One JSON object per record, with its state now: a consent past its term is expired."""
    gateway = Gateway.open(settings())
    query = select(basis_record).order_by(basis_record.c.id)
    with gateway.unit_of_work() as work:
        if person:
            query = query.where(basis_record.c.person_id.in_(people_of(work, head_of(work, person))))
        rows = work.connection.execute(query).all()
        held = {one.id: one for known in states(work, [row.person_id for row in rows]).values() for one in known.held}
        for row in rows:
            state = held[row.id].state
            if row.kind == "consent" and state == "given" and row.valid_until and row.valid_until <= work.now:
                state = "expired"
            told = {
                "id": row.id,
                "person": row.person_id,
                "kind": row.kind,
                "regime": row.regime,
                "purpose": row.purpose,
            }
            data(told | {"state": state, "since": row.created_at, "until": row.valid_until})


# --- the rights of a person -------------------------------------------------------------------------------------------


def search(given: Given = "-") -> None:
    """Find a person by identifiers given in a file or on standard input, never on the command line.

    For example `{"nir": "…", "date_naissance": "1980-01-31"}`: a number alone gives a candidate to confirm.
    """
    gateway = Gateway.open(settings())
    facts = facts_of(json_object(given))
    with gateway.unit_of_work() as work:
        match = gateway.identity.resolve(work, gateway.identity.keys_of(facts))
        person = head_of(work, match.person_id) if match.person_id else None
        journal.append(
            work, "log.read", outcome="search", purpose="droits_personne", agent_role="operator",
            reason_code=match.certainty.replace("_", "-"),
            subject=gateway.keys.pseudonym(HERSELF, person) if person else None,
        )  # fmt: skip
    data({"person": person, "certainty": match.certainty, "candidate": match.candidate})


def export(
    person: Person, folder: Annotated[Path, typer.Option("--output", "-o", file_okay=False, help="Folder to write.")]
) -> None:
    """Everything held about a person: `dossier.json`, and `page.html` for her to read."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        told = person_export.export(work, gateway, person, folder)
    data(told)


def portability(person: Person) -> None:
    """What she provided under her consent, as JSON; or why the right does not apply."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        told = person_export.portability(work, gateway, person)
    data(told)


def rectify(person: Person, given: Given = "-", request: ForRequest = "") -> None:
    """Correct facts: `{"facts": {path: value}, "expected": {path: old value}, "statements": {path: text}}`."""
    content = json_object(given)
    if not content.keys() <= {"facts", "expected", "statements"}:
        fail("rectification-invalid", "Give an object with facts, expected and statements.", WRONG_USAGE)
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        told = rectification.rectify(
            work, gateway, person, content.get("facts", {}), expected=content.get("expected"),
            statements=content.get("statements"),
        )  # fmt: skip
        _for_request(work, gateway, request, "rectification", person)
    data({"id": told.id, "changed": list(told.changed), "deliveries": len(told.deliveries),
          "recipients": list(told.told), "statements": len(told.statements)})  # fmt: skip


def erase(
    person: Person,
    ground: Annotated[str, typer.Option(help=", ".join(erasure.GROUNDS))] = "request",
    decision: Annotated[
        Path | None,
        typer.Option(
            "--dpo-decision", exists=True, dir_okay=False, help="The DPO's written decision; its digest is kept."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it, only say what stands against it.")] = False,
) -> None:
    """Erase a person: her key is destroyed, past recipients are told. It cannot be undone."""
    erasure.require_ground(ground)
    gateway = Gateway.open(settings())
    if not yes:
        with gateway.unit_of_work() as work:
            needed = erasure.needs(work, gateway, head_of(work, person))
        data({"erased": False, "needed_by": [
            {"regime": one.regime, "purpose": one.purpose, "recipient": one.recipient, "article": list(one.articles)}
            for one in needed
        ]})  # fmt: skip
        return
    with gateway.unit_of_work() as work:
        told = erasure.erase(work, gateway, person, ground=ground, forced_by=_digest(decision))
    data(told.line())


def request(
    person: Person,
    right: Annotated[str, typer.Argument(help=", ".join(rights.ARTICLES))],
    body: Annotated[str, typer.Option(help="Where she asked.")] = HERSELF,
    received: Annotated[str, typer.Option(help="Day of arrival (AAAA-MM-JJ); now by default.")] = "",
) -> None:
    """Write down a request; its answer is due in one month."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        told = rights.receive(work, gateway, person, right, body=body, received_at=received)
    data(told.line())


def answer(
    id: Annotated[str, typer.Argument(help="Id given by `maillon person requests`.")],
    outcome: Annotated[str, typer.Argument(help="done, refused, extended, identity-asked, identity-confirmed")],
    reason: Annotated[str, typer.Option(help="Code: of a refusal; of an extension, complex or many-requests.")] = "",
    article: Annotated[str, typer.Option(help="Text of the refusal.")] = "",
    letter: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="The written reason.")] = None,
) -> None:
    """What becomes of a request."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        if outcome == "done":
            told = rights.done(work, gateway, id)
        elif outcome == "refused":
            told = rights.refuse(work, gateway, id, reason=reason, article=article, reason_hash=_digest(letter))
        elif outcome == "extended":
            told = rights.extend(work, gateway, id, reason=reason)
        elif outcome == "identity-asked":
            told = rights.check_identity(work, gateway, id)
        elif outcome == "identity-confirmed":
            told = rights.identity_confirmed(work, gateway, id)
        else:
            fail(
                "outcome-unknown", "Outcomes: done, refused, extended, identity-asked, identity-confirmed.", WRONG_USAGE
            )
    data(told.line())


def requests(late: Annotated[bool, typer.Option("--late", help="Only those past their deadline.")] = False) -> None:
    """Requests not answered yet, one JSON object per line."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        for one in rights.demands(work, waiting=True, limit=10_000):
            if one.late or not late:
                data(one.line())


# --- accountability ---------------------------------------------------------------------------------------------------


def register_(
    csv: Annotated[Path | None, typer.Option(dir_okay=False, help="Also write the register as a spreadsheet.")] = None,
    html: Annotated[Path | None, typer.Option(dir_okay=False, help="Also write it as a page.")] = None,
    since: Annotated[
        str, typer.Option(help="Compare with the journal since then (RFC 3339); one year by default.")
    ] = "",
) -> None:
    """The register of processing (GDPR 30), from the live configuration, compared with what the journal saw."""
    gateway = Gateway.open(settings())
    start = clock.told(since) if since else clock.instant(clock.now() - timedelta(days=366))
    with gateway.unit_of_work() as work:
        journal.append(work, "log.read", outcome="register", purpose="audit_dpo", agent_role="operator")
        told = art30.register(work, gateway, start, clock.instant(clock.now() + timedelta(seconds=1)))
    if csv:
        csv.write_text(art30.as_csv(told), encoding="utf-8", newline="")
    if html:
        html.write_text(art30.as_html(told, gateway), encoding="utf-8")
    data(told)


def breach_draft(
    kind: Annotated[str, typer.Argument(help=", ".join(breach.KINDS))],
    given: Given = "-",
    detected: Annotated[str, typer.Option(help="When it was noticed (RFC 3339); now by default.")] = "",
    aware: Annotated[str, typer.Option(help="When the controller became aware; now by default.")] = "",
) -> None:
    """Write a breach down; the 72 hours start when the controller is aware."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        told = breach.show(work, breach.draft(work, kind, json_object(given), detected_at=detected, aware_at=aware))
    data(told)


def breach_complete(
    id: Breach,
    given: Given = "-",
    cnil: Annotated[str, typer.Option(help="When the CNIL was told (RFC 3339).")] = "",
    persons: Annotated[str, typer.Option(help="When the persons were told (RFC 3339).")] = "",
) -> None:
    """Add what became known of a breach."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        told = breach.complete(work, id, json_object(given), cnil_notified_at=cnil, persons_notified_at=persons)
    data(told)


def breach_close(id: Breach) -> None:
    """Everything about this breach was done."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        told = breach.close(work, id)
    data(told)


def breach_list() -> None:
    """Every breach, one JSON object per line, with what is left of the 72 hours."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        for one in breach.list_(work):
            data(one)


def breach_touched(
    client: Annotated[str, typer.Argument(help="Client whose token was stolen.")],
    start: Annotated[str, typer.Option("--from", help="RFC 3339.")],
    end: Annotated[str, typer.Option("--to", help="RFC 3339.")],
) -> None:
    """Which persons and records this client touched, under the pseudonyms of its body."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        journal.append(work, "log.read", outcome="breach-touched", purpose="audit_dpo", agent_role="operator")
        told = breach.touched(work, gateway, client, start, end)
    data(told)


# --- retention --------------------------------------------------------------------------------------------------------


def retention_due() -> None:
    """What is older than its regime allows, one JSON object per source; `regime_known` false: no flow says how long."""
    gateway = Gateway.open(settings())
    with gateway.reading() as work:
        for one in retention.due(work, gateway):
            data(one)


def retention_purge(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be purged, and keep it.")] = False,
) -> None:
    """Purge what is past its retention: one certificate per line, then the counts, and what is held or of unknown
    regime."""
    told = purge.purge(Gateway.open(settings()), dry_run=dry_run)
    for one in told.purged:
        data(one.line())
    data(told.line() | {"dry_run": dry_run})


# --- two accounts and a reason ----------------------------------------------------------------------------------------


def _account(gateway: Gateway) -> reidentification.Account:
    """The account of this machine that runs the command, behind sudo if need be; a pseudonym in the journal."""
    name = os.environ.get("SUDO_USER") or getpass.getuser()
    return reidentification.Account(agent=gateway.keys.pseudonym("agent", name), role="operator")


def reidentify_request(
    subject: Annotated[str, typer.Argument(help="The pseudonym, as the journal gives it.")],
    reason: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="The written reason.")],
) -> None:
    """Ask to know who a pseudonym is; another account approves within 72 hours."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        told = reidentification.request(work, subject, text_of(reason), _account(gateway))
    data(told)


def reidentify_approve(id: Asked) -> None:
    """Approve another account's request, after reading its reason (`maillon reidentify list`)."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        told = reidentification.approve(work, id, _account(gateway))
    data(told)


def reidentify_use(id: Asked) -> None:
    """Who it is: once, within the hour, for the account that asked."""
    gateway = Gateway.open(settings())
    by = _account(gateway)
    found = reidentification.whose(gateway, id, by)
    with gateway.unit_of_work() as work:
        told = reidentification.use(work, gateway, id, by, found)
    data(told)


def reidentify_list() -> None:
    """Requests that wait for an approval or may be used, one JSON object per line."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        for one in reidentification.waiting(work):
            data(one)
