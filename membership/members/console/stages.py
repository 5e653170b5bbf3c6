"""The stages of life: their days, and what the shop does at each."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, render_template, url_for

from kernel import editions
from kernel.auth import staff
from kernel.i18n import gettext as _

from .. import jobs, labels, queries, services
from ..forms import StagesForm
from . import bp


def _page(form: StagesForm, status: int = 200) -> Any:
    return render_template(
        "members/stages.html", form=form, stages=labels.STAGES, names=StagesForm.TEXTS, standard=labels.STRATEGIES
    ), status


@bp.get("/stages")
@staff("members.stages")
def stages() -> Any:
    days, said = queries.stage_days(), queries.strategies()
    words = {name: said.get(stage, str(labels.STRATEGIES[stage])) for stage, name in StagesForm.TEXTS.items()}
    form = StagesForm(formdata=None, data={"active": days.active, "dormant": days.dormant, "lost": days.lost, **words})
    editions.show(form, _shown())
    return _page(form)


def _shown() -> Any:
    return queries.stage_days(), queries.strategies()


@bp.post("/stages")
@staff("members.stages")
def stages_post() -> Any:
    form = StagesForm()
    if not form.validate():
        return _page(form, 422)
    if editions.overtaken(form, _shown, by=("stages.changed",)):
        return _page(form, 409)
    # What is the shop's standing advice is not kept: it follows the reader's language.
    texts = {s: "" if words == str(labels.STRATEGIES[s]) else words for s, words in form.texts.items()}
    services.set_stages(form.days, texts)
    jobs.keep_stages.later()
    flash(_("Saved. Everybody is being looked at anew."), "positive")
    return redirect(url_for(".stages"), 303)
