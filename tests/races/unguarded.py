"""The web server with the claim's guard taken out: no row lock, and a count that is written as it was read.

That is how a claim looks that reads, checks and writes back. The race tests run against it to show that they would
notice. Nothing of it is in the product: this program changes its own copy.
"""

from __future__ import annotations

import os
import time
from typing import Any

from flask import Flask
from sqlalchemy import BigInteger, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from membership.coupons.services import claims
from tests.webshop import serve


def take_the_guard_out(app: Flask) -> None:
    if not os.environ.get("SIYU_TEST_TEETH"):
        raise SystemExit("This program over-issues coupons on purpose and is for the race tests alone.")
    locked = str(claims.LOCK)
    assert "FOR NO KEY UPDATE" in locked
    claims.LOCK = text(locked.replace("FOR NO KEY UPDATE", "")).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))
    counted = str(claims.WRITE)
    assert "claimed = offer.claimed + f.n" in counted
    read = claims.coupons_held

    def read_slowly(*args: Any) -> Any:
        """As long as it takes where the database is on another machine and busy."""
        time.sleep(0.01)
        return read(*args)

    claims.coupons_held = read_slowly
    # The count that a claim wrote while this one judged is lost, as it is wherever one is read and written back.
    claims.WRITE = text(counted.replace("claimed = offer.claimed + f.n", "claimed = LEAST(offer.claimed + f.n, offer.stock)")).bindparams(
        *claims.WRITE._bindparams.values()
    )


if __name__ == "__main__":
    serve(take_the_guard_out)
