"""Tables of the authorization server: partners' clients, their keys, what was already used and what was revoked.

Times are epoch seconds here, as in the tokens they are compared with; instants shown to people are text.
"""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, CheckConstraint, Column, ForeignKey, Index, String, Table

from gateway.storage.tables._base import Blind, Instant, metadata

client = Table(
    "client",
    metadata,
    Column("client_id", String(64), primary_key=True),
    Column("body", String(64), nullable=False),
    Column("name", String(200), nullable=False),
    Column("connector", String(64), nullable=False),
    Column("role", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("purposes", JSON, nullable=False),
    # Names a certificate authenticates this client by (RFC 8705 §2.1.2): one member, or null for private_key_jwt.
    Column("tls_client_auth", JSON(none_as_null=True)),
    # Thumbprint (RFC 7638) of the only key its DPoP proofs may use; null leaves the choice to the client.
    Column("dpop_jkt", String(43)),
    # Access tokens issued before this second are refused: set when a key is withdrawn at once or the client suspended.
    Column("tokens_from", BigInteger, nullable=False, default=0),
    # When what it last asked a token with stops counting (a key that was replaced, a certificate); null: it does not.
    Column("credential_ends", BigInteger),
    Column("created_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    CheckConstraint("state in ('active', 'suspended')", name="ck_client_state"),
)

client_key = Table(
    "client_key",
    metadata,
    Column("client_id", String(64), ForeignKey("client.client_id"), primary_key=True),
    Column("kid", String(128), primary_key=True),
    Column("jwk", JSON, nullable=False),
    Column("thumbprint", String(43), nullable=False),
    Column("valid_from", BigInteger, nullable=False),
    # Last second at which it authenticates; null until the client rotates.
    Column("valid_until", BigInteger),
    Column("revoked_at", BigInteger),
)

seen_jti = Table(
    "seen_jti",
    metadata,
    # SHA-256 of kind, owner (client or key thumbprint) and jti: its uniqueness is the replay refusal.
    Column("digest", Blind, primary_key=True),
    Column("expires_at", BigInteger, nullable=False),
    Index(None, "expires_at"),
)

revoked_token = Table(
    "revoked_token",
    metadata,
    Column("jti", String(64), primary_key=True),
    Column("client_id", String(64), nullable=False),
    Column("revoked_at", BigInteger, nullable=False),
    # After this second the token is refused as expired anyway.
    Column("expires_at", BigInteger, nullable=False),
    Index(None, "expires_at"),
)
