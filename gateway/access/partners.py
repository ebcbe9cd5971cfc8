"""The registry of partners: who may ask for tokens, with which keys, for which purposes.

A partner is one OAuth client of one body. Its keys come as a JWKS given by hand; no URL of a partner is ever fetched.
Rotation keeps the former keys for an overlap, or withdraws them at once when one may have leaked.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from authlib.oauth2.rfc6749 import ClientMixin
from sqlalchemy import Connection, Engine, Row, case, insert, null, select, update

from gateway import clock
from gateway.access.details import PURPOSES
from gateway.access.jose import RSA_BITS, PublicKey, Refused, import_public, short_text
from gateway.convention_model import BODY
from gateway.metrics import Shared
from gateway.problems import Conflict, Invalid, Misnamed, Unknown
from gateway.settings import settings
from gateway.storage.tables.access import client, client_key
from gateway.unit_of_work import UnitOfWork
from schemas.normalisation import in_plain_sight

MAX_KEYS = 8
NAME = 200
"""Characters of a name that pages show."""
OVERLAP = 24 * 3600
"""Seconds a former key still authenticates after a rotation."""
TLS_NAMES = ("subject_dn", "san_dns", "san_uri", "x5t#S256")
"""How a certificate names a client: RFC 8705 §2.1.2, or its own SHA-256 when it is self-signed (§2.2)."""
AHEAD = 30 * 24 * 3600
"""Seconds before what a partner authenticates with ends, from which it is told; as the alert does."""

ENDS = Shared(
    "maillon_partner_credential_ends_timestamp_seconds",
    "When what a partner last asked a token with stops counting: a key that was replaced, a certificate", ["client"],
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RegisteredKey:
    kid: str
    key: PublicKey = field(repr=False)
    valid_until: int | None = None
    """Last second at which it authenticates, once a rotation replaced it."""


@dataclass(frozen=True, slots=True)
class Client(ClientMixin):
    """One partner's client, with the keys that authenticate it now."""

    client_id: str
    body: str
    name: str
    connector: str
    role: str
    active: bool
    purposes: frozenset[str] | None
    """None: whatever its conventions allow."""
    tls_client_auth: Mapping[str, str] | None
    dpop_jkt: str | None
    tokens_from: int
    credential_ends: int | None
    keys: tuple[RegisteredKey, ...] = ()

    def get_client_id(self) -> str:
        return self.client_id

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "client_credentials"

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        return method == ("tls_client_auth" if self.tls_client_auth else "private_key_jwt")


def _client(rows: list[Row[Any]]) -> Client:
    first = rows[0]
    keys = tuple(
        RegisteredKey(row.kid, import_public(row.jwk)[0], row.valid_until) for row in rows if row.kid is not None
    )
    return Client(
        client_id=first.client_id,
        body=first.body,
        name=first.name,
        connector=first.connector,
        role=first.role,
        active=first.state == "active",
        purposes=None if first.purposes is None else frozenset(first.purposes),
        tls_client_auth=first.tls_client_auth,
        dpop_jkt=first.dpop_jkt,
        tokens_from=first.tokens_from,
        credential_ends=first.credential_ends,
        keys=keys,
    )


def load(connection: Connection, client_id: str) -> Client | None:
    """A client with its valid keys, or None; one statement either way, so that both take the same time."""
    now = int(time.time())
    valid = (
        (client_key.c.client_id == client.c.client_id)
        & (client_key.c.valid_from <= now)
        & client_key.c.revoked_at.is_(None)
        & (client_key.c.valid_until.is_(None) | (client_key.c.valid_until > now))
    )
    statement = (
        select(client, client_key.c.kid, client_key.c.jwk, client_key.c.valid_until)
        .select_from(client.outerjoin(client_key, valid))
        .where(client.c.client_id == client_id)
    )
    rows = list(connection.execute(statement))
    return _client(rows) if rows else None


def load_all(connection: Connection) -> dict[str, Client]:
    """Every client without its keys, by id: what a resource needs to know of a caller."""
    return {row.client_id: _client([row]) for row in connection.execute(select(client, null().label("kid")))}


@dataclass(frozen=True, slots=True)
class Ending:
    """A partner that last authenticated with what stops counting at `ends` (Unix seconds), soon or already."""

    client_id: str
    body: str
    ends: int

    @property
    def at(self) -> str:
        """The instant, as the gateway writes it."""
        return clock.instant(datetime.fromtimestamp(self.ends, UTC))


def note_end(engine: Engine, client_id: str, ends: int | None) -> None:
    """Keep when what a client just authenticated with stops counting; None when it does not."""
    with engine.begin() as connection:
        connection.execute(update(client).where(client.c.client_id == client_id).values(credential_ends=ends))


def ending(connection: Connection) -> list[Ending]:
    """The clients, suspended ones left out, whose credential ends soon or has, the first to end first."""
    query = select(client.c.client_id, client.c.body, client.c.credential_ends)
    query = query.where(client.c.state == "active", client.c.credential_ends < int(time.time()) + AHEAD)
    rows = connection.execute(query.order_by(client.c.credential_ends, client.c.client_id))
    return [Ending(*row) for row in rows]


def show(connection: Connection) -> None:
    """Set the metric: every credential that ends, soon or not."""
    query = select(client.c.client_id, client.c.credential_ends)
    rows = connection.execute(query.where(client.c.state == "active", client.c.credential_ends.is_not(None)))
    ENDS.show({(row.client_id,): row.credential_ends for row in rows})


def read_jwks(jwks: Any) -> list[dict[str, Any]]:
    """The public keys of a JWKS, each with a `kid` (its thumbprint when it has none) and its thumbprint.

    Raises `Invalid` naming the first key that cannot be registered, by position, without any of its content.
    """
    keys = jwks.get("keys") if isinstance(jwks, Mapping) else None
    if not isinstance(keys, list) or not 0 < len(keys) <= MAX_KEYS:
        raise Invalid("jwks-unreadable", f"Give a JWKS: an object with `keys`, a list of 1 to {MAX_KEYS} public keys.")
    read: dict[str, dict[str, Any]] = {}
    for position, jwk in enumerate(keys):
        path = f"keys[{position}]"
        try:
            _key, thumbprint = import_public(jwk)
        except Refused as refused:
            detail = f"Keys are public: EC P-256, OKP Ed25519, or RSA of {RSA_BITS} bits and more ({refused.reason})."
            raise Invalid("key-refused", detail, path=path) from refused
        kid = jwk.get("kid", thumbprint)
        if not short_text(kid, 128) or kid in read:
            raise Invalid("kid-refused", "Each key has its own `kid`, of at most 128 characters.", path=path)
        read[kid] = {"kid": kid, "jwk": jwk, "thumbprint": thumbprint}
    return list(read.values())


def register_partner(
    work: UnitOfWork,
    id: str,
    connector: str,
    jwks: Any,
    purposes: Iterable[str] = (),
    name: str = "",
    *,
    body: str | None = None,
    role: str | None = None,
    issuer: str | None = None,
    tls_client_auth: Mapping[str, str] | None = None,
    dpop_jkt: str | None = None,
) -> dict[str, str]:
    """Register the OAuth client of a partner; its id is the client id, and the body's unless `body` says otherwise.

    Without `purposes`, the client may ask for all those its conventions allow. `role` is one of the legal roles
    (`dpo` opens the audit and closes the data); by default, the connector. A client authenticates by the keys of
    `jwks`, or, with `tls_client_auth` (`{"san_dns": …}`), by its certificate alone. With `dpop_jkt`, its proofs
    are made with the key of this thumbprint (RFC 7638) and no other.

    Raises `Conflict("partner-exists")` and `Invalid`. Returns `client_id`, `issuer` and `token_endpoint`.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", id):
        raise Misnamed("partner-id", "An id is made of letters, digits, `-`, `_` and `.`, 64 at most.")
    if not re.fullmatch(BODY, body or id):
        raise Misnamed("partner-id", "A body's id: lower case, a letter first, one separator at a time.")
    if len(name) > NAME or not in_plain_sight(name):
        raise Invalid("partner-name", f"A name is one line of visible characters, {NAME} at most.")
    wanted = sorted(set(purposes))
    if unknown := [purpose for purpose in wanted if purpose not in PURPOSES]:
        raise Misnamed("unknown-purpose", f"Purposes are: {', '.join(PURPOSES)}.", count=len(unknown))
    _require_one_name(tls_client_auth)
    _require_thumbprint(dpop_jkt)
    keys = read_jwks(jwks) if tls_client_auth is None else []
    if work.connection.execute(select(client.c.client_id).where(client.c.client_id == id)).first():
        raise Conflict("partner-exists", "This partner is registered; use `rotate` to change its keys.")
    work.connection.execute(
        insert(client).values(
            client_id=id,
            body=body or id,
            name=name or id,
            connector=connector,
            role=role or connector,
            state="active",
            purposes=wanted or None,
            tls_client_auth=dict(tls_client_auth) if tls_client_auth else None,
            dpop_jkt=dpop_jkt,
            tokens_from=0,
            created_at=work.now,
            changed_at=work.now,
        )
    )
    _insert_keys(work, id, keys)
    own = issuer or settings().issuer
    return {"client_id": id, "issuer": own, "token_endpoint": f"{own.rstrip('/')}/oauth/token"}


def _require_one_name(tls_client_auth: Mapping[str, str] | None) -> None:
    if tls_client_auth is None:
        return
    named = [name for name, value in tls_client_auth.items() if name in TLS_NAMES and value.strip()]
    if len(named) != 1 or len(tls_client_auth) != 1:
        raise Misnamed("tls-client-auth", f"A certificate is named by exactly one of: {', '.join(TLS_NAMES)}.")


def _require_thumbprint(dpop_jkt: str | None) -> None:
    if dpop_jkt is not None and not re.fullmatch("[A-Za-z0-9_-]{43}", dpop_jkt):
        raise Misnamed("dpop-jkt", "Give the SHA-256 thumbprint of a public key (RFC 7638): 43 characters, base64url.")


def _insert_keys(work: UnitOfWork, client_id: str, keys: list[dict[str, Any]]) -> None:
    now = int(time.time())
    for key in keys:
        work.connection.execute(insert(client_key).values(client_id=client_id, valid_from=now, **key))


def rotate(work: UnitOfWork, id: str, jwks: Any, *, overlap: int = OVERLAP) -> dict[str, Any]:
    """Replace a partner's keys by those of `jwks`.

    Former keys that are not in it still authenticate for `overlap` seconds. With `overlap=0` they are revoked now, and
    so is every access token issued until now: what to do when a private key may have leaked.

    Raises `Unknown`, `Invalid`, `Conflict`: `kid-reused` when a `kid` already names another key, `key-kept` when
    nothing would be revoked, `by-certificate` for a client that has no keys.
    """
    if _known(work, id):
        raise Conflict("by-certificate", "This client authenticates by its certificate: give the name of the new one.")
    keys = read_jwks(jwks)
    now = int(time.time())
    held = {row.kid: row for row in work.connection.execute(select(client_key).where(client_key.c.client_id == id))}
    new = [key for key in keys if key["kid"] not in held]
    for key in keys:
        former = held.pop(key["kid"], None)
        if former is not None and (former.thumbprint != key["thumbprint"] or former.revoked_at is not None):
            raise Conflict("kid-reused", "A `kid` names one key for ever; a revoked key does not come back.")
        if former is not None and former.valid_until is not None:
            _set_key(work, id, former.kid, valid_until=None)
    if overlap <= 0 and all(former.revoked_at is not None for former in held.values()):
        raise Conflict("key-kept", "These are the keys that may have leaked: ask the partner for new ones.")
    for former in held.values():
        if overlap <= 0 and former.revoked_at is None:
            _set_key(work, id, former.kid, revoked_at=now, valid_until=now)
        elif former.valid_until is None:
            _set_key(work, id, former.kid, valid_until=now + overlap)
    _insert_keys(work, id, new)
    _set_client(work, id, **({"tokens_from": now + 1} if overlap <= 0 else {}))
    return {"client_id": id, "kids": sorted(key["kid"] for key in keys), "retired": sorted(held)}


def rename(
    work: UnitOfWork, id: str, tls_client_auth: Mapping[str, str], *, compromised: bool = False
) -> dict[str, Any]:
    """Name the certificate that authenticates a client from now on; the former name counts no more.

    With `compromised`, nor do the access tokens issued until now. Raises `Unknown`, `Invalid`, and
    `Conflict("by-keys")` for a client that authenticates by its keys.
    """
    if not _known(work, id):
        raise Conflict("by-keys", "This client authenticates by its keys: give the new ones as a JWKS.")
    _require_one_name(tls_client_auth)
    withdrawn = {"tokens_from": int(time.time()) + 1} if compromised else {}
    _set_client(work, id, tls_client_auth=dict(tls_client_auth), credential_ends=None, **withdrawn)
    return {"client_id": id, "certificate": dict(tls_client_auth)}


def pin(work: UnitOfWork, id: str, dpop_jkt: str | None) -> dict[str, Any]:
    """Take from now on proofs made with the key of this thumbprint alone, or with any for None; a token that is out
    counts until it ends. Raises `Unknown`, `Invalid`."""
    _known(work, id)
    _require_thumbprint(dpop_jkt)
    _set_client(work, id, dpop_jkt=dpop_jkt)
    return {"client_id": id, "dpop_jkt": dpop_jkt}


def suspend(work: UnitOfWork, id: str) -> dict[str, str]:
    """No more tokens for this partner, and those it holds stop working within seconds. Raises `Unknown`."""
    _known(work, id)
    _set_client(work, id, state="suspended", tokens_from=int(time.time()) + 1)
    return {"client_id": id, "state": "suspended"}


def resume(work: UnitOfWork, id: str) -> dict[str, str]:
    """The partner may ask for tokens again; those from before stay refused. Raises `Unknown`."""
    _known(work, id)
    now = int(time.time())
    _set_client(
        work, id, state="active", tokens_from=case((client.c.tokens_from > now, client.c.tokens_from), else_=now)
    )
    return {"client_id": id, "state": "active"}


def come_back(connection: Connection, since: str) -> set[str]:
    """The bodies of which a client was registered or resumed since this instant, or had all its tokens withdrawn: the
    second from which its tokens count says when."""
    second = int(datetime.fromisoformat(since).timestamp())
    new = (client.c.created_at > since) | (client.c.tokens_from >= second)
    return set(connection.execute(select(client.c.body).where(client.c.state == "active", new)).scalars())


def list_partners(connection: Connection) -> list[dict[str, Any]]:
    """Every partner, oldest first, with the state of each key; for the command line and the console."""
    keys: dict[str, list[dict[str, Any]]] = {}
    for row in connection.execute(select(client_key).order_by(client_key.c.valid_from, client_key.c.kid)):
        entry = {"kid": row.kid, "valid_from": row.valid_from, "valid_until": row.valid_until}
        keys.setdefault(row.client_id, []).append(entry | {"revoked": row.revoked_at is not None})
    return [
        {
            "client_id": row.client_id,
            "body": row.body,
            "name": row.name,
            "connector": row.connector,
            "role": row.role,
            "state": row.state,
            "purposes": row.purposes,
            "certificate": row.tls_client_auth,
            "dpop_jkt": row.dpop_jkt,
            "created_at": row.created_at,
            "changed_at": row.changed_at,
            "credential_ends": row.credential_ends,
            "keys": keys.get(row.client_id, []),
        }
        for row in connection.execute(select(client).order_by(client.c.created_at, client.c.client_id))
    ]


def _known(work: UnitOfWork, id: str) -> bool:
    """Whether it authenticates by its certificate. Raises `Unknown`."""
    query = select(client.c.client_id, client.c.tls_client_auth).order_by(client.c.client_id)
    known = {row.client_id: bool(row.tls_client_auth) for row in work.connection.execute(query)}
    if id not in known:
        raise Unknown("partner-unknown", f"Registered partners: {', '.join(known) or 'none'}.")
    return known[id]


def _set_client(work: UnitOfWork, id: str, **values: Any) -> None:
    work.connection.execute(update(client).where(client.c.client_id == id).values(changed_at=work.now, **values))


def _set_key(work: UnitOfWork, id: str, kid: str, **values: Any) -> None:
    where = (client_key.c.client_id == id) & (client_key.c.kid == kid)
    work.connection.execute(update(client_key).where(where).values(**values))
