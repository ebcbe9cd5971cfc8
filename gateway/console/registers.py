"""What the DPO takes away: the registers of GDPR 30 and the annex of the impact assessment, from what is live."""

from __future__ import annotations

import json
from datetime import timedelta

from gateway import art30, clock
from gateway.console.blocks import Facts, Link, Page, Text, Title
from gateway.console.common import Answer, Download, Place, View
from gateway.problems import Unknown
from gateway.words import say

FILES = ("registre.html", "registre.csv", "registre-sous-traitant.csv", "registre.json", "annexe-aipd.html")
_YEAR = timedelta(days=366)


def places() -> list[Place]:
    """The page of registers, and each file."""
    role = ("dpo",)
    return [
        Place("/console/registres", listed, role),
        Place("/console/registres/{name}", download, role),
    ]


def listed(view: View) -> Page:
    """What can be taken away, and what each is for."""
    links = [
        (say(f"registres.{_key(name)}_quoi"), Link(say(f"registres.{_key(name)}"), f"/console/registres/{name}"))
        for name in FILES
    ]
    return Page(
        say("registres.titre"),
        [
            Text(say("registres.intro"), lead=True),
            Title(say("registres.fichiers")),
            Facts(links),
            Text(say("registres.ailleurs")),
        ],
    )


def _key(name: str) -> str:
    return name.replace("-", "_").replace(".", "_")


def download(view: View) -> Answer:
    """Made now from the configuration and a year of the journal; taking it away is journaled."""
    name = view.at("name")
    if name not in FILES:
        raise Unknown("register-unknown", "Choose one of the files of the page.")
    view.journal("log.read", outcome="register", purpose="audit_dpo")
    now = clock.now()
    start, end = clock.instant(now - _YEAR), clock.instant(now + timedelta(seconds=1))
    told = art30.register(view.work, view.gateway, start, end)
    if name == "registre.html":
        content = art30.as_html(told, view.gateway)
    elif name == "registre.csv":
        content = art30.as_csv(told)
    elif name == "registre-sous-traitant.csv":
        content = art30.processor_csv(told)
    elif name == "registre.json":
        content = json.dumps(told, ensure_ascii=False, indent=1)
    else:
        content = art30.annex_html(told, view.gateway)
    media = {"html": "text/html", "csv": "text/csv", "json": "application/json"}[name.rpartition(".")[2]]
    return Download(content.encode(), f"{media}; charset=utf-8", name)
