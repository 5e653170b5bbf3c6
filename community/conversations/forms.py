"""Input of the pages of conversations."""

from __future__ import annotations

from flask import request
from flask_wtf.file import FileField
from wtforms import HiddenField, RadioField, TextAreaField
from wtforms.validators import DataRequired, Length

from community.tickets.labels import STARS
from kernel import files
from kernel.forms import Form, storable
from kernel.i18n import lazy_gettext as _l

from . import rules


class TalkForm(Form):
    """Words or one picture."""

    words = TextAreaField(_l("Your question"), [Length(max=rules.LONGEST_MESSAGE)], filters=[storable])
    picture = FileField(_l("Picture"))

    def keep(self) -> str | None:
        """Store the picture that came along and return its key. Refuses with `FileRefused`."""
        upload = request.files.get("picture")
        return files.save_picture(upload.stream, private=True) if upload is not None and upload.filename else None


class SayForm(TalkForm):
    words = TextAreaField(_l("Message text"), [Length(max=rules.LONGEST_MESSAGE)], filters=[storable])
    seen = HiddenField()
    macro = HiddenField()


class StarsForm(Form):
    stars = RadioField(
        _l("How satisfied are you?"), [DataRequired()], choices=[(str(n), label) for n, label in STARS.items()]
    )
    note = TextAreaField(_l("Anything else?"), [Length(max=500)], filters=[storable])
