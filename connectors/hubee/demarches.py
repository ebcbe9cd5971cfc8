"""The démarches towards a Département as data (`demarches.toml`): what is read of each, what is kept, what is left."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from connectors.contract import DocumentRefused, Envelope

WORDS = {
    "anomaly-companion": "list of anomalies: work for the caisse's correspondent, never an update",
    "administrative-part": "administrative part of the application: only its companion IRSDCG is read",
    "type-unknown": "attachment of a type this démarche is not known to carry: ask the sender what it is",
    "financial-flow": "financial file: collected by the paying department's own software",
    "transferred-debts": "file of transferred debts: collected by the paying department's own software",
    "pregnancy-flow": "pregnancy file of the PMI service: never opened here",
    "child-protection": "child protection file: never opened here",
    "process-unknown": "démarche this gateway does not know: its access belongs to another software",
    "not-as-announced": "periodicity or network of another démarche: its sender posts it again under the right one",
    "not-ours": "not for this organisation: its sender, or the settings siret and guichet, must be corrected",
    "unexpected-error": "a defect of the gateway: its log says where; the file is kept and tried again",
}
"""What an operator reads for each code of the table."""


@dataclass(frozen=True, slots=True)
class Demarche:
    """One démarche. `setting` names the setting that holds its access."""

    code: str
    sender: Literal["caf", "msa", ""] = ""
    read: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    left: str = ""
    kind: str = ""
    network: str = ""

    def check(self, envelope: Envelope) -> None:
        """Compare what a file that is read says of itself with the démarche it came under.

        Raises `DocumentRefused` (``not-as-announced``): a daily file taken for the month's stock, the MSA's for the
        CAF's, would be read in the place of another.
        """
        if self.kind and envelope.kind != self.kind:
            raise DocumentRefused("not-as-announced", WORDS["not-as-announced"], "IdentificationFlux/TYPEFLUX")
        networks = {one.partition(":")[0] for one in envelope.organisme.split("+") if one}
        if self.network and networks and self.network not in networks:
            raise DocumentRefused("not-as-announced", WORDS["not-as-announced"], "Organisme/FONORG")

    @property
    def setting(self) -> str:
        return "acces_" + self.code.lower().replace("-", "_")


DEMARCHES = {
    code: Demarche(code, **row)
    for code, row in tomllib.loads((Path(__file__).parent / "demarches.toml").read_text(encoding="utf-8")).items()
}
TAKEN = {code: one for code, one in DEMARCHES.items() if not one.left}
"""Démarches that are collected when their access is configured."""
