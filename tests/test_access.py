"""Check A2: who may call what, over the whole URL map. Observed and declared are compared in every cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from kernel import api_keys, clock
from kernel.auth import Policy, Role, holds, policy_of
from membership.members.models import Member

from .conftest import bind, sign_in

# Nothing has these numbers and names, so that a permitted call ends in 404 or 422 and a refused one must not get that far.
STAND_INS = {"IntegerConverter": "987654321", "UnicodeConverter": "nothing", "PathConverter": "nothing"}


def calls(app: Flask) -> Iterator[tuple[Rule, str, str, Policy]]:
    """Every (rule, method, address, policy) but static files and the health page, which may say 503."""
    for rule in app.url_map.iter_rules():
        policy = policy_of(app.view_functions[rule.endpoint])
        assert policy is not None
        if rule.endpoint in {"static", "health.healthz"}:
            continue
        values = {name: STAND_INS[type(c).__name__] for name, c in rule._converters.items()}
        built = rule.build(values, append_unknown=False)
        assert built is not None
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield rule, method, built[1], policy


def admitted(response: Any) -> bool:
    """Whether the policy let the call through to its view."""
    if response.status_code in (401, 403):
        return False
    location = response.headers.get("Location", "")
    return not (response.status_code in (302, 303) and "/sign-in" in location)


def staff_admitted(policy: Policy, role: Role | None) -> bool:
    if policy.kind == "public":
        return True
    return policy.kind == "staff" and role is not None and (not policy.detail or holds(role, policy.detail))


def observed_against_declared(
    app: Flask,
    browser: Callable[[], FlaskClient],
    declared: Callable[[Policy], bool],
    headers: dict[str, str] | None = None,
) -> tuple[int, list[str]]:
    cells, wrong = 0, []
    client = browser()
    for rule, method, address, policy in calls(app):
        response = client.open(address, method=method, headers=headers)
        cells += 1
        if response.status_code >= 500:
            wrong.append(f"{method} {address} answered {response.status_code}")
        elif "sign-out" in rule.rule:
            # Signing out leads to the sign-in page for everybody, so the answer tells nothing; the browser is signed out now.
            client = browser()
        elif admitted(response) != declared(policy):
            wrong.append(f"{method} {address} ({policy.kind} {policy.detail}): {response.status_code}, not as declared")
    return cells, wrong


@pytest.mark.parametrize("role", list(Role))
def test_check_a2_roles(app: Flask, staff_client: Callable[..., FlaskClient], role: Role) -> None:
    cells, wrong = observed_against_declared(
        app, lambda: staff_client(role), lambda policy: staff_admitted(policy, role)
    )
    assert wrong == []
    assert cells > 50


def test_check_a2_anonymous(app: Flask, client: FlaskClient) -> None:
    assert observed_against_declared(app, lambda: client, lambda policy: staff_admitted(policy, None))[1] == []


def test_check_a2_disabled_staff(app: Flask, db: Any, make_staff: Callable[..., Any]) -> None:
    person = make_staff(Role.OWNER)

    def browser() -> FlaskClient:
        signed_in = sign_in(app.test_client(), person)
        person.disabled_at = clock.now()
        db.session.flush()
        return signed_in

    assert observed_against_declared(app, browser, lambda policy: staff_admitted(policy, None))[1] == []


@pytest.mark.parametrize("identified", [False, True])
def test_check_a2_members(app: Flask, db: Any, identified: bool) -> None:
    now = clock.now()
    member = Member(name="青柠", created_at=now, stage_since=now, enrolled_at=now)
    db.session.add(member)
    db.session.flush()

    def browser() -> FlaskClient:
        return bind(app.test_client(), member.id, identified)

    def declared(policy: Policy) -> bool:
        return policy.kind == "public" or (policy.kind == "member" and (identified or not policy.identified))

    assert observed_against_declared(app, browser, declared)[1] == []


def test_check_a2_api_scopes(app: Flask, db: Any, client: FlaskClient) -> None:
    wrong = []
    for scope in sorted(api_keys.SCOPES):
        _, token = api_keys.create(f"key for {scope}", [scope])
        headers = {"Authorization": f"Bearer {token}"}
        for _rule, method, address, policy in calls(app):
            if policy.kind != "api":
                continue
            response = client.open(address, method=method, headers=headers, json={})
            if admitted(response) != (policy.detail == scope) or response.status_code >= 500:
                wrong.append(f"{method} {address} with {scope}: {response.status_code}")
            if admitted(client.open(f"{address}?api_key={token}", method=method, json={})):
                wrong.append(f"{method} {address} takes a key in its address")
    assert wrong == []


def test_check_a2_has_teeth(app: Flask, staff_client: Callable[..., FlaskClient]) -> None:
    """Were every permission held by a viewer, the observed refusals would no longer fit what is declared."""
    browser = staff_client(Role.VIEWER)
    assert observed_against_declared(app, lambda: browser, lambda policy: policy.kind in ("public", "staff"))[1]
