"""The application: the kernel's parts, then the floors, each through its `init_app`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import flask_login
from apiflask import APIFlask
from flask_wtf import CSRFProtect
from jinja2 import StrictUndefined
from werkzeug.middleware.proxy_fix import ProxyFix

from . import (
    api_keys_console,
    assets,
    audit_console,
    auth,
    bulk,
    cli,
    config,
    db,
    errors,
    files,
    health,
    http,
    i18n,
    jobs,
    navigation,
    notices,
    openapi,
    operations,
    pages,
    ports,
    shop,
    shop_console,
    today,
    views,
    visitors,
    webhooks,
)
from .staff import brief as staff_brief
from .staff import console as staff_console

ROOT = Path(__file__).resolve().parents[1]
# The kernel reaches up only through these names.
PACKAGES = ("membership", "community", "campaigns")


def create_app(settings: config.Settings | None = None, **overrides: Any) -> APIFlask:
    """Build the application from settings (read from the environment when none are given).

    `overrides` are Flask configuration values; only tests need them.
    """
    settings = settings or config.load()
    app = APIFlask(
        "siyu",
        root_path=str(ROOT),
        static_folder=str(ROOT / "static"),
        template_folder=str(ROOT / "kernel" / "templates"),
        json_errors=False,
        enable_openapi=False,
    )
    app.config.update(
        SECRET_KEY=settings.secret_key,
        SQLALCHEMY_DATABASE_URI=settings.database_url,
        SQLALCHEMY_ENGINE_OPTIONS={
            "pool_size": 8,
            "max_overflow": 0,
            "pool_timeout": 10,
            "pool_pre_ping": True,
            # How many rows an INSERT … ON CONFLICT wrote is asked for as well (`kernel.db.changed`).
            "execution_options": {"preserve_rowcount": True},
            "connect_args": {
                "options": "-c timezone=UTC -c default_transaction_isolation=read\\ committed -c jit=off",
                "connect_timeout": 5,
            },
        },
        SESSION_COOKIE_NAME="__Host-siyu" if settings.secure else "siyu",
        SESSION_COOKIE_SECURE=settings.secure,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        PERMANENT_SESSION_LIFETIME=14 * 86_400,
        # The page's own token and the cross-site check decide; pages send no referrer to be compared.
        WTF_CSRF_SSL_STRICT=False,
        WTF_CSRF_TIME_LIMIT=None,
        MAX_CONTENT_LENGTH=64 * 1024 * 1024,
        MAX_FORM_MEMORY_SIZE=2 * 1024 * 1024,
        MAX_FORM_PARTS=2_000,
        JSON_AS_ASCII=False,
        TEMPLATES_AUTO_RELOAD=False,
        SEND_FILE_MAX_AGE_DEFAULT=86_400,
    )
    app.config.update(overrides)
    app.extensions["settings"] = settings
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    if settings.proxy_count:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.proxy_count, x_proto=0, x_host=0)  # type: ignore[method-assign]

    db.init_app(app)  # First of all: its end-of-request step must run last.
    operations.init_app(app)  # Before whatever may refuse a request, so that refusals are counted too.
    http.init_app(app)
    errors.init_app(app)
    jobs.init_app(app)
    i18n.init_app(app)
    visitors.init_app(app)
    csrf = CSRFProtect(app)
    app.extensions["csrf_protect"] = csrf
    login = flask_login.LoginManager(app)
    staff_console.init_login(login)
    auth.init_app(app)
    navigation.init_app(app)
    files.init_app(app)
    assets.init_app(app)
    app.jinja_env.globals.update(
        slot=ports.slot,
        url_with=pages.url_with,
        url_alike=pages.url_alike,
        page_address=pages.page_address,
        period_mistakes=pages.period_mistakes,
    )
    shop.init_app(app)
    app.register_blueprint(staff_console.bp)
    today.init_app(app)
    views.init_app(app)
    bulk.init_app(app)
    shop_console.init_app(app)
    api_keys_console.init_app(app)
    audit_console.init_app(app)
    openapi.init_app(app)
    webhooks.init_app(app)
    health.init_app(app)
    cli.init_app(app)
    auth.grant("staff.manage", auth.Role.OWNER)
    auth.grant("staff.hand_over", auth.Role.MANAGER)
    staff_brief.init()
    navigation.add("settings", i18n.lazy_gettext("Staff"), "staff_console.index", "staff.manage", order=20)
    for name in PACKAGES:
        import_module(name).init_app(app)
    for blueprint in app.blueprints.values():
        if blueprint.url_prefix and blueprint.url_prefix.startswith("/api/"):
            csrf.exempt(blueprint)
    return app


__all__ = ["PACKAGES", "create_app", "notices"]
