"""The verbs of journeys."""

from __future__ import annotations

from .advancing import Effects, advance
from .entering import enter, look, pass_over, try_out
from .leaving import leave_buyers, let_leave, take_all_out, take_out, take_some_out
from .plans import (
    NotReady,
    add_step,
    copy,
    create,
    ensure_recipes,
    move_step,
    publish,
    put_step,
    remove_step,
    rename,
    revert,
    set_plan,
    switch_off,
    switch_on,
)
from .received import receive

__all__ = [
    "Effects",
    "NotReady",
    "add_step",
    "advance",
    "copy",
    "create",
    "ensure_recipes",
    "enter",
    "leave_buyers",
    "let_leave",
    "look",
    "move_step",
    "pass_over",
    "publish",
    "put_step",
    "receive",
    "remove_step",
    "rename",
    "revert",
    "set_plan",
    "switch_off",
    "switch_on",
    "take_all_out",
    "take_out",
    "take_some_out",
    "try_out",
]
