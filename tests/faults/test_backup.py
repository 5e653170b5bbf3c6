"""A shop that runs is backed up, restored into a new folder, and somebody signs in there."""

from __future__ import annotations

import http.cookiejar
import re
import urllib.error
import urllib.parse
import urllib.request

import pytest

from tests.live import LiveServer

pytestmark = pytest.mark.fault


def signs_in(shop: LiveServer, email: str, password: str) -> bool:
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    page = browser.open(f"{shop.url}/console/sign-in").read().decode()
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    assert token, page
    form = {"csrf_token": token[1], "email": email, "password": password}
    try:
        answer = browser.open(f"{shop.url}/console/sign-in", urllib.parse.urlencode(form).encode())
    except urllib.error.HTTPError as refusal:
        if refusal.code != 422:
            raise
        return False
    return not answer.url.endswith("/sign-in")


def test_a_running_shop_comes_back_in_a_new_folder(tmp_path):
    file = tmp_path / "shop.tar"
    with LiveServer() as shop:
        assert signs_in(shop, shop.email, shop.password)
        assert not signs_in(shop, shop.email, "not the password")
        assert "keep it safe" in shop.siyu("backup", str(file)).stdout
        key = shop.settings.secret_key
        refused = shop.siyu("restore", str(file), check=False)
        assert refused.returncode == 1
        assert "not empty" in refused.stderr
        again = LiveServer(folder=tmp_path / "again")
        assert "Restored" in again.siyu("restore", str(file)).stdout
        try:
            again.start()
            assert again.settings.secret_key == key
            assert again.password == ""
            assert signs_in(again, shop.email, shop.password)
        finally:
            again.stop()
