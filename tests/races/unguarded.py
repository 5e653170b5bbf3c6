"""The web server with the claim's guard taken out: no row lock, and a count that is written as it was read.

That is how a claim looks that reads, checks and writes back. The race tests run against it to show that they would
notice. Nothing of it is in the product: this program changes its own copy.
"""

from __future__ import annotations

import os
import time
from typing import Any

from flask import Flask

from membership.coupons.services import batch
from tests.webshop import serve


def take_the_guard_out(app: Flask) -> None:
    if not os.environ.get("SIYU_TEST_TEETH"):
        raise SystemExit("This program over-issues coupons on purpose and is for the race tests alone.")
    assert "FOR NO KEY UPDATE" in batch.LOCK
    batch.LOCK = batch.LOCK.replace("FOR NO KEY UPDATE", "")
    read = batch.locked

    def read_slowly(*arguments: Any) -> Any:
        """As long as it takes where the database is on another machine and busy."""
        found = read(*arguments)
        time.sleep(0.1)
        return found

    batch.locked = read_slowly
    # The count that another claim wrote while this one judged would break the row's own check, the second guard.
    counted = "claimed = offer.claimed + f.n"
    assert counted in batch.WRITE
    batch.WRITE = batch.WRITE.replace(counted, "claimed = LEAST(offer.claimed + f.n, offer.stock)")


if __name__ == "__main__":
    serve(take_the_guard_out)
