"""Settings, from `MAILLON_*` variables or, after them, from a TOML file: the one that `MAILLON_SETTINGS` names, else
`maillon.toml` in the working folder."""

from __future__ import annotations

import os
import re
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from gateway.problems import Misconfigured, misread

FILE = "MAILLON_SETTINGS"
"""Variable that names the settings' file: services and commands then read the same one, wherever they start."""
_READ_ELSEWHERE = frozenset({FILE, "MAILLON_MAPPINGS"})


_NUMBERS = {
    "concurrent": (re.compile("[0-9]{1,4}"), "a whole number, as 10"),
    "max_bytes": (re.compile("[0-9]{1,12}"), "a whole number of bytes"),
    "deadline": (re.compile("[0-9]{1,5}([.][0-9]{1,3})?"), "a number of seconds, as 30 or 2.5"),
    "rate": (re.compile("[0-9]{1,6} ?(/|per) ?([0-9]{1,4} ?)?(second|minute|hour|day)s?"), "written as 10/second"),
}


class Settings(BaseSettings):
    """Everything an operator may set. Defaults suit a demonstration on one machine."""

    model_config = SettingsConfigDict(env_prefix="MAILLON_", extra="forbid", use_attribute_docstrings=True)

    profile: Literal["demo", "test", "production"] = "demo"
    """What is demanded of the rest: in production, https, a signed decision table and keys made beforehand."""
    home: Path = Path("var")
    """Keys, journal and working files."""
    database_url: str = ""
    """`sqlite:///…` (default: `maillon.db` in `home`) or `postgresql://…`."""
    issuer: str = "http://127.0.0.1:8400"
    """Issuer of access tokens; https, except on loopback in the demo and test profiles."""
    proxies: str = ""
    """Addresses or networks, separated by commas, of the reverse proxies that end TLS: their word is taken for the
    scheme (`X-Forwarded-Proto`), the calling address (`X-Forwarded-For`) and the client's certificate."""
    proxy_certificate: str = "client-cert"
    """Header in which they give that certificate: as RFC 9440 writes it, or as escaped PEM."""
    journal_origin: str = "maillon.local/journal"
    """Name of the journal, in its first line: kept when the journal is created, and the same for ever."""
    dpop_nonce: bool = False
    """Whether partners' proofs must carry a nonce of this server (RFC 9449 §8)."""
    policy_file: Path = Path(__file__).parent / "policies" / "decision.v1.toml"
    """The decision table; in the production profile it must be signed."""
    policy_trusted: Path | None = None
    """PEM bundle of the public keys whose signature of the decision table counts."""
    bodies: dict[str, dict[str, str]] = Field(default_factory=dict, repr=False)
    """Settings of each body's connector (addresses, credentials), under the body's id."""
    departement: str = ""
    """The Département this gateway serves, three characters as in CAF files (`040`); needed in production."""
    lease: float = 20.0
    """Seconds after which another worker takes over a delivery whose worker gives no news (30 s promised)."""
    checkpoint_every: float = 5.0
    """Seconds between two checkpoints when there is something new."""
    audit_tolerance: float = 86_400.0
    """Seconds without a checkpoint after which new exchanges are refused (503 `audit-unavailable`)."""
    witness_every: float = 60.0
    """Seconds between two rounds of cosignatures; asked only where `witnesses.policy` is in `home`. 0: never."""
    timestamp_url: str = ""
    """Address of an RFC 3161 authority, which stamps the checkpoints once a day; without one, none is asked."""
    timestamp_authorities: Path | None = None
    """PEM file of the roots that the authority's stamps must chain to; needed with `timestamp_url`."""
    timestamp_chain: Path | None = None
    """PEM file of the certificates between, when the authority does not send them."""
    stamp_every: float = 3_600.0
    """Seconds between two looks at whether today's stamp was obtained. 0: never."""
    watch_every: float = 300.0
    """Seconds between two looks for what may be a data breach. 0: never."""
    verify_every: float = 86_400.0
    """Seconds between two verifications of the whole journal, by the reader that shares nothing with the writer. 0:
    never."""
    prune_every: float = 86_400.0
    """Seconds between two deletions of the journal entries whose retention has elapsed. 0: never."""
    purge_every: float = 86_400.0
    """Seconds between two purges of the persons, or parts of their records, whose retention has elapsed. 0: never."""
    retention_every: float = 3_600.0
    """Seconds between two counts of what is past its retention, which the console shows. 0: after a purge only."""
    volumes_every: float = 3_600.0
    """Seconds between two looks at whether a day that is over was counted for the register. 0: never."""
    meter_every: float = 86_400.0
    """Seconds between two readings of the double-entry meter, which opens every delivered dossier. 0: never."""
    reopened_every: float = 60.0
    """Seconds between two looks for what was withheld for a reason that ended: a person was informed or came of age, a
    limitation was lifted, a convention began, a partner came back, a table was put in force. 0: never."""
    worklist_every: float = 900.0
    """Seconds between two readings of what partners ask our side to do: of each body whose settings name the body whose
    list it is (`worklist_for`). 0: never."""
    console_oidc_issuer: str = ""
    """OpenID provider of the console's accounts (https); without one, demo and test use a local one, and production
    keeps the console shut."""
    console_oidc_client_id: str = ""
    """This console, as that provider knows it."""
    console_oidc_secret_file: Path | None = None
    """File that holds the console's client secret."""
    console_oidc_roles_claim: str = "roles"
    """Claim that names the account's roles: dpo, integration, operateur."""
    console_oidc_acr: str = ""
    """Levels of assurance (`acr`), separated by spaces: a sensitive reading demands a proof of one of them. Empty: a
    proof of a moment ago, of any level."""
    console_agents: dict[str, str] = Field(default_factory=dict, repr=False)
    """Roles by account (`sub`), for a provider that only says who someone is."""

    @field_validator("departement")
    @classmethod
    def _three_characters(cls, number: str) -> str:
        if not re.fullmatch("([0-9]{2}[0-9AB])?", number):
            raise ValueError("a Département is written as CAF files do, with three characters: 040")
        return number

    @field_validator("bodies")
    @classmethod
    def _numbers(cls, bodies: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        """How much a body is sent and how fast: read when something leaves, said when the process starts."""
        for body, told in bodies.items():
            for name, (form, meant) in _NUMBERS.items():
                if told.get(name) and not form.fullmatch(told[name]):
                    raise ValueError(f"{body}.{name} is {meant}")
        return bodies

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.home / 'maillon.db'}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = TomlConfigSettingsSource(settings_cls, os.environ.get(FILE, "maillon.toml"))
        return init_settings, env_settings, file, file_secret_settings


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process. Raises `Misconfigured("settings-invalid")`: the names of wrong ones, no value."""
    file = os.environ.get(FILE, "maillon.toml")
    if FILE in os.environ and not Path(file).is_file():
        raise Misconfigured("settings-invalid", f"{FILE} names {file}, which is no file.")
    try:
        return Settings()
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured("settings-invalid", f"{file} is not TOML: {error}.") from None
    except UnicodeDecodeError as error:
        raise Misconfigured("settings-invalid", f"{file} is not TOML: save it as UTF-8 (byte {error.start}).") from None
    except ValidationError as error:
        raise Misconfigured("settings-invalid", f"{misread(error)} (MAILLON_… variables, {file}).") from None


def unknown_variables() -> list[str]:
    """`MAILLON_*` variables that nothing reads: misspelt ones, whose setting keeps its default."""
    known = {f"MAILLON_{name}".upper() for name in Settings.model_fields} | _READ_ELSEWHERE
    return sorted(name for name in os.environ if name.startswith("MAILLON_") and name not in known)
