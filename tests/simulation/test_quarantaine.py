"""A record that waits: kept as the partner wrote it, read again once the table is fixed, or dismissed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import select
from typer.testing import CliRunner

import mappings
from connectors.caf.generator import write_file
from gateway import cli, clock, dry_run, preview, quarantine
from gateway.exchange import exchange
from gateway.ingest import Counts, ingest
from gateway.problems import Conflict
from gateway.receipt import Request
from gateway.registry import Gateway
from gateway.replay import replay
from gateway.settings import Settings, settings
from gateway.storage.tables.record import person
from gateway.storage.tables.record import quarantine as table
from schemas.record import Finding, Record

DOCUMENT = "caf.flux_beneficiaire"


@pytest.fixture
def landes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("MAILLON_HOME", str(tmp_path / "maillon"))
    monkeypatch.setenv("MAILLON_PROFILE", "test")
    monkeypatch.setenv("MAILLON_DEPARTEMENT", "040")
    settings.cache_clear()
    yield Gateway.open(Settings(home=tmp_path / "maillon", profile="test", departement="040"))
    settings.cache_clear()


def prendre(gateway: Gateway, dossier: Path, *bizarreries: str, n: int = 4, **options: object) -> Counts:
    chemin = dossier / "flux.xml"
    write_file(chemin, n, 3, oddities=bizarreries)
    return ingest(gateway, chemin, "caf", DOCUMENT, **options)  # type: ignore[arg-type]


def en_attente(gateway: Gateway) -> list[tuple[str, str]]:
    with gateway.engine.connect() as connection:
        rows = connection.execute(select(table.c.id, table.c.code).where(table.c.state == "open"))
        return [(row.id, row.code) for row in rows]


def situations(gateway: Gateway) -> set[str]:
    with gateway.unit_of_work() as work:
        ids = work.connection.execute(select(person.c.id)).scalars().all()
        courants = [gateway.dossiers.current(work, un) for un in ids]
    return {str(un["foyer.situation_familiale"].value) for un in courants if "foyer.situation_familiale" in un}


def test_ce_qui_attend_garde_les_octets_du_partenaire(landes: Gateway, tmp_path: Path) -> None:
    prendre(landes, tmp_path, "xsd_invalide")
    ((ligne, _), *_) = en_attente(landes)
    with landes.unit_of_work() as work:
        garde = quarantine.kept_record(work, landes, ligne)
    assert garde.original is not None
    relu = list(landes.connector("caf").read(DOCUMENT, io.BytesIO(garde.original())))
    assert len(relu) == 1
    assert relu[0].key == garde.key
    assert b"InfosFoyerRSA" not in (tmp_path / "maillon" / "maillon.db").read_bytes()


def test_tant_que_la_table_n_est_pas_corrigee_rien_ne_change(landes: Gateway, tmp_path: Path) -> None:
    prendre(landes, tmp_path, "code_inconnu")
    attend = en_attente(landes)
    assert [code for _, code in attend] == ["unknown-code"]
    with pytest.raises(Conflict, match="still-not-understood"):
        replay(landes, attend[0][0])
    assert en_attente(landes) == attend


def test_une_fois_la_table_corrigee_le_dossier_est_relu(
    landes: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prendre(landes, tmp_path, "code_inconnu")
    ((ligne, _),) = en_attente(landes)
    with landes.unit_of_work() as work:
        code = quarantine.raw(work, landes, ligne)
    corrigee(monkeypatch, tmp_path, code)
    assert "pacse" not in situations(landes)
    recu = replay(landes, ligne)
    assert recu.changed
    assert "pacse" in situations(landes)
    assert en_attente(landes) == []
    with pytest.raises(Conflict, match="quarantine-settled"):
        replay(landes, ligne)


def test_ce_que_son_emetteur_a_dit_depuis_reste(
    landes: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Une fiche sans date est dite quand elle arrive, non quand on la relit."""
    table_ccas = mappings.load("ccas.beneficiaires").path
    fiche = json.loads((table_ccas.parent / "examples/beneficiaires/amelia.json").read_text("utf-8"))
    fiche = {champ: dit for champ, dit in fiche.items() if champ not in ("telephones", "etablis")}
    for situation in ("Complicated", "Divorced"):
        envoi = tmp_path / f"{situation}.json"
        envoi.write_text(json.dumps(fiche | {"familySituation": situation}), "utf-8")
        ingest(landes, envoi, "ccas", "ccas.beneficiaires")
    ((ligne, _),) = en_attente(landes)
    (tmp_path / table_ccas.name).write_text(
        table_ccas.read_text("utf-8").replace("\nSingle  ", '\nComplicated = "separe"\nSingle  '), "utf-8"
    )
    neuf = mappings.compile_file(tmp_path / table_ccas.name)
    monkeypatch.setattr(mappings, "load", lambda id: neuf)
    assert not replay(landes, ligne).changed
    assert (situations(landes), en_attente(landes)) == ({"divorce"}, [])


def corrigee(monkeypatch: pytest.MonkeyPatch, dossier: Path, code: str) -> None:
    """The mapping as an engineer corrects it: the new code has a meaning."""
    texte = mappings.load(DOCUMENT).path.read_text("utf-8")
    debut, fin = texte.index("[codes.situation_familiale]"), texte.index("[codes.etat_droit_rsa]")
    table = f'[codes.situation_familiale]\nsource = "x"\n[codes.situation_familiale.values]\n{code} = "pacse"\n\n'
    (dossier / "corrige.toml").write_text(texte[:debut] + table + texte[fin:], "utf-8")
    neuf = mappings.compile_file(dossier / "corrige.toml")
    monkeypatch.setattr(mappings, "load", lambda id: neuf)


def test_en_ligne_de_commande(landes: Gateway, tmp_path: Path) -> None:
    prendre(landes, tmp_path, "code_inconnu")
    lance = CliRunner()
    liste = lance.invoke(cli.app, ["quarantine", "list"])
    (dit,) = [json.loads(ligne) for ligne in liste.stdout.splitlines()]
    assert dit["code"] == "unknown-code"
    assert "raw" not in dit
    montre = json.loads(lance.invoke(cli.app, ["quarantine", "show", dit["id"]]).stdout)
    assert montre["replayable"] is True
    assert montre["raw"]
    assert lance.invoke(cli.app, ["quarantine", "replay", dit["id"]]).exit_code == 1
    assert lance.invoke(cli.app, ["quarantine", "dismiss", dit["id"]]).exit_code == 0
    assert lance.invoke(cli.app, ["quarantine", "list"]).stdout == ""
    with landes.engine.connect() as connection:
        assert connection.execute(select(table.c.raw, table.c.record)).all() == [(None, None)]


def test_l_essai_dit_en_francais_ce_qui_changerait_et_n_ecrit_rien(landes: Gateway, tmp_path: Path) -> None:
    compte = prendre(landes, tmp_path, n=20, dry_run=True)
    assert list(dry_run.sentences(compte.changes)) == ["20 nouveaux foyers", f"{compte.persons} nouvelles personnes"]
    prendre(landes, tmp_path, n=20)
    clos = tmp_path / "clos.xml"
    octets = (tmp_path / "flux.xml").read_bytes().replace(b"<ETATDOSRSA>2<", b"<ETATDOSRSA>3<", 3)
    clos.write_bytes(octets.replace(b"01:18:36", b"05:00:00").replace(b"<NUMVOIE>", b"<NUMVOIE>9", 1))
    essai = ingest(landes, clos, "caf", DOCUMENT, dry_run=True)
    dit = list(dry_run.sentences(essai.changes))
    assert "3 foyers changent d'état" in dit
    assert "1 nouvelle adresse" in dit
    papier = io.StringIO()
    preview.print_changes(essai, Console(file=papier, width=200))
    assert "rien n'est écrit" in papier.getvalue()
    assert ingest(landes, clos, "caf", DOCUMENT, dry_run=True).changes == essai.changes
    assert "changes" not in essai.line()


def test_sans_les_octets_du_partenaire_rien_n_est_rejoue(landes: Gateway) -> None:
    """The value that was not understood was never applied: carrying the rest again would lose it in silence."""
    record = Record("D-1", [], {"foyer.code_organisme": "401"}, [Finding("unknown-code", "sitfam", raw="9")])
    with landes.unit_of_work() as work:
        exchange(work, landes, Request(clock.new_id(), "caf", DOCUMENT, ()), [record])
    avant = en_attente(landes)
    with pytest.raises(Conflict, match="resend-needed"):
        replay(landes, avant[0][0])
    assert en_attente(landes) == avant


def test_ce_qui_n_est_plus_un_seul_enregistrement_est_a_renvoyer(landes: Gateway, tmp_path: Path) -> None:
    """Its connector, of a later version, reads otherwise what was kept."""
    prendre(landes, tmp_path, "code_inconnu")
    record = Record("D-2", [], {"foyer.code_organisme": "401"}, [Finding("unknown-code", "sitfam", raw="9")])
    record.original = (tmp_path / "flux.xml").read_bytes
    with landes.unit_of_work() as work:
        request = Request(clock.new_id(), "caf", DOCUMENT, ())
        exchange(work, landes, request, [record])
    with landes.unit_of_work() as work:
        (kept,) = work.connection.scalars(select(table.c.id).where(table.c.exchange_id == request.id))
    with pytest.raises(Conflict, match="resend-needed"):
        replay(landes, kept)


def test_le_seul_enregistrement_d_un_message_garde_le_message() -> None:
    seul, autres = [Record("1", [])], [Record("1", []), Record("2", [])]
    (garde,) = quarantine.with_bytes(seul, b"{}")
    assert garde.original is not None
    assert garde.original() == b"{}"
    assert all(one.original is None for one in quarantine.with_bytes(autres, b"[]")), "it would hold somebody else"
