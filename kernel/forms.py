"""Forms: Flask-WTF with messages in the reader's language, and fields for yuan and the shop's wall clock."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import request
from flask_wtf import FlaskForm
from flask_wtf.file import FileField
from wtforms import BooleanField, HiddenField, IntegerField, StringField
from wtforms.validators import ValidationError
from wtforms.widgets import TextInput

from . import clock, files, money
from .i18n import gettext as _
from .i18n import lazy_gettext as _l

# WTForms asks a translations object for its own messages; ours are in the same catalogue as everything else.
_MESSAGES = (
    _l("This field is required."),
    _l("Not a valid integer value."),
    _l("Not a valid choice."),
    _l("Invalid email address."),
    _l("Not a valid datetime value."),
    _l("Not a valid date value."),
    _l("Invalid Choice: could not coerce."),
    _l("Field must be at least %(min)d characters long."),
    _l("Field cannot be longer than %(max)d characters."),
    _l("Field must be between %(min)d and %(max)d characters long."),
    _l("Number must be at least %(min)s."),
    _l("Number must be at most %(max)s."),
    _l("Number must be between %(min)s and %(max)s."),
    _l("Field must be equal to %(other_name)s."),
    _l("The CSRF token is missing."),
    _l("The CSRF session token is missing."),
    _l("The CSRF tokens do not match."),
    _l("The CSRF token has expired."),
)


class _Translations:
    def gettext(self, text: str) -> str:
        return str(_(text))

    def ngettext(self, singular: str, plural: str, n: int) -> str:
        return str(_(singular if n == 1 else plural))


# The name under which a form sends the mark of what it showed (`kernel.editions`).
EDITION = "edition"
# The name under which a form that makes something sends the key drawn for it (`kernel.once`).
ONCE = "once"


@dataclass(frozen=True)
class Overtaken:
    """Somebody saved what a form shows after it was opened: who and when, as far as the audit trail knows."""

    name: str
    at: datetime | None
    own: bool


class Form(FlaskForm):
    """Base of every form: CSRF, what was typed is kept, errors in the reader's language."""

    edition: str | None = None
    overtaken: Overtaken | None = None
    once: str | None = None

    @property
    def based_on(self) -> str:
        """The mark that the page carries on: of what it shows, else the one that came with what was sent."""
        return self.edition or request.form.get(EDITION, "")[:44]

    @property
    def key_once(self) -> str:
        """The key that the page carries on: its own, else the one that came with what was refused."""
        return self.once or request.form.get(ONCE, "")[:16]

    class Meta(FlaskForm.Meta):
        def get_translations(self, form: Any) -> Any:
            return _Translations()

    def validate(self, extra_validators: Any = None) -> bool:
        """As the fields say; and what has to be written has to be seen, or a list has rows that nobody can read or press."""
        fine = super().validate(extra_validators)
        for name, field in self._fields.items():
            needed = field.flags.required and isinstance(field, StringField) and isinstance(field.data, str)
            # What is blank is refused where that is known best, in better words.
            if needed and field.data.strip() and not field.errors and not is_visible(field.data):
                self.refuse(name, _("This field is required."))
                fine = False
        return bool(fine)

    def refuse(self, field: str, message: Any) -> None:
        """Put a service's refusal beside the field it concerns."""
        self[field].errors = [*self[field].errors, str(message)]

    def refuse_each(self, errors: Iterable[tuple[str, Any]]) -> None:
        """Put each sentence of a service's refusal (field, sentence) beside the field it concerns."""
        for field, message in errors:
            self.refuse(field, message)


# Characters that turn the direction of whatever follows them, on the page and in files: in a name they can only mislead.
_TURNS = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)))


def one_line(text: str | None) -> str:
    """What was typed as one line: blanks folded, without characters that no database text can hold or that turn lines around."""
    return " ".join((text or "").replace("\x00", "").translate(_TURNS).split())


_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Mn", "Me", "Zs", "Zl", "Zp"})
# Letters by their kind that are drawn as nothing.
_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0")


def is_visible(text: str) -> bool:
    """Whether a text shows anything at all: it is not made of blanks, joiners, marks and other characters without a picture."""
    return any(unicodedata.category(c) not in _UNSEEN and c not in _BLANKS for c in text)


def storable(text: str | None) -> str | None:
    """What was typed, its lines kept, without outer blanks and the character that no database text can hold."""
    return text.replace("\x00", "").strip() if text else text


class YuanField(StringField):
    """An amount in yuan; `data` is 分 or None when empty."""

    widget = TextInput()

    def __init__(self, label: Any = None, validators: Any = None, negative: bool = False, **kwargs: Any) -> None:
        super().__init__(label, validators, **kwargs)
        self.negative = negative

    def _value(self) -> str:
        if self.raw_data:
            return str(self.raw_data[0])
        return "" if self.data is None else f"{self.data / 100:.2f}".removesuffix(".00")

    def process_formdata(self, valuelist: list[str]) -> None:
        if not valuelist:
            return
        text = valuelist[0].strip()
        if not text:
            self.data = None
            return
        try:
            self.data = money.parse_yuan(text, self.negative)
        except money.MoneyInvalid:
            self.data = None
            raise ValidationError(_("Write an amount in yuan, such as 99 or 1,234.50.")) from None


class LocalDateTimeField(StringField):
    """A moment on the shop's wall clock (`datetime-local`); `data` is aware UTC or None when empty."""

    widget = TextInput(input_type="datetime-local")

    def _value(self) -> str:
        if self.raw_data:
            return str(self.raw_data[0])
        return "" if self.data is None else clock.local(self.data).strftime("%Y-%m-%dT%H:%M")

    def process_formdata(self, valuelist: list[str]) -> None:
        if not valuelist:
            return
        text = valuelist[0].strip()
        if not text:
            self.data = None
            return
        try:
            naive = datetime.fromisoformat(text.replace(" ", "T"))
            if naive.tzinfo is None:
                naive = naive.replace(tzinfo=clock.ZONE)
            self.data = naive.astimezone(UTC)
            if not 2000 <= self.data.year <= 2100:
                raise ValueError
        except (ValueError, OverflowError):
            self.data = None
            raise ValidationError(_("Write a date and time, such as 2026-11-11 20:00.")) from None


class OptionalIntegerField(IntegerField):
    """A whole number that may be left empty (no limit)."""

    def process_formdata(self, valuelist: list[str]) -> None:
        if valuelist and not valuelist[0].strip():
            self.data = None
            return
        super().process_formdata(valuelist)


# A key of `kernel.files`, or a picture of the demo shop.
_PICTURE = re.compile(r"demo/[a-z0-9-]{1,40}\.(?:png|webp)|[A-Za-z0-9_-]{16}\.webp")


class PictureForm(Form):
    """A form with one picture, which stays when the page is shown again."""

    file = FileField(_l("Picture"))
    picture = HiddenField()
    drop_picture = BooleanField(_l("Without the picture"))

    def keep_picture(self) -> None:
        """Store a picture that came along, so that it stays when the page is shown again.

        Refuses with `kernel.files.FileRefused`.
        """
        upload = request.files.get(self.file.name)
        if self.drop_picture.data:
            self.picture.data = ""
        elif upload is not None and upload.filename:
            self.picture.data = files.save_picture(upload.stream)
        if not _PICTURE.fullmatch(self.picture.data or ""):
            self.picture.data = ""
