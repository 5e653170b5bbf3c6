"""The library: pieces to use again with what came of them, and the table of results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, replace
from typing import Any

from flask import flash, redirect, render_template, request, url_for

from kernel import clock
from kernel.auth import acting_staff, safe_next, staff
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.pages import (
    capped_count,
    chosen,
    csv_response,
    instants,
    keyset,
    period,
    row_or_none,
    search_chip,
    searched,
    ticked,
)

from .. import labels, library, services
from ..library import Wanted
from ..models import PostKind, PostState
from . import bp

MOST_AT_ONCE = 200
LONGEST_FILE = 20_000


def _wanted() -> Wanted:
    return Wanted(
        searched(),
        chosen(PostKind, "kind"),
        row_or_none(request.args.get("product")),
        row_or_none(request.args.get("group")),
        chosen(PostState, "state"),
        request.args.get("kept") == "yes",
    )


def _wanted_results() -> Wanted:
    """What narrows the results: what a draft or a kept piece is, is a question for the library alone."""
    return replace(_wanted(), state=None, kept=False)


def _chips(
    wanted: Wanted, products: list[tuple[int, str]], groups: list[tuple[int, str]]
) -> list[tuple[str, str, str]]:
    chips = []
    if wanted.kept:
        chips.append(("kept", "yes", _("Kept pieces")))
    if wanted.kind is not None:
        chips.append(("kind", wanted.kind.value, _("Kind: %(kind)s", kind=labels.KINDS[wanted.kind])))
    if title := dict(products).get(wanted.product_id or 0):
        chips.append(("product", str(wanted.product_id), _("About %(product)s", product=title)))
    if name := dict(groups).get(wanted.group_id or 0):
        chips.append(("group", str(wanted.group_id), _("Posted to %(group)s", group=name)))
    if wanted.state is not None:
        chips.append(("state", wanted.state.value, _("State: %(state)s", state=labels.STATES[wanted.state])))
    chips += search_chip(wanted.q)
    return chips


@bp.get("/posts/library")
@staff("posts.view")
def shelf() -> Any:
    wanted, products, groups = _wanted(), library.product_choices(), library.all_groups()
    found, order = library.pieces(wanted, request.args.get("sort", ""))
    page = keyset(found, order, request.args.get("cursor"))
    return render_template(
        "posts/library.html",
        page=page,
        pieces=library.pieces_of(page.rows),
        count=capped_count(found),
        chosen=_chips(wanted, products, groups),
        product_choices=products,
        group_choices=groups,
        labels=labels,
    )


@bp.get("/posts/library.csv")
@staff("posts.view")
def export_shelf() -> Any:
    found, order = library.pieces(_wanted(), request.args.get("sort", ""))
    rows = library.pieces_of(library.first_of(found, order, LONGEST_FILE))
    header = [
        _("Title"),
        _("Kind"),
        _("Products"),
        _("State"),
        _("Kept"),
        _("Times shown"),
        _("Last shown"),
        _("Seen"),
        _("Likes"),
        _("Clicked"),
        _("Comments"),
        _("Bought within five days"),
    ]
    return csv_response(
        "library.csv",
        header,
        [
            (
                row.post.title,
                labels.KINDS[row.post.kind],
                " / ".join(library.named(product) for product in row.products),
                labels.STATES[row.state],
                _("yes") if row.post.kept_at else "",
                row.uses,
                clock.wall_text(row.last),
                *astuple(row.numbers),
            )
            for row in rows
        ],
    )


@bp.post("/posts/change")
@staff("posts.edit")
def change_many() -> Any:
    """Do the same with every post that is ticked in a list."""
    back = redirect(safe_next(request.form.get("next"), url_for(".shelf")), 303)
    act = request.form.get("act", "")
    ids = ticked(MOST_AT_ONCE)
    if act not in set(services.Many) or not ids:
        flash(_("Tick some posts first, then choose what to do with them."), "info")
        return back
    done = services.change_many(ids, services.Many(act), acting_staff().id)
    flash(
        {
            services.Many.AGAIN: ngettext(
                "%(num)s new draft with the same text.", "%(num)s new drafts with the same texts.", done
            ),
            services.Many.KEEP: ngettext(
                "%(num)s piece is kept to be used again.", "%(num)s pieces are kept to be used again.", done
            ),
            services.Many.LET_GO: ngettext(
                "%(num)s piece is no longer kept.", "%(num)s pieces are no longer kept.", done
            ),
            services.Many.ARCHIVE: ngettext("%(num)s post is archived.", "%(num)s posts are archived.", done),
        }[services.Many(act)],
        "positive" if done else "info",
    )
    if act == services.Many.AGAIN and done:
        return redirect(url_for(".index", state=PostState.DRAFT), 303)
    return back


@bp.get("/posts/results")
@staff("posts.view")
def results() -> Any:
    wanted, products, groups = _wanted_results(), library.product_choices(), library.all_groups()
    first, last = period(30)
    found, columns = library.results(*instants(first, last), wanted)
    page = keyset(found, library.result_order(columns, request.args.get("sort", "")), request.args.get("cursor"))
    number, sums = library.totals(found)
    return render_template(
        "posts/results.html",
        page=page,
        rows=library.results_of(page.rows),
        number=number,
        sums=sums,
        first=first,
        last=last,
        chosen=_chips(wanted, products, groups),
        product_choices=products,
        group_choices=groups,
        labels=labels,
    )


@bp.get("/posts/results.csv")
@staff("posts.view")
def export_results() -> Any:
    found, columns = library.results(*instants(*period(30)), _wanted_results())
    rows = library.first_of(found, library.result_order(columns, request.args.get("sort", "")), LONGEST_FILE)
    header = [
        _("Title"),
        _("Kind"),
        _("Groups"),
        _("Appeared"),
        _("Seen"),
        _("Likes"),
        _("Clicked"),
        _("Comments"),
        _("Bought within five days"),
    ]
    return csv_response("post-results.csv", header, _result_lines(rows))


def _result_lines(rows: Any) -> Iterator[tuple[Any, ...]]:
    for row in library.results_of(rows):
        yield (
            row.post.title,
            labels.KINDS[row.post.kind],
            " / ".join(row.groups),
            clock.wall_text(row.shown_at),
            *astuple(row.numbers),
        )
