"""At each call: who is calling, with which proof, for which purposes still allowed now.

A token's signature is checked once and remembered by its digest until it expires; its times, its revocation, its
client's state and its purposes are looked at on every call, and every call proves possession of the key again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import HTTPConnection

from gateway.access import dpop, mtls, tokens
from gateway.access.details import TYPE
from gateway.access.jose import PROOF_ALGORITHMS, Refused
from gateway.access.live import Granted, Live, View
from gateway.access.rates import Rates
from gateway.access.replay import ReplayMemory, Used, record
from gateway.problems import CallerProblem, Forbidden, Unauthenticated, Unavailable
from gateway.unit_of_work import UnitOfWork

_RECORDED = "proofs"
REMEMBERED = 20_000
"""Verified tokens kept in memory, oldest use forgotten first."""

SENTENCES = (
    dpop.SENTENCES
    | mtls.SENTENCES
    | {
        "token-missing": "Send an access token: Authorization: DPoP <token>, with a DPoP proof.",
        "token-expired": "The access token has expired; ask for another.",
        "bound-token-as-bearer": "The token is bound to a key: send it as DPoP, with a proof, not as Bearer.",
    }
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, once every proof was checked. `purposes` are those granted and still allowed at this moment."""

    body: str
    client_id: str
    role: str
    purposes: frozenset[str]
    scopes: frozenset[str]
    jkt: str | None
    details: tuple[dict[str, Any], ...] = ()
    """What the token grants of those purposes, for what is being done (RFC 9396)."""
    registered: frozenset[str] | None = None
    """Purposes that this client was registered for; None for all those of its body's conventions."""
    token: str = ""
    """The token's `jti`."""
    proof: Used | None = field(default=None, repr=False)
    """The proof's single use, when it is still to be recorded in the call's own transaction (`burn`)."""


def burn(work: UnitOfWork, caller: Caller) -> None:
    """Record the proof of a caller admitted with `later=True`, in the transaction of what it does.

    Raises `Unauthenticated("proof-replayed")`; the transaction must then be abandoned.
    """
    if caller.proof is None:
        return
    recorded: dict[bytes, bool] = work.scratch.setdefault(_RECORDED, {})
    if caller.proof.digest not in recorded:
        foresee(work, [caller])
    if not recorded.pop(caller.proof.digest):
        raise Unauthenticated("proof-replayed", SENTENCES["proof-replayed"])


def foresee(work: UnitOfWork, callers: Sequence[Caller]) -> list[bool]:
    """Record together the proofs of callers who share this transaction: whether each may go on. `burn` then tells each
    of its own, once."""
    proofs = [one.proof for one in callers if one.proof is not None]
    fresh = record(work.connection, proofs)
    work.scratch.setdefault(_RECORDED, {}).update({proof.digest: proof.digest in fresh for proof in proofs})
    return [one.proof is None or one.proof.digest in fresh for one in callers]


class Resource:
    """Checks the callers of one gateway's resources."""

    def __init__(
        self,
        issuer: str,
        keys: tokens.TokenKeys,
        replay: ReplayMemory,
        live: Live,
        nonces: dpop.Nonces | None,
        trust: mtls.ProxyTrust,
        rates: Rates,
        on_refusal: Callable[..., None],
    ) -> None:
        self.issuer, self.keys, self.replay, self.live, self.nonces = issuer, keys, replay, live, nonces
        self.trust, self.rates, self.on_refusal = trust, rates, on_refusal
        self.origin, self.https = _origin(issuer), issuer.startswith("https:")
        self._generation = 0
        self._verified: OrderedDict[bytes, tokens.AccessToken] = OrderedDict()

    async def admit(self, request: HTTPConnection, scope: str, purpose: bool, later: bool, action: str) -> Caller:
        seen: list[str | None] = [None]
        refusal: CallerProblem
        try:
            return await self._admit(request, scope, purpose, later, action, seen)
        except SQLAlchemyError as error:
            raise Unavailable("replay-memory-unavailable", "Uses cannot be recorded; send it again later.") from error
        except Refused as refused:
            reason, refusal = refused.reason, self._refusal(refused.reason)
        except CallerProblem as problem:
            reason, refusal = problem.code, problem
        peer = self.trust.peer(request.scope)
        # One address may fill the journal up to a point; beyond, one entry a minute says that it went on.
        if self.rates.exceeded("refused-address", peer):
            if not self.rates.first_excess("refused-address", peer):
                raise self.rates.too_many("refused-address", peer)
            reason = "address-rate"
        await asyncio.to_thread(
            self.on_refusal, "resource.refused", reason=reason, client_id=seen[0], instance=request.state.instance
        )
        raise refusal

    async def _admit(
        self,
        request: HTTPConnection,
        scope: str,
        purpose: bool,
        later: bool,
        action: str,
        seen: list[str | None],
    ) -> Caller:
        if self.https:
            self.trust.require_tls(request.scope)
        raw, proofs = _credentials(request)
        scheme, _, text = raw.partition(b" ")
        text = text.strip()
        digest = hashlib.sha256(text).digest()
        token = self._token(digest, text)
        token.check_times()
        view = await self.live.view()
        purposes, details = _granted(view, token, action)
        if not purposes:  # this client, or what was agreed with it, may be newer than what was read
            view = await self.live.view(token.issued_at + 1)  # issued in that second
            purposes, details = _granted(view, token, action)
        client = view.clients.get(token.client_id)
        if client is None or not client.active or token.jti in view.revoked or token.issued_at < client.tokens_from:
            raise Refused("token-revoked")
        seen[0] = client.client_id
        proof = self._possession(request, scheme.lower(), token, proofs)
        if proof is not None and not await self._first_use(proof, later):
            raise Refused("proof-replayed")
        self._authorised(token, purposes, scope, purpose)
        return Caller(
            client.body, client.client_id, client.role, purposes, token.scopes, token.jkt, details, client.purposes,
            token.jti, proof if later else None,
        )  # fmt: skip

    async def _first_use(self, proof: Used, later: bool) -> bool:
        return self.replay.first_here(proof) and (later or await self.replay.burn_soon(proof))

    def _token(self, digest: bytes, text: bytes) -> tokens.AccessToken:
        if self._generation != self.keys.generation():
            self._generation = self.keys.generation()
            self._verified.clear()
        token = self._verified.get(digest)
        if token is None:
            token = tokens.read(self.keys, self.issuer, text)
            self._verified[digest] = token
            if len(self._verified) > REMEMBERED:
                self._verified.popitem(last=False)
        else:
            self._verified.move_to_end(digest)
        return token

    def _possession(
        self, request: HTTPConnection, scheme: bytes, token: tokens.AccessToken, proofs: list[bytes]
    ) -> Used | None:
        if token.jkt is None:
            found = mtls.certificate(request.scope, self.trust)
            if scheme != b"bearer" or found is None or mtls.thumbprint(found) != token.certificate:
                raise Refused("certificate-differs")
            return None
        if scheme != b"dpop":
            raise Refused("bound-token-as-bearer")
        if len(proofs) != 1:
            raise Refused("proof-repeated" if proofs else "proof-missing")
        path = request.scope.get("raw_path") or request.scope["path"].encode()
        url = dpop.normal_url(self.origin + path.decode("ascii", "replace"))
        proof = dpop.check(proofs[0], request.scope["method"], url, ath=token.ath, nonces=self.nonces)
        if proof.jkt != token.jkt:
            raise Refused("proof-other-key")
        return proof.use

    def _authorised(self, token: tokens.AccessToken, purposes: frozenset[str], scope: str, purpose: bool) -> None:
        if scope not in token.scopes:
            header = self._challenge("insufficient_scope", f', scope="{scope}"')
            raise Forbidden("insufficient-scope", "The token's scopes do not open this.", headers=header)
        if not purpose:
            return
        if not token.details:
            raise Forbidden("purpose-required", "Ask for a token with authorization_details that name a purpose.")
        if not purposes:
            raise Forbidden("purpose-not-allowed", "Nothing in force allows this caller this purpose, or this action.")

    def _refusal(self, reason: str) -> CallerProblem:
        if reason in ("plain-http", "proxy-silent"):
            return CallerProblem("https-required", SENTENCES[reason])
        if reason == "several-authorizations":
            return CallerProblem("invalid-request", "Send exactly one Authorization header, and no token elsewhere.")
        detail = SENTENCES.get(reason, "The access token or its proof is not valid.")
        if reason == "token-missing":
            return Unauthenticated("token-missing", detail, headers=self._challenge(None))
        error = "invalid_dpop_proof" if reason.startswith("proof-") else "invalid_token"
        headers = self._challenge("use_dpop_nonce" if reason == "use-dpop-nonce" else error)
        if self.nonces is not None:
            headers["DPoP-Nonce"] = self.nonces.give()
        return Unauthenticated(reason, detail, headers=headers)

    def _challenge(self, error: str | None, extra: str = "") -> dict[str, str]:
        named = f'error="{error}", ' if error else ""
        metadata = f"{self.issuer.rstrip('/')}/.well-known/oauth-protected-resource"
        algs = " ".join(PROOF_ALGORITHMS)
        return {"WWW-Authenticate": f'DPoP {named}algs="{algs}", resource_metadata="{metadata}"{extra}'}


def _origin(issuer: str) -> str:
    scheme, _, rest = dpop.normal_url(issuer).partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def _credentials(request: HTTPConnection) -> tuple[bytes, list[bytes]]:
    """The Authorization header and the DPoP headers. Raises `Refused`."""
    authorizations, proofs = [], []
    for name, value in request.scope["headers"]:
        if name == b"authorization":
            authorizations.append(value)
        elif name == b"dpop":
            proofs.append(value)
    if len(authorizations) > 1 or b"access_token=" in request.scope.get("query_string", b""):
        raise Refused("several-authorizations")
    if not authorizations or authorizations[0].partition(b" ")[0].lower() not in (b"dpop", b"bearer"):
        raise Refused("token-missing")
    return authorizations[0], proofs


def _granted(view: View, token: tokens.AccessToken, action: str) -> Granted:
    """The purposes still allowed to a token, and its details that open this action; one without `actions` opens all."""
    found = view.granted.get((token.jti, action))
    if found is None:
        client = view.clients.get(token.client_id)
        allowed = view.allowed.get(client.body, ()) if client else ()
        details = tuple(
            one
            for one in token.details
            if one.get("type") == TYPE
            and one.get("purpose") in allowed
            and (client is None or client.purposes is None or one["purpose"] in client.purposes)
            and action in one.get("actions", (action,))
        )
        found = view.granted[token.jti, action] = frozenset(str(one["purpose"]) for one in details), details
    return found
