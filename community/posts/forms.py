"""Input of the post pages."""

from __future__ import annotations

from typing import Any

from flask import request
from wtforms import SelectField, SelectMultipleField, StringField, TextAreaField
from wtforms.validators import DataRequired, Length
from wtforms.widgets import CheckboxInput, ListWidget

from kernel.forms import LocalDateTimeField, PictureForm
from kernel.i18n import lazy_gettext as _l

from . import labels, rules
from .models import Post, PostKind
from .services import Act, Draft


class PostForm(PictureForm):
    kind = SelectField(_l("Kind"), choices=[(kind.value, label) for kind, label in labels.KINDS.items()])
    title = StringField(_l("Title"), [DataRequired(), Length(max=rules.LONGEST_TITLE)])
    body = TextAreaField(_l("Text"), [Length(max=rules.LONGEST_BODY)])
    link_url = StringField(_l("Link"), [Length(max=rules.LONGEST_LINK)])
    link_label = StringField(_l("What the link's button says"), [Length(max=rules.LONGEST_LABEL)])
    groups = SelectMultipleField(
        _l("Groups"), coerce=int, widget=ListWidget(prefix_label=False), option_widget=CheckboxInput()
    )
    publish_at = LocalDateTimeField(_l("Time"))

    def offer(self, groups: list[Any]) -> PostForm:
        """Let these groups be chosen."""
        self.groups.choices = [(group.id, group.name) for group in groups]
        return self

    @property
    def draft(self) -> Draft:
        """What was typed, as far as it can be read (the preview shows half-written posts too)."""
        known = {kind.value for kind in PostKind}
        return Draft(
            kind=PostKind(self.kind.data) if self.kind.data in known else PostKind.TIP,
            title=self.title.data or "",
            body=self.body.data or "",
            picture=self.picture.data or None,
            link_url=self.link_url.data or "",
            link_label=self.link_label.data or "",
            group_ids=tuple(self.groups.data or ()),
        )

    @property
    def act(self) -> Act | None:
        """Which button was pressed; None for the preview."""
        pressed = request.form.get("act", "")
        return Act(pressed) if pressed in set(Act) else None

    def show(self, post: Post, group_ids: list[int]) -> PostForm:
        """Fill in a post that is there already."""
        self.kind.data, self.title.data, self.body.data = post.kind.value, post.title, post.body
        self.picture.data, self.link_url.data, self.link_label.data = post.picture or "", post.link_url, post.link_label
        self.groups.data, self.publish_at.data = group_ids, post.publish_at
        return self
