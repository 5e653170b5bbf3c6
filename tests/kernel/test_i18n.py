"""Texts that name a number."""

from __future__ import annotations

from typing import Any

import pytest

from kernel.i18n import forced_locale, ngettext


@pytest.mark.parametrize("locale", ["en", "zh_Hans"])
def test_a_number_is_written_as_its_reader_writes_it(app: Any, locale: str) -> None:
    with app.app_context(), forced_locale(locale):
        said = [ngettext("%(num)s apple", "%(num)s apples", num) for num in (1, 1058)]
        other = ngettext("%(count)s of %(num)s", "%(count)s of %(num)s", 1058, count="two")
    assert said == ["1 apple", "1,058 apples"]
    assert other == "two of 1,058"
