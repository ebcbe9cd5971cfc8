"""Any address, question or form of the console, asked by any role: an answer it documents, never a defect.

A house apart is walked through first as its users do, each form sent once as it is meant: what is bent then holds real
references, of all roles. Short and always the same in the suite; `make chaos` draws thousands from its seed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
import pytest
from hypothesis import strategies as st
from lxml import html

from gateway.console import places
from gateway.console.provider import ACCOUNTS
from tests.api.house import House, opened
from tests.hostile.test_fuzz_forms import BODIES, FORM, MEDIA
from tests.hostile.test_fuzz_parsers import drawn

LONG = pytest.param(1_000, marks=pytest.mark.chaos)
CANARY, NAME = "CANARI<b>'\"", "CANARINOMDECONSOLE"
"""What a hostile account types, and what a person is called."""
ANSWERS = {200, 303, 400, 403, 404, 409, 413, 422}
"""What a page of the console may answer; 431 and 501 are the frame's."""
LEFT = ("/console/sortie", "/console/connexion", "/console/preuve", "/console/retour", "/console/provider")
"""Doors in and out: asked without a session, or they would end the one that asks."""
ID = re.compile(r"(?<=[/=])(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{40})(?=$|[/&?])")
PLAUSIBLE = {"email": "agent@departement.example", "date": "2026-11-02", "number": "3", "tel": "0558000000"}
REASON = "Demande reçue par courrier, pièce jointe au dossier."


def documented(answer: httpx.Response) -> bool:
    """503 is said of one thing: what was written a second ago is not in the published journal yet."""
    return answer.status_code in ANSWERS or (answer.status_code == 503 and "not-yet-published" in answer.text)


@dataclass
class Sent:
    """A form of a page: where it goes, and what each of its fields takes."""

    action: str
    fields: dict[str, str]
    upload: bool = False


@dataclass
class Seen:
    """What a role was shown."""

    addresses: dict[str, None] = field(default_factory=dict)
    forms: dict[str, Sent] = field(default_factory=dict)

    def read(self, page: str) -> None:
        tree = html.document_fromstring(page)
        for link in tree.xpath("//a/@href"):
            if link.startswith("/console/") and not link.startswith(LEFT):
                self.addresses.setdefault(link)
        for one in tree.forms:
            if one.action and one.action.startswith("/console/") and not one.action.startswith(LEFT):
                if one.method == "POST":
                    upload = bool(one.xpath(".//input[@type='file']"))
                    self.forms.setdefault(one.action, Sent(one.action, _meant(one), upload))
                else:
                    self.addresses.setdefault(f"{one.action}?{urlencode(_meant(one))}")


def _meant(form: Any) -> dict[str, str]:
    """What somebody would fill this form with."""
    told = {}
    for one in form.inputs:
        if not one.name or one.name == "jeton":
            continue
        if one.tag == "select":
            told[one.name] = next((option for option in one.value_options if option), "")
        elif one.tag == "textarea":
            told[one.name] = one.text or REASON
        elif one.type != "file":
            told[one.name] = one.get("value") or PLAUSIBLE.get(one.type, REASON)
    return told


@dataclass
class Walked:
    """A house whose console was walked through, and a signed-in client for each account."""

    house: House
    clients: dict[str, httpx.Client]
    seen: dict[str, Seen]
    tokens: dict[str, str] = field(default_factory=dict)
    """What each session's forms must carry."""

    def enter(self, account: str) -> None:
        client = self.clients.setdefault(account, httpx.Client(base_url=self.house.base, timeout=30, trust_env=False))
        page = client.get(f"/console/connexion?comme={account}", follow_redirects=True).raise_for_status().text
        self.tokens[account] = page.partition('name="jeton" value="')[2].partition('"')[0]

    def send(self, account: str, one: Sent, fields: dict[str, str]) -> httpx.Response:
        given = {"jeton": self.tokens[account]} | fields
        client = self.clients[account]
        if one.upload:
            file = {
                "fichier": ("f.csv", f"Nom;Prénom;Date de naissance\n{NAME};Rose;1970-01-02\n".encode(), "text/csv")
            }
            return client.post(one.action, data=given, files=file)
        return client.post(one.action, data=given)

    def walk(self, account: str, most: int) -> None:
        """Open every page within reach, and send each kind of form once."""
        seen, done, kinds = self.seen.setdefault(account, Seen()), set(), set()
        for place in places():
            if place.method == "GET" and "{" not in place.path:
                seen.addresses.setdefault(place.path)
        for _ in range(2):
            while todo := [one for one in seen.addresses if ID.sub("", one) not in done][:most]:
                for address in todo:
                    done.add(ID.sub("", address))
                    answer = self.clients[account].get(address, follow_redirects=False)
                    assert documented(answer), (address, answer.status_code)
                    if answer.status_code == 200 and "html" in answer.headers["content-type"]:
                        seen.read(answer.text)
            for one in list(seen.forms.values()):
                if (kind := ID.sub("", one.action)) not in kinds:
                    kinds.add(kind)
                    answer = self.send(account, one, one.fields)
                    assert documented(answer), (one.action, answer.status_code)
                    if answer.status_code == 303:
                        seen.addresses.setdefault(answer.headers["location"].partition("?")[0])
                    elif answer.status_code in (200, 422) and "html" in answer.headers["content-type"]:
                        seen.read(answer.text)


def fed(house: House) -> None:
    """Two persons who may be one, a code nobody knows, two bodies that disagree."""
    one = {
        "birthName": f"{NAME} <b>O'",
        "firstName": "Rose",
        "birthDate": "1971-02-03",
        "socialSecurityNumber": "2710240999901",
    }
    for body, more in (
        ("ccas", {"fileNumber": "C1", "accomodationMode": "Palais"}),
        ("ccas", {"fileNumber": "C1", "accomodationMode": "SocialRenting"}),
        ("ccas_voisin", {"fileNumber": "V1", "accomodationMode": "Homeless", "city": "Dax"}),
        ("ccas_voisin", {"fileNumber": "V2", "socialSecurityNumber": ""}),
    ):
        sent = {name: value for name, value in (one | more).items() if value}
        assert house.send(body, "ccas.suivi", sent).status_code in (202, 422)


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walked]:
    with opened(tmp_path_factory.mktemp("console")) as house:
        fed(house)
        walked = Walked(house, {}, {})
        for account in ACCOUNTS:
            walked.enter(account)
            if account != "dpo_adjoint":  # her pages are those of the other
                walked.walk(account, 40)
        yield walked
        for client in walked.clients.values():
            client.close()


VALUES = (
    st.sampled_from([
        "", " ", CANARY, "\x00", "a\r\nSet-Cookie: x=1", "\u202e", "\ud83c", "é" * 1_000, "9" * 400, "-1", "1e999",
        "0000-00-00", "2024-02-30", "9999-12-31", "../../etc/passwd", "%2e%2e", "//mal.example", "/console/\\mal",
        "javascript:alert(1)", "{{7*7}}", "'; DROP TABLE person; --", "true", "[]", "\u0661\u0662", "caf", "appliquer",
    ])
    | st.text(max_size=20)
)  # fmt: skip
NAMES = st.sampled_from([
    "apres", "vue", "jours", "document", "code", "chemin", "exemple", "vers", "version", "fait", "n", "direct", "suite",
    "comme", "finalite", "organisme", "certitude", "motif", "jeton", "retour", "action", "fichier", "issue",
])  # fmt: skip
PAIRS = st.lists(st.tuples(NAMES, VALUES), max_size=4)


def encoded(pairs: list[tuple[str, str]]) -> str:
    return urlencode([(name, value.encode("utf-8", "surrogatepass")) for name, value in pairs])


def sound(answer: httpx.Response, asked: str) -> None:
    """An answer of the contract: a known status, nothing of a person in a refusal, nothing typed left unescaped."""
    assert documented(answer), (asked, answer.status_code)
    if answer.headers.get("content-type", "").startswith("text/html"):
        assert CANARY not in answer.text, asked
        assert "<b>" not in answer.text, asked
    if answer.status_code >= 400:
        assert NAME not in answer.text, asked
        assert answer.status_code == 422 or "CANARI" not in answer.text, asked
    if answer.status_code == 303:
        where = answer.headers["location"]
        assert where.startswith("/console/"), (asked, where)
        assert not where.startswith("/console/\\"), (asked, where)
        assert "//" not in urlsplit(where).path, (asked, where)
    assert "set-cookie" not in answer.headers, asked


@pytest.mark.parametrize("count", [100, LONG])
def test_fuzz_console_address(walked: Walked, count: int) -> None:
    """Each address of one role asked by each other, its references exchanged for others, its questions bent."""
    addresses = sorted({one for seen in walked.seen.values() for one in seen.addresses})
    ids = sorted({one for address in addresses for one in ID.findall(address)})
    assert len(ids) > 5
    assert len(addresses) > 40

    def ask(account: str, address: str, other: str, bent: bool, pairs: list[tuple[str, str]]) -> None:
        path, _, query = address.partition("?")
        path = ID.sub(quote(other.encode("utf-8", "surrogatepass"), safe=""), path, count=1) if bent else path
        asked = f"{path}?{'&'.join(filter(None, [query, encoded(pairs)]))}"
        answer = walked.clients[account].get(asked)
        if answer.headers.get("location", "").startswith("/console/preuve"):
            walked.enter(account)
        sound(answer, asked)

    drawn(
        count, ask, account=st.sampled_from(sorted(ACCOUNTS)), address=st.sampled_from(addresses),
        other=st.sampled_from(ids) | VALUES, bent=st.booleans(), pairs=PAIRS,
    )  # fmt: skip


@pytest.mark.parametrize("count", [100, LONG])
def test_fuzz_console_form_of_a_page(walked: Walked, count: int) -> None:
    """Each form of one role sent by each other, its own fields missing, twice, bent, oversize or of another type."""
    forms = [one for seen in walked.seen.values() for one in seen.forms.values()]
    ids = sorted({one for sent in forms for one in ID.findall(sent.action)})
    assert len({ID.sub("", one.action) for one in forms}) > 8

    def send(
        account: str, one: Sent, other: str, keep: int, bent: list[tuple[int, str]], more: list[tuple[str, str]],
        parted: bool, ours: bool, raw: tuple[bytes, str] | None,
    ) -> None:  # fmt: skip
        action = ID.sub(other, one.action, count=1) if other else one.action
        fields = [(name, value) for rank, (name, value) in enumerate(one.fields.items()) if keep >> rank & 1 == 0]
        for rank, value in bent:
            if one.fields:
                name = list(one.fields)[rank % len(one.fields)]
                fields.append((name, value))
        fields += [("jeton", walked.tokens[account])] * ours + [pair for pair in more if pair[0] != "jeton" or not ours]
        if raw:
            content, media = raw[0], raw[1] or "x"
        elif parted:
            body = b"".join(
                b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
                % (name.encode(), b"; filename=f" * (name == "fichier"), value.encode("utf-8", "surrogatepass"))
                for name, value in fields
            )
            content, media = body + b"--x--\r\n", "multipart/form-data; boundary=x"
        else:
            content, media = encoded(fields).encode(), FORM
        answer = walked.clients[account].post(action, content=content, headers={"Content-Type": media})
        if answer.headers.get("location", "").startswith("/console/preuve"):
            walked.enter(account)
        sound(answer, action)

    drawn(
        count, send, account=st.sampled_from(sorted(ACCOUNTS)), one=st.sampled_from(forms),
        other=st.just("") | st.sampled_from(ids or [""]), keep=st.integers(0, 63),
        bent=st.lists(st.tuples(st.integers(0, 9), VALUES), max_size=3), more=PAIRS, parted=st.booleans(),
        ours=st.booleans() | st.just(True), raw=st.none() | st.none() | st.tuples(BODIES, MEDIA),
    )  # fmt: skip


@pytest.mark.parametrize("count", [30, LONG])
def test_fuzz_console_doors(walked: Walked, count: int) -> None:
    """Signing in, coming back, leaving and the local provider, by whoever has no session."""
    doors = ["/console/entree", "/console/connexion", "/console/preuve", "/console/retour", "/console/accessibilite",
             "/console/provider/authorize", "/console/sortie", "/console/provider/token"]  # fmt: skip
    named = st.sampled_from(["state", "code", "iss", "error", "suite", "comme", "prompt", "redirect_uri", "client_id"])

    def ask(door: str, pairs: list[tuple[str, str]], method: str) -> None:
        with walked.house.anyone() as client:
            if door == "/console/retour":
                client.get("/console/connexion?comme=dpo")
            asked = f"{door}?{encoded(pairs)}"
            answer = client.request(
                method, asked, content=encoded(pairs) if method == "POST" else None, headers={"Content-Type": FORM}
            )
        assert answer.status_code in {200, 303, 400, 401, 403, 404, 405, 413, 422}, (asked, answer.status_code)
        assert CANARY not in answer.text or "json" in answer.headers["content-type"], asked
        where = answer.headers.get("location", "/console/")
        assert where.startswith("/console/"), (asked, where)

    drawn(count, ask, door=st.sampled_from(doors), pairs=st.lists(st.tuples(named, VALUES), max_size=5),
          method=st.sampled_from(["GET", "POST"]))  # fmt: skip
    assert walked.house.alive()
