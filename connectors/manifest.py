"""What a connector says of itself, and which connectors are installed.

A connector is a folder: `manifest.toml` (what it is), `quality.toml` (what was proved of it), `connector.py` (its
`create(settings)`), `sandbox.py` (its stand-in: `sandbox(scenario=None)` and `SCENARIOS`). Those of this distribution
live in `connectors/<id>/`; those of others announce their package in the entry point group `maillon.connectors`
(``[project.entry-points."maillon.connectors"]``, ``mon_logiciel = "maillon_mon_logiciel"``).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

import mappings
from mappings.grammar import MappingError, MappingFile

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from connectors.contract import Connector

GROUP = "maillon.connectors"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MAX_TABLE = 64 * 1024 * 1024
"""Bytes of a table, once decompressed."""

Role = Literal["departement", "delegataire", "ccas", "commune", "france_travail", "caf_msa", "dpo", "personne"]
"""The eight roles a sender or recipient may hold in the decision table."""
Direction = Literal["read", "write", "pull"]
"""`read`: the partner sends it. `write`: the partner receives it. `pull`: the partner gives it on request."""
Purpose = Literal[
    "identification", "orientation", "diagnostic_global", "contrat_engagement", "controle_conjoint", "sanction",
    "continuite_parcours", "accompagnement", "instruction_rsa", "liquidation_controle_rsa",
    "acces_droits_non_recours", "aide_facultative_ccas", "statistiques_pilotage", "droits_personne", "audit_dpo",
    "urgence_vitale",
]  # fmt: skip
Grade = Literal["essai", "branche", "exploite", "exemplaire"]

CRITERIA: dict[Grade, dict[str, str]] = {
    "essai": {
        "manifeste": "manifest.toml est valide et chaque document a son mapping et ses exemples",
        "notice": "README.md dit ce que parle le partenaire, comment s'y raccorder et à qui s'adresser",
    },
    "branche": {
        "bac_a_sable": "un bac à sable répond comme le partenaire, sur ses vrais chemins",
        "echange_complet": "chaque document est lu ou écrit, transporté et acquitté de bout en bout dans un test",
        "documents_authentiques": "des documents écrits par d'autres sont lus sans retouche",
    },
    "exploite": {
        "pannes": "chaque panne documentée du partenaire a son scénario et son test",
        "codes_inconnus": "un code inconnu ou contredit par son libellé est mis en quarantaine, jamais deviné",
        "entrees_hostiles": "les documents hostiles sont refusés en entier, en mémoire bornée",
        "rejeu": "rejouer un document ou un envoi ne change rien",
        "discretion": "aucune donnée personnelle dans un journal technique, une erreur ou un repr",
    },
    "exemplaire": {
        "recette_partenaire": "échanges réussis avec l'environnement de recette du partenaire",
    },
}
"""What each grade asks, lowest grade first: a grade is held when all its criteria and those before it are met."""


class ManifestError(Exception):
    """A connector's own files are wrong; its author must change them. `problems` are (where, what) pairs."""

    def __init__(self, file: Path, problems: list[tuple[str, str]]) -> None:
        super().__init__(f"{file}: " + "; ".join(f"{where}: {what}" for where, what in problems))
        self.file = file
        self.problems = problems


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_one_or_many)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Document(_Table):
    """One of the partner's documents, under its stable id."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")
    title: str
    direction: Annotated[tuple[Direction, ...], BeforeValidator(_one_or_many)] = Field(min_length=1)
    format: Literal["json", "xml", "csv", "xlsx", "zip"]
    mapping: Texts = ()
    """Ids of the mappings that read or write it; several when versions or layouts coexist."""
    purposes: Annotated[tuple[Purpose, ...], BeforeValidator(_one_or_many)] = ()
    content_type: Texts = Field(min_length=1)
    """Accepted media types, without parameters; the first is the one written."""
    max_bytes: int = Field(gt=0)
    """Largest document accepted, in bytes once decompressed."""
    bulk: bool = False
    """A file of many persons, read by `maillon ingest`."""
    item: str = Field(default="", pattern=r"^[a-z_]*$")
    """Canonical list (`rendez_vous`) of which this form carries one entry: each entry is a delivery of its own."""
    withdrawn: bool = False
    """An entry that turns out to be another person's can be taken back from the partner (`Outgoing.withdraw`)."""
    source: str = ""
    """The partner's own description of the format."""


class Setting(_Table):
    """Something the operator must tell this connector."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    description: str
    secret: bool = False
    required: bool = False
    default: str = ""
    folder: bool = False
    """Where the connector keeps lists the partner sends; by default a folder of its own under `MAILLON_HOME`."""


REACH: tuple[Setting, ...] = (
    Setting(name="networks", description="Réseaux privés par où joindre le partenaire, séparés par des virgules"),
    Setting(name="ca", description="Fichier PEM des autorités dont vient son certificat ; sans lui, celles du système"),
    Setting(name="rate", description="Appels au plus, sous la forme 10/second"),
    Setting(name="concurrent", description="Appels simultanés au plus"),
    Setting(name="deadline", description="Durée totale d'un appel, en secondes"),
    Setting(name="max_bytes", description="Taille maximale d'une réponse, en octets"),
)
"""Settings that every partner called over the network has besides its own: `Transport.open` reads them."""


class Settings(dict[str, str]):
    """Values of a connector's settings. Its repr names the settings and shows none of their values."""

    def __repr__(self) -> str:
        return f"Settings({', '.join(sorted(self))})"

    __str__ = __repr__


class Manifest(_Table):
    """`manifest.toml`: who the partner is, what it speaks, how it is reached, what must be configured."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]{1,40}$")
    name: str
    role: Role
    transport: Literal["api", "hubee", "file", "inbox"]
    homepage: str = ""
    source: str
    """Where the formats come from: publication, schema, version."""
    tables: bool = False
    """Each mapping of this partner with a `[table]` is one more of its documents: a CSV or workbook of many persons."""
    document: tuple[Document, ...] = ()
    setting: tuple[Setting, ...] = ()

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Manifest:
        for kind, names in (
            ("document", [document.id for document in self.document]),
            ("setting", [setting.name for setting in self.setting]),
        ):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{kind} declared twice: {', '.join(twice)}")
        for setting in self.setting:
            if setting.secret and setting.default:
                raise ValueError(f"setting {setting.name}: a secret has no default")
        return self

    @property
    def documents(self) -> dict[str, Document]:
        return {document.id: document for document in self.document}

    def ids(self, direction: Direction) -> frozenset[str]:
        """Ids of the documents that go this way."""
        return frozenset(document.id for document in self.document if direction in document.direction)

    def configure(self, values: Mapping[str, str]) -> Settings:
        """The connector's settings from the operator's values and the defaults.

        Raises `ManifestError` naming what is unknown or missing, never a value.
        """
        reach = REACH if self.transport == "api" else ()
        known = {setting.name: setting for setting in (*reach, *self.setting)}
        problems = [(name, "unknown setting") for name in sorted(values.keys() - known.keys())]
        problems += [(name, "required setting") for name, s in known.items() if s.required and not values.get(name)]
        if problems:
            raise ManifestError(Path(f"{self.id} settings"), problems)
        return Settings({name: values.get(name) or self._default(setting) for name, setting in known.items()})

    def _default(self, setting: Setting) -> str:
        return str(Path(os.environ.get("MAILLON_HOME", "var")) / self.id) if setting.folder else setting.default


class Evidence(_Table):
    """What shows that a criterion is met, or why it is not (yet)."""

    evidence: Texts = ()
    """Files of the repository, or a sentence naming date and place for a proof outside it."""
    exempt: str = ""
    """Why this criterion has no object for this partner."""
    missing: str = ""
    """What is lacking, and who can bring it."""

    @model_validator(mode="after")
    def _says_one_thing(self) -> Evidence:
        if sum(map(bool, (self.evidence, self.exempt, self.missing))) != 1:
            raise ValueError("say exactly one of evidence, exempt, missing")
        return self


_CRITERIA = frozenset(name for criteria in CRITERIA.values() for name in criteria)


def _criterion(name: str) -> str:
    if name not in _CRITERIA:
        near = "".join(f"; is it {one}?" for one in get_close_matches(name, _CRITERIA, n=1))
        raise ValueError(f"no criterion has this name{near}")
    return name


class Quality(_Table):
    """`quality.toml`: every criterion, with its evidence."""

    criteria: dict[Annotated[str, AfterValidator(_criterion)], Evidence]

    @field_validator("criteria")
    @classmethod
    def _covers_every_criterion(cls, told: dict[str, Evidence]) -> dict[str, Evidence]:
        if silent := sorted(_CRITERIA - told.keys()):
            raise ValueError(f"criteria without a word: {', '.join(silent)}")
        return told

    @property
    def grade(self) -> Grade | None:
        """The highest grade held; None when not even the first is."""
        held: Grade | None = None
        for grade, criteria in CRITERIA.items():
            if any(self.criteria[name].missing for name in criteria):
                break
            held = grade
        return held


T = TypeVar("T", bound=_Table)


@dataclass(frozen=True, slots=True)
class Installed:
    """A connector present on this machine. Being present gives it no right to exchange anything."""

    manifest: Manifest
    folder: Path
    package: str

    @property
    def quality(self) -> Quality:
        """What was proved of it. Raises `ManifestError`."""
        return load_quality(self.folder)

    def create(self, values: Mapping[str, str] | None = None) -> Connector:
        """The connector, configured. Raises `ManifestError` when a setting is unknown or missing."""
        settings = self.manifest.configure(values or {})
        return cast("Connector", importlib.import_module(f"{self.package}.connector").create(settings))

    @property
    def sandbox(self) -> ModuleType | None:
        """The module of the stand-in: `sandbox(scenario=None)` gives an ASGI application, `SCENARIOS` names its faults.

        None when the partner has nothing to imitate (files only).
        """
        name = f"{self.package}.sandbox"
        return importlib.import_module(name) if importlib.util.find_spec(name) else None


def _toml(file: Path, model: type[T]) -> T:
    try:
        return model.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ManifestError(file, [("file", "is missing")]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ManifestError(file, [("toml", str(error))]) from None
    except ValidationError as error:
        raise ManifestError(file, [_problem(item) for item in error.errors()]) from None


def _problem(error: ErrorDetails) -> tuple[str, str]:
    place = ".".join(str(part) for part in error["loc"] if part != "[key]")
    return place or "file", error["msg"].removeprefix("Value error, ")


def load(folder: Path) -> Manifest:
    """Read `manifest.toml` in a connector's folder, with the tables that mappings add. Raises `ManifestError`."""
    told = _toml(folder / "manifest.toml", Manifest)
    try:
        added = tuple(map(_document, mappings.tables(told.id))) if told.tables else ()
        return told.model_copy(update={"document": (*told.document, *added)})
    except (MappingError, ValidationError) as error:
        raise ManifestError(folder / "manifest.toml", [("tables", str(error))]) from None


def _document(file: MappingFile) -> Document:
    """The document that a table is."""
    assert file.table is not None
    return Document(
        id=file.id, title=file.title, direction=("read",), format="csv", mapping=(file.id,), bulk=True,
        purposes=cast("tuple[Purpose, ...]", file.table.purposes), content_type=("text/csv", XLSX),
        max_bytes=MAX_TABLE, source=file.table.source,
    )  # fmt: skip


def load_quality(folder: Path) -> Quality:
    """Read `quality.toml` in a connector's folder. Raises `ManifestError`."""
    return _toml(folder / "quality.toml", Quality)


def packages() -> Iterator[tuple[str, Path]]:
    """Packages that hold a connector, with their folder: ours first, then those announced by entry points."""
    for folder in sorted(Path(__file__).parent.iterdir()):
        if (folder / "manifest.toml").is_file():
            yield f"connectors.{folder.name}", folder
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        spec = importlib.util.find_spec(point.module)
        places = list(spec.submodule_search_locations or []) if spec else []
        if not places:
            raise ManifestError(Path(point.module), [(point.name, "the entry point does not name a package")])
        yield point.module, Path(places[0])


@cache
def installed() -> dict[str, Installed]:
    """Every connector on this machine, by id.

    Raises `ManifestError` when two of them claim the same id: a foreign package never replaces one of ours.
    """
    found: dict[str, Installed] = {}
    for package, folder in packages():
        manifest = load(folder)
        if manifest.id in found:
            raise ManifestError(folder / "manifest.toml", [("id", f"{manifest.id} is taken by another connector")])
        found[manifest.id] = Installed(manifest, folder, package)
    return found
