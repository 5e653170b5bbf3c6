"""The OpenAPI 3.1 document of the REST interface, made from the views themselves, and the page that shows it.

Each view says what it takes and answers by `kernel.http.operation`; the schemas are those by which pydantic really reads and
writes (JSON Schema 2020-12, which OpenAPI 3.1 takes as it is), so that the document cannot say something else than the code.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from apiflask import APIBlueprint
from flask import Flask, Response, current_app, json, render_template
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode
from werkzeug.routing import Rule

from . import navigation
from .auth import Role, grant, policy_of, public, staff
from .errors import TOO_LARGE, NotFound, Refusal
from .http import API, LARGEST_ID, Operation, operation_of
from .i18n import forced_locale
from .i18n import lazy_gettext as _l
from .idempotency import KEY
from .ports import Port

VERSION = "1.0.0"
PROBLEM = "application/problem+json"
REFERENCE = "#/components/schemas/{model}"
# What each tag is about, in the order of the page. A room adds its own with `describe_tag`.
_tags: dict[str, Any] = {}
# Rooms of the kernel that send something out by themselves: name -> (summary, payload model or None).
webhooks: Port[[], dict[str, tuple[Any, Any]]] = Port("openapi.webhooks")

bp = APIBlueprint("openapi", __name__, enable_openapi=False)

_PLACE = re.compile(r"<(?:(?P<kind>[a-z]+)(?:\([^)]*\))?:)?(?P<name>\w+)>")
_PLACES = re.compile(r"%\((\w+)\)[sd]")


def describe_tag(name: str, about: Any) -> None:
    """Say in a sentence what the operations of a tag are for."""
    _tags.setdefault(name, about)


def operations(app: Flask) -> Iterator[tuple[Rule, str, Callable[..., Any], Operation]]:
    """Every (rule, method, view, operation) of the REST interface, by address."""
    for rule in sorted(app.url_map.iter_rules(), key=lambda r: r.rule):
        view = app.view_functions[rule.endpoint]
        declared = operation_of(view)
        if declared is not None and rule.rule.startswith(f"{API}/"):
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield rule, method.lower(), view, declared


def operation_id(endpoint: str) -> str:
    """`members_api.show` is `members.show` in the document."""
    room, _dot, name = endpoint.rpartition(".")
    return f"{room.removesuffix('_api')}.{name}"


class _Schemas:
    """Collects the models that are mentioned, names them once, and gives references to them."""

    def __init__(self) -> None:
        self.asked: dict[tuple[int, JsonSchemaMode], TypeAdapter[Any]] = {}
        self.kept: list[Any] = []

    def ask(self, model: Any, mode: JsonSchemaMode) -> tuple[int, JsonSchemaMode]:
        key = (id(model), mode)
        if key not in self.asked:
            self.asked[key] = TypeAdapter(model)
            self.kept.append(model)
        return key

    def written(self) -> tuple[dict[tuple[int, JsonSchemaMode], dict[str, Any]], dict[str, Any]]:
        made, whole = TypeAdapter.json_schemas(
            [(key[0], key[1], adapter) for key, adapter in self.asked.items()], ref_template=REFERENCE
        )
        return {key: dict(value) for key, value in made.items()}, whole.get("$defs", {})  # type: ignore[misc]


def _plain_names(whole: dict[str, Any]) -> dict[str, Any]:
    """The same document with schemas named as people would: `Listed_OrderOut_` is OrderOutList, and of two models of one
    name, which pydantic tells apart by their whole path, each has its room's name before its own."""
    names = {}
    for name in whole["components"]["schemas"]:
        if found := re.fullmatch(r"Listed_(\w+)_", name):
            names[name] = f"{found[1]}List"
        elif "__" in name:
            _floor, room, *_rest, own = name.split("__")
            names[name] = f"{room.capitalize()}{own}"
    text = json.dumps(whole, ensure_ascii=False)
    for name, plain in names.items():
        if plain not in whole["components"]["schemas"]:
            text = text.replace(f'"#/components/schemas/{name}"', f'"#/components/schemas/{plain}"')
            text = text.replace(f'"{name}": {{', f'"{plain}": {{')
    named: dict[str, Any] = json.loads(text)
    named["components"]["schemas"] = dict(sorted(named["components"]["schemas"].items()))
    return named


def _sentence(label: Any) -> str:
    """A refusal's sentence without its values."""
    return _PLACES.sub(r"<\1>", str(label))


def _refusals(rule: Rule, declared: Operation, view: Any) -> dict[int, list[tuple[str, str]]]:
    """The (code, sentence) pairs of every status below 500 that an operation may refuse with."""
    found: dict[int, list[tuple[str, str]]] = defaultdict(list)

    def add(status: int, code: str, sentence: Any) -> None:
        if all(known != code for known, _said in found[status]):
            found[status].append((code, _sentence(sentence)))

    add(400, "bad_request", _l("The request is malformed, or holds text that cannot be stored."))
    add(401, "api_key_missing", _l("Send an API key in the header: Authorization: Bearer siyu_…"))
    add(401, "api_key_refused", _l("This API key is unknown, has expired or has been revoked."))
    add(403, "api_scope_missing", _l("This API key does not carry the scope %(scope)s."))
    add(429, "too_many_requests", _l("This API key asks too often. Wait as many seconds as Retry-After says."))
    if rule.arguments:
        add(404, "not_found", NotFound.label)
    if declared.takes is not None:
        add(413, "request_entity_too_large", TOO_LARGE)
        add(415, "media_type_unsupported", _l("Send the body as application/json."))
    add(422, "input_invalid", _l("The input has mistakes; `errors` names each."))
    if getattr(view, "_idempotent", None):
        add(422, "idempotency_key_invalid", _l("Send an Idempotency-Key of 1 to 255 printable characters."))
        add(
            422,
            "idempotency_key_reused",
            _l("This Idempotency-Key was used before with another body. Use a new key for a new request."),
        )
    for refusal in declared.refusals:
        add(refusal.status, _code(refusal), refusal.label)
    return found


def _code(refusal: type[Refusal]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", refusal.__name__).lower()


def _path(rule: Rule) -> tuple[str, list[dict[str, Any]]]:
    parameters = []
    for place in _PLACE.finditer(rule.rule):
        schema: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 200}
        if place["kind"] == "int":
            schema = {"type": "integer", "minimum": 1, "maximum": LARGEST_ID}
        parameters.append({"name": place["name"], "in": "path", "required": True, "schema": schema})
    return _PLACE.sub(lambda place: "{" + place["name"] + "}", rule.rule).removeprefix(API), parameters


def _query(model: type[BaseModel] | None, definitions: dict[str, Any]) -> list[dict[str, Any]]:
    if model is None:
        return []
    schema = model.model_json_schema(ref_template=REFERENCE)
    definitions.update(schema.get("$defs", {}))
    parameters = []
    for name, one in schema["properties"].items():
        described = one.pop("description", None)
        one.pop("title", None)
        choices = one.get("anyOf", [])
        if {"type": "null"} in choices:
            # A parameter is left out, never null.
            left = [choice for choice in choices if choice != {"type": "null"}]
            one.pop("anyOf")
            one.pop("default", None)
            one |= left[0] if len(left) == 1 else {"anyOf": left}
        parameter = {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": one}
        if one.get("type") == "array":
            parameter |= {"style": "form", "explode": True}
        if described:
            parameter["description"] = described
        parameters.append(parameter)
    return parameters


def _problem_response(status: int, codes: list[tuple[str, str]]) -> dict[str, Any]:
    lines = "\n".join(f"- `{code}`: {sentence}" for code, sentence in codes)
    answer: dict[str, Any] = {
        "description": f"{HTTPStatus(status).phrase}\n\n{lines}",
        "content": {PROBLEM: {"schema": {"$ref": REFERENCE.format(model="Problem")}}},
    }
    if status == 429:
        answer["headers"] = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
    if status == 401:
        answer["headers"] = {"WWW-Authenticate": {"$ref": "#/components/headers/WWWAuthenticate"}}
    return answer


_PROBLEM_SCHEMA = {
    "type": "object",
    "description": "A problem document (RFC 9457). `code` is stable; `detail` is a sentence in the caller's language.",
    "required": ["type", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["param", "detail"],
                "properties": {"param": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}

_ABOUT = (
    "Amounts are integers in 分 (1/100 yuan), instants ISO 8601 with an offset, between the years 1900 and 2199. Types are strict "
    "and unknown fields are refused. "
    "Lists are paged by `cursor` and `limit`. Errors are problem documents (RFC 9457) with a stable `code`. "
    "Send an `Idempotency-Key` with every call that writes: repeated with the same body it gives the first answer again "
    "and has one effect."
)


def document(app: Flask, server: str = "") -> dict[str, Any]:
    """The whole document, in the present language; `server` is the site's address before `/api/v1`."""
    schemas, definitions = _Schemas(), {"Problem": _PROBLEM_SCHEMA}
    plans = []
    for rule, method, view, declared in operations(app):
        takes = schemas.ask(declared.takes, "validation") if declared.takes is not None else None
        answers = {
            status: schemas.ask(shape, "serialization") if shape is not None else None
            for status, shape in declared.answers.items()
        }
        plans.append((rule, method, view, declared, takes, answers))
    sent = [one for answer in webhooks.call() for one in answer.items()]
    payloads = {name: schemas.ask(shape, "serialization") for name, (_said, shape) in sent if shape is not None}
    written, found = schemas.written()
    definitions.update(found)
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for rule, method, view, declared, takes, answers in plans:
        path, parameters = _path(rule)
        parameters += _query(declared.query, definitions)
        if how := getattr(view, "_idempotent", None):
            name = "IdempotencyKey" if how == "offered" else "IdempotencyKeyRequired"
            parameters.append({"$ref": f"#/components/parameters/{name}"})
        policy = policy_of(view)
        entry: dict[str, Any] = {
            "operationId": operation_id(rule.endpoint),
            "summary": str(declared.summary),
            "tags": [declared.tag],
            "security": [{"bearer": [policy.detail]}] if policy is not None and policy.kind == "api" else [],
        }
        if declared.description:
            entry["description"] = str(declared.description)
        if parameters:
            entry["parameters"] = parameters
        if takes is not None:
            media: dict[str, Any] = {"schema": written[takes]}
            if declared.example is not None:
                media["example"] = declared.example
            entry["requestBody"] = {"required": True, "content": {"application/json": media}}
        responses: dict[str, Any] = {}
        for status, key in answers.items():
            answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
            if key is not None:
                answer["content"] = {"application/json": {"schema": written[key]}}
            if getattr(view, "_idempotent", None):
                answer["headers"] = {"Idempotent-Replay": {"$ref": "#/components/headers/IdempotentReplay"}}
            if declared.links:
                answer["links"] = {
                    name: {"operationId": target, "parameters": places}
                    for name, (target, places) in declared.links.items()
                }
            responses[str(status)] = answer
        for status, codes in sorted(_refusals(rule, declared, view).items()):
            responses[str(status)] = _problem_response(status, codes)
        entry["responses"] = responses
        paths[path][method] = entry
    used = sorted({declared.tag for *_rest, declared in operations(app)}, key=lambda t: ([*_tags, t].index(t), t))
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "Siyu", "version": VERSION, "description": _ABOUT},
        "servers": [{"url": f"{server}{API}"}],
        "tags": [{"name": tag, **({"description": str(_tags[tag])} if tag in _tags else {})} for tag in used],
        "paths": dict(paths),
        "webhooks": {
            name: _webhook(said, written.get(payloads.get(name, (0, "serialization")))) for name, (said, _s) in sent
        },
        "components": {
            "schemas": dict(sorted(definitions.items())),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key from Settings › API keys. The scopes that a call asks for are listed with it.",
                }
            },
            "parameters": {
                "IdempotencyKey": _idempotency_parameter(required=False),
                "IdempotencyKeyRequired": _idempotency_parameter(required=True),
            },
            "headers": {
                "WWWAuthenticate": {
                    "description": "That a bearer token is asked for, and what is wrong with the one sent (RFC 6750).",
                    "required": True,
                    "schema": {"type": "string"},
                },
                "RetryAfter": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}},
                "IdempotentReplay": {
                    "description": "`true` when this is the first answer to the same Idempotency-Key again.",
                    "schema": {"type": "string", "enum": ["true"]},
                },
            },
        },
    }
    return _plain_names(whole)


def _idempotency_parameter(required: bool) -> dict[str, Any]:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "required": required,
        "description": "Any text of yours that is new for each new call; kept for at least 24 hours.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": f"^{KEY}$"},
    }


def _webhook(summary: Any, schema: dict[str, Any] | None) -> dict[str, Any]:
    body = {
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"type": "string"},
            "timestamp": {"type": "string", "format": "date-time"},
            "data": schema or {"type": "object"},
        },
    }
    return {
        "post": {
            "summary": str(summary),
            "requestBody": {"content": {"application/json": {"schema": body}}},
            "responses": {"2XX": {"description": "Taken. Any other answer, or none in 10 s, is tried again."}},
        }
    }


@bp.get(f"{API}/openapi.json")
@public("the description of the interface is the same for every shop and holds nothing of this one")
def describe() -> Response:
    with forced_locale("en"):
        text = json.dumps(document(current_app, current_app.extensions["settings"].site_url), ensure_ascii=False)
    return Response(text, mimetype="application/json")


@bp.get("/console/settings/api-reference")
@staff("api_reference.view")
def reference() -> Any:
    whole = document(current_app, current_app.extensions["settings"].site_url)
    groups: dict[str, list[tuple[str, str, dict[str, Any]]]] = {tag["name"]: [] for tag in whole["tags"]}
    for path, methods in whole["paths"].items():
        for method, entry in methods.items():
            groups[entry["tags"][0]].append((method, path, entry))
    return render_template("settings/api_reference.html", document=whole, groups=groups)


def init_app(app: Flask) -> None:
    grant("api_reference.view", Role.MANAGER)
    app.register_blueprint(bp)
    navigation.add("settings", _l("API reference"), "openapi.reference", "api_reference.view", order=70)


__all__ = ["describe_tag", "document", "operation_id", "operations", "webhooks"]
