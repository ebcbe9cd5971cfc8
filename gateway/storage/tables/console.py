"""Sessions of the web console: who is signed in, as what, until when. The cookie's token is never stored.

Once somebody signed in, `pending` is the form that waits to be sent again, sealed under that token.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, String, Table, Text

from gateway.storage.tables._base import Blind, Instant, metadata

console_session = Table(
    "console_session",
    metadata,
    Column("token_h", Blind, primary_key=True, comment="keyed digest of the token in the cookie"),
    Column("agent", String(40), nullable=False, comment="pseudonym of the account; empty before it signed in"),
    Column("roles", String(80), nullable=False, comment="dpo, integration, operateur"),
    Column("csrf", String(64), nullable=False),
    Column("pending", Text, comment="the authorization request on its way: state, nonce, verifier, return path"),
    Column("created_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("authenticated_at", Instant, nullable=False, comment="when the account last proved who it is"),
    Column("expires_at", Instant, nullable=False),
    Column("id_token", Text, comment="what the provider gave; it names the session there when the account leaves"),
)
Index("ix_console_session_expires_at", console_session.c.expires_at)
