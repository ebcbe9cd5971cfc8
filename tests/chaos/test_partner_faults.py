"""F-4 to F-8, F-13, F-14, F-18, F-19, F-23, F-26: what partners do to us, with their network, keys and backlog."""

from __future__ import annotations

import asyncio
import json
import os
import random
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import ECKey
from sqlalchemy import func, select
from starlette.applications import Starlette

from connectors.transport import Limits, Transport
from gateway import access, clock, outbox, verify, witness
from gateway.access import partners, tokens
from gateway.access.client import PartnerAuth, TokenRefused
from gateway.access.jose import parse
from gateway.app import build
from gateway.console import law_words
from gateway.demo.stage import Served
from gateway.journal_files import WITNESS_POLICY
from gateway.problems import Unavailable
from gateway.storage.tables.delivery import outbox as table
from gateway.storage.tables.record import exchange as exchange_table
from gateway.witness import Witness
from gateway.worker import Worker
from tests.chaos.conftest import SEED
from tests.dates import passed
from tests.faults import invariants
from tests.faults.house import RECIPIENTS, SENDER, House, declaration, free_port
from tests.faults.partner import Partner
from tests.faults.proxy import Fault, FaultProxy

Houses = Callable[..., House]


def behind(house: House, proxy: FaultProxy) -> None:
    """From now on the partner is reached through the proxy."""
    bodies = {one: values | {"url": proxy.url} for one, values in house.bodies.items()}
    house.gateway.settings.bodies = bodies
    house.gateway._connectors.clear()


def target(house: House) -> tuple[str, int]:
    assert house.served is not None
    return "127.0.0.1", int(house.served.url.rpartition(":")[2])


async def until_drained(house: House, worker: Worker, *, turns: int = 60) -> None:
    for _ in range(turns):
        await worker.drain()
        if not house.count(table, table.c.state.in_(("queued", "claimed"))):
            return
        await house.gateway.close_transports()  # its own circuit forgets
        house.due_now()
    raise AssertionError("the outbox did not drain")


async def test_f_4_a_partner_that_answers_errors_is_called_less_and_less(house: House) -> None:
    draw = random.Random(SEED)
    answers = [(500, {}), (502, {}), (503, {}), (408, {}), (429, {"retry-after": "30"})]
    house.partner.fault = lambda rank: draw.choice(answers)
    house.says([declaration(number) for number in range(40)])
    worker, start = Worker(house.gateway), clock.now()
    seconds = 0
    while seconds < 600:
        with passed(start + timedelta(seconds=seconds)):
            await worker.drain()
            await house.gateway.close_transports()
        seconds += draw.randint(15, 30)
    assert len(house.partner.calls) <= 600, "at most one request a second"
    attempts = house.gateway.unit_of_work()
    with attempts as work:
        most = work.connection.execute(select(func.max(table.c.attempts))).scalar_one()
    assert most < outbox.MAX_ATTEMPTS, "an outage of the partner kills no delivery"
    house.partner.fault = None
    with passed(start + timedelta(hours=2)):
        await until_drained(house, worker)
    invariants.all_hold(house)


async def test_f_5_an_answer_that_never_came_is_asked_again_under_the_same_key(house: House) -> None:
    with FaultProxy(target(house), lambda rank: Fault("close-after-request" if rank < 3 else "none")) as proxy:
        behind(house, proxy)
        house.says([declaration(number) for number in range(3)])
        await until_drained(house, Worker(house.gateway))
    assert len(house.partner.calls) > 3
    assert set(house.partner.effects.values()) == {1}
    invariants.all_hold(house)


async def test_f_6_a_partner_that_drips_holds_up_nobody_else(database: str, house_at: Houses) -> None:
    house = house_at(database, recipients=RECIPIENTS)
    with FaultProxy(target(house)) as proxy:
        proxy.fault = Fault("drip", seconds=0.2)
        house.gateway.settings.bodies["guichet"] |= {"url": proxy.url, "deadline": "1"}
        house.says([declaration(number) for number in range(12)])
        working = Worker(house.gateway)
        running = asyncio.create_task(working.run())
        for _ in range(1_200):
            await asyncio.sleep(0.05)
            if house.count(table, table.c.recipient == "guichet_b", table.c.state == "delivered") == 12:
                break
        else:
            raise AssertionError("the other recipient waited")
        assert house.count(table, table.c.recipient == "guichet", table.c.state == "delivered") == 0
        for _ in range(1_200):
            if house.count(table, table.c.reason == "deadline"):
                break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError("the deadline did not hold")
        proxy.fault = Fault()
        working.stopping.set()
        await running
        await house.gateway.close_transports()
        house.due_now()
        await until_drained(house, Worker(house.gateway))
    invariants.all_hold(house)


@pytest.mark.parametrize("name", ["reset", "half-close", "truncate", "corrupt"])
async def test_f_7_a_broken_answer_is_no_answer(database: str, house_at: Houses, name: Any) -> None:
    house = house_at(database, extra={"deadline": "1"})
    with FaultProxy(target(house), lambda rank: Fault(name, after=12) if rank < 4 else Fault()) as proxy:
        behind(house, proxy)
        house.says([declaration(number) for number in range(4)])
        await until_drained(house, Worker(house.gateway))
        assert proxy.seen[name]
    invariants.all_hold(house)


async def test_f_7_a_torn_document_imports_nothing(house: House) -> None:
    app = build(house.gateway, embedded_worker=False)
    async with app.router.lifespan_context(app), sender(house, app) as client:
        whole = json.dumps(declaration(1)).encode()
        for length in (1, len(whole) // 2, len(whole) - 1):
            answer = await post(client, whole[:length], f"torn-{length}")
            assert answer.status_code in (400, 422)
    assert house.count(exchange_table) == 0
    assert house.count(table) == 0


async def test_f_8_the_same_message_a_hundred_times_and_three_days_late(house: House) -> None:
    draw = random.Random(SEED)
    app = build(house.gateway, embedded_worker=False)
    sent = [number for number in range(4) for _ in range(25)]
    draw.shuffle(sent)
    async with app.router.lifespan_context(app), sender(house, app) as client:
        answers = await asyncio.gather(
            *(post(client, json.dumps(declaration(one)).encode(), f"k{one}") for one in sent)
        )
        assert {answer.status_code for answer in answers} == {200, 202}
        assert sum(answer.status_code == 202 for answer in answers) == 4
        assert len({answer.json()["id"] for answer in answers}) == 4
        await Worker(house.gateway).drain()
        with passed(clock.now() + timedelta(days=3)):
            house.gateway.publish_journal()
            async with sender(house, app) as later:
                late = await post(later, json.dumps(declaration(0)).encode(), "k0")
        first = next(answer for one, answer in zip(sent, answers, strict=True) if one == 0)
        assert (late.status_code, late.json()) == (200, first.json())
    with FaultProxy(target(house)) as proxy:
        proxy.fault = Fault("duplicate", copies=5)
        behind(house, proxy)
        house.says([declaration(9)])
        await Worker(house.gateway).drain()
    assert len(house.partner.calls) >= 10
    invariants.all_hold(house, accepted={answer.json()["id"] for answer in answers})


def sender(house: House, app: Any, key: ECKey | None = None) -> httpx.AsyncClient:
    auth = PartnerAuth(house.issuer, SENDER, key or house.key, purpose="instruction_rsa")
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=house.issuer, auth=auth, timeout=60)


async def post(client: httpx.AsyncClient, body: bytes, key: str) -> httpx.Response:
    headers = {
        "Maillon-Document": "guichet.declaration", "Idempotency-Key": key, "Content-Type": "application/json",
    }  # fmt: skip
    return await client.post("/v1/exchanges", content=body, headers=headers)


@pytest.mark.parametrize("fault", ["unknown-authority", "expired", "no-such-name"])
async def test_f_13_no_downgrade_when_the_partner_cannot_be_trusted(
    database: str, house_at: Houses, tmp_path: Path, fault: str
) -> None:
    house = house_at(database)
    port = free_port()
    certificate, key, authority = _certificate(tmp_path, expired=fault == "expired")
    server = uvicorn.Server(
        uvicorn.Config(house.partner, port=port, ssl_certfile=certificate, ssl_keyfile=key, log_level="critical")
    )
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 uvicorn has no event to wait for
        await asyncio.sleep(0.02)
    host = "nulle-part.invalid" if fault == "no-such-name" else "127.0.0.1"
    house.gateway.settings.bodies["guichet"]["url"] = f"https://{host}:{port}"
    if fault == "expired":  # its authority is known: only the date is wrong
        tls = ssl.create_default_context(cafile=str(authority))
        house.gateway.transports["guichet"] = Transport(
            "guichet", [f"https://127.0.0.1:{port}"], networks=["127.0.0.0/8"], tls=tls, limits=Limits(attempts=1)
        )
    house.says([declaration(1)])
    await Worker(house.gateway).drain()
    server.should_exit = True
    await serving
    assert not house.partner.calls
    (row,) = _rows(house)
    assert row.state == "queued"
    assert row.reason == ("host-not-found" if fault == "no-such-name" else "certificate-refused")


def _certificate(folder: Path, *, expired: bool) -> tuple[Path, Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    end = now - timedelta(days=1) if expired else now + timedelta(days=1)
    import ipaddress

    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return *paths, paths[0]


def _rows(house: House, *where: Any) -> list[Any]:
    with house.gateway.engine.connect().execution_options(read_only=True) as connection:
        return list(connection.execute(select(table).where(*where)))


async def test_f_14_keys_change_under_load_without_one_error(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The partner's keys and the gateway's move under a traffic of new and old tokens, on two machines that look at
    the key files at their own moments."""
    monkeypatch.setattr(tokens, "RELOAD_AFTER", 0.3)
    other = House(house.home, house.database_url, key=house.key, port=house.port)
    apps = [build(one.gateway, embedded_worker=False) for one in (house, other)]
    new, over = ECKey.generate_key("P-256", auto_kid=True), asyncio.Event()
    keys, statuses, signed_with = [house.key], [], set()

    async def traffic(rank: int) -> None:
        number = rank * 1_000
        while not over.is_set():
            number += 1
            async with sender(house, apps[rank % 2], keys[number % len(keys)]) as first:
                statuses.append((await post(first, json.dumps(declaration(number)).encode(), f"k{number}")).status_code)
            signed_with.add(parse(first.auth._token).header["kid"])
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(apps[(rank + 1) % 2]), base_url=house.issuer, auth=first.auth
            ) as again:  # the token of one machine at the other
                statuses.append((await post(again, json.dumps(declaration(number)).encode(), f"k{number}")).status_code)

    async with apps[0].router.lifespan_context(apps[0]), apps[1].router.lifespan_context(apps[1]):
        running = [asyncio.create_task(traffic(rank)) for rank in range(4)]
        await asyncio.sleep(0.5)
        with house.gateway.unit_of_work() as work:
            partners.rotate(work, SENDER, {"keys": [new.as_dict(private=False)]})
        keys.append(new)
        access.rotate_signing_key(house.gateway.keys)
        for _ in range(2_400):
            await asyncio.sleep(0.05)
            if len(signed_with) == 2 and len(statuses) > 60:
                break
        over.set()
        await asyncio.gather(*running)
        assert len(signed_with) == 2, "the new signing key was never used"
        assert set(statuses) == {200, 202}
        with passed(clock.now() + timedelta(days=2)):
            house.gateway.publish_journal()
            async with sender(house, apps[0], new) as late:
                assert (await post(late, json.dumps(declaration(9_000)).encode(), "new")).status_code == 202
            async with sender(house, apps[0], house.key) as late:
                with pytest.raises(TokenRefused):
                    await post(late, json.dumps(declaration(9_001)).encode(), "old")
    other.close()
    await until_drained(house, Worker(house.gateway))
    invariants.all_hold(house)


async def test_f_23_without_its_witness_the_gateway_goes_on_for_a_day_then_refuses(house: House) -> None:
    log = Witness(house.gateway.engine, "dpo.example/temoin", Ed25519PrivateKey.generate(), _own_vkeys(house))
    standing = Served(Starlette(routes=witness.routes(log)))
    standing.start()
    (house.home / WITNESS_POLICY).write_text(f"witness dpo {log.vkey} {standing.url}\nquorum dpo\n")
    start, app, settings = clock.now(), build(house.gateway, embedded_worker=False), house.gateway.settings

    async def cosigned() -> bool:
        house.gateway.publish_journal()
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            policy = verify.Policy.parse(witness.policy_text(settings))
            return await witness.Collector(house.gateway.engine, settings, policy, client).collect()

    async def told(hours: float, number: int) -> tuple[bool, int]:
        """Whether the witness cosigned, and what a sender is answered, so many hours later."""
        with passed(start + timedelta(hours=hours)):
            told_so = await cosigned()
            async with sender(house, app) as partner:
                answer = await post(partner, json.dumps(declaration(number)).encode(), f"k{number}")
            if answer.status_code == 503:
                with pytest.raises(Unavailable, match="audit-unavailable"):
                    house.says([declaration(99)])  # by another door, a file
                assert await Worker(house.gateway).drain() == 0, "nothing leaves either"
        return told_so, answer.status_code

    async with app.router.lifespan_context(app):
        assert await told(0, 1) == (True, 202)
        standing.stop()
        assert await told(1, 2) == (False, 202)
        assert await told(25, 3) == (False, 503)
        standing = Served(Starlette(routes=witness.routes(log)), port=int(standing.url.rpartition(":")[2]))
        standing.start()
        assert await told(26, 3) == (True, 202)
    with passed(start + timedelta(hours=27)):
        assert await cosigned()
        standing.stop()
        await until_drained(house, Worker(house.gateway))
        invariants.all_hold(house)


def _own_vkeys(house: House) -> list[str]:
    house.gateway.publish_journal()
    return (house.gateway.journal_folder / "vkey").read_text().split()


@pytest.mark.parametrize("where", ["ours", "theirs"])
async def test_f_18_a_poisonous_message_ends_apart_and_the_others_flow(house: House, where: str) -> None:
    if where == "ours":
        house.says([declaration(0, name="POISON")])
    else:
        house.says([declaration(0)])
        (poison,) = _rows(house)
        house.partner.fault = lambda rank: (500, {}) if house.partner.calls[rank][1] == poison.id else None
    house.says([declaration(number) for number in range(1, 21)])
    worker = Worker(house.gateway)
    await worker.drain()
    assert len(house.partner.effects) == 20, "the others did not wait"
    for _ in range(outbox.MAX_ATTEMPTS + 2):
        house.due_now()
        await house.gateway.close_transports()
        await worker.drain()
    (dead,) = _rows(house, table.c.state == "dead")
    assert dead.reason.startswith("attempts-exhausted:")
    assert law_words.reason(house.gateway.policy.table, dead.reason).startswith("Trop d'essais")
    invariants.all_hold(house, dead=1)


@pytest.mark.parametrize(("persons", "copies"), [(60, 9), pytest.param(2_000, 50, marks=pytest.mark.chaos)])
async def test_f_19_a_backlog_drains_for_all_and_claims_little_at_a_time(
    database: str, house_at: Houses, monkeypatch: pytest.MonkeyPatch, persons: int, copies: int
) -> None:
    """The long one: more than 100 000 deliveries wait when the partner comes back, each person's mixed with the others'
    as days of traffic mix them."""
    house = house_at(database, recipients=RECIPIENTS)
    for first in range(0, persons, 200):
        house.says([declaration(number) for number in range(first, min(persons, first + 200))])
    promised = _rows(house, table.c.recipient == "guichet")
    with house.gateway.unit_of_work() as work:
        for _ in range(copies):
            for one in promised:
                work.add(table, **one._asdict() | {"id": clock.new_id(), "next_at": work.now})
    biggest, before = 0, invariants.measured(os.getpid())[0]
    claim = outbox.claim

    def measured(*arguments: Any, **options: Any) -> Any:
        nonlocal biggest
        found = claim(*arguments, **options)
        biggest = max(biggest, len(found))
        return found

    monkeypatch.setattr(outbox, "claim", measured)
    await Worker(house.gateway).drain()
    with house.gateway.engine.connect().execution_options(read_only=True) as connection:
        query = select(table.c.recipient, func.max(table.c.settled_at)).group_by(table.c.recipient)
        ends = dict(connection.execute(query).all())
    assert ends["guichet_b"] < ends["guichet"], "the small queue did not wait for the large one"
    assert biggest <= 128
    assert invariants.measured(os.getpid())[0] - before < 400_000_000, "what the partner of the test keeps included"
    invariants.drained(house)
    invariants.one_effect_each(house)


async def test_f_26_three_tiers_that_retry_do_not_multiply(house: House) -> None:
    """The sender retries three times, so does our transport, and the outbox too: the last tier sees few more calls."""
    draw = random.Random(SEED)
    house.partner.fault = lambda rank: (503, {}) if draw.random() < 0.3 else None
    app = build(house.gateway, embedded_worker=False)
    async with app.router.lifespan_context(app), sender(house, app) as client:
        for number in range(60):
            for _ in range(3):  # the first tier never trusts one answer
                await post(client, json.dumps(declaration(number)).encode(), f"k{number}")
    house.gateway.transports["guichet"] = Transport(
        "guichet", [house.partner_url], networks=["127.0.0.0/8"], limits=Limits(attempts=1)
    )
    await Worker(house.gateway).drain()
    first_hour = len(house.partner.calls)
    assert first_hour <= 1.5 * 60
    house.partner.fault = None
    house.gateway.transports.clear()
    house.due_now()
    await until_drained(house, Worker(house.gateway))
    assert len(house.partner.calls) <= 1.5 * 60
    invariants.all_hold(house)


def test_the_partner_itself_counts_right() -> None:
    """A torn or doubled sheet at the partner would hide every loss: its own counting is tested."""
    partner = Partner()
    body = json.dumps({"reference": "r", "fiche": {}}).encode()
    for _ in range(3):
        asyncio.run(partner._answer("k", body))
    assert partner.effects == {"k": 1}
    with pytest.raises(ValueError):
        asyncio.run(partner._answer("x", body[:-3]))
    assert "x" not in partner.effects
