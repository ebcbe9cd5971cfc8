"""The Python that an engineer would write by hand for some documents: what `bench/mapping.py` compares the engine with.

Same fields, same checks of each field, same findings, same meter of what was filled. The field types themselves
(`mappings/types.py`) serve both: what is compared is how a document is walked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import _common  # noqa: F401 puts the checkout on the path

from mappings import document
from mappings.document import scalar
from mappings.grammar import Row
from mappings.types import Bad, codec
from schemas import nomenclatures
from schemas.record import Current, Fact, Finding, PersonFacts, Record, Written

ROLES = {
    "DEMANDEUR": "demandeur", "DEM": "demandeur", "CONJOINT": "conjoint", "CJT": "conjoint", "ENFANT": "enfant",
    "AUTRE": "autre", "RESPONSABLE DOSSIER": "responsable_dossier", "RDO": "responsable_dossier",
}  # fmt: skip
COLUMNS = frozenset({
    "matricule", "role personne", "type personne", "nir", "numero demande rsa", "date demande rsa",
    "date debut droits devoirs", "nom responsable dossier", "prenom responsable dossier", "numero telephone dossier",
    "numero telephone 2 dossier", "adresse electronique dossier",
})  # fmt: skip


def _field(kind: str) -> Callable[[str], Any]:
    return codec(Row(type=kind), "Europe/Paris").read  # type: ignore[return-value]


nir, matricule, demande, date_fr, phone, email, date = map(
    _field, ("nir", "matricule_caf", "numero_demande", "date_fr", "phone", "email", "date")
)
words, identifier, boolean, instant, integer, decimal, rome = map(
    _field, ("text", "identifier", "boolean", "instant", "integer", "decimal", "rome")
)


def read_contacts(row: dict[str, str]) -> Record:
    """What an engineer would write for this file, finding by finding."""
    findings: list[Finding] = []
    facts: dict[str, Any] = {}
    foyer: dict[str, Any] = {"foyer.organisme": "caf"}

    def take(column: str, read: Callable[[str], Any]) -> Any:
        if not (text := row.get(column)):
            return None
        try:
            return read(text)
        except Bad as error:
            findings.append(Finding(error.code, column, "quarantine", "", error.detail))
            return None

    for column in row:
        if column not in COLUMNS:
            findings.append(Finding("unknown-element", column, "notice"))
    if (number := take("nir", nir)) is not None:
        facts["identifiants[nir].valeur"] = number
    said = row.get("role personne") or ""
    role = ROLES.get(said) or ROLES.get(said.strip())
    if role is not None:
        facts["personne.role_foyer"] = role
    else:
        findings.append(Finding("unknown-code" if said else "missing-required", "role personne", "quarantine", said))
    file_number = take("matricule", matricule)
    request = take("numero demande rsa", demande)
    for path, value, column in (
        ("foyer.matricule", file_number, "matricule"),
        ("droit_rsa.numero_demande", request, "numero demande rsa"),
    ):
        if value is not None:
            foyer[path] = value
        elif not row.get(column):
            findings.append(Finding("missing-required", column, "quarantine"))
    if (asked := take("date demande rsa", date_fr)) is not None:
        foyer["droit_rsa.date_demande"] = asked
    if (since := take("date debut droits devoirs", date_fr)) is not None:
        facts["droit_rsa.date_droits_devoirs"] = since
    for column in ("numero telephone dossier", "numero telephone 2 dossier"):
        if (called := take(column, phone)) is not None:
            facts[f"personne.telephones[{called}].numero"] = called
            facts[f"personne.telephones[{called}].autorisation"] = "inconnu"
    if (address := take("adresse electronique dossier", email)) is not None:
        facts[f"personne.courriels[{address}].adresse"] = address
        facts[f"personne.courriels[{address}].autorisation"] = "inconnu"
    key = ":".join(part for part in (request, file_number, role) if part is not None)
    return Record(key, [PersonFacts(facts)], foyer, findings, None, document.digest(row, None), False)


USAGER = frozenset({"m_contrat"})
CONTRAT = frozenset({
    "m_statut", "m_date_effet_statut", "m_duree_inscription_12", "m_duree_inscription_24", "m_duree_inscription_36",
    "m_motif_inscription_code", "m_motif_inscription_lib", "m_categ_inscription_code", "m_categ_inscription_lib",
    "m_situation_reg_emp_code", "m_situation_reg_emp_lib", "m_motif_cloture_code", "m_motif_cloture_lib",
})  # fmt: skip


def read_statut(told: dict[str, Any]) -> Record:
    """`france_travail.statut_usager`: one JSON object."""
    findings: list[Finding] = []
    facts: dict[str, Any] = {}
    for name in told:
        if name not in USAGER:
            findings.append(Finding("unknown-element", name, "notice"))
    inside = told.get("m_contrat")
    if not isinstance(inside, dict):
        inside = {}
    for name in inside:
        if name not in CONTRAT:
            findings.append(Finding("unknown-element", f"m_contrat/{name}", "notice"))

    def text(name: str) -> str | None:
        value = inside.get(name)
        return value if value is None or isinstance(value, str) else document.scalar(value)

    if state := text("m_statut"):
        if state == "Inscrit" or state.strip() == "Inscrit":
            facts["inscription_emploi.inscrit"] = True
        else:
            findings.append(Finding("unknown-code", "m_contrat/m_statut", "quarantine", state, "statut"))
    if since := text("m_date_effet_statut"):
        try:
            if (read := date(since)) is not None:
                facts["inscription_emploi.date_inscription"] = read
        except Bad as error:
            findings.append(Finding(error.code, "m_contrat/m_date_effet_statut", "quarantine", "", error.detail))
    for months in ("12", "24", "36"):
        name = f"m_duree_inscription_{months}"
        if length := text(name):
            try:
                facts[f"inscription_emploi.duree_mois_{months}"] = int(length)
            except ValueError:
                findings.append(Finding("bad-integer", f"m_contrat/{name}", "quarantine", "", "chiffres"))
    for name, path in (("m_motif_inscription_code", "motif_inscription"), ("m_categ_inscription_code", "categorie")):
        if word := text(name):
            facts[f"inscription_emploi.{path}"] = word.strip()
    return Record("", [PersonFacts(facts)], {}, findings, None, document.digest(told, None), partial=False)


FOLLOWED = frozenset({"fileNumber", "followups", "helpRequests", "freins", "rendezVous", "resultats"})
MEDIUMS = {
    "PlannedInPerson": "accueil_rdv", "UnplannedInPerson": "accueil_spontane", "PhoneCall": "telephone",
    "BeneficiaryHouseAppointment": "domicile", "ExternalAppointment": "exterieur", "PostalMail": "courrier",
    "Email": "courriel", "Videoconference": "visio", "ThirdParty": "tiers",
}  # fmt: skip
FOLLOWUPS = {"Todo": "a_faire", "InProgress": "en_cours", "Done": "fait"}
REQUESTS = {
    "WaitingAdditionalInformation": "en_attente_pieces", "InvestigationOngoing": "instruction", "Accepted": "acceptee",
    "Refused": "refusee", "Adjourned": "ajournee", "ClosedByBeneficiary": "close_personne", "Dismissed": "classee",
}  # fmt: skip
REASONS = {"Energy": "energie", "Food": "alimentation", "Housing": "logement", "Other": "autre"}
THEMES = {row["theme_canonique"]: row["theme_canonique"] for row in nomenclatures.crosswalk("freins")}
SITUATIONS = {
    row["situation_canonique"]: row["situation_canonique"] for row in nomenclatures.crosswalk("freins_situations")
}
TYPES = {
    each: row["theme_canonique"] for row in nomenclatures.crosswalk("freins") for each in row["mss_types"].split("|")
} | dict.fromkeys((
    "Demande d'aides ménagères", "Obligation alimentaire", "Entrée en famille d'accueil",
    "Entrée en hébergement pour personnes âgées", "Entrée en établissement pour personnes handicapées",
    "Accompagnement social", "Plan alerte et urgence",
))  # fmt: skip


def _same(*words: str) -> dict[str, str]:
    return {word: word for word in words}


VALEURS = _same("non_aborde", "present", "absent", "cloture")
IMPACTS = _same("fort", "moyen", "faible", "non_renseigne")
OUI_NON = _same("oui", "non", "non_aborde")
MOTIFS_RDV = _same("orientation", "accompagnement", "contrat", "atelier", "autre")
MODALITES_RDV = _same("presentiel", "telephone", "visio", "domicile")
STATUTS_RDV = _same("prevu", "a_renseigner", "honore", "excuse_usager", "annule_service", "absent")
PROFESSIONS = _same(
    "assistant_social", "cesf", "referent_social_ag", "conseiller_emploi", "cae", "referent_solidarite",
    "agent_accueil", "instructeur", "responsable_structure",
)  # fmt: skip
RESULTS = _same("emploi", "formation", "creation", "sortie_rsa", "logement", "qualification", "autre")
HOURS = _same("plein", "partiel")
_ITEM = {
    "followups": {"id", "date", "medium", "types", "status", "structureName", "dueDate", "firstFollowup"},
    "helpRequests": {"id", "type", "status", "openingDate", "decisionDate", "financialSupport",
                     "examiningOrganisation", "askedAmount", "allocatedAmount", "reason"},
    "freins": {"theme", "valeur", "impact", "prioritaire", "bloqueEmploi", "exploreLe", "situations"},
    "situations": {"code", "valeur"},
    "rendezVous": {"id", "debut", "dureeMin", "motif", "modalite", "premierAccompagnement", "conjoint", "lieu",
                   "statut", "professionnels"},
    "professionnels": {"id", "nom", "prenom", "role"},
    "resultats": {"id", "nature", "date", "typeContrat", "tempsTravail", "rome", "maintenu6Mois"},
}  # fmt: skip


class _Suivi:
    """`ccas.suivi`: one JSON object of lists, two of which hold lists themselves."""

    def __init__(self, context: dict[str, str]) -> None:
        self.organisme, self.structure = context["organisme"], context["nom_structure"]
        self.facts: dict[str, Any] = {}
        self.findings: list[Finding] = []

    def each(self, told: dict[str, Any], name: str, where: str) -> Iterator[tuple[dict[str, Any], str]]:
        for rank, item in enumerate(told.get(name) or (), 1):
            at = f"{where}{name}[{rank}]"
            for unknown in item.keys() - _ITEM[name]:
                self.findings.append(Finding("unknown-element", f"{at}/{unknown}", "quarantine"))
            yield item, at

    def take(self, item: dict[str, Any], name: str, at: str, path: str, read: Callable[[str], Any]) -> None:
        if (found := item.get(name)) is None or not (text := found if isinstance(found, str) else scalar(found)):
            return
        try:
            value = read(text)
        except Bad as error:
            self.findings.append(Finding(error.code, f"{at}/{name}", "quarantine", "", error.detail))
            return
        if value is not None:
            self.facts[path] = value

    def code(self, item: dict[str, Any], name: str, at: str, path: str, codes: dict[str, str], table: str) -> None:
        if not (text := item.get(name)):
            return
        if (value := codes.get(text)) is not None:
            self.facts[path] = value
        else:
            self.findings.append(Finding("unknown-code", f"{at}/{name}", "quarantine", text, table))

    def name(self, item: dict[str, Any], at: str) -> str | None:
        if text := item.get("id"):
            return identifier(text)  # type: ignore[no-any-return]
        self.findings.append(Finding("missing-key", at, "quarantine"))
        return None

    def followup(self, one: dict[str, Any], at: str) -> None:
        if (id := self.name(one, at)) is None:
            return
        path = f"entretiens[{self.organisme}:{id}]"
        self.take(one, "date", at, f"{path}.date", date)
        self.code(one, "medium", at, f"{path}.medium", MEDIUMS, "medium")
        if themes := [TYPES[each] for each in one.get("types") or () if TYPES[each] is not None]:
            self.facts[f"{path}.themes"] = themes
        self.code(one, "status", at, f"{path}.statut", FOLLOWUPS, "statut_suivi")
        self.take(one, "structureName", at, f"{path}.reoriente_vers", words)
        self.take(one, "dueDate", at, f"{path}.echeance", date)
        self.take(one, "firstFollowup", at, f"{path}.premier", boolean)

    def request(self, one: dict[str, Any], at: str) -> None:
        if (id := self.name(one, at)) is None:
            return
        path = f"demandes_aide[{self.organisme}:{id}]"
        self.take(one, "type", at, f"{path}.nature", words)
        self.code(one, "status", at, f"{path}.statut", REQUESTS, "statut_aide")
        self.take(one, "openingDate", at, f"{path}.ouverte_le", date)
        self.take(one, "decisionDate", at, f"{path}.decidee_le", date)
        self.take(one, "financialSupport", at, f"{path}.financiere", boolean)
        self.take(one, "examiningOrganisation", at, f"{path}.organisme_instructeur.nom", words)
        self.take(one, "askedAmount", at, f"{path}.montant_demande", decimal)
        self.take(one, "allocatedAmount", at, f"{path}.montant_accorde", decimal)
        self.code(one, "reason", at, f"{path}.motif", REASONS, "motif_aide")

    def obstacle(self, one: dict[str, Any], at: str) -> None:
        if (theme := THEMES.get(one.get("theme") or "")) is None:
            self.findings.append(Finding("unknown-code", f"{at}/theme", "quarantine", one.get("theme") or "", "theme"))
            return
        path = f"freins[{theme}]"
        self.code(one, "valeur", at, f"{path}.valeur", VALEURS, "valeur_frein")
        self.code(one, "impact", at, f"{path}.impact", IMPACTS, "impact")
        self.take(one, "prioritaire", at, f"{path}.prioritaire", boolean)
        self.take(one, "bloqueEmploi", at, f"{path}.bloque_emploi", boolean)
        self.take(one, "exploreLe", at, f"{path}.explore_le", instant)
        self.facts[f"{path}.explore_par"] = self.organisme
        for situation, there in self.each(one, "situations", f"{at}/"):
            if (code := SITUATIONS.get(situation.get("code") or "")) is not None:
                self.code(situation, "valeur", there, f"{path}.situations[{code}].valeur", OUI_NON, "oui_non")

    def meeting(self, one: dict[str, Any], at: str) -> None:
        if (id := self.name(one, at)) is None:
            return
        path = f"rendez_vous[{self.organisme}:{id}]"
        self.take(one, "debut", at, f"{path}.debut", instant)
        self.take(one, "dureeMin", at, f"{path}.duree_min", integer)
        self.code(one, "motif", at, f"{path}.motif", MOTIFS_RDV, "motif_rdv")
        self.code(one, "modalite", at, f"{path}.modalite", MODALITES_RDV, "modalite")
        self.take(one, "premierAccompagnement", at, f"{path}.premier_accompagnement", boolean)
        self.take(one, "conjoint", at, f"{path}.conjoint", boolean)
        self.take(one, "lieu", at, f"{path}.lieu", words)
        self.code(one, "statut", at, f"{path}.statut", STATUTS_RDV, "statut_rdv")
        self.facts[f"{path}.organisme.nom"] = self.structure
        self.facts[f"{path}.organisme.nature"] = "ccas"
        for agent, there in self.each(one, "professionnels", f"{at}/"):
            if (who := self.name(agent, there)) is not None:
                whose = f"{path}.professionnels[{who}].professionnel"
                self.take(agent, "nom", there, f"{whose}.nom", words)
                self.take(agent, "prenom", there, f"{whose}.prenom", words)
                self.code(agent, "role", there, f"{whose}.role", PROFESSIONS, "role")

    def result(self, one: dict[str, Any], at: str) -> None:
        if (id := self.name(one, at)) is None:
            return
        path = f"resultats[{self.organisme}:{id}]"
        self.code(one, "nature", at, f"{path}.nature", RESULTS, "nature_resultat")
        self.take(one, "date", at, f"{path}.date", date)
        self.take(one, "typeContrat", at, f"{path}.type_contrat", words)
        self.code(one, "tempsTravail", at, f"{path}.temps_travail", HOURS, "temps_travail")
        self.take(one, "rome", at, f"{path}.rome", rome)
        self.take(one, "maintenu6Mois", at, f"{path}.maintenu_6_mois", boolean)


def read_suivi(told: dict[str, Any], context: dict[str, str]) -> Record:
    found = _Suivi(context)
    for unknown in told.keys() - FOLLOWED:
        found.findings.append(Finding("unknown-element", unknown, "quarantine"))
    for name, take in (
        ("followups", found.followup), ("helpRequests", found.request), ("freins", found.obstacle),
        ("rendezVous", found.meeting), ("resultats", found.result),
    ):  # fmt: skip
        for item, at in found.each(told, name, ""):
            take(item, at)
    key = identifier(told["fileNumber"]) if told.get("fileNumber") else ""
    return Record(key, [PersonFacts(found.facts)], {}, found.findings, None, document.digest(told, None), partial=True)


# --- forms ------------------------------------------------------------------------------------------------------------


def write_sanction(current: Current, context: dict[str, Any]) -> Written:
    """`france_travail.sanction_rsa`: what agents wrote, placed."""
    findings: list[Finding] = []
    event: dict[str, Any] = {}
    told: dict[str, Any] = {}
    for name, into, key, required in (
        ("identifiant_consequence", told, "identifiantConsequenceSanction", True),
        ("type_evenement", event, "typeEvenement", True),
        ("date_evenement", event, "dateEvenement", True),
        ("type_consequence", event, "typeConsequenceSanctionValide", False),
        ("modalite_decision", event, "modaliteDecisionValidee", False),
        ("montant", event, "montantValide", False),
        ("duree", event, "dureeValidee", False),
        ("motif_evenement", event, "motifEvenement", False),
    ):
        value = context.get(name)
        if value is not None:
            into[key] = value
        elif required:
            findings.append(Finding("missing-required", f"evenement/{key}" if into is event else key, "quarantine"))
    if event:
        told["evenement"] = event
    return Written(told, {}, [], findings)


def items(current: Current, name: str) -> dict[str, dict[str, Fact]]:
    """The items of a list that the facts name, each with its own facts by the rest of their path."""
    found: dict[str, dict[str, Fact]] = {}
    prefix = f"{name}["
    for path, fact in current.items():
        if path.startswith(prefix):
            key, _, rest = path[len(prefix) :].partition("].")
            found.setdefault(key, {})[rest] = fact
    return found


def write_contrat(current: Current, context: dict[str, Any]) -> Written:
    """`france_travail.contrat_engagement`: one date per contract."""
    written = Written({})
    for key, facts in items(current, "contrats").items():
        for path, name in (("signe_le", "dateSignature"), ("refuse_le", "dateRefus")):
            place = f"[{key}]/{name}"
            fact = facts.get(path)
            if fact is None:
                written.empty.append(place)
                continue
            if len(fact.value) != 10:
                written.findings.append(Finding("not-precise-enough", place, "quarantine", "", "a full date is needed"))
                written.empty.append(place)
                continue
            written.document[name] = f"{fact.value}T00:00:00.000Z"
            written.filled[place] = fact
    return written


STATUTS = {
    "prevu": "PRIS", "a_renseigner": "PRIS", "honore": "EFFECTUE", "absent": "ABSENT", "excuse_usager": "ANNULE",
    "annule_service": "ANNULE",
}  # fmt: skip
MOTIFS = {"accompagnement": "AUT", "orientation": "ORI", "contrat": "AUT", "atelier": "AUT", "autre": "AUT"}
INITIATEURS = {"personne": "USAGER", "agent": "PARTENAIRE", "prescripteur": "PARTENAIRE"}
MODALITES = {"presentiel": "PHYSIQUE", "domicile": "PHYSIQUE", "telephone": "TELEPHONE", "visio": "VISIO"}
ORGANISMES = frozenset({"FT", "CD", "DCD", "ML", "CE", "CC"})


def write_rendez_vous(current: Current, context: dict[str, Any]) -> Written:
    """`france_travail.rendez_vous`: a form with decisions, a code and two inner objects."""
    written = Written({})
    filled, empty, findings = written.filled, written.empty, written.findings
    for key, facts in items(current, "rendez_vous").items():
        form: dict[str, Any] = {}

        def missing(name: str, required: bool, key: str = key) -> None:
            if required:
                findings.append(Finding("missing-required", f"[{key}]/{name}", "quarantine"))
            empty.append(f"[{key}]/{name}")

        def coded(
            path: str,
            codes: dict[str, str],
            name: str,
            required: bool,
            key: str = key,
            facts: dict[str, Fact] = facts,
            form: dict[str, Any] = form,
        ) -> None:
            fact = facts.get(path)
            code = codes.get(fact.value) if fact is not None else None
            if fact is None or code is None:
                missing(name, required)
            else:
                form[name] = code
                filled[f"[{key}]/{name}"] = fact

        if (fact := facts.get("debut")) is None:
            missing("date", required=True)
        else:
            moment = datetime.fromisoformat(fact.value)
            form["date"] = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            filled[f"[{key}]/date"] = fact
        if (fact := facts.get("duree_min")) is None:
            missing("duree", required=False)
        else:
            form["duree"] = int(fact.value)
            filled[f"[{key}]/duree"] = fact
        motif, first = facts.get("motif"), facts.get("premier_accompagnement")
        if motif is not None and motif.value == "accompagnement" and first is not None and first.value is True:
            form["motif"] = "ACC"
            filled[f"[{key}]/motif"] = motif
        else:
            coded("motif", MOTIFS, "motif", required=True)
        coded("statut", STATUTS, "statut", required=True)
        coded("cree_par", INITIATEURS, "initiateur", required=False)
        coded("modalite", MODALITES, "modaliteContact", required=True)
        if (fact := facts.get("collectif")) is None:
            form["typeReception"] = "IND"
        else:
            form["typeReception"] = "COL" if fact.value else "IND"
            filled[f"[{key}]/typeReception"] = fact
        for path, name in (("lieu", "libelleAdresse"), ("adresse_lieu", "adresse")):
            if (fact := facts.get(path)) is None:
                missing(name, required=False)
            elif fact.value:
                form[name] = fact.value
                filled[f"[{key}]/{name}"] = fact
        host: dict[str, Any] = {}
        if (fact := facts.get("organisme.code_organisme_ft")) is None:
            missing("organisme/code", required=False)
        elif fact.value not in ORGANISMES:
            findings.append(Finding("no-counterpart", f"[{key}]/organisme/code", "quarantine", "", "organisme"))
            empty.append(f"[{key}]/organisme/code")
        else:
            host["code"] = fact.value
            filled[f"[{key}]/organisme/code"] = fact
        for path, name in (("organisme.ref", "idStructure"), ("organisme.nom", "libelleStructure")):
            if (fact := facts.get(path)) is None:
                missing(f"organisme/{name}", required=False)
            elif fact.value:
                host[name] = fact.value
                filled[f"[{key}]/organisme/{name}"] = fact
        if (address := context.get("organisme_email")) is not None:
            host["emailContact"] = address
        if host:
            form["organisme"] = host
        who: dict[str, Any] = {}
        for part, name in (("nom", "nom"), ("prenom", "prenom"), ("courriel", "email")):
            end = f"].professionnel.{part}"
            fact = next((one for path, one in facts.items() if path.endswith(end)), None)
            if fact is None:
                missing(f"interlocuteur/{name}", required=False)
            elif fact.value:
                who[name] = fact.value
                filled[f"[{key}]/interlocuteur/{name}"] = fact
        if who:
            form["interlocuteur"] = who
        written.document.update(form)
    return written
