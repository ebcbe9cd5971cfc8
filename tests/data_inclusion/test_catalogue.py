"""data·inclusion: the catalogue as a partner sends it, and an orientation towards a service."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from connectors.contract import Connector, DocumentRefused, Lasting
from connectors.kit.subject import current
from connectors.manifest import installed
from gateway.ingest import ingest
from gateway.registry import Gateway
from gateway.settings import Settings
from mappings import examples, load
from schemas.record import Record

SERVICES, STRUCTURES, ORIENTATION = (f"data_inclusion.{name}" for name in ("services", "structures", "orientation"))
ONE = installed()["data_inclusion"]
TARGET = "prescriptions[departement:P-7].vers_service"


@pytest.fixture
def connector(tmp_path: Path) -> Connector:
    return ONE.create({"catalogue": str(tmp_path / "catalogue")})


def fixture(name: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((ONE.folder / "fixtures" / f"{name}.json").read_bytes())
    return entries


def received(connector: Connector, document: str, entries: list[dict[str, Any]]) -> list[Record]:
    reading = connector.read(document, io.BytesIO(json.dumps(entries).encode()))
    records = list(reading)
    assert isinstance(reading, Lasting)
    reading.keep()
    return records


def orientation(connector: Connector, **changed: str) -> Any:
    mapping = load(ORIENTATION)
    persons, _ = examples.canonical(mapping, "examples/orientation/mobilite.faits.json")
    return connector.write(ORIENTATION, current({**persons[0], **changed}), item="departement:P-7")


def test_an_orientation_says_what_the_catalogue_knows_of_its_service(connector: Connector) -> None:
    assert received(connector, STRUCTURES, fixture("structures/deux_structures")) == []
    assert received(connector, SERVICES, fixture("services/deux_services")) == []
    written = orientation(connector)
    assert written.document["di_service_id"] == "exemple-insertion--auto-ecole-solidaire"
    assert written.document["service"]["courriel"] == "permis@garage.exemple.invalid"
    assert written.document["structure"]["nom"] == "Garage solidaire d'exemple"
    assert written.findings == []


def test_a_service_that_the_catalogue_does_not_hold_is_told_and_not_guessed(connector: Connector) -> None:
    received(connector, SERVICES, fixture("services/deux_services"))
    written = orientation(connector, **{TARGET: "exemple-insertion--autre"})
    assert [one.code for one in written.findings] == ["unknown-code"]
    assert "service" not in written.document


def test_only_the_prescription_asked_for_is_written(connector: Connector) -> None:
    other = {"prescriptions[departement:P-8].motif": "AUTRE-MOTIF"}
    assert "AUTRE-MOTIF" not in json.dumps(orientation(connector, **other).document)


def test_what_cannot_be_kept_is_counted_with_its_place(connector: Connector) -> None:
    right = fixture("services/deux_services")
    unknown = fixture("services/code_inconnu")
    wrong = [right[0] | {"id": "a", "date_maj": "hier"}, right[0] | {"id": "b", "code_postal": "4000"}]
    told = received(connector, SERVICES, right + unknown + wrong)
    assert [(one.key, one.findings[0].code, one.findings[0].path) for one in told] == [
        ("exemple-insertion--thematique-nouvelle", "unknown-code", "thematiques"),
        ("a", "schema-invalid", "date_maj"),
        ("b", "schema-invalid", "code_postal"),
    ]
    assert (told[0].quarantined, told[0].rejected, told[0].findings[0].raw) == (True, False, "thematique--nouvelle")
    assert all(one.rejected for one in told[1:])
    assert "service" in orientation(connector).document


def test_a_list_that_is_only_looked_at_replaces_nothing(connector: Connector) -> None:
    received(connector, SERVICES, fixture("services/deux_services"))
    assert list(connector.read(SERVICES, io.BytesIO(json.dumps(fixture("services/code_inconnu")).encode())))
    assert "service" in orientation(connector).document


def test_a_rehearsal_keeps_nothing_and_a_real_sending_does(tmp_path: Path) -> None:
    gateway = Gateway.open(Settings(profile="test", home=tmp_path, issuer="http://127.0.0.1:8400",
                                    bodies={"data_inclusion": {"catalogue": str(tmp_path / "catalogue")}}))  # fmt: skip
    file = tmp_path / "services.json"
    file.write_text(json.dumps(fixture("services/deux_services") + fixture("services/code_inconnu")))
    for rehearsal in (True, False):
        counts = ingest(gateway, file, "data_inclusion", SERVICES, dry_run=rehearsal)
        assert (counts.quarantined, counts.rejected) == (1, 0)
        assert (tmp_path / "catalogue" / "services.json").exists() is not rehearsal
    gateway.engine.dispose()


@pytest.mark.parametrize("broken", ["[]", "{}", "[1]"], ids=["empty", "an-object", "no-object"])
def test_a_list_that_is_refused_leaves_the_former_one(connector: Connector, broken: str) -> None:
    received(connector, SERVICES, fixture("services/deux_services"))
    with pytest.raises(DocumentRefused):
        connector.read(SERVICES, io.BytesIO(broken.encode()))
    assert "service" in orientation(connector).document


def test_one_name_twice_is_refused(connector: Connector) -> None:
    with pytest.raises(DocumentRefused, match="duplicate-key"):
        received(connector, SERVICES, fixture("services/deux_services") * 2)


def test_a_new_list_replaces_the_former_one_in_a_connector_at_work(connector: Connector) -> None:
    first, second = fixture("services/deux_services")
    received(connector, SERVICES, [first])
    assert "service" in orientation(connector).document
    received(connector, SERVICES, [second])
    assert "service" not in orientation(connector).document
