"""Reads of the pages about webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, func, select

from ..db import db
from ..pages import Page, keyset
from .models import DeliveryState, EndpointState, WebhookDelivery, WebhookEndpoint


@dataclass(frozen=True)
class EndpointRow:
    """An endpoint with how many of its messages wait and how many were given up."""

    endpoint: WebhookEndpoint
    waiting: int
    dead: int


def endpoints() -> list[EndpointRow]:
    """Every endpoint, newest first."""
    return with_backlog(db.session.scalars(select(WebhookEndpoint).order_by(WebhookEndpoint.id.desc())).all())


def with_backlog(found: Sequence[WebhookEndpoint]) -> list[EndpointRow]:
    """These endpoints with what of theirs was not delivered."""
    counts: dict[tuple[int, DeliveryState], int] = {
        (row[0], row[1]): row[2]
        for row in db.session.execute(
            select(WebhookDelivery.endpoint_id, WebhookDelivery.state, func.count())
            .where(
                WebhookDelivery.endpoint_id.in_([one.id for one in found]),
                WebhookDelivery.state.in_([DeliveryState.WAITING, DeliveryState.DEAD]),
            )
            .group_by(WebhookDelivery.endpoint_id, WebhookDelivery.state)
        )
    }
    return [
        EndpointRow(one, counts.get((one.id, DeliveryState.WAITING), 0), counts.get((one.id, DeliveryState.DEAD), 0))
        for one in found
    ]


def _log(endpoint_id: int, state: str | None, type_name: str | None) -> Select[WebhookDelivery]:
    statement = select(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint_id)
    if state == "failed":
        statement = statement.where(
            WebhookDelivery.attempts > 0,
            WebhookDelivery.state.in_([DeliveryState.WAITING, DeliveryState.DEAD]),
        )
    elif state in set(DeliveryState):
        statement = statement.where(WebhookDelivery.state == state)
    if type_name:
        statement = statement.where(WebhookDelivery.type == type_name)
    return statement


def deliveries(endpoint_id: int, state: str | None, type_name: str | None, cursor: str | None) -> Page:
    """One page of an endpoint's messages, newest first; `state` is a `DeliveryState` or `failed` for what needed a second try."""
    return keyset(_log(endpoint_id, state, type_name), [WebhookDelivery.id.desc()], cursor)


def exported(endpoint_id: int, state: str | None, type_name: str | None) -> Sequence[WebhookDelivery]:
    """The messages of `deliveries`, newest first (no more than 20,000), for a file."""
    statement = _log(endpoint_id, state, type_name).order_by(WebhookDelivery.id.desc()).limit(20_000)
    return db.session.scalars(statement).all()


def failing() -> Sequence[WebhookEndpoint]:
    """Endpoints that were given up or whose last three calls failed."""
    return db.session.scalars(
        select(WebhookEndpoint)
        .where(
            (WebhookEndpoint.state == EndpointState.DISABLED)
            | ((WebhookEndpoint.state == EndpointState.ACTIVE) & (WebhookEndpoint.failures >= 3))
        )
        .order_by(WebhookEndpoint.id)
    ).all()
