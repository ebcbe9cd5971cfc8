"""Two servers over one folder, each with a gateway of its own, as two processes of one installation are."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack

import httpx
import pytest

from gateway.access import jose, live, partners
from gateway.access.client import PartnerAuth
from gateway.access.rates import Quota, Rates
from gateway.access.tokens import rotate_signing_key
from gateway.doors import access_of
from tests.api.house import PURPOSE, House, opened, problem

INBOX = "/v1/inbox"


@pytest.fixture
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with opened(tmp_path_factory.mktemp("two")) as house:
        yield house


@pytest.fixture
def other(house: House) -> Iterator[House]:
    with opened(house.home, house.keys, issuer=house.base) as other:
        yield other


class Behind(httpx.HTTPTransport):
    """The address of one server, behind which another answers, as behind a balancer."""

    def __init__(self, behind: House) -> None:
        super().__init__(trust_env=False)
        self.port = behind.address[1]
        self.sent: list[httpx.Headers] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request.headers)
        request.url = request.url.copy_with(port=self.port)
        return super().handle_request(request)


class Holding(PartnerAuth):
    """A partner that keeps the token it has, whatever it is answered."""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if not self._token:
            yield from self._fetch()
        yield self._signed(request)

    def revoke(self, house: House) -> None:
        told = {name: one for name, one in self.token_form().items() if name.startswith("client")}
        with house.anyone() as anyone:
            anyone.post("/oauth/revoke", data=told | {"token": self._token}).raise_for_status()


Through = Callable[..., tuple[httpx.Client, Behind, Holding]]


@pytest.fixture
def through() -> Iterator[Through]:
    """A partner that speaks to the address of a first server, and is answered by the second, behind it."""
    with ExitStack() as closing:

        def made(house: House, behind: House, body: str = "ccas") -> tuple[httpx.Client, Behind, Holding]:
            wire, auth = Behind(behind), Holding(house.base, body, house.keys[body], purpose=PURPOSE[body])
            client = httpx.Client(base_url=house.base, auth=auth, transport=wire, timeout=30)
            return closing.enter_context(client), wire, auth

        yield made


def until_refused(client: httpx.Client) -> httpx.Response:
    end = time.monotonic() + 60
    while (answer := client.get(INBOX)).status_code == 200:
        assert time.monotonic() < end
        time.sleep(0.05)
    return answer


def test_a_proof_serves_once_on_all_servers_and_after_a_restart(house: House, other: House, through: Through) -> None:
    client, wire, _ = through(house, house)
    assert client.get(INBOX).status_code == 200
    used = {name: wire.sent[-1][name] for name in ("host", "authorization", "dpop")}

    def again(one: House) -> None:
        answer = httpx.get(f"{one.base}{INBOX}", headers=used, trust_env=False)
        problem(answer, 401, "proof-replayed")

    again(house)
    again(other)
    with opened(house.home, house.keys, issuer=house.base) as restarted:
        again(restarted)


def test_a_revoked_token_is_refused_by_the_other_server_soon(
    house: House, other: House, through: Through, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within twice the age of what a server remembers: ten seconds, of the sixty promised."""
    assert 2 * live.MAX_AGE <= 60
    monkeypatch.setattr(live, "MAX_AGE", 0.2)
    client, _, auth = through(house, other)
    assert client.get(INBOX).status_code == 200
    auth.revoke(house)
    problem(until_refused(client), 401, "token-revoked")


def test_a_suspended_partner_is_refused_by_the_other_server_soon(
    house: House, other: House, through: Through, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MAX_AGE", 0.2)
    client, _, _ = through(house, other)
    assert client.get(INBOX).status_code == 200
    with house.gateway.unit_of_work() as work:
        partners.suspend(work, "ccas")
    assert until_refused(client).status_code == 401


def test_tokens_of_the_former_key_and_of_the_next_are_taken_by_both_servers(
    house: House, other: House, through: Through
) -> None:
    """A rotation under traffic: the server that rotated signs with the next key, which the other knows already."""
    before, _, former = through(house, other)
    assert before.get(INBOX).status_code == 200
    rotate_signing_key(house.gateway.keys)
    access_of(house.gateway).keys._load()
    after, wire, auth = through(house, house)
    assert after.get(INBOX).status_code == 200
    wire.port = other.address[1]
    assert after.get(INBOX).status_code == 200, "signed by the next key, shown to the server that did not look again"
    assert before.get(INBOX).status_code == 200, "signed by the former key"
    assert len({jose.parse(one).header["kid"] for one in (former._token, auth._token)}) == 2


def test_a_partner_that_asks_too_often_is_told_when_to_come_back_and_slows_nobody_else(
    house: House, through: Through
) -> None:
    access_of(house.gateway).rates = Rates(calls=Quota(3, 3600))
    hasty, calm = through(house, house)[0], through(house, house, "departement")[0]
    answers = [hasty.get(INBOX) for _ in range(5)]
    assert [one.status_code for one in answers] == [200, 200, 200, 429, 429]
    problem(answers[-1], 429, "rate-limit")
    assert 0 < int(answers[-1].headers["retry-after"]) <= 3600
    assert answers[-1].headers["ratelimit"].startswith('"calls";r=0;t=')
    assert calm.get(INBOX).status_code == 200
