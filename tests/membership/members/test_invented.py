"""People invented for customer numbers: always the same, never two alike, never anybody real."""

import csv
import gzip
import re
from collections import Counter
from datetime import date
from pathlib import Path

import phonenumbers
import pytest
from email_validator import validate_email

from membership.members import invented

DEMO = Path(__file__).parents[3] / "membership" / "orders" / "demo" / "online_retail_ii.csv.gz"
LOCALES = ("zh_Hans", "en")


@pytest.fixture(scope="module")
def customers() -> list[int]:
    """The customer numbers of the demo's file."""
    with gzip.open(DEMO, "rt", encoding="utf-8", newline="") as text:
        return sorted({int(row["Customer ID"]) for row in csv.DictReader(text) if row["Customer ID"]})


def test_same_number_is_the_same_person_on_every_machine() -> None:
    assert [
        invented.name_for(12346),
        invented.name_for(12346, "en"),
        invented.nickname_for(12346),
        invented.nickname_for(12346, "en"),
        invented.phone_for(12346),
        invented.email_for(12346),
        invented.birthday_for(12346),
        invented.address_for(12346),
        invented.address_for(12346, "en"),
        invented.hobby_for(12346),
        invented.customer_type_for(12346, "en"),
    ] == [
        "向日葵 597",
        "Sunflower 597",
        "晒太阳的向日葵597",
        "SunnySunflower597",
        "+8612681008103",
        "sunflower.597@example.com",
        date(1995, 1, 13),
        invented.InventedAddress("样例省", "样板市", "样板路 126 号", "000000"),
        invented.InventedAddress("Sample Province", "Specimen City", "126 Specimen Road", "000000"),
        "拼图",
        "buys presents",
    ]


def test_nobody_shares_a_name_a_nickname_a_phone_or_an_address_for_mail(customers: list[int]) -> None:
    assert len(customers) > 1_500
    for locale in LOCALES:
        assert len({invented.name_for(number, locale) for number in customers}) == len(customers)
        assert len({invented.nickname_for(number, locale) for number in customers}) == len(customers)
    assert len({invented.phone_for(number) for number in customers}) == len(customers)
    assert len({invented.email_for(number) for number in customers}) == len(customers)


def test_names_stay_apart_beyond_the_numbers_of_the_set() -> None:
    numbers = [*range(20_000), *range(95_000, 115_000), *range(10_000_000, 10_001_000)]
    assert len({invented.name_for(number) for number in numbers}) == len(numbers)
    assert len({invented.phone_for(number) for number in numbers}) == len(numbers)


def test_names_are_a_word_and_a_number(customers: list[int]) -> None:
    for number in customers:
        assert re.fullmatch(r"[\u4e00-\u9fff]{2,4} \d{3}", invented.name_for(number))
        assert re.fullmatch(r"[A-Z][a-z]+( [A-Z][a-z]+)? \d{3}", invented.name_for(number, "en"))
        assert re.fullmatch(r"[\u4e00-\u9fff]{4,9}\d{3}", invented.nickname_for(number))
        assert re.fullmatch(r"[A-Z][A-Za-z]+\d{3}", invented.nickname_for(number, "en"))


def test_words_are_a_hundred_different_ones_used_evenly(customers: list[int]) -> None:
    assert len(invented.WORDS) == 100
    assert len({chinese for chinese, _ in invented.WORDS}) == 100
    assert len({english for _, english in invented.WORDS}) == 100
    used = Counter(invented.name_for(number).split()[0] for number in customers)
    assert len(used) == 100
    assert max(used.values()) <= 40


def test_phones_have_the_form_of_a_mobile_number_and_are_never_valid(customers: list[int]) -> None:
    for number in customers:
        phone = invented.phone_for(number)
        assert re.fullmatch(r"\+86126\d{8}", phone)
        read = phonenumbers.parse(phone, None)
        assert phonenumbers.is_possible_number(read)
        assert not phonenumbers.is_valid_number(read)
        assert phonenumbers.format_number(read, phonenumbers.PhoneNumberFormat.E164) == phone
        assert invented.invented_phone(phone)


@pytest.mark.parametrize("phone", ["+8613800000000", "+861261234567", "+86126123456789", "126", ""])
def test_other_phones_are_not_taken_for_invented_ones(phone: str) -> None:
    assert not invented.invented_phone(phone)


def test_mail_goes_to_the_domain_kept_for_examples(customers: list[int]) -> None:
    for number in customers:
        address = invented.email_for(number)
        assert address.endswith("@example.com")
        assert validate_email(address, check_deliverability=False).normalized == address


def test_birthdays_are_those_of_adults_and_spread_over_the_year(customers: list[int]) -> None:
    birthdays = [invented.birthday_for(number) for number in customers]
    assert all(date(1960, 1, 1) <= birthday <= date(2004, 12, 31) for birthday in birthdays)
    assert all(count > len(customers) / 24 for count in Counter(birthday.month for birthday in birthdays).values())


def test_places_do_not_exist(customers: list[int]) -> None:
    for number in customers:
        address = invented.address_for(number)
        assert (address.province, address.postcode) == ("样例省", "000000")
        assert address.city in {"示例市", "样板市", "演示市", "虚构市"}
        assert re.fullmatch(r"[\u4e00-\u9fff]{3,4} \d{1,3} 号", address.street)
        assert invented.address_for(number, "en").province == "Sample Province"


def test_every_hobby_and_customer_type_is_met(customers: list[int]) -> None:
    for place, locale in enumerate(LOCALES):
        assert {invented.hobby_for(number, locale) for number in customers} == {h[place] for h in invented.HOBBIES}
        assert {invented.customer_type_for(number, locale) for number in customers} == {
            kind[place] for kind in invented.CUSTOMER_TYPES
        }


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="zero or more"):
        invented.name_for(-1)
    with pytest.raises(ValueError, match="zero or more"):
        invented.birthday_for(-1)
    with pytest.raises(ValueError, match="eight digits"):
        invented.phone_for(10**8)
