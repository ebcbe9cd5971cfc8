"""The proof of one exchange in one file, for a DPO to check on a computer that never saw the gateway."""

from __future__ import annotations

import io
import zipfile
from base64 import b64encode
from pathlib import Path

from sqlalchemy import Connection

from gateway import merkle, note, policy_history, verify
from gateway.journal import Logged, of_exchange
from gateway.journal_files import folder_of, tile_reader
from gateway.printed import FOLDER
from gateway.problems import Unavailable, Unknown
from gateway.settings import Settings
from gateway.witness import policy_text

PAGE = FOLDER / "verification.html"
"""The page that checks a bundle in a browser, offline; it is to be had from elsewhere than the bundle too."""
_EPOCH = (1980, 1, 1, 0, 0, 0)

_GUIDE = """\
Preuve de l'échange {exchange}
==============================

Ce dossier contient ce que le journal dit de cet échange, et de quoi vérifier, sans la passerelle et sans réseau,
que ces lignes y figurent et n'ont pas changé.

Fichiers
--------
{entries}
exchange*.tlog-proof  preuve d'inclusion de l'entrée du même nom
policy.txt            clé publique du journal, et témoins dont la signature est exigée
checkpoint*           état signé du journal (origine, nombre d'entrées, empreinte de l'arbre)
verification.html     la même vérification dans un navigateur, sans rien installer
verify.py             programme de vérification, lisible, indépendant du programme qui écrit le journal
{optional}
Vérifier
--------
Dans un navigateur : ouvrez verification.html, donnez la clé publique du journal et choisissez ce fichier ZIP.

En ligne de commande, il faut Python 3.11 ou plus récent et le paquet « cryptography ».
Pour une entrée (les autres de même, sous leur nom) :

    python3 verify.py --proof exchange.tlog-proof --policy policy.txt exchange.json

Pour toutes, sous Linux ou macOS :

    for f in exchange*.json; do python3 verify.py --proof "${{f%.json}}.tlog-proof" --policy policy.txt "$f"; done

Une ligne « ok index=… » est affichée si l'entrée figure dans le journal signé, sinon « bad … » et la raison.
Comparez la clé de policy.txt avec celle que l'organisme vous a remise par un autre moyen : c'est elle qui fait foi.
{stamp}
Ce que cette preuve établit : ces lignes existaient, mot pour mot, quand l'état du journal a été signé, et ce qui les
précède n'a pas changé depuis. Elle n'établit pas que tout échange a été inscrit (le destinataire tient aussi son
journal : comparez-les), ni que ce qui est inscrit est vrai. Les personnes et les agents y figurent sous pseudonyme ;
aucune donnée échangée n'y figure.
"""
_STAMP_GUIDE = """
Horodatage (certificat de l'autorité à obtenir par un autre moyen que ce dossier) :

    openssl ts -verify -data stamp/checkpoint -in stamp/r.tsr -CAfile stamp/ca.pem
"""


def tlog_proof(logged: Logged, place: Path) -> bytes:
    """The C2SP tlog-proof of an entry: its index, the path to the root, and the published checkpoint verbatim.

    Raises `Unavailable("not-yet-published")` when the last checkpoint does not reach the entry.
    """
    raw = (place / "checkpoint").read_bytes() if (place / "checkpoint").is_file() else b""
    size = note.checkpoint(note.parse(raw).text).size if raw else 0
    if logged.idx >= size:
        raise Unavailable("not-yet-published", "The entry waits for the next checkpoint.", retry_after=10)
    hashes = merkle.inclusion_proof(tile_reader(place), size, logged.idx)
    lines = ["c2sp.org/tlog-proof@v1", f"index {logged.idx}", *(b64encode(value).decode() for value in hashes)]
    return "\n".join(lines).encode() + b"\n\n" + raw


def proof_bundle(connection: Connection, settings: Settings, exchange_id: str) -> bytes:
    """The zip of one exchange: its entries, a proof of each, the checkpoint, the decision table of its day, two
    verifiers, a guide. The same journal gives the same bytes. Raises `Unknown`, `Unavailable`.
    """
    entries = of_exchange(connection, exchange_id)
    if not entries:
        raise Unknown("exchange-unknown", "No entry of the journal is about this exchange.")
    files: dict[str, bytes] = {}
    told: list[tuple[str, str]] = []
    for number, logged in enumerate(entries, 1):
        name = "exchange" if number == 1 else f"exchange-{number}"
        files[f"{name}.json"] = logged.content
        files[f"{name}.tlog-proof"] = tlog_proof(logged, folder_of(settings, logged.log))
        told.append((name, f"{logged.fields['event']}, entrée n° {logged.idx} du journal {logged.log}"))
    logs = sorted({logged.log for logged in entries})
    places = [folder_of(settings, log) for log in logs]
    for log, place in zip(logs, places, strict=True):
        files["checkpoint" if len(logs) == 1 else f"checkpoint-{log}"] = (place / "checkpoint").read_bytes()
    files["policy.txt"] = policy_text(settings, logs).encode()
    files[PAGE.name] = PAGE.read_bytes()
    files["verify.py"] = Path(verify.__file__).read_bytes()
    applied = {str(logged.fields.get("policy_h")) for logged in entries}
    for digest in sorted(applied.intersection(policy_history.versions(settings.home)))[:1]:
        files["rules.toml"] = policy_history.content(settings.home, digest)
    files |= _stamped(places[0])
    files["LISEZMOI.txt"] = _guide(exchange_id, told, files).encode()
    return _zip(files)


def _stamped(place: Path) -> dict[str, bytes]:
    """The latest time stamp of the log, with the checkpoint it stamps."""
    days = sorted(path.parent for path in place.glob("stamps/*/r.tsr"))
    if not days:
        return {}
    return {f"stamp/{name}": (days[-1] / name).read_bytes() for name in ("checkpoint", "r.tsr")}


def _guide(exchange: str, told: list[tuple[str, str]], files: dict[str, bytes]) -> str:
    entries = "\n".join(f"{name + '.json':<22}{words}" for name, words in told)
    optional = "rules.toml            table des règles appliquées à cet échange\n" if "rules.toml" in files else ""
    stamp = _STAMP_GUIDE if "stamp/r.tsr" in files else ""
    return _GUIDE.format(exchange=exchange, entries=entries, optional=optional, stamp=stamp)


def _zip(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()
