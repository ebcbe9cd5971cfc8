"""The journal, for partners' data protection officers: published files, and the witness this gateway is to others."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from gateway import witness
from gateway.access import authenticate
from gateway.doors import access_of, conditional, read_body
from gateway.journal_files import published_file
from gateway.problems import Forbidden, Unknown
from gateway.registry import Gateway

FOLLOWED = "witness.logs"
"""In the home folder: verifier keys of the logs this gateway witnesses, one a line; without it, it witnesses none."""
_FOREVER = "private, max-age=31536000, immutable"
_SHORT = "public, max-age=5"


def routes(gateway: Gateway) -> list[Route]:
    """Journal files (C2SP tlog-tiles) and add-checkpoint (C2SP tlog-witness)."""
    doors = _Doors(gateway)
    return [
        Route("/v1/journal/checkpoint", doors.checkpoint, methods=["GET"]),
        Route("/v1/journal/vkey", doors.checkpoint, methods=["GET"]),
        Route("/v1/journal/tile/{tile:path}", doors.tile, methods=["GET"]),
        Route("/v1/journal/witness", doors.add_checkpoint, methods=["POST"]),
        Route("/v1/journal/witness/add-checkpoint", doors.add_checkpoint, methods=["POST"]),
        Route("/v1/journal/{log}/checkpoint", doors.checkpoint, methods=["GET"]),
        Route("/v1/journal/{log}/tile/{tile:path}", doors.tile, methods=["GET"]),
    ]


class _Doors:
    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._witness: witness.Witness | None = None

    async def checkpoint(self, http: HttpRequest) -> Response:
        """Public: a signed size and root say nothing of anybody, and whoever keeps one can prove a rewriting."""
        return await self._file(http, _SHORT, "text/plain; charset=utf-8")

    async def tile(self, http: HttpRequest) -> Response:
        """Hashes, for those whose token has the scope `journal`; content-free entries, for a data protection officer.

        Whoever took part in an exchange knows its id and how it calls the person: the entries of that id tell it who
        else follows her, what each got, and why one did not.
        """
        caller = await authenticate(http, scope="journal", purpose=False)
        if caller.role != "dpo" and http.path_params["tile"].startswith("entries/"):
            raise Forbidden("role", "Only a data protection officer reads the entries; hashes are open to you.")
        return await self._file(http, _FOREVER, "application/octet-stream")

    async def _file(self, http: HttpRequest, cache: str, media: str) -> Response:
        path = http.url.path.removeprefix("/v1/journal/")
        found = await run_in_threadpool(published_file, self.gateway.settings, path)
        if found is None:
            raise Unknown(
                "journal-file-unknown", "Nothing of this name is published: a checkpoint says which tiles are."
            )
        content = await run_in_threadpool(found.read_bytes)
        return conditional(http, Response(content, media_type=media, headers={"Cache-Control": cache}))

    async def add_checkpoint(self, http: HttpRequest) -> Response:
        """Cosign a followed log's checkpoint. The log's own signature is its proof; answers are those of C2SP."""
        access = access_of(self.gateway)
        access.rates.require("token-address", access.trust.peer(http.scope))
        body = await read_body(http, witness.MAX_BODY)
        return (await run_in_threadpool(self._add, body)).over_http()

    def _add(self, body: bytes) -> witness.Answer:
        followed = self.gateway.settings.home / FOLLOWED
        if not followed.is_file():
            raise Unknown("witness-absent", "This gateway witnesses no log.")
        if self._witness is None:
            lines = [line.strip() for line in followed.read_text("utf-8").splitlines() if line.strip()]
            name = witness.name_of(self.gateway.settings)
            key = self.gateway.keys.ed25519("witness")
            # What it cosigned is kept in the shared database: every process must refuse the same fork.
            self._witness = witness.Witness(self.gateway.engine, name, key, lines)
        return self._witness.add(body)
