"""Certificates: they authenticate a client (RFC 8705 §2), and bind its tokens when it sends no proof (§3)."""

from __future__ import annotations

import base64
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from gateway import access
from gateway.access import partners
from gateway.access.jose import Refused
from gateway.access.mtls import thumbprint
from gateway.problems import Conflict
from tests.access.office import (
    ABSENT,
    URL,
    Partner,
    certificate_of,
    credential_ends,
    denied,
    open_office,
    public,
    refused,
    unauthenticated,
)

NAME = "echange.departement.example"
PROXY = "10.0.0.7"


@pytest.fixture
def found() -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(NAME), x509.UniformResourceIdentifier("urn:departement:040")]
    return certificate_of(key, *names, common_name=NAME)


@pytest.fixture
def behind_a_proxy(tmp_path):
    return open_office(tmp_path, app={"trust": access.ProxyTrust.of(f"127.0.0.1, {PROXY}, 192.168.0.0/16")})


def rfc_9440(found: x509.Certificate) -> str:
    return f":{base64.b64encode(found.public_bytes(Encoding.DER)).decode()}:"


async def send(
    office, form=None, *, path="/oauth/token", peer=PROXY, headers=(), method="POST", tls=None, error=None, scheme=""
):
    """One request as it reaches the application: through a proxy at `peer`, or with the server's own TLS."""

    async def app(scope, receive, deliver):
        chain = [tls.public_bytes(Encoding.PEM).decode()] if tls else []
        extensions = {"tls": {"client_cert_chain": chain, "client_cert_error": error}} if tls else {}
        await office.app({**scope, "extensions": extensions, "scheme": scheme or scope["scheme"]}, receive, deliver)

    transport = httpx.ASGITransport(app, client=(peer, 1234))
    async with httpx.AsyncClient(transport=transport, base_url=office.issuer) as client:
        return await client.request(method, path, data=form, headers=list(headers))


def by_certificate(partner: Partner, **changes):
    return partner.form(client_assertion=ABSENT, client_assertion_type=ABSENT, **({"client_id": "tls"} | changes))


def register(office, **expected) -> None:
    with office.work() as work:
        name, value = next(iter(expected.items()))
        access.register_partner(
            work, "tls", "ccas", None, body="ccas", tls_client_auth={name.replace("_S", "#S"): value}
        )


@pytest.mark.parametrize("kind", ["subject_dn", "san_dns", "san_uri", "x5t#S256"])
async def test_a_certificate_authenticates_and_binds(behind_a_proxy, found, kind):
    office = behind_a_proxy
    expected = {
        "subject_dn": f"CN={NAME}",
        "san_dns": NAME,
        "san_uri": "urn:departement:040",
        "x5t#S256": thumbprint(found),
    }
    register(office, **{kind: expected[kind]})
    header = [("Client-Cert", rfc_9440(found))]
    answer = await send(office, by_certificate(office.ccas), headers=header)
    assert answer.status_code == 200, answer.text
    assert answer.json()["token_type"] == "Bearer"
    bearer = ("Authorization", f"Bearer {answer.json()['access_token']}")
    called = await send(office, path=URL, method="GET", headers=[bearer, *header])
    assert called.json()["client_id"] == "tls"
    denied(office, await send(office, path=URL, method="GET", headers=[bearer]), "certificate-differs")
    other = certificate_of(ec.generate_private_key(ec.SECP256R1()), x509.DNSName(NAME), common_name=NAME)
    stolen = [bearer, ("Client-Cert", rfc_9440(other))]
    denied(office, await send(office, path=URL, method="GET", headers=stolen), "certificate-differs")
    as_dpop = [("Authorization", bearer[1].replace("Bearer", "DPoP")), *header]
    denied(office, await send(office, path=URL, method="GET", headers=as_dpop), "certificate-differs")


async def test_the_servers_own_tls(office, found):
    register(office, san_dns=NAME)
    answer = await send(office, by_certificate(office.ccas), tls=found)
    assert answer.status_code == 200
    bearer = [("Authorization", f"Bearer {answer.json()['access_token']}")]
    assert (await send(office, path=URL, method="GET", headers=bearer, tls=found)).status_code == 200
    answer = await send(office, by_certificate(office.ccas), tls=found, error="self-signed certificate")
    refused(office, answer, 400, "invalid_request", "certificate-not-verified")
    assert "certificate" in answer.json()["error_description"]


async def test_a_certificate_tells_when_it_ends_and_its_next_name_takes_the_place_of_the_former(office, found):
    register(office, **{"x5t#S256": thumbprint(found)})
    assert (await send(office, by_certificate(office.ccas), tls=found)).status_code == 200
    assert credential_ends(office, "tls") == found.not_valid_after_utc.timestamp()
    following = certificate_of(ec.generate_private_key(ec.SECP256R1()), x509.DNSName(NAME))
    unauthenticated(
        office, await send(office, by_certificate(office.ccas), tls=following), "certificate-not-registered"
    )
    with office.work() as work:
        partners.rename(work, "tls", {"x5t#S256": thumbprint(following)})
        with pytest.raises(Conflict, match="by-certificate"):
            partners.rotate(work, "tls", {"keys": [public(office.ccas.key)]})
        with pytest.raises(Conflict, match="by-keys"):
            partners.rename(work, "ccas", {"san_dns": NAME})
    assert (await send(office, by_certificate(office.ccas), tls=following)).status_code == 200
    unauthenticated(office, await send(office, by_certificate(office.ccas), tls=found), "certificate-not-registered")


async def test_an_escaped_pem_from_the_proxy(behind_a_proxy, found):
    register(behind_a_proxy, san_dns=NAME)
    header = [("Client-Cert", quote(found.public_bytes(Encoding.PEM)))]
    assert (await send(behind_a_proxy, by_certificate(behind_a_proxy.ccas), headers=header)).status_code == 200


async def test_the_header_of_anybody_else_is_ignored(behind_a_proxy, found):
    office = behind_a_proxy
    register(office, san_dns=NAME)
    header = [("Client-Cert", rfc_9440(found))]
    unauthenticated(
        office, await send(office, by_certificate(office.ccas), headers=header, peer="10.0.0.8"), "invalid-client"
    )


async def test_another_certificate_expired_or_unreadable(behind_a_proxy, found):
    office = behind_a_proxy
    register(office, san_dns=NAME)
    key = ec.generate_private_key(ec.SECP256R1())
    for names in ([x509.DNSName("other.example")], []):
        header = [("Client-Cert", rfc_9440(certificate_of(key, *names)))]
        answer = await send(office, by_certificate(office.ccas), headers=header)
        unauthenticated(office, answer, "certificate-not-registered")
    for client_id in ("nobody", "ccas"):
        answer = await send(
            office, by_certificate(office.ccas, client_id=client_id), headers=[("Client-Cert", rfc_9440(found))]
        )
        unauthenticated(office, answer, "certificate-not-registered")
    expired = [("Client-Cert", rfc_9440(certificate_of(key, x509.DNSName(NAME), days=-1)))]
    answer = await send(office, by_certificate(office.ccas), headers=expired)
    refused(office, answer, 400, "invalid_request", "certificate-expired")
    assert answer.json()["error_description"].startswith("The client certificate is not yet valid, or not any more")
    for broken in (":AAAA:", "x", ":é:"):
        answer = await send(office, by_certificate(office.ccas), headers=[("Client-Cert", broken.encode("latin-1"))])
        refused(office, answer, 400, "invalid_request", "certificate")
    twice = [("Client-Cert", rfc_9440(found))] * 2
    refused(
        office, await send(office, by_certificate(office.ccas), headers=twice), 400, "invalid_request", "certificate"
    )


async def test_an_assertion_with_a_certificate_instead_of_a_proof(behind_a_proxy, found):
    office = behind_a_proxy
    header = [("Client-Cert", rfc_9440(found))]
    answer = await send(office, office.ccas.form(), headers=header)
    assert answer.json()["token_type"] == "Bearer"
    bearer = ("Authorization", f"Bearer {answer.json()['access_token']}")
    assert (await send(office, path=URL, method="GET", headers=[bearer, *header])).status_code == 200


async def test_a_trusted_proxy_may_speak_plain_http_behind_itself(behind_a_proxy):
    """TLS ends at the proxy: what is refused from anybody else (O-100) is how the proxy reaches us."""
    office = behind_a_proxy
    for peer, status in ((PROXY, 200), ("10.0.0.8", 400)):
        transport = httpx.ASGITransport(office.app, client=(peer, 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://maillon.example") as client:
            headers = {"DPoP": office.ccas.proof(), "X-Forwarded-Proto": "https"}
            answer = await client.post("/oauth/token", data=office.ccas.form(), headers=headers)
        assert answer.status_code == status


async def test_o_098_a_trusted_proxy_is_believed_and_only_for_what_it_says(behind_a_proxy):
    """It says that the partner came in clear: refused. The address counted is the one it forwards for."""
    office, trust = behind_a_proxy, behind_a_proxy.gateway.access.trust
    scope = {"scheme": "http", "client": (PROXY, 1), "headers": [(b"x-forwarded-for", b"6.6.6.6, 9.9.9.9,127.0.0.1")]}
    assert trust.peer(scope) == "9.9.9.9"
    assert trust.peer(scope | {"headers": []}) == PROXY
    assert trust.peer(scope | {"client": ("8.8.8.8", 1)}) == "8.8.8.8", "anybody may write that header"
    told, in_clear = (b"x-forwarded-proto", b"https"), (b"x-forwarded-proto", b"http")
    trust.require_tls(scope | {"headers": [told]})
    for peer, headers, reason in (
        ("8.8.8.8", [told], "plain-http"),
        (PROXY, [told, in_clear], "plain-http"),
        (PROXY, [], "proxy-silent"),
    ):
        with pytest.raises(Refused, match=reason):
            trust.require_tls(scope | {"client": (peer, 1), "headers": headers})
    silent = await send(office, office.ccas.form(), headers=[("DPoP", office.ccas.proof())], scheme="http")
    refused(office, silent, 400, "invalid_request", "proxy-silent")
    assert "X-Forwarded-Proto" in silent.json()["error_description"], "who set the proxy up learns what to add"
    plain = [("DPoP", office.ccas.proof()), ("X-Forwarded-Proto", "http")]
    answer = await send(office, office.ccas.form(), headers=plain, scheme="http")
    refused(office, answer, 400, "invalid_request", "plain-http")
    assert answer.json()["error_description"].startswith("Call the https URL")
    good = [("DPoP", office.ccas.proof()), ("X-Forwarded-Proto", "https")]
    assert (await send(office, office.ccas.form(), headers=good, scheme="http")).status_code == 200


async def test_a_client_of_one_method_cannot_use_the_other(behind_a_proxy, found):
    office = behind_a_proxy
    register(office, san_dns=NAME)
    office.ccas.client_id = "tls"
    answer = await send(office, office.ccas.form(), headers=[("Client-Cert", rfc_9440(found))])
    unauthenticated(office, answer, "assertion-signature")
