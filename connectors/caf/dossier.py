"""Which dossier a raw record speaks of, told from its first bytes without parsing it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from connectors.caf.doublons import empreinte
from connectors.caf.octets import head
from schemas import normalisation


@dataclass(frozen=True, slots=True)
class Dossier:
    """One RSA file of one caisse."""

    key: str
    """FONORG:NUMORG:MATRICULE:NUMDEMRSA normalised, as the mapping names it. A matricule that is a NIR is left out."""
    empreinte: int
    """Digest of the whole identity, matricule included."""
    demande: int
    """Digest of the request number alone."""
    matricule: str = field(repr=False, default="")

    @classmethod
    def of(cls, raw: bytes) -> Self:
        return cls.from_head(*head(raw))

    @classmethod
    def from_head(cls, fonorg: str, numorg: str, matricule: str, _kind: str, _to: str, numdemrsa: str) -> Self:
        caf = fonorg == "CAF"
        numero = normalisation.caf_matricule(matricule) if caf else normalisation.msa_numero(matricule).valeur
        sealed = not caf and normalisation.looks_like_nir(matricule)
        demande = normalisation.numero_demande(numdemrsa)
        parts = [fonorg, numorg, "" if sealed else numero, demande]
        return cls(
            ":".join(part for part in parts if part),
            empreinte(fonorg, numorg, numero, demande),
            empreinte(demande),
            numero if sealed else "",
        )

    @property
    def key_apart(self) -> str:
        """The key when another dossier bears the same request number: sixteen bits keep two sealed matricules apart."""
        return f"{self.key}#{empreinte(self.matricule) & 0xFFFF:04x}" if self.matricule else self.key
