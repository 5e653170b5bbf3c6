"""What PostgreSQL does for statements, each in a transaction of its own that is rolled back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from kernel.db import db


def explain(
    statements: Mapping[str, Callable[[], Any]],
    only: Sequence[str] | None = None,
    within: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> None:
    """Print the plan of each named statement as it was run; `only` keeps those whose name holds one of the words, and each is
    run inside `within`."""
    for name, make in statements.items():
        if only and not any(word in name for word in only):
            continue
        compiled = make().compile(db.engine, compile_kwargs={"render_postcompile": True})
        with within():
            rows = db.session.connection().exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {compiled}", compiled.params)
            print(f"\n== {name}", *(row[0] for row in rows), sep="\n   ")
        db.session.rollback()
