"""Names of bands, modes, states and of what is wrong with a line of a file."""

from __future__ import annotations

from typing import Any

from community.conversations.rules import Band
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.i18n import number

from .models import SuggestionState, TrainingState
from .rules import Mode, Routing, Trial
from .words import NOTIONS

BANDS: dict[Band, Any] = {
    Band.ANSWER: _l("answered"),
    Band.OFFER: _l("three offered"),
    Band.HAND_OVER: _l("handed to people"),
}
BAND_TONES: dict[Band, str] = {Band.ANSWER: "positive", Band.OFFER: "info", Band.HAND_OVER: "caution"}
MODES: dict[Mode, Any] = {
    Mode.FULL: _l("Answers members by itself"),
    Mode.ASSIST: _l("Only suggests answers to the agent"),
    Mode.OFF: _l("Off"),
}
ROUTINGS: dict[Routing, Any] = {
    Routing.HUMAN_FIRST: _l("People first: the bot speaks only when the desk is closed"),
    Routing.BOT_FIRST: _l("The bot first: people when it is not sure, or when somebody asks for a person"),
    Routing.MIXED: _l("Mixed: people while the desk is open and somebody has room, else the bot"),
}
CHANNELS: dict[str, Any] = {
    "group": _l("Said in groups"),
    "wecom": _l("Said on WeCom"),
    "agent": _l("Suggested to the agent"),
}
SUGGESTIONS: dict[SuggestionState, Any] = {
    SuggestionState.OPEN: _l("to decide"),
    SuggestionState.APPROVED: _l("learned"),
    SuggestionState.REJECTED: _l("left out"),
}
TRAININGS: dict[TrainingState, Any] = {
    TrainingState.TRAINING: _l("learning"),
    TrainingState.READY: _l("in use"),
    TrainingState.TOO_FEW: _l("too few phrasings"),
    TrainingState.FAILED: _l("failed"),
}
STATES: dict[str, Any] = {"on": _l("Switched on"), "off": _l("Switched off")}
ROW_ERRORS: dict[str, Any] = {
    "missing": _l("is empty"),
    "too_long": _l("is too long"),
    "too_many": _l("has too many entries"),
    "no_link": _l("must begin with https:// or http://"),
    "no_picture": _l("is no picture that can be read"),
    "picture_too_large": _l("has a picture of more than 1 MB, or all together more than 16 MB"),
    "twice": _l("stands in an earlier line already"),
}
PICTURE_FAULTS: dict[str, Any] = {
    "no_picture": _l("is no picture that can be read"),
    "gone": _l("its file is gone"),
    "gave_up": _l("drawing it failed three times"),
}


def feature(name: str) -> str:
    """A feature as staff read it: the characters themselves, a notion by the first of its words."""
    parts = name.split("+")
    if all(part in NOTIONS for part in parts):
        return " + ".join(f"“{NOTIONS[part][0]}”" for part in parts)
    return name


def share(value: float) -> str:
    """A share with one decimal, as people read it."""
    return f"{value * 100:.1f}%"


def sentence(trial: Trial) -> str:
    """What a trial shows, in a sentence."""
    return str(
        _(
            "Of %(texts)s phrasings held back it took %(top1)s for the right question, and had it among three for %(top3)s.",
            texts=number(trial.texts),
            top1=share(trial.top1),
            top3=share(trial.top3),
        )
    )


def accuracy_rows(trial: Trial) -> list[dict[str, Any]]:
    """The measures of a trial as bars."""
    return [
        {"label": str(label), "value": value, "text": share(value)}
        for label, value in (
            (_("The first is right"), trial.top1),
            (_("Right among three"), trial.top3),
            (_("Right on the half it is surest of"), trial.half),
            (_("Right when it answers"), trial.answered_right),
            (_("Among three when it offers"), trial.offered_right),
        )
    ]
