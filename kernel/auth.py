"""Who may do what. Every route declares a policy; a route without one is refused, and a law test finds it sooner.

Policies: `public`, `member_only`, `staff(permission)`, `api_scope(scope)`. Roles hold permissions by name; each floor
declares its own in `permissions.py` through `grant`.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import flask_login
from flask import Flask, current_app, g, redirect, request, url_for

from . import api_keys, visitors
from .errors import Forbidden
from .i18n import lazy_gettext as _l

if TYPE_CHECKING:
    from .staff.models import Staff


class Role(enum.StrEnum):
    OWNER = "owner"
    MANAGER = "manager"
    MARKETER = "marketer"
    SERVICE = "service"
    ASSISTANT = "assistant"
    VIEWER = "viewer"


ROLE_LABELS = {
    Role.OWNER: _l("Owner"),
    Role.MANAGER: _l("Community manager"),
    Role.MARKETER: _l("Marketer"),
    Role.SERVICE: _l("Customer service"),
    Role.ASSISTANT: _l("Assistant"),
    Role.VIEWER: _l("Viewer"),
}


@dataclass(frozen=True)
class Policy:
    """What a route asks of whoever calls it."""

    kind: str  # public | member | staff | api
    detail: str = ""
    identified: bool = False


F = TypeVar("F", bound=Callable[..., Any])
_permissions: dict[str, set[Role]] = defaultdict(set)


def grant(permission: str, *roles: Role) -> None:
    """Give a permission (`noun.verb`) to roles; the owner holds every one."""
    _permissions[permission].update(roles, {Role.OWNER})


def permissions() -> dict[str, frozenset[Role]]:
    """Every declared permission with the roles that hold it."""
    return {name: frozenset(roles) for name, roles in _permissions.items()}


def holds(role: Role, permission: str) -> bool:
    return role in _permissions.get(permission, ())


def _declare(policy: Policy) -> Callable[[F], F]:
    def mark(view: F) -> F:
        view._policy = policy  # type: ignore[attr-defined]
        return view

    return mark


def public(reason: str) -> Callable[[F], F]:
    """Anyone may call this; the reason says why that is right."""
    return _declare(Policy("public", reason))


def member_only(identified: bool = False) -> Callable[[F], F]:
    """A browser that is bound to a member; `identified` asks that the person has proved who they are."""
    return _declare(Policy("member", "identified" if identified else "bound", identified))


def staff(permission: str) -> Callable[[F], F]:
    """Signed-in staff whose role holds the permission."""
    return _declare(Policy("staff", permission))


def signed_in(view: F) -> F:
    """Any signed-in staff, whatever the role (own password, language, sign-out)."""
    return _declare(Policy("staff", ""))(view)


def api_scope(scope: str) -> Callable[[F], F]:
    """A program whose API key carries the scope."""
    api_keys.SCOPES.add(scope)
    return _declare(Policy("api", scope))


def policy_of(view: Any) -> Policy | None:
    return getattr(view, "_policy", None)


def current_staff() -> Staff | None:
    """The signed-in staff member, or None."""
    user = flask_login.current_user
    return user.person if user and user.is_authenticated else None


def acting_staff() -> Staff:
    """The signed-in staff member of a route whose policy guarantees one."""
    found = current_staff()
    if found is None:
        raise Forbidden
    return found


@dataclass(frozen=True)
class _Reader:
    """What `current_staff` finds while something is read in somebody's name."""

    person: Staff
    is_authenticated: bool = True


@contextmanager
def reading_as(person: Staff) -> Iterator[None]:
    """Let what runs inside read as somebody of the staff would who is signed in: for what is written to them outside of a
    request of theirs. What pages keep for the length of a request is theirs alone. The language is the caller's."""
    kept = {name: g.pop(name, None) for name in ("_login_user", "kept_reads", "locale")}
    locale = kept["locale"]
    with current_app.test_request_context():
        try:
            g._login_user, g.locale = _Reader(person), locale
            yield
        finally:
            for name, value in kept.items():
                g.pop(name, None)
                if value is not None:
                    setattr(g, name, value)


def may(permission: str) -> bool:
    """Whether the signed-in staff member holds the permission (also a template function)."""
    who = current_staff()
    return who is not None and holds(who.role, permission)


def safe_next(target: str | None, fallback: str) -> str:
    """A path on this site to go on to; anything that could lead elsewhere becomes the fallback."""
    if not target or not target.startswith("/") or target.startswith("//") or "\\" in target:
        return fallback
    if any(ord(c) <= 32 for c in target):
        return fallback
    parts = urlsplit(target)
    return target if not parts.scheme and not parts.netloc else fallback


def _enforce() -> Any:
    if request.endpoint is None:
        return None  # No such route: the 404 or 405 follows by itself.
    view = current_app.view_functions[request.endpoint]
    policy = policy_of(view)
    if policy is None:
        raise Forbidden
    match policy.kind:
        case "public":
            return None
        case "api":
            api_keys.authenticate(policy.detail)
            return None
        case "member":
            if visitors.member_id(identified=policy.identified) is None:
                return redirect(
                    url_for(
                        "members_portal.sign_in",
                        next=request.full_path.rstrip("?") if request.method == "GET" else None,
                    )
                )
            return None
        case _:
            who = current_staff()
            if who is None:
                wanted = request.full_path.rstrip("?") if request.method == "GET" else None
                return redirect(url_for("staff_console.sign_in", next=wanted))
            if policy.detail and not holds(who.role, policy.detail):
                raise Forbidden
            return None


def init_app(app: Flask) -> None:
    app.before_request(_enforce)
    app.jinja_env.globals.update(may=may, current_staff=current_staff, role_labels=ROLE_LABELS)
    _declare(Policy("public", "stylesheets, scripts and pictures"))(app.view_functions["static"])
