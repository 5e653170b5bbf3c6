#!/usr/bin/env python3
"""Make the demo shop's short video: a picture of it, slowly moved, recorded by a browser as WebM (VP8).

script/make_demo_clip.py static/img/demo/tea.webp static/video/demo-tea.webm
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
RECORD = """
async (address) => {
  const picture = new Image();
  picture.src = address;
  await picture.decode();
  const canvas = Object.assign(document.createElement("canvas"), {width: 480, height: 360});
  const pen = canvas.getContext("2d");
  const recorder = new MediaRecorder(canvas.captureStream(25), {mimeType: "video/webm;codecs=vp8", videoBitsPerSecond: 350000});
  const pieces = [];
  recorder.ondataavailable = (event) => pieces.push(event.data);
  const done = new Promise((resolve) => { recorder.onstop = resolve; });
  const seconds = 6, begun = performance.now();
  recorder.start();
  await new Promise((resolve) => {
    const draw = () => {
      const at = (performance.now() - begun) / 1000 / seconds;
      const zoom = 1 + 0.35 * at, width = picture.width / zoom, height = picture.height / zoom;
      pen.drawImage(picture, (picture.width - width) * at, (picture.height - height) / 2, width, height, 0, 0, 480, 360);
      at < 1 ? requestAnimationFrame(draw) : resolve();
    };
    draw();
  });
  recorder.stop();
  await done;
  const bytes = new Uint8Array(await new Blob(pieces).arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}
"""


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    address = "data:image/webp;base64," + base64.b64encode(source.read_bytes()).decode()
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        recorded = browser.new_page().evaluate(RECORD, address)
        browser.close()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(base64.b64decode(recorded))
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
