"""The operations of the API, their answers and their schemas, as data for `openapi.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter

from gateway.basis_record import Basis
from gateway.notification import ANSWER
from gateway.policy_table import FACTS

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `problems`: statuses it may refuse with besides `COMMON`; `scope`: of the token."""

    method: str
    path: str
    id: str
    summary: str
    tag: str
    answers: dict[int, Json]
    problems: tuple[int, ...] = ()
    scope: str = ""
    parameters: tuple[Json, ...] = ()
    body: Json | None = None
    description: str = ""

    @property
    def form(self) -> str:
        """The one media type of what it gives; empty when it has several, or gives nothing."""
        forms = {media for status, told in self.answers.items() if status < 300 for media in told.get("content", ())}
        (form,) = forms if len(forms) == 1 else ("",)
        return "" if "*" in form else form


TAGS = {
    "exchanges": "Send a document in your own format; see what became of it.",
    "inbox": "The mailbox of a body that has no server.",
    "persons": "Search, dossier, and what exchanges rest on. A person you do not accompany answers as unknown.",
    "webhooks": "Partners that push, each with its own signature.",
    "journal": "C2SP tlog-tiles and tlog-witness.",
    "audit": "For data protection officers.",
    "access": "OAuth 2, modelled on FAPI 2.0 for machines.",
    "operations": "For the machines around.",
}
PROBLEMS = {
    400: "The request cannot be read as announced.",
    401: "No valid proof of who is calling.",
    403: "The token does not open this.",
    404: "Nothing of this name for this caller.",
    405: "This resource does not take this method.",
    406: "None of the media types accepted is one of its forms.",
    408: "The request took too long to arrive.",
    409: "It conflicts with what is known.",
    412: "What it is about has changed since it was read.",
    413: "The body is too large, or would unpack to too much.",
    415: "Another media type is expected, or none of the codings sent.",
    421: "The Host is not this gateway.",
    422: "Well formed, but wrong.",
    429: "Too many requests: wait `Retry-After` seconds.",
    431: "The headers are too large.",
    503: "Nothing was accepted: send it again after `Retry-After` seconds.",
}
COMMON = (400, 404, 405, 408, 421, 429, 431)
"""What any operation may be answered before its door is reached."""

_TEXT: Json = {"type": "string"}
_MAYBE: Json = {"type": ["string", "null"]}
_INSTANT: Json = {"type": "string", "format": "date-time"}
_WHEN: Json = {"type": ["string", "null"], "format": "date-time"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_CODES: Json = {"type": "array", "items": {"type": "string"}}


def _object(required: str = "", *, closed: bool = True, **properties: Any) -> Json:
    told: Json = {"type": "object", "properties": properties}
    if required:
        told["required"] = required.split()
    return told | ({"additionalProperties": False} if closed else {})


def _list(name: str) -> Json:
    return {"type": "array", "items": _ref(name)}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _page(name: str, item: str) -> Json:
    told = _object(f"{name} next", next=_MAYBE | {"description": "`after` of the next page."})
    told["properties"][name] = _list(item)
    return told


def read_by(**models: type[BaseModel] | TypeAdapter[Any]) -> Json:
    """The schema of what these models read, by the name it is given here, and of what they hold."""
    told: Json = {}
    for name, model in models.items():
        adapter = model if isinstance(model, TypeAdapter) else TypeAdapter(model)
        schema = adapter.json_schema(ref_template="#/components/schemas/{model}")
        told |= schema.pop("$defs", {}) | {name: schema}
    return told


def _basis() -> Json:
    """What the door takes of a record: the gateway says whom it is about, and the caller what she decided."""
    told = read_by(Basis=Basis)
    said = told["Basis"]
    for name in ("person_id", "subject_ref"):
        del said["properties"][name]
        said["required"].remove(name)
    said["properties"]["decision"] = {
        "enum": ["requested", "given", "refused"],
        "description": "Of a consent, `requested` when not said. Her answer to one that was requested is another "
        "record, given (with `evidence`) or refused: it takes its place.",
    }
    said["description"] += " Its fields are those of ISO/IEC TS 27560."
    return told


SCHEMAS: Json = {
    "Problem": {
        "type": "object",
        "required": ["type", "title", "status"],
        "properties": {
            "type": {"type": "string", "description": "Stable: `urn:maillon:problem:<code>`."},
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _TEXT | {"description": "Who does what next. Never a value that was sent."},
            "instance": _TEXT | {"description": "`urn:uuid:` of this answer, also in the journal."},
            "path": _TEXT | {"description": "Where, in the partner's own words."},
            "errors": {"type": "array", "items": {"type": "object"}},
        },
    },
    "Finding": _object("code path severity detail", code=_TEXT, path=_TEXT, detail=_TEXT,
                       severity={"enum": ["notice", "quarantine", "reject"]}),
    "Result": _object("record status findings", record={"type": "integer", "minimum": 1}, findings=_list("Finding"),
                      status={"enum": ["accepted", "unchanged", "quarantined", "rejected"]}),
    "Outcome": _object(
        "recipient status reason article categories withheld_categories delivery document",
        recipient=_TEXT, status={"enum": ["queued", "withheld", "quarantined"]}, reason=_MAYBE, article=_MAYBE,
        categories=_CODES, withheld_categories=_CODES, delivery=_MAYBE, document=_TEXT,
    ),
    "JournalPlace": _object("index origin", index=_COUNT, origin=_TEXT),
    "Receipt": _object(
        "id received_at document records results outcomes journal findings",
        id={"type": "string", "format": "uuid"}, received_at=_INSTANT, document=_TEXT, records=_COUNT,
        results=_list("Result"), outcomes=_list("Outcome"), journal=_ref("JournalPlace"), findings=_list("Finding"),
    ),
    "Delivery": _object(
        "id recipient document state attempts",
        id=_TEXT, recipient=_TEXT, document=_TEXT, state=_TEXT, reason=_MAYBE, article=_MAYBE, attempts=_COUNT,
        settled_at=_WHEN,
    ),
    "Exchange": _object(
        "id received_at document sender records deliveries next", closed=False,
        id={"type": "string", "format": "uuid"}, received_at=_INSTANT, document=_TEXT, sender=_TEXT, records={},
        deliveries=_list("Delivery"), next=_MAYBE | {"description": "`after` of this exchange's other deliveries."},
    ),
    "Exchanges": _page("exchanges", "Exchange"),
    "Letter": _object(
        "id document content_type person created_at fetched_at delivery",
        id={"type": "string", "format": "uuid"}, delivery={"type": "string", "format": "uuid"},
        document=_TEXT, content_type=_TEXT, created_at=_INSTANT,
        fetched_at=_WHEN, person=_TEXT | {"description": "This body's own reference."},
    ),
    "Letters": _page("letters", "Letter"),
    "Search": _object(
        nir=_TEXT | {"description": "13 characters, or 15 with a valid key."}, numero_france_travail=_TEXT,
        date_naissance={"type": "string", "format": "date"}, nom_naissance=_TEXT, prenom=_TEXT, code_postal=_TEXT,
    ),
    "Found": _object("person certainty", person=_MAYBE | {"description": "This caller's own reference."},
                     certainty={"enum": ["certain", "a_confirmer", "inconnu"]}),
    "Dossier": {
        "type": "object",
        "required": ["document", "withheld"],
        "properties": {
            "document": {"description": "`maillon.dossier`, or the document that was asked for."},
            "facts": {"type": "object", "description": "Path to value, source, date and certainty."},
            "withheld": {"type": "array", "items": _object(
                "category facts rule article", category=_TEXT, facts=_COUNT, rule=_TEXT, article={})},
            "fields_total": _COUNT,
            "fields_prefilled": _COUNT,
            "sources": {"type": "object", "additionalProperties": _TEXT,
                        "description": "Field of the document to the body whose fact filled it."},
            "dates": {"type": "object", "additionalProperties": _TEXT,
                      "description": "Field of the document to the date of that fact."},
        },
    },
    **_basis(),
    **read_by(Answer=ANSWER),
    "DecisionRecord": _object(
        "decision policy_version evaluated_at categories_sent facts", closed=False,
        decision={"enum": ["permit", "deny"]}, policy_version=_TEXT, evaluated_at=_TEXT, categories_sent=_CODES,
        facts={"type": "object", "required": list(FACTS)},
    ) | {"description": "As it was written, byte for byte."},
    "BasisMade": _object("id kind state receipt", id=_TEXT, kind=_TEXT, state=_TEXT, receipt=_TEXT),
    "BasisRecords": _object("records", records={"type": "array", "items": {"type": "object", "required": [
        "id", "kind", "state", "etag"]}}),
    "Withdrawn": _object("id state notified", id=_TEXT, state=_TEXT, notified=_COUNT),
    "Pushed": _object(
        "id status reason records results",
        id=_MAYBE, status={"enum": ["accepted", "ignored"]}, reason={"enum": [None, "repeated", "out-of-order"]},
        records=_COUNT, results={"type": "array", "items": _object("record status", record=_COUNT, status=_TEXT)},
    ),
    "OAuthError": {"type": "object", "required": ["error"], "properties": {"error": _TEXT}},
}  # fmt: skip


def _path(name: str, description: str) -> Json:
    return {"name": name, "in": "path", "required": True, "description": description, "schema": {"type": "string"}}


def _header(name: str, description: str, required: bool = False, **schema: Any) -> Json:
    return {"name": name, "in": "header", "required": required, "description": description,
            "schema": {"type": "string"} | schema}  # fmt: skip


PARAMETERS: Json = {
    "After": {"name": "after", "in": "query", "description": "`next` of the previous page.",
              "schema": {"type": "string", "format": "uuid"}},
    "Limit": {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 200,
                                                         "default": 50}},
    "Place": {"name": "after", "in": "query", "description": "`next` of the previous page.", "schema": _TEXT},
    "From": {"name": "from", "in": "query", "description": "RFC 3339; by default a month before the end, a year for "
             "the registers.", "schema": {"type": "string", "format": "date-time"}},
    "To": {"name": "to", "in": "query", "description": "RFC 3339; now by default.",
           "schema": {"type": "string", "format": "date-time"}},
    "Policy": {"name": "policy", "in": "query", "description": "Digest of the table; by default that of its day.",
               "schema": _TEXT},
    "IdempotencyKey": _header("Idempotency-Key", "The same key brings the same answer; with another body, 422.", True,
                              pattern="^[!-~]{1,200}$"),
    "IfNoneMatch": _header("If-None-Match", "An `ETag` you hold: 304 when nothing changed."),
    "IfMatch": _header("If-Match", "The `ETag` of what you read: 412 when it has changed since."),
}  # fmt: skip


def param(*names: str) -> tuple[Json, ...]:
    return tuple({"$ref": f"#/components/parameters/{name}"} for name in names)


def _json(description: str, schema: str, **headers: str) -> Json:
    told: Json = {"description": description, "content": {"application/json": {"schema": _ref(schema)}}}
    if headers:
        told["headers"] = {name: {"schema": _TEXT, "description": text} for name, text in headers.items()}
    return told


def _raw(description: str, media: str = "text/plain") -> Json:
    return {"description": description, "content": {media: {"schema": {"type": "string"}}}}


def _either(description: str) -> Json:
    problem = {"application/problem+json": {"schema": _ref("Problem")}}
    return {"description": description, "content": _raw(description)["content"] | problem}


def takes(schema: str) -> Json:
    """A body of JSON that this schema describes."""
    return {"required": True, "content": {"application/json": {"schema": _ref(schema)}}}


NOTHING: Json = {
    "required": False,
    "description": "None, or an empty object: anything else is refused (`body-unexpected`).",
    "content": {"application/json": {"schema": {"type": "object", "maxProperties": 0}}},
}
_UNCHANGED: Json = {"description": "Nothing changed."}
_ANY: Json = {"schema": {"type": "string", "format": "binary"}}
_DOCUMENTS = (
    "application/json", "application/xml", "text/xml", "text/csv",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
)  # fmt: skip
_TAG = "Strong entity tag."
_JOURNALED = {"Maillon-Journal": "Where our journal tells it: its origin, a space, the index of the entry."}
_REF = _path("ref", "The caller's own reference of a person, from the search.")
_ID = _path("id", "Id given by this gateway.")

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "post", "/v1/exchanges", "send", "Send one document of your own format", "exchanges", scope="exchange",
        description="The body is the document itself, at most 8 MiB, 2 000 records and 150 000 values; larger files "
                    "go through `maillon ingest`. Answered once it is durable.",
        parameters=(_header("Maillon-Document", "Id of the document, such as `ccas.suivi`.", True),
                    _header("Maillon-Delivery", "Your own id of this delivery (UUID), if you keep a journal to compare "
                                                "with this one."),
                    *param("IdempotencyKey")),
        body={"required": True, "content": dict.fromkeys(_DOCUMENTS, _ANY)},
        answers={202: _json("Accepted; what each recipient will get, or why not.", "Receipt", Location="Its exchange.",
                            **_JOURNALED),
                 200: _json("Already accepted under this key: the same answer.", "Receipt", **_JOURNALED)},
        problems=(409, 413, 415, 422, 503),
    ),
    Operation(
        "get", "/v1/exchanges", "list_exchanges", "What you sent and received, newest first", "exchanges",
        scope="exchange", parameters=param("After", "Limit"), problems=(422, 503),
        answers={200: _json("One page.", "Exchanges")},
    ),
    Operation(
        "get", "/v1/exchanges/{id}", "show_exchange", "One exchange, with the state of each delivery", "exchanges",
        scope="exchange", parameters=(_ID, *param("After", "Limit", "IfNoneMatch")), problems=(422, 503),
        description="`after` and `limit` page its deliveries, of which the list shows the first 50.",
        answers={200: _json("The exchange; for its sender, also the answer it was given.", "Exchange", ETag=_TAG),
                 304: _UNCHANGED},
    ),
    Operation(
        "get", "/v1/inbox", "list_inbox", "What waits for you, oldest first", "inbox", scope="exchange",
        description="Only what the token opens, when it is narrowed by a regime, a convention, categories or actions.",
        parameters=param("After", "Limit"), problems=(422, 503), answers={200: _json("One page.", "Letters")},
    ),
    Operation(
        "get", "/v1/inbox/{id}/document", "fetch_letter", "One document of the mailbox", "inbox", scope="exchange",
        description="Decided once more: what may no longer be given is refused, with its reason and article "
        "(`letter-withheld`).",
        parameters=(_ID, *param("IfNoneMatch")), problems=(403, 406, 503),
        answers={200: {"description": "The document, as an attachment, in the format that the list tells.",
                       "content": {"*/*": {}}, "headers": {"ETag": {"schema": _TEXT}}}, 304: _UNCHANGED},
    ),
    Operation(
        "post", "/v1/inbox/{id}/ack", "acknowledge_letter", "You have taken a document in", "inbox", scope="exchange",
        parameters=(_ID, _header("Maillon-Journal", "Where your own journal tells it: an origin, a space, an index."),
                    *param("IfMatch")), body=NOTHING, problems=(400, 412, 413, 415, 503),
        answers={204: {"description": "Acknowledged; again changes nothing, and is answered alike.",
                       "headers": {name: {"description": said, "schema": _TEXT} for name, said in _JOURNALED.items()}}},
    ),
    Operation(
        "post", "/v1/persons/search", "search_person", "Find a person you accompany", "persons", scope="exchange",
        body=takes("Search"), problems=(413, 415, 422, 503),
        answers={200: _json("Her reference for you, or `inconnu`.", "Found")},
    ),
    Operation(
        "get", "/v1/persons/{ref}/dossier", "show_dossier", "The shared record, as you may see it", "persons",
        scope="exchange", problems=(422, 503),
        parameters=(_REF, _header("Accept-Document", "One of your own documents, or `fse.participant`, to be filled."),
                    *param("IfNoneMatch")),
        answers={200: _json("Facts with their sources, and what was withheld.", "Dossier", ETag=_TAG), 304: _UNCHANGED},
    ),
    Operation(
        "get", "/v1/persons/{ref}/basis", "list_basis", "Information, consents and objections", "persons",
        scope="exchange", parameters=(_REF, *param("IfNoneMatch")), problems=(503,),
        answers={200: _json("Those you keep, or that concern what you receive.", "BasisRecords"), 304: _UNCHANGED},
    ),
    Operation(
        "post", "/v1/persons/{ref}/basis", "record_basis", "Record an information, a consent, an objection…",
        "persons", scope="exchange", parameters=(_REF, *param("IdempotencyKey")), body=takes("Basis"),
        problems=(409, 413, 415, 422, 503),
        answers={201: _json("Recorded; it counts from now.", "BasisMade"),
                 200: _json("Already recorded under this key.", "BasisMade")},
    ),
    Operation(
        "post", "/v1/basis/{id}/withdraw", "withdraw_basis", "The person withdraws her consent", "persons",
        scope="exchange", parameters=(_ID, *param("IfMatch")), body=NOTHING,
        problems=(409, 412, 413, 415, 422, 503),
        answers={200: _json("Withdrawn; past recipients are being told.", "Withdrawn")},
    ),
    Operation(
        "post", "/v1/notifications/{id}/answer", "answer_notification", "What you did of what you were told",
        "inbox", scope="exchange", parameters=(_ID,), problems=(409, 413, 415, 422, 503),
        description="After an erasure, a rectification or a withdrawal: done, or refused with the article.",
        body=takes("Answer"),
        answers={200: {"description": "Noted; the state of the notification.", "content": {"application/json": {
            "schema": _object("state", state=_TEXT)}}}},
    ),
    Operation(
        "post", "/v1/webhooks/{connector}", "push", "A signed message of a partner that pushes", "webhooks",
        description="rdv-insertion signs the raw body: `X-RDVI-SIGNATURE`, hex HMAC-SHA256. A message repeated, or "
                    "older than the last about the same object, is answered 202 and changes nothing.",
        parameters=(_path("connector", "Body that pushes."), _header("X-RDVI-SIGNATURE", "Proof of rdv-insertion.")),
        body={"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
        answers={202: _json("Taken, or ignored with the reason.", "Pushed")}, problems=(401, 413, 415, 422, 503),
    ),
    Operation(
        "get", "/v1/journal/checkpoint", "checkpoint", "The last signed checkpoint", "journal",
        parameters=param("IfNoneMatch"), answers={200: _raw("A C2SP signed note."), 304: _UNCHANGED},
    ),
    Operation(
        "get", "/v1/journal/vkey", "verifier_key", "The key that verifies checkpoints", "journal",
        parameters=param("IfNoneMatch"), answers={200: _raw("A verifier key line."), 304: _UNCHANGED},
    ),
    Operation(
        "get", "/v1/journal/tile/{tile}", "tile", "A hash tile or an entry bundle", "journal", scope="journal",
        description="Entries are for a data protection officer (403 `role`); hashes, for every partner.",
        parameters=(_path("tile", "`0/000`, `entries/000.p/12`…"), *param("IfNoneMatch")),
        answers={200: _raw("The tile.", "application/octet-stream"), 304: _UNCHANGED},
    ),
    Operation(
        "get", "/v1/journal/{log}/checkpoint", "checkpoint_of", "The checkpoint of another retention class",
        "journal", parameters=(_path("log", "`6m` or `36m`."), *param("IfNoneMatch")),
        answers={200: _raw("A C2SP signed note."), 304: _UNCHANGED},
    ),
    Operation(
        "get", "/v1/journal/{log}/tile/{tile}", "tile_of", "A tile of another retention class", "journal",
        scope="journal", parameters=(_path("log", "`6m` or `36m`."), _path("tile", "As above."),
                                     *param("IfNoneMatch")),
        answers={200: _raw("The tile.", "application/octet-stream"), 304: _UNCHANGED},
    ),
    *(
        Operation(
            "post", path, id, summary, "journal",
            description="C2SP tlog-witness `add-checkpoint`; 404 when this gateway witnesses no log, or not this one.",
            body={"required": True, "content": {"text/plain": {"schema": {"type": "string"}}}},
            answers={200: _raw("Cosignature lines."), 400: _either("Malformed."), 403: _raw("No known signature."),
                     404: _either("Not a log that is followed."),
                     409: _raw("The size last cosigned.", "text/x.tlog.size"),
                     422: _raw("It does not extend the last one.")},
            problems=(413, 415),
        )
        for path, id, summary in (
            ("/v1/journal/witness", "witness", "Have a followed log's checkpoint cosigned"),
            ("/v1/journal/witness/add-checkpoint", "add_checkpoint", "The same where tlog-witness clients ask for it"),
        )
    ),
    *(
        Operation("get", path, id, summary, "access", answers={200: {
            "description": summary, "content": {"application/json": {"schema": {"type": "object"}}}}})
        for path, id, summary in (
            ("/.well-known/oauth-authorization-server", "server_metadata", "RFC 8414 metadata"),
            ("/.well-known/oauth-protected-resource", "resource_metadata", "RFC 9728 metadata"),
            ("/oauth/jwks.json", "jwks", "Keys that sign access tokens"),
        )
    ),
    *(
        Operation(
            "post", path, id, summary, "access", problems=(503,),
            body={"required": True, "content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}},
            answers={200: {"description": summary, "content": {"application/json": {}}}}
            | {status: _json("Refused, as OAuth says it.", "OAuthError") for status in (400, 401, 413, 415, 429)},
        )
        for path, id, summary in (
            ("/oauth/token", "token", "An access token: client_credentials, private_key_jwt, DPoP"),
            ("/oauth/introspect", "introspect", "Is a token of yours active"),
            ("/oauth/revoke", "revoke", "End a token of yours"),
        )
    ),
    Operation("get", "/healthz", "alive", "Is the process alive", "operations", answers={
        200: {"description": "It is.", "content": {"application/json": {}}}}),
    Operation("get", "/readyz", "ready", "Can it take exchanges", "operations", answers={
        status: {"description": text, "content": {"application/json": {}}}
        for status, text in ((200, "It can."), (503, "Not now; `checks` says what is missing."))}),
    Operation("get", "/metrics", "metrics", "Prometheus metrics", "operations", answers={
        200: _raw("Counters and gauges.")}),
)  # fmt: skip
