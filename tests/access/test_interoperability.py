"""Clients written by others complete the flow against a real server."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oauth2.rfc7523 import PrivateKeyJWT, private_key_jwt_sign

from tests.access.office import open_office, served

ISSUER = "http://127.0.0.1:8400"
DETAILS = '[{"type":"maillon_exchange","purpose":"orientation"}]'


class AsThisProfileAsks(PrivateKeyJWT):
    """Authlib's own method, with the audience and life of the profile: its defaults are the token URL and an hour."""

    def sign(self, auth, token_endpoint):
        header = {"kid": auth.client_secret.kid}
        key = auth.client_secret
        return private_key_jwt_sign(key, auth.client_id, ISSUER, alg="ES256", header=header, expires_in=60)


@pytest.fixture
def office(tmp_path):
    return open_office(tmp_path, issuer=ISSUER)


def test_authlibs_own_client(office):
    with (
        served(office.app) as base,
        OAuth2Client(
            client_id="ccas", client_secret=office.ccas.key, token_endpoint_auth_method="private_key_jwt", base_url=base
        ) as client,
    ):
        client.revocation_endpoint_auth_method = "private_key_jwt"
        client.register_client_auth_method(AsThisProfileAsks())
        token = client.fetch_token(
            "/oauth/token",
            grant_type="client_credentials",
            resource=ISSUER,
            authorization_details=DETAILS,
            headers={"DPoP": office.ccas.proof(), "Content-Type": "application/x-www-form-urlencoded"},
        )
        assert (token["token_type"], token["expires_in"]) == ("DPoP", 300)
        shown = {"token": token["access_token"], "token_type_hint": "access_token"}
        assert client.introspect_token("/oauth/introspect", **shown).json()["active"] is True
        proof = office.ccas.proof("GET", f"{ISSUER}/v1/exchanges", token["access_token"])
        headers = {"Authorization": f"DPoP {token['access_token']}", "DPoP": proof}
        assert httpx.get(f"{base}/v1/exchanges", headers=headers).status_code == 200
        assert client.revoke_token("/oauth/revoke", **shown).status_code == 200
        assert client.introspect_token("/oauth/introspect", **shown).json() == {"active": False}


SCRIPT = """
import * as oauth from 'oauth4webapi'
const [issuer, base, jwk] = [process.argv[2], process.argv[3], JSON.parse(process.argv[4])]
const here = (url, init) => fetch(String(url).replace(issuer, base), init)
const options = { [oauth.allowInsecureRequests]: true, [oauth.customFetch]: here }
const algorithm = { name: 'ECDSA', namedCurve: 'P-256' }
const key = await crypto.subtle.importKey('jwk', jwk, algorithm, false, ['sign'])
const discovered = await oauth.discoveryRequest(new URL(issuer), { ...options, algorithm: 'oauth2' })
const server = await oauth.processDiscoveryResponse(new URL(issuer), discovered)
const client = { client_id: 'ccas' }
const authentication = oauth.PrivateKeyJwt({ key, kid: jwk.kid })
const proof = oauth.DPoP(client, await oauth.generateKeyPair('ES256'))
const form = { resource: issuer, authorization_details: process.argv[5] }
const ask = () => oauth.clientCredentialsGrantRequest(server, client, authentication, form, { ...options, DPoP: proof })
let token
try {
  token = await oauth.processClientCredentialsResponse(server, client, await ask())
} catch (error) {
  if (!oauth.isDPoPNonceError(error)) throw error
  token = await oauth.processClientCredentialsResponse(server, client, await ask())
}
const url = new URL(issuer + '/v1/exchanges?limit=2')
const bound = { ...options, DPoP: proof }
const call = () => oauth.protectedResourceRequest(token.access_token, 'GET', url, new Headers(), null, bound)
let answer
try { answer = await call() } catch (error) { if (!oauth.isDPoPNonceError(error)) throw error; answer = await call() }
const asked = await oauth.introspectionRequest(server, client, authentication, token.access_token, options)
const introspected = await oauth.processIntrospectionResponse(server, client, asked)
await oauth.processRevocationResponse(
  await oauth.revocationRequest(server, client, authentication, token.access_token, options))
console.log(JSON.stringify({ type: token.token_type, status: answer.status, active: introspected.active }))
"""


@pytest.fixture(scope="module")
def node_project(tmp_path_factory) -> Path:
    """A folder of its own where oauth4webapi is installed, when this machine can."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text('{"type": "module", "private": true}')
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "oauth4webapi@3"]
    if subprocess.run(command, cwd=folder, capture_output=True, timeout=120).returncode:
        pytest.skip("npm could not install oauth4webapi")
    (folder / "flow.mjs").write_text(SCRIPT)
    return folder


@pytest.mark.parametrize("nonce", [False, True])
def test_oauth4webapi(tmp_path, node_project, nonce):
    office = open_office(tmp_path, issuer=ISSUER, dpop_nonce=nonce)
    private = json.dumps(dict(office.ccas.key.as_dict(private=True)))
    with served(office.app) as base:
        command = ["node", "flow.mjs", ISSUER, base, private, DETAILS]
        done = subprocess.run(command, cwd=node_project, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"type": "dpop", "status": 200, "active": True}
