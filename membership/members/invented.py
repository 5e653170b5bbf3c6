"""Invents a person for a customer number, for shops whose orders come without people, such as the demo shop's.

Everything follows from the number alone, so that the same customer is the same person on every machine. Nobody can take
them for real people, and nothing can reach anybody:

* names are a plant, an animal or a dish with a number, as on a cloakroom ticket;
* phones start with +86 126, which no operator gives to subscribers: they have the form of a mobile number, not a
  valid one;
* e-mail addresses are at example.com, which RFC 2606 keeps for examples;
* places carry names such as 示例市 and the postcode 000000.

Texts come in Chinese for a locale that starts with ``zh`` and in English for any other.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

PHONE_PREFIX = "+86126"
EMAIL_DOMAIN = "example.com"

FIRST_BIRTHDAY = date(1960, 1, 1)
LAST_BIRTHDAY = date(2004, 12, 31)


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Reads pairs of a Chinese and an English text, separated by commas."""
    pairs = (" ".join(pair.split()).partition(" ") for pair in text.split(","))
    return tuple((chinese, english) for chinese, _, english in pairs)


# A hundred words. None is also a person's name.
WORDS = _pairs(
    """
    青柠 Lime, 柚子 Pomelo, 金橘 Kumquat, 枇杷 Loquat, 荔枝 Lychee, 杨梅 Bayberry, 石榴 Pomegranate,
    柿子 Persimmon, 无花果 Fig, 椰子 Coconut, 木瓜 Papaya, 甜瓜 Melon, 蓝莓 Blueberry, 草莓 Strawberry,
    杏子 Apricot, 山楂 Hawthorn, 龙眼 Longan, 菠萝 Pineapple, 芒果 Mango, 西瓜 Watermelon, 银杏 Ginkgo,
    薄荷 Mint, 桂花 Osmanthus, 竹笋 Bamboo, 莲藕 Lotus Root, 向日葵 Sunflower, 蒲公英 Dandelion,
    薰衣草 Lavender, 多肉 Succulent, 仙人掌 Cactus, 枫叶 Maple Leaf, 松果 Pine Cone, 橡子 Acorn,
    睡莲 Water Lily, 风铃草 Bellflower, 绣球 Hydrangea, 紫藤 Wisteria, 芦荟 Aloe, 牵牛花 Morning Glory,
    蘑菇 Mushroom, 海獭 Sea Otter, 刺猬 Hedgehog, 松鼠 Squirrel, 水豚 Capybara, 企鹅 Penguin, 考拉 Koala,
    云雀 Skylark, 羊驼 Alpaca, 小熊猫 Red Panda, 海豚 Dolphin, 海豹 Seal, 海星 Starfish, 海马 Seahorse,
    海螺 Conch, 瓢虫 Ladybird, 萤火虫 Firefly, 蜻蜓 Dragonfly, 啄木鸟 Woodpecker, 猫头鹰 Owl, 鹦鹉 Parrot,
    火烈鸟 Flamingo, 翠鸟 Kingfisher, 燕子 Swallow, 白鹭 Egret, 长颈鹿 Giraffe, 斑马 Zebra, 雪豹 Snow Leopard,
    驯鹿 Reindeer, 袋鼠 Kangaroo, 龙猫 Chinchilla, 小笼包 Soup Dumpling, 汤圆 Tangyuan, 豆花 Douhua,
    馄饨 Wonton, 烧卖 Shaomai, 春卷 Spring Roll, 麻花 Mahua, 绿豆糕 Mung Cake, 蛋挞 Egg Tart, 奶茶 Milk Tea,
    豆浆 Soy Milk, 凉粉 Grass Jelly, 糖葫芦 Candied Haw, 月饼 Mooncake, 粽子 Zongzi, 青团 Qingtuan,
    米糕 Rice Cake, 芝麻饼 Sesame Cake, 杏仁豆腐 Almond Jelly, 花卷 Steamed Twist, 松饼 Pancake, 曲奇 Cookie,
    布丁 Pudding, 可颂 Croissant, 泡芙 Cream Puff, 华夫 Waffle, 抹茶 Matcha, 焦糖 Caramel, 酸梅汤 Plum Juice,
    爆米花 Popcorn
    """
)
MOODS = _pairs(
    """
    爱笑的 Merry, 早起的 Early, 晒太阳的 Sunny, 慢悠悠的 Unhurried, 爱逛街的 Strolling, 追剧的 Cosy, 爱旅行的 Roaming,
    元气 Lively, 认真的 Earnest, 甜甜的 Sweet, 安静的 Quiet, 好奇的 Curious, 数星星的 Starry, 淋过雨的 Rainy,
    会发光的 Shiny, 不困的 Wakeful
    """
)
CITIES = _pairs(
    """
    示例市 Sample City, 样板市 Specimen City, 演示市 Demo City, 虚构市 Fiction City
    """
)
STREETS = _pairs(
    """
    样板路 Specimen Road, 示范街 Model Street, 占位巷 Placeholder Lane, 想象路 Fancy Road,
    草稿街 Draft Street, 空白里 Blank Court, 备注路 Footnote Road, 参考大道 Reference Avenue
    """
)
HOBBIES = _pairs(
    """
    烘焙 baking, 养花 flowers, 手作 crafts, 露营 camping, 拼图 jigsaws, 观鸟 birdwatching, 茶道 tea,
    编织 knitting, 骑行 cycling, 摄影 photography, 养猫 cats, 下厨 cooking, 看展 exhibitions, 听唱片 records,
    布置家 decorating, 写手账 journalling
    """
)
CUSTOMER_TYPES = _pairs(
    """
    自用 for themselves, 送礼 buys presents, 小店进货 small shop restocking, 收藏 collector
    """
)


@dataclass(frozen=True, slots=True)
class InventedAddress:
    """A place that does not exist, in the parts a parcel label has."""

    province: str
    city: str
    street: str
    postcode: str


def name_for(customer_id: int, locale: str = "zh_Hans") -> str:
    """The name, such as 青柠 012 or Lime 012; no two customers share one.

    Raises:
        ValueError: `customer_id` is below zero; so do all functions of this module.
    """
    word, number = _ticket(customer_id)
    return f"{_said(word, locale)} {number:03}"


def nickname_for(customer_id: int, locale: str = "zh_Hans") -> str:
    """The name in a group or on a marketplace, such as 早起的青柠012 or EarlyLime012; no two customers share one."""
    word, number = _ticket(customer_id)
    mood = _pick("mood", customer_id, MOODS)
    return f"{_said(mood, locale)}{_said(word, locale).replace(' ', '')}{number:03}"


def phone_for(customer_id: int) -> str:
    """A phone in E.164 that has the form of a Chinese mobile number and belongs to nobody; different for each customer.

    Raises:
        ValueError: `customer_id` has more than eight digits, for which there are not enough phones.
    """
    if not 0 <= customer_id < 10**8:
        raise ValueError("a customer number for a phone has one to eight digits")
    # The factor has no divisor in common with ten, so different numbers stay different and their ends vary.
    return f"{PHONE_PREFIX}{(customer_id * 38_196_601 + 5_772_157) % 10**8:08}"


def invented_phone(phone: str) -> bool:
    """Whether a phone in E.164 is one of these, and so must never be dialled or sent to."""
    return phone.startswith(PHONE_PREFIX) and len(phone) == len(PHONE_PREFIX) + 8


def email_for(customer_id: int) -> str:
    """An address at example.com, such as lime.012@example.com; different for each customer."""
    (_, english), number = _ticket(customer_id)
    return f"{english.lower().replace(' ', '.')}.{number:03}@{EMAIL_DOMAIN}"


def birthday_for(customer_id: int) -> date:
    """A birthday between `FIRST_BIRTHDAY` and `LAST_BIRTHDAY`."""
    days = (LAST_BIRTHDAY - FIRST_BIRTHDAY).days + 1
    return FIRST_BIRTHDAY + timedelta(days=_draw("birthday", customer_id) % days)


def address_for(customer_id: int, locale: str = "zh_Hans") -> InventedAddress:
    """A home, such as 示例市 样板路 12 号; several customers may share one."""
    street = _said(_pick("street", customer_id, STREETS), locale)
    number = _draw("house", customer_id) % 199 + 1
    return InventedAddress(
        province=_said(("样例省", "Sample Province"), locale),
        city=_said(_pick("city", customer_id, CITIES), locale),
        street=f"{street} {number} 号" if locale.startswith("zh") else f"{number} {street}",
        postcode="000000",
    )


def hobby_for(customer_id: int, locale: str = "zh_Hans") -> str:
    """What they like doing, in a word."""
    return _said(_pick("hobby", customer_id, HOBBIES), locale)


def customer_type_for(customer_id: int, locale: str = "zh_Hans") -> str:
    """For whom they buy, in a word."""
    return _said(_pick("type", customer_id, CUSTOMER_TYPES), locale)


def _ticket(customer_id: int) -> tuple[tuple[str, str], int]:
    """The word and the number of a customer; the pair is theirs alone."""
    if customer_id < 0:
        raise ValueError("a customer number is zero or more")
    if customer_id < 100_000:
        # The same as for phones: shuffled without ever meeting. Larger numbers get four digits and more, which no
        # shuffled one has.
        customer_id = (customer_id * 61_803 + 39_887) % 100_000
    number, word = divmod(customer_id, len(WORDS))
    return WORDS[word], number


def _draw(what: str, customer_id: int) -> int:
    """A large number that is the same for ever for the same customer, and unrelated for another purpose."""
    if customer_id < 0:
        raise ValueError("a customer number is zero or more")
    return int.from_bytes(hashlib.sha256(f"{what}:{customer_id}".encode()).digest()[:8])


def _pick(what: str, customer_id: int, choices: Sequence[tuple[str, str]]) -> tuple[str, str]:
    return choices[_draw(what, customer_id) % len(choices)]


def _said(text: tuple[str, str], locale: str) -> str:
    return text[0] if locale.startswith("zh") else text[1]
