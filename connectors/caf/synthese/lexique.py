"""Invented names and places for synthetic files. Upper case without accents, as the caisses write them.

No family of the lists is known to exist, no commune of the lists is in the official geographic code, and the NIRs made
here carry a commune number that was never attributed: whatever looks like someone is nobody.
"""

from __future__ import annotations

_DEBUTS = (
    "ARBELI", "BOUCARVE", "CADILHE", "DASTORBE", "ESPEYRA", "FOULQUI", "GARDINO", "HOURCASTE", "JAVELOU", "LABOURDI",
    "MARENSIE", "NOUGARE", "ORTHALI", "PEYROUDE", "QUERCYNE", "ROUMEGO", "SARRAMIA", "TASTOULE", "URDAZU", "VIELLECO",
    "BRINDARO", "CASSOUNE", "DUBRELI", "FERRALDO", "GOUZENNA", "LESPERI", "MOUSTIRA", "PUYOLAN", "SABLERO", "TERRISSA",
)  # fmt: skip
_FINS = ("ER", "RD", "NT", "LLE", "ZAC", "SSE", "GNE", "TTE", "LON", "BAUT", "MIN", "RAC", "QUET", "VIE", "DOU", "RIN")
NOMS = tuple(debut + fin for debut in _DEBUTS for fin in _FINS)

PRENOMS_F = (
    "AMELIA", "BEATRIZ", "CLEMENCE", "DJAMILA", "ELODIE", "FATOUMATA", "GHISLAINE", "HELENE", "INES", "JULIE",
    "KARIMA", "LEONIE", "MARIE-ANGE", "NADEGE", "OPHELIE", "PAULINE", "ROSE", "SOLANGE", "TATIANA", "YASMINE",
)  # fmt: skip
PRENOMS_M = (
    "ANTONIN", "BAPTISTE", "CEDRIC", "DIMITRI", "ETIENNE", "FELIX", "GILDAS", "HAMID", "IBRAHIM", "JEAN-NOEL",
    "KEVIN", "LUCIEN", "MAMADOU", "NORBERT", "OSCAR", "PATRICE", "QUENTIN", "RACHID", "SYLVAIN", "THEO",
)  # fmt: skip

LIEUX_NAISSANCE = (
    "SAINT-AVENTIN-LES-SABLES",
    "VALMARENSE",
    "PORT-ALBERET",
    "COURTEMARE",
    "BRIVEZAC",
    "MONTALIEU-VIEUX",
)
LIEUX_ETRANGERS = ("TAROUDEMA", "SANTA LUZENA", "BAMAKORI", "NOVAGRAD")

COMMUNES = (
    ("901", "100", "SAINT-AVENTIN-LES-SABLES"), ("902", "110", "VALMARENSE"), ("903", "120", "PORT-ALBERET"),
    ("904", "130", "COURTEMARE"), ("905", "140", "BRIVEZAC"), ("906", "150", "MONTALIEU-VIEUX"),
    ("907", "160", "LESTRADE-SUR-LEYRE"), ("908", "170", "CASTELNAU-BORDENX"), ("909", "180", "L'ARGENTERE"),
)  # fmt: skip
"""Commune number inside the Département (never attributed), end of the postal code, name."""

TYPES_VOIE = ("RUE", "RUE", "RUE", "AVENUE", "CHEMIN", "IMPASSE", "ALLEE", "PLACE", "ROUTE")
NOMS_VOIE = (
    "DES TUILERIES NEUVES", "DU PORT AUX SABLES", "DES RESINIERS", "DE LA GARE ANCIENNE", "DES BRUYERES", "DU MOULIN",
    "DES ECHASSIERS", "DE LA HALLE AUX GRAINS", "DU LAVOIR", "DES QUATRE VENTS",
)  # fmt: skip
COMPLEMENTS = ("", "", "", "", "BATIMENT B", "APPARTEMENT 12", "RÉSIDENCE L’ŒILLET", "ESCALIER 3", "CHEZ UN TIERS")
LIEUX_DITS = ("", "", "", "", "", "LE BOURG", "LA GRANDE LANDE", "MAISONNAVE")
VILLES_ETRANGERES = ("VALDORIA", "KESTERBURG", "PORTO ALVOR")
