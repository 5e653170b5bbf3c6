"""The steps of each kind as the shop writes them: versions, open tickets that finish theirs, and the page."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from community.tickets import labels, queries, rules, services
from community.tickets.models import TicketKind
from community.tickets.rules import Ask, Step
from kernel.auth import Role
from tests.community.tickets.conftest import ticket_of
from tests.conftest import bind, english

STANDARD = rules.WORKFLOWS[TicketKind.FEEDBACK]
OWN = (
    *STANDARD,
    Step(
        "own-1",
        (Ask("own-2", "choice", choices=("好", "不好"), label="满意吗", label_en="Content?"),),
        True,
        "",
        "回访",
        "Asked back",
    ),
)


def fields(kind: TicketKind, steps: tuple[Step, ...], version: int = 0, **more: str) -> dict[str, str]:
    """What a browser sends back from the page of a kind."""
    sent = {"version": str(version), f"answer_{kind}": "60", f"resolve_{kind}": "24"}
    for n, step in enumerate(steps):
        sent |= {f"s{n}_key": step.key, f"s{n}_name": labels.step_written(step), f"s{n}_place": str(n + 1)}
        sent |= {f"s{n}_timer": step.timer, f"s{n}_by_member": "1" if step.by_member else ""}
        for m, ask in enumerate(step.asks):
            name = f"s{n}_a{m}"
            sent |= {f"{name}_key": ask.key, f"{name}_label": labels.ask_written(ask), f"{name}_shape": ask.shape}
            sent |= {f"{name}_needed": "1" if ask.needed else ""}
            sent |= {f"{name}_choices": "\r\n".join(labels.choice_name(ask, value) for value in ask.choices)}
    return {**sent, **more}


class _Typed(HTMLParser):
    """Collects what a browser would send back from the form of the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[str, str] = {}
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        name = found.get("name") or ""
        if tag in ("select", "textarea"):
            self.inside = name
            self.sent[name] = ""
        elif tag == "option" and "selected" in found:
            self.sent[self.inside] = found.get("value") or ""
        elif tag == "input" and name and (found.get("type") != "checkbox" or "checked" in found):
            self.sent[name] = found.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag in ("select", "textarea"):
            self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside.endswith("_choices"):
            self.sent[self.inside] += data


def typed_on(page: str) -> dict[str, str]:
    """What a browser sends back when nothing on the page of a kind was touched."""
    reader = _Typed()
    begin = page.rindex("<form", 0, page.index('name="version"'))
    reader.feed(page[begin : page.index("</form>", begin)])
    return reader.sent


@given(
    st.lists(
        st.builds(
            Step,
            st.sampled_from(["a", "b", "c", "noted"]),
            name=st.sampled_from(["", "甲"]),
            timer=st.sampled_from(rules.TIMERS),
        ),
        max_size=14,
    )
)
def test_inv_steps_that_are_kept_come_back_and_lead_to_the_end(steps: list[Step]) -> None:
    if rules.workflow_fault(steps, {"noted"}):
        return
    assert rules.steps_from(rules.steps_to(steps)) == tuple(steps)
    key, seen = rules.first_step(steps), []
    while key:
        seen.append(key)
        key = rules.step_after(steps, key)
    assert seen == [step.key for step in steps]
    assert [s.timer for s in steps if s.timer][:1] != ["stop"]


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ((), "number"),
        ((Step("a", name="x"),) * 2, "twice"),
        ((Step("a"),), "name"),
        ((Step("a", (Ask("k"), Ask("k")), name="x"),), "asks"),
        ((Step("a", (Ask("k", "choice", choices=("一",)),), name="x"),), "choices"),
        ((Step("a", timer="stop", name="x"),), "timer"),
        (OWN, ""),
    ],
)
def test_what_is_no_workflow_is_named(steps, fault):
    assert rules.workflow_fault(steps, {step.key for step in STANDARD}) == fault
    assert fault in {"", *labels.WORKFLOW_FAULTS}


def test_open_tickets_finish_the_steps_that_they_were_opened_with(db, clock, ticket, make_staff):
    agent, before = make_staff(Role.SERVICE), ticket(kind=TicketKind.FEEDBACK)
    services.save_workflow(TicketKind.FEEDBACK, OWN, agent.id, 0)
    with pytest.raises(services.WorkflowChanged):
        services.save_workflow(TicketKind.FEEDBACK, OWN, agent.id, 0)
    with pytest.raises(services.WorkflowInvalid):
        services.save_workflow(TicketKind.FEEDBACK, (Step("x"),), agent.id, 1)
    after = ticket(kind=TicketKind.FEEDBACK)
    assert (len(queries.steps_of(before)), len(queries.steps_of(after))) == (2, 3)
    for key in ("noted", "passed_on"):
        services.do_step(before.id, key, None, agent.id)
        services.do_step(after.id, key, None, agent.id)
    assert [ticket_of(db, one.id).step for one in (before, after)] == ["", "own-1"]
    services.member_step(after.id, "own-1", {"own-2": "好"})
    done = queries.steps_done(after.id)["own-1"]
    assert labels.told(OWN[-1], done) == [("满意吗", "好")]
    # Back to the standard; what is under way stays as it is, and a change of kind takes what counts now.
    services.save_workflow(TicketKind.FEEDBACK, (), agent.id, 1)
    assert queries.steps_now(TicketKind.FEEDBACK) == STANDARD
    assert len(queries.steps_of(ticket_of(db, after.id))) == 3
    services.change_kind(before.id, TicketKind.RETURN, agent.id)
    services.change_kind(before.id, TicketKind.FEEDBACK, agent.id)
    assert ticket_of(db, before.id).workflow_id is None


def test_a_ticket_keeps_to_one_version_though_another_is_saved_while_it_is_written(
    db, clock, ticket, make_staff, monkeypatch
):
    agent, kind = make_staff(Role.SERVICE), TicketKind.FEEDBACK
    other, read = ticket(kind=TicketKind.RETURN), queries.workflow_now
    services.save_workflow(kind, STANDARD, agent.id, 0)

    def overtaken(wanted):
        """Reads the version that counts; right after that a colleague saves one that begins otherwise."""
        found, seen = read(wanted), services.workflow_version(kind)
        first = Step(f"own-{seen}", name="先看看")
        services.save_workflow(kind, (first, *STANDARD), agent.id, seen)
        return found

    monkeypatch.setattr(queries, "workflow_now", overtaken)
    opened = ticket(kind=kind, answers={"about": "parcel"})
    services.change_kind(other.id, kind, agent.id)
    for one in (opened, ticket_of(db, other.id)):
        assert one.step in {step.key for step in queries.steps_of(one)}
    assert (opened.step, list(queries.steps_done(opened.id))) == ("passed_on", ["noted"])


def test_a_console_in_english_keeps_the_shops_own_words(db, clock, browse, make_staff):
    kind, page = TicketKind.FEEDBACK, "/console/workflows/feedback"
    services.save_workflow(kind, OWN, make_staff(Role.OWNER).id, 0)
    desk = browse(Role.MANAGER)
    shown = desk.get(page).text
    for name, words in (
        ("s2_name", "回访"),
        ("s2_name_en", "Asked back"),
        ("s2_a0_label", "满意吗"),
        ("s0_name", "Noted"),
    ):
        assert f'name="{name}" value="{words}"' in shown
    as_shown = typed_on(shown)
    assert desk.post(page, data=as_shown | {"s2_place": "1", "s0_place": "3"}).status_code == 302
    assert queries.steps_now(kind) == (OWN[2], OWN[1], OWN[0])


def test_a_promise_alone_makes_no_version(db, clock, browse):
    kind, page, desk = TicketKind.SURVEY, "/console/workflows/survey", browse(Role.MANAGER)
    sent = typed_on(desk.get(page).text) | {f"answer_{kind}": "17"}
    assert desk.post(page, data=sent).status_code == 302
    assert (services.desk_settings().promises[kind].answer, services.workflow_version(kind)) == (17, 0)
    assert desk.post(page, data=sent | {"s0_name_en": "Put"}).status_code == 302
    assert (queries.steps_now(kind)[0].name_en, services.workflow_version(kind)) == ("Put", 1)


def test_a_manager_changes_steps_and_promise_on_a_page_that_loses_nothing(
    app, db, clock, browse, ticket, make_member, make_staff
):
    desk, kind = browse(Role.MANAGER), TicketKind.RETURN
    page = "/console/workflows/return"
    assert "Why it comes back" in desk.get("/console/workflows").get_data(as_text=True)
    assert "Not as pictured" in desk.get(page).get_data(as_text=True)
    with app.test_request_context(headers={"Accept-Language": "en"}):
        standard = rules.WORKFLOWS[kind]
        as_it_is = fields(kind, standard)
        # The order changed, one step left out, one of the shop's own.
        sent = as_it_is | {"s0_place": "2", "s1_place": "1", "s4_drop": "1"}
        sent |= {
            "s5_name": "打电话",
            "s5_name_en": "Called",
            "s5_place": "9",
            "s5_a0_label": "说了什么",
            "s5_a0_shape": "text",
        }
    assert desk.post(page, data=as_it_is).status_code == 302
    assert queries.steps_now(kind) == standard
    assert services.desk_settings().promises[kind] == rules.Promise(60, 24 * 60)
    services.save_workflow(kind, (), make_staff(Role.OWNER).id, 0)
    assert desk.post(page, data={**sent, "version": "0"}).status_code == 409
    assert desk.post(page, data={**sent, "version": "1", f"answer_{kind}": "x"}).status_code == 422
    assert desk.post(page, data={"version": "1", f"answer_{kind}": "60", f"resolve_{kind}": "24"}).status_code == 422
    assert (
        desk.post(page, data={**sent, "version": "1", "s3_timer": "stop", "s1_timer": "", "s2_timer": ""}).status_code
        == 422
    )
    assert desk.post(page, data={**sent, "version": "1"}).status_code == 302
    found = queries.steps_now(kind)
    assert [step.key for step in found][:4] == ["approved", "reason", "sent", "received"]
    assert (found[-1].name, found[-1].name_en, found[-1].asks[0].shape) == ("打电话", "Called", "text")
    assert found[1] == standard[0]
    # A customer and the desk see them; somebody who may not change them cannot.
    member = make_member()
    opened = ticket(member, kind)
    assert "Called" in desk.get(f"/console/tickets/{opened.id}").get_data(as_text=True)
    assert "Called" in bind(english(app.test_client()), member.id, True).get(f"/tickets/{opened.public_id}").text
    assert browse(Role.SERVICE).post(page, data={"standard": "1", "version": "2"}).status_code == 403
    assert desk.get("/console/workflows/nothing").status_code == 404
    assert desk.post(page, data={"standard": "1", "version": "2"}).status_code == 302
    assert queries.steps_now(kind) == standard


def test_a_survey_is_asked_and_answered_on_the_phone(app, db, clock, ticket, make_member, make_staff):
    member, agent = make_member(), make_staff(Role.SERVICE)
    opened = ticket(member, TicketKind.SURVEY, text="想听听您的意见")
    services.do_step(opened.id, "asked", {}, agent.id)
    services.answer(opened.id, agent.id, "包装您觉得怎么样？")
    phone = bind(english(app.test_client()), member.id, True)
    here = f"/tickets/{opened.public_id}"
    assert "What you think" in phone.get(here).text
    assert phone.post(f"{here}/steps/answered", data={"ask_said": "盒子再结实一点"}).status_code == 303
    found = ticket_of(db, opened.id)
    assert (found.step, found.state.value) == ("", "open")
    assert queries.steps_done(opened.id)["answered"].answers == {"said": "盒子再结实一点"}
