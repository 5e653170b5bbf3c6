"""Input of the post pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import request
from flask_wtf.file import FileField
from wtforms import (
    BooleanField,
    FieldList,
    HiddenField,
    RadioField,
    SelectField,
    SelectMultipleField,
    StringField,
    TextAreaField,
)
from wtforms.validators import DataRequired, Length, ValidationError
from wtforms.widgets import CheckboxInput, ListWidget

from kernel import files, links
from kernel.errors import Refusal
from kernel.forms import Form, LocalDateTimeField, PictureForm, one_line
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from membership.products.models import Product

from . import labels, library, rules
from .models import MemberPosts, Post, PostKind
from .queries import PollShown
from .services import Act, Draft, PollDraft


class PostForm(PictureForm):
    kind = SelectField(_l("Kind"), choices=[(kind.value, label) for kind, label in labels.WRITTEN_KINDS.items()])
    title = StringField(_l("Title"), [DataRequired(), Length(max=rules.LONGEST_TITLE)])
    body = TextAreaField(_l("Text"), [Length(max=rules.LONGEST_BODY)])
    link_url = StringField(_l("Link"), [Length(max=rules.LONGEST_LINK)])
    link_label = StringField(_l("What the link's button says"), [Length(max=rules.LONGEST_LABEL)])
    groups = SelectMultipleField(
        _l("Groups"), coerce=int, widget=ListWidget(prefix_label=False), option_widget=CheckboxInput()
    )
    publish_at = LocalDateTimeField(_l("Time"))
    options = TextAreaField(_l("Answers to choose from"), [Length(max=1_000)])
    several = BooleanField(_l("More than one may be chosen"))
    poll_closes_at = LocalDateTimeField(_l("Voting ends"))
    film = FileField(_l("Short video"))
    video = HiddenField()
    drop_video = BooleanField(_l("Without the video"))
    products = FieldList(
        StringField(_l("Product"), [Length(max=200)], filters=[one_line]),
        label=_l("Products that it is about"),
        min_entries=rules.MOST_PRODUCTS,
        max_entries=rules.MOST_PRODUCTS,
    )
    kept = BooleanField(_l("Keep it in the library, to use it again"))

    def validate_products(self, field: Any) -> None:
        """Find the products that were typed, and say which ones are not known."""
        self.product_ids: list[int] = []
        for entry in field:
            if not entry.data:
                continue
            found = library.find_product(entry.data)
            if found is None:
                raise ValidationError(_("No product is called “%(typed)s”. Choose one of the list.", typed=entry.data))
            self.product_ids.append(found.id)

    def keep_video(self) -> None:
        """Store a video that came along, so that it stays when the page is shown again. Refuses as `files.save_video` does."""
        upload = request.files.get(self.film.name)
        if self.drop_video.data:
            self.video.data = ""
        elif upload is not None and upload.filename:
            self.video.data = files.save_video(upload.stream).key
        if not files.is_video(self.video.data or ""):
            self.video.data = ""

    def take_time(self) -> bool:
        """Take over the time of a suggestion whose button was pressed; False when none was."""
        pressed = request.form.get("best_time")
        if pressed is None:
            return False
        self.publish_at.raw_data = None
        try:
            self.publish_at.process_formdata([pressed])
        except ValidationError as error:
            self.refuse("publish_at", error)
        return True

    def name_products(self, products: Sequence[Product]) -> None:
        """Fill in the products that a post is about already."""
        for entry, product in zip(self.products, products, strict=False):
            entry.data = library.named(product)

    def offer(self, groups: list[Any]) -> PostForm:
        """Let these groups be chosen."""
        self.groups.choices = [(group.id, group.name) for group in groups]
        return self

    @property
    def draft(self) -> Draft:
        """What was typed, as far as it can be read (the preview shows half-written posts too)."""
        known = {kind.value for kind in labels.WRITTEN_KINDS}
        return Draft(
            kind=PostKind(self.kind.data) if self.kind.data in known else PostKind.TIP,
            title=self.title.data or "",
            body=self.body.data or "",
            picture=self.picture.data or None,
            link_url=self.link_url.data or "",
            link_label=self.link_label.data or "",
            group_ids=tuple(self.groups.data or ()),
            video=self.video.data or None,
            product_ids=tuple(getattr(self, "product_ids", ())),
        )

    @property
    def poll(self) -> PollDraft:
        """What was typed of a poll."""
        return PollDraft(
            tuple(rules.options_of(self.options.data or "")), bool(self.several.data), self.poll_closes_at.data
        )

    @property
    def act(self) -> Act | None:
        """Which button was pressed; None for the preview."""
        pressed = request.form.get("act", "")
        return Act(pressed) if pressed in set(Act) else None

    def show(self, post: Post, group_ids: list[int], poll: PollShown | None = None) -> PostForm:
        """Fill in a post that is there already."""
        if poll is not None:
            self.options.data = "\n".join(choice.words for choice in poll.choices)
            self.several.data, self.poll_closes_at.data = poll.several, poll.closes_at
        self.kind.data, self.title.data, self.body.data = post.kind.value, post.title, post.body
        self.picture.data, self.link_url.data, self.link_label.data = post.picture or "", post.link_url, post.link_label
        self.groups.data, self.publish_at.data = group_ids, post.publish_at
        self.video.data, self.kept.data = post.video or "", post.kept_at is not None
        return self


# What a member's picture is signed for while the form is shown again.
PICTURE = "contribution.picture"


class CommentForm(Form):
    body = TextAreaField(_l("What you want to say"), [DataRequired(), Length(max=rules.LONGEST_COMMENT)])


class ContributionForm(PictureForm):
    """What a member writes. The picture stays as a signed word, so that nobody names one that this form did not take."""

    body = TextAreaField(_l("What you want to share"), [DataRequired(), Length(max=rules.LONGEST_CONTRIBUTION)])

    def keep_picture(self) -> None:
        """As `PictureForm.keep_picture`; what was sent without our signature is dropped."""
        try:
            (name,) = links.read(PICTURE, self.picture.data or "")
            self.picture.data = f"{name}.webp"
        except (Refusal, ValueError):
            self.picture.data = ""
        super().keep_picture()

    @property
    def picture_token(self) -> str:
        """The picture that came along, as the form sends it back."""
        return links.make(PICTURE, (self.picture.data or "").removesuffix(".webp"))


class VoiceForm(Form):
    comments = BooleanField(_l("Members may comment on posts"))
    member_posts = RadioField(
        _l("Posts of members"),
        choices=[(value.value, label) for value, label in labels.MEMBER_POSTS.items()],
        default=MemberPosts.APPROVAL.value,
    )
