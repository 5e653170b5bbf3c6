"""Addresses of static files: each changes with its file, follows the root of the site, and is worked out once."""

from __future__ import annotations

import re

import pytest
from flask import Flask, render_template_string, url_for

from kernel import assets

PAGE = "{{ url_for('static', filename='a b.css') }}"


@pytest.fixture
def site(tmp_path):
    """Makes an application as a process that starts finds it: with the files as they are by then."""
    (tmp_path / "a b.css").write_text("p { color: red }")

    def start():
        assets.version.cache_clear()
        app = Flask("site", static_folder=str(tmp_path), static_url_path="/static")
        assets.init_app(app)
        return app

    yield tmp_path, start
    assets.version.cache_clear()


def test_a_changed_file_has_a_new_address_after_a_start(site):
    folder, start = site
    found = []
    for content in ("p { color: red }", "p { color: blue }"):
        (folder / "a b.css").write_text(content)
        app = start()
        with app.test_request_context("/"):
            found.append(render_template_string(PAGE))
            assert found[-1] == url_for("static", filename="a b.css")
        answer = app.test_client().get(found[-1])
        assert (answer.text, "immutable" in answer.headers["Cache-Control"]) == (content, True)
    assert found[0] != found[1]
    assert all(re.fullmatch(r"/static/a%20b\.css\?v=[0-9a-f]{10}", address) for address in found)


def test_an_address_is_worked_out_once_under_each_root(site, monkeypatch):
    _folder, start = site
    app = start()
    asked = []
    plain = app.url_for

    def url_for_counted(endpoint, **values):
        asked.append(values)
        return plain(endpoint, **values)

    monkeypatch.setattr(app, "url_for", url_for_counted)
    for root in ("", "/shop", "", "/shop"):
        with app.test_request_context("/", environ_overrides={"SCRIPT_NAME": root}):
            assert render_template_string(PAGE * 3).count(f"{root}/static/a%20b.css?v=") == 3
    assert len(asked) == 2
    # What asks for more than the address of a file is answered as ever, also for a file that is not there.
    with app.test_request_context("/"):
        for more, told in (("v='x'", "?v=x"), ("_anchor='home'", "#home"), ("_external=True", "http://localhost/")):
            assert told in render_template_string(f"{{{{ url_for('static', filename='a b.css', {more}) }}}}")
        assert render_template_string("{{ url_for('static', filename='none.css') }}") == "/static/none.css"
    app.config["SERVER_NAME"] = "shop.example"
    with app.app_context():
        assert render_template_string(PAGE).startswith("http://shop.example/static/a%20b.css")
