"""From a pseudonym back to a person: one account asks with a reason, another approves, the first looks once.

Approving and looking are for an account that has just proved who it is.
"""

from __future__ import annotations

from typing import Any

from gateway import reidentification
from gateway.console.blocks import Badge, Code, Facts, Field, Form, Link, Notice, Page, Quiet, Table, Text, Title, When
from gateway.console.common import DPO, Answer, Go, Place, View, to_correct
from gateway.person_export import field_in_words, value_in_words
from gateway.problems import Invalid
from gateway.reidentification import Account
from gateway.words import say, says, word

_HERE = "/console/reidentification"
_TONES = {"open": "wait", "approved": "good"}


def places() -> list[Place]:
    """The pages of re-identification."""
    role = ("dpo",)
    return [
        Place(_HERE, listed, role),
        Place(_HERE, ask, role, "POST"),
        Place(f"{_HERE}/{{id}}", one_request, role),
        Place(f"{_HERE}/{{id}}/approuver", one_request, role, fresh=True),
        Place(f"{_HERE}/{{id}}/approuver", approve, role, "POST", fresh=True),
        Place(f"{_HERE}/{{id}}/voir", one_request, role, fresh=True),
        Place(f"{_HERE}/{{id}}/voir", look, role, "POST", fresh=True, apart=True),
    ]


def listed(view: View) -> Page:
    """Requests that wait for a second account, or that may be used; a form to make one."""
    return _page(view)


def _page(view: View, error: str = "") -> Page:
    rows = [
        [
            Link(say("reidentification.demande_du"), f"{_HERE}/{one['id']}", about=one["id"][-6:]),
            When(one["requested_at"]),
            _whose(view, one["requested_by"]),
            _state(one),
            When(one["expires_at"]),
        ]
        for one in reidentification.waiting(view.work)
    ]
    heads = says("reidentification", "demande", "quand", "par", "etat", "jusqua")
    page = Page(
        say("reidentification.titre"),
        [Text(say("reidentification.intro"), lead=True)],
        422 if error else 200,
        error=bool(error),
    )
    if error:
        page.blocks.append(to_correct(Link(say(error), f"#{_FIELD_OF[error]}")))
    page.blocks += [
        Table("demandes", say("reidentification.legende"), heads, rows, say("reidentification.vide")),
        _form(view, error),
    ]
    return page


_FIELD_OF = {"reidentification.pseudonyme_faux": "pseudonyme", "reidentification.motif_manque": "motif"}
_ERRORS = {"subject-invalid": "reidentification.pseudonyme_faux", "reason-missing": "reidentification.motif_manque"}


def _form(view: View, error: str) -> Form:
    wrong = _FIELD_OF.get(error, "")
    said = {name: say(error) if wrong == name else "" for name in ("pseudonyme", "motif")}
    return Form(
        _HERE,
        say("reidentification.demander"),
        [
            Field("pseudonyme", say("reidentification.pseudonyme"), hint=say("reidentification.pseudonyme_aide"),
                  value=view.given("pseudonyme"), required=True, error=said["pseudonyme"]),
            Field("motif", say("reidentification.motif"), "textarea", say("reidentification.motif_aide"),
                  value=view.given("motif", 2_000), required=True, error=said["motif"]),
        ],
        title=say("reidentification.nouvelle"),
        intro=say("reidentification.nouvelle_intro"),
    )  # fmt: skip


def ask(view: View) -> Answer:
    """Write the request down, with its reason."""
    try:
        made = reidentification.request(view.work, view.given("pseudonyme"), view.given("motif", 2_000), _account(view))
    except Invalid as refused:
        return _page(view, _ERRORS[refused.code])
    return Go(f"{_HERE}/{made['id']}", "reidentification_demandee")


def one_request(view: View) -> Page:
    """A request and what this account may do about it."""
    one = reidentification.get(view.work, view.at("id"))
    page = _told(view, one)
    mine, here = one["requested_by"] == _account(view).name, f"{_HERE}/{one['id']}"
    if one["state"] == "open" and mine:
        page.blocks.append(Text(say("reidentification.attend")))
    elif one["state"] == "open":
        page.blocks += [
            Title(say("reidentification.votre_avis")),
            Form(f"{here}/approuver", say("reidentification.approuver"), hidden=[("retour", f"{here}/approuver")],
                 intro=say("reidentification.approuver_intro")),
        ]  # fmt: skip
    elif one["state"] == "approved" and mine:
        page.blocks += [
            Title(say("reidentification.regarder")),
            Form(f"{here}/voir", say("reidentification.voir"), hidden=[("retour", f"{here}/voir")],
                 intro=say("reidentification.voir_intro")),
        ]  # fmt: skip
    return page


def approve(view: View) -> Answer:
    """The second account agrees; the same account is refused."""
    reidentification.approve(view.work, view.at("id"), _account(view))
    return Go(f"{_HERE}/{view.at('id')}", "reidentification_approuvee")


def look(view: View) -> Page:
    """Who it is, shown once."""
    id, by = view.at("id"), _account(view)
    found = reidentification.whose(view.gateway, id, by)
    with view.gateway.unit_of_work() as work:
        work.by = view.by
        one = reidentification.use(work, view.gateway, id, by, found)
        reference = view.gateway.references.give(work, DPO, one["person"]) if one["person"] else ""
    page = _told(view, one)
    page.blocks.append(Title(say("reidentification.personne")))
    if not reference:
        page.blocks.append(Notice(say("reidentification.personne_inconnue"), "wait"))
        return page
    known = [(field_in_words(path), value_in_words(value, path)) for path, value in one["identity"].items()]
    opened = say("reidentification.dossier"), Link(say("reidentification.ouvrir"), f"/console/personne/{reference}")
    page.blocks += [Notice(say("reidentification.une_fois"), "wait"), Facts([*known, opened])]
    return page


def _told(view: View, one: dict[str, Any]) -> Page:
    approved = [(say("reidentification.approuvee_par"), _whose(view, one["approved_by"])),
                (say("reidentification.approuvee_le"), When(one["approved_at"]))]  # fmt: skip
    return Page(
        say("reidentification.une"),
        [
            Facts(
                [
                    (say("reidentification.etat"), _state(one)),
                    (say("reidentification.pseudonyme"), Code(one["subject"])),
                    (say("reidentification.motif"), one["reason"]),
                    (say("reidentification.par"), _whose(view, one["requested_by"])),
                    (say("reidentification.quand"), When(one["requested_at"])),
                    *(approved if one["approved_at"] else []),
                    (say("reidentification.jusqua"), When(one["expires_at"])),
                ]
            )
        ],
        back=Link(say("reidentification.retour"), _HERE),
    )


def _state(one: dict[str, Any]) -> Badge:
    return Badge(word("reidentification_etat", one["state"]), _TONES.get(one["state"], "quiet"))


def _whose(view: View, account: str) -> Any:
    return say("reidentification.vous") if account == _account(view).name else Quiet(say("reidentification.autre"))


def _account(view: View) -> Account:
    return Account(agent=view.session.agent, role="dpo")
