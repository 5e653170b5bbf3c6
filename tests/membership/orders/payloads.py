"""What shop systems send, for tests: invented orders in each system's own form."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import quote

SHOPIFY: dict[str, Any] = {
    "id": 5551001,
    "name": "#1001",
    "created_at": "2026-02-01T10:00:00+08:00",
    "processed_at": "2026-02-01T10:00:00+08:00",
    "updated_at": "2026-02-02T09:00:00+08:00",
    "cancelled_at": None,
    "currency": "CNY",
    "financial_status": "paid",
    "fulfillment_status": None,
    "total_price": "128.00",
    "total_discounts": "10.00",
    "gateway": "alipay",
    "test": False,
    "email": "lime@example.com",
    "phone": None,
    "customer": {"id": 77, "first_name": "小满", "last_name": "", "phone": "+8613800000001"},
    "shipping_address": {"name": "小满", "city": "杭州", "phone": "138 0000 0001", "address1": "文一路 1 号"},
    "line_items": [
        {"id": 1, "sku": "CUP-01", "title": "青瓷茶杯", "quantity": 2, "price": "55.00", "discount_allocations": []},
        {
            "id": 2,
            "sku": "",
            "variant_id": 9,
            "title": "竹茶盘",
            "quantity": 1,
            "price": "20.00",
            "discount_allocations": [{"amount": "10.00"}],
        },
    ],
    "shipping_lines": [{"price": "8.00"}],
    "refunds": [],
    "fulfillments": [],
}
SHOPIFY_REFUND: dict[str, Any] = {
    "id": 9001,
    "order_id": 5551001,
    "created_at": "2026-02-05T10:00:00+08:00",
    "transactions": [
        {"id": 1, "kind": "refund", "status": "success", "amount": "30.00", "currency": "CNY"},
        {"id": 2, "kind": "refund", "status": "failure", "amount": "5.00", "currency": "CNY"},
        {"id": 3, "kind": "sale", "status": "success", "amount": "128.00", "currency": "CNY"},
    ],
    "refund_line_items": [],
}
WOOCOMMERCE: dict[str, Any] = {
    "id": 727,
    "number": "727",
    "status": "processing",
    "currency": "CNY",
    "date_created_gmt": "2026-02-01T02:00:00",
    "date_modified_gmt": "2026-02-01T02:05:00",
    "date_paid_gmt": "2026-02-01T02:01:00",
    "date_completed_gmt": None,
    "discount_total": "3.00",
    "discount_tax": "0.00",
    "shipping_total": "10.00",
    "shipping_tax": "0.00",
    "total": "107.00",
    "customer_id": 42,
    "payment_method": "alipay",
    "billing": {
        "first_name": "青",
        "last_name": "柠",
        "email": "Lime@Example.com",
        "phone": "13800000002",
        "city": "苏州",
    },
    "shipping": {"city": "苏州", "address_1": "平江路 2 号", "state": "江苏"},
    "line_items": [
        {
            "id": 1,
            "name": "桂花乌龙",
            "sku": "TEA-09",
            "product_id": 93,
            "variation_id": 0,
            "quantity": 2,
            "subtotal": "100.00",
            "total": "97.00",
            "price": 48.5,
        }
    ],
    "refunds": [],
}
WOOCOMMERCE_REFUND: dict[str, Any] = {
    "id": 726,
    "date_created_gmt": "2026-02-04T20:07:11",
    "amount": "10.00",
    "_links": {"up": [{"href": "https://shop.example/wp-json/wc/v3/orders/727"}]},
}
YOUZAN: dict[str, Any] = {
    "full_order_info": {
        "order_info": {
            "tid": "E20260201100000000100001",
            "status": "WAIT_SELLER_SEND_GOODS",
            "created": "2026-02-01 10:00:00",
            "update_time": "2026-02-01 10:05:00",
            "pay_time": "2026-02-01 10:01:00",
            "consign_time": "",
            "confirm_time": "",
            "success_time": "",
            "pay_type": 2,
            "refund_state": 0,
        },
        "pay_info": {"payment": "88.80", "post_fee": "8.00", "total_fee": "90.80"},
        "buyer_info": {"buyer_phone": "13800000003", "yz_open_id": "AbC123", "fans_nickname": "薄荷"},
        "address_info": {"receiver_name": "薄荷", "receiver_tel": "13800000003", "delivery_city": "成都市"},
        "orders": [
            {"outer_sku_id": "MUG-1", "title": "搪瓷杯", "num": 2, "price": "45.40", "payment": "80.80", "item_id": "1"}
        ],
    },
    "refund_order": [],
}
STANDARD: dict[str, Any] = {
    "type": "order.updated",
    "timestamp": "2026-03-03T12:00:00+08:00",
    "data": {
        "order": "A-1",
        "state": "completed",
        "placed_at": "2026-02-01T10:00:00+08:00",
        "completed_at": "2026-02-10T10:00:00+08:00",
        "paid_amount": 10000,
        "postage": 800,
        "buyer": {"phone": "13800000004"},
        "lines": [{"sku": "CUP", "title": "青瓷茶杯", "quantity": 2, "unit_price": 4600}],
    },
}
CLIENT = "c0ffee"


def text(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def base64_hmac(secret: str, body: bytes) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()


def md5(secret: str, signed: bytes, client: str = CLIENT) -> str:
    return hashlib.md5(client.encode() + signed + secret.encode(), usedforsecurity=False).hexdigest()


def youzan_push(secret: str, message: Any, kind: str = "trade_TradePaid", **more: Any) -> bytes:
    """An older push of Youzan, its signature inside."""
    packed = quote(json.dumps(message, ensure_ascii=False), safe=":,{}[]")
    envelope = {"client_id": CLIENT, "id": "E1", "type": kind, "test": False, "msg": packed} | more
    return text(envelope | {"sign": md5(secret, packed.encode())})
