#!/usr/bin/env python3
"""Opens pages of stockbench in a real browser without a network, in light and dark, on a
desk and on a phone, and as print: whether they ask for anything, complain, show their
charts, say what is in them and fit the screen. Prints Markdown and keeps screenshots;
ends with 1 where something is wrong. Takes pages, or makes two of its own.

OUT=target/pages scripts/pages.py [PAGE.html ...]

Needs Chromium and its driver (Debian: chromium, chromium-driver). It speaks to the driver
as the W3C's WebDriver specification says, and to the browser in its DevTools protocol.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

BIN = os.environ.get("STOCKBENCH", "target/release/stockbench")
OUT = Path(os.environ.get("OUT", "target/pages"))
SCREENS = {"desk": (1100, 900), "phone": (390, 844)}
OPTIONS = [
    "--headless=new",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Nothing has an address here.
    "--host-resolver-rules=MAP * ~NOTFOUND",
]
LOOK = """
const charts = [...document.querySelectorAll('figure [role=img] svg')];
const drawn = chart => chart.getBoundingClientRect().height > 50 && chart.querySelector('polyline, path, circle');
return {
  charts: charts.length,
  drawn: charts.filter(drawn).length,
  told: document.querySelectorAll('figure [role=img][aria-label]').length,
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  back: getComputedStyle(document.body).backgroundColor,
}"""


class Browser:
    """A browser behind its driver; both end with it."""

    def __init__(self, folder):
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        line = next(line for line in self.driver.stdout if "successfully on port " in line)
        self.at = f"http://127.0.0.1:{line.rstrip().rstrip('.').rsplit(' ', 1)[1]}"
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        wanted = {
            "goog:chromeOptions": {"args": [*OPTIONS, *root, f"--user-data-dir={folder}"]},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        self.session = ""
        try:
            self.session = "/session/" + self.ask("/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        except BaseException:
            self.driver.kill()
            raise

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.at + self.session + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def devtools(self, command, **params):
        return self.ask("/goog/cdp/execute", {"cmd": command, "params": params})

    def log(self, kind):
        return self.ask("/se/log", {"type": kind})

    def close(self):
        try:
            urllib.request.urlopen(urllib.request.Request(self.at + self.session, method="DELETE"), timeout=60)
        except urllib.error.URLError:
            pass
        self.driver.terminate()
        self.driver.wait()


def look(browser, page, scheme, screen):
    """One look at a page: its row, and what is wrong with it."""
    width, height = SCREENS[screen]
    browser.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=screen == "phone")
    browser.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.log("browser"), browser.log("performance")
    browser.ask("/url", {"url": page.resolve().as_uri()})
    seen = browser.ask("/execute/sync", {"script": LOOK, "args": []})
    events = [json.loads(entry["message"])["message"] for entry in browser.log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    asked = [url for url in asked if url != page.resolve().as_uri() and not url.startswith("data:")]
    said = [entry["message"] for entry in browser.log("browser")]
    shot = browser.devtools("Page.captureScreenshot", captureBeyondViewport=True)["data"]
    (OUT / f"{page.stem}-{scheme}-{screen}.png").write_bytes(base64.b64decode(shot))
    is_dark = sum(int(part) for part in seen["back"].strip("rgb()").split(",")[:3]) < 3 * 128
    wrong = [f"asked for {url}" for url in asked] + [f"said {text}" for text in said]
    if seen["charts"] == 0 or seen["drawn"] != seen["charts"]:
        wrong.append(f"{seen['drawn']} of {seen['charts']} charts are visible")
    if seen["told"] != seen["charts"]:
        wrong.append(f"{seen['told']} of {seen['charts']} charts are told in words")
    if seen["wide"] > 0:
        wrong.append(f"{seen['wide']} pixels are beyond the screen")
    if is_dark != (scheme == "dark"):
        wrong.append(f"the background is {seen['back']}")
    row = f"| {page.name} | {scheme}, {screen} | {len(asked)} | {len(said)} | {seen['drawn']} of {seen['charts']} | {seen['told']} | {max(seen['wide'], 0)} | {seen['back']} |"
    return row, [f"{page.name}, {scheme}, {screen}: {what}" for what in wrong]


def made(folder):
    """A page of a run with a fault in it, and one of a comparison."""
    pages = [OUT / "run.html", OUT / "comparison.html"]
    load = ["-s", "naive", "-c", "50", "-d", "8s", "--skus", "20", "--stock", "200", "--fault", "lose@*:1%"]
    subprocess.run([BIN, "run", *load, "--html", pages[0].resolve()], cwd=folder, stdout=subprocess.DEVNULL)
    matrix = ["-s", "naive,optimistic,pessimistic,atomic", "--contention", "1,10,100", "-c", "10,50"]
    short = ["-d", "300ms", "-w", "100ms", "--rounds", "6", "--html", pages[1].resolve()]
    subprocess.run([BIN, "compare", *matrix, *short], cwd=folder, stdout=subprocess.DEVNULL, check=True)
    return pages


def main():
    global BIN
    BIN = str(Path(BIN).resolve())
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        pages = [Path(page) for page in sys.argv[1:]] or made(folder)
        browser = Browser(folder)
        wrong = []
        try:
            version = browser.devtools("Browser.getVersion")["product"]
            print(f"{version}, {time.strftime('%Y-%m-%d', time.gmtime())}, screenshots in {OUT}\n")
            print("| page | as | requests | console messages | charts visible | told in words | pixels beyond the screen | background |")
            print("|---|---|---:|---:|---:|---:|---:|---|")
            for page in pages:
                for scheme in ("light", "dark"):
                    for screen in SCREENS:
                        row, of_look = look(browser, page, scheme, screen)
                        print(row, flush=True)
                        wrong += of_look
                browser.devtools("Emulation.setEmulatedMedia", media="print", features=[])
                printed = browser.devtools("Page.printToPDF", printBackground=False)["data"]
                (OUT / f"{page.stem}.pdf").write_bytes(base64.b64decode(printed))
                browser.devtools("Emulation.setEmulatedMedia", media="", features=[])
        finally:
            browser.close()
    for what in wrong:
        print(what, file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
