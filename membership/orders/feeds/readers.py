"""Which reader belongs to which kind of shop system."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from . import shopify, standard, woocommerce, youzan
from .fields import Exchange, Payload
from .signatures import Kind

Reader = Callable[[Any, Exchange, datetime, str | None], Payload]
READERS: dict[Kind, Reader] = {
    Kind.SHOPIFY: shopify.read,
    Kind.WOOCOMMERCE: woocommerce.read,
    Kind.YOUZAN: youzan.read,
    Kind.STANDARD: standard.read,
}
