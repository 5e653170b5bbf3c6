"""Takes pictures of a running Siyu's pages, for the README and for looking at one's own work.

    .venv/bin/python script/make_screenshots.py --site http://127.0.0.1:8000 --email … --password … --out DIR /console/ /console/members …

Every page is taken at desktop and phone width, in Chinese and English (`--wide`, `--phone`, `--zh`, `--en` take only that).
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
SIZES = {"wide": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}


def open_context(browser: Browser, site: str, size: str, language: str, dark: bool) -> BrowserContext:
    context = browser.new_context(
        viewport=SIZES[size],  # type: ignore[arg-type]
        locale="zh-CN" if language == "zh" else "en-GB",
        timezone_id="Asia/Shanghai",
        is_mobile=size == "phone",
        has_touch=size == "phone",
        device_scale_factor=1 if size == "wide" else 2,
        color_scheme="dark" if dark else "light",
    )
    context.add_cookies([{"name": "lang", "value": "zh_Hans" if language == "zh" else "en", "url": site}])
    return context


def sign_in(context: BrowserContext, site: str, email: str, password: str) -> None:
    page = context.new_page()
    page.goto(f"{site}/console/sign-in")
    page.fill("input[name=email]", email)
    page.fill("input[name=password]", password)
    page.locator("main form[method=post] button[type=submit], form.form button[type=submit]").first.click()
    page.wait_for_load_state()
    page.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--site", default="http://127.0.0.1:8000")
    parser.add_argument("--email")
    parser.add_argument("--password")
    parser.add_argument("--cookie", help="a visitor cookie, for members' pages")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--full", action="store_true", help="the whole page, not only what is first seen")
    parser.add_argument("--dark", action="store_true")
    for name in ("wide", "phone", "zh", "en"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("paths", nargs="+")
    chosen = parser.parse_args()
    sizes = [s for s in SIZES if getattr(chosen, s)] or list(SIZES)
    languages = [t for t in ("zh", "en") if getattr(chosen, t)] or ["zh", "en"]
    chosen.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        for size in sizes:
            for language in languages:
                context = open_context(browser, chosen.site, size, language, chosen.dark)
                if chosen.cookie:
                    context.add_cookies([{"name": "visitor", "value": chosen.cookie, "url": chosen.site}])
                if chosen.email:
                    sign_in(context, chosen.site, chosen.email, chosen.password or "")
                page = context.new_page()
                for path in chosen.paths:
                    answer = page.goto(chosen.site + path)
                    page.wait_for_load_state("networkidle")
                    name = re.sub(r"\W+", "-", path).strip("-") or "root"
                    target = chosen.out / f"{name}-{size}-{language}.png"
                    page.screenshot(path=str(target), full_page=chosen.full)
                    overflow = page.evaluate("document.documentElement.scrollWidth > window.innerWidth + 1")
                    print(answer.status if answer else "?", target.name, "OVERFLOWS" if overflow else "")
                context.close()
        browser.close()


if __name__ == "__main__":
    main()
