"""The documentation site builds without a warning, its links lead somewhere, a phone shows it.

`make docs` runs these tests on the site that it built.
"""

from __future__ import annotations

import functools
import html
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("sphinx", "myst_parser", "furo", "sphinx_copybutton", "sphinx-mathjax-offline")

pytestmark = pytest.mark.docs


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site that `make docs` built, or one built as it does."""
    if built := os.environ.get("MBRL_SITE"):
        return Path(built).resolve()
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"the extra docs is not installed: no {', '.join(missing)}")
    out = tmp_path_factory.mktemp("site")
    options = ["-W", "--keep-going", "-n", "-q", "-E", "-d", str(out / "doctrees")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), str(out / "html")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return out / "html"


def pages(site: Path) -> list[Path]:
    found = [page for page in site.rglob("*.html") if "_static" not in page.parts]
    assert len(found) > 30
    return found


class Page(HTMLParser):
    """What a page refers to, and the anchors it has."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value and tag != "use":
                self.targets.append(value)


def test_every_link_leads_to_a_file_and_an_anchor(site: Path) -> None:
    parsed = {page: Page(page) for page in pages(site)}
    broken, checked = [], 0
    for page, found in parsed.items():
        for target in found.targets:
            url = urlsplit(target)
            if url.scheme or url.netloc or target == "#":
                continue
            checked += 1
            file = (page.parent / unquote(url.path)).resolve() if url.path else page
            known = parsed[file].anchors if file in parsed else None
            anchor = unquote(url.fragment)
            if not file.is_file() or (anchor and known is not None and anchor not in known):
                broken.append(f"{page.relative_to(site)}: {target}")
    assert checked > 1000
    assert broken == []


def test_links_into_the_repository_name_what_is_there(site: Path) -> None:
    repository = "https://github.com/mbrl-agents/mbrl-agents/"
    found = {t for page in pages(site) for t in Page(page).targets if t.startswith(repository)}
    kinds = {"tree": Path.is_dir, "blob": Path.is_file, "edit": Path.is_file}
    for target in found:
        kind, _, rest = target.removeprefix(repository).partition("/main/")
        path, is_there = ROOT / urlsplit(rest).path.removesuffix("?plain=true"), kinds.get(kind)
        assert is_there is not None, target
        assert is_there(path), target
    assert len(found) > 30


def test_everything_that_is_documented_has_its_signature(site: Path) -> None:
    shown = html.unescape(re.sub(r"<[^>]+>", "", (site / "api/index.html").read_text()))
    assert re.search(r"make_agent\(\s*method: str,\s*env: Any,\s*\*,\s*seed: int", shown)
    shown = html.unescape(re.sub(r"<[^>]+>", "", (site / "api/settings.html").read_text()))
    assert "free_nats: float = 1.0" in shown


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in pages(site):
        text = page.read_text(encoding="utf-8")
        assert re.findall(r'<(?:script|img)[^>]*src="(?:https?:)?//[^"]*"', text) == [], page
        assert re.findall(r'<link[^>]*rel="stylesheet"[^>]*href="https?://', text) == [], page


CHECK = """<!doctype html><title>-</title>
<iframe style="width: 390px; height: 800px; border: 0"></iframe><pre></pre><script>
const frame = document.querySelector("iframe"), found = []
async function look(page) {
  await new Promise(done => { frame.onload = done; frame.src = page })
  const inner = frame.contentWindow, doc = frame.contentDocument
  if (inner.MathJax && inner.MathJax.startup) await inner.MathJax.startup.promise
  // The theme hides what is wider than the page, and lets the text as a whole be moved aside.
  const wide = [doc.documentElement, doc.querySelector(".content")]
  found.push({page, shown: doc.documentElement.clientWidth,
    over: Math.max(...wide.map(e => e.scrollWidth - e.clientWidth)),
    equations: doc.querySelectorAll("mjx-container").length,
    wrong: doc.querySelectorAll('mjx-merror, mjx-container [style*="red"]').length,
    missing: [...doc.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)})
}
(async () => {
  for (const page of PAGES) await look(page)
  document.querySelector("pre").textContent = JSON.stringify(found)
})()</script>"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_a_phone_shows_every_page_without_scrolling_to_the_side(site: Path, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium is installed (apt-get install chromium)")
    folder = shutil.copytree(site, tmp_path / "site", ignore=shutil.ignore_patterns("sre"))
    # Not those of source code, which furo shows in a box to scroll.
    shown = [page.relative_to(site) for page in pages(site) if "_modules" not in page.parts]
    names = sorted(map(str, shown))
    (folder / "check.html").write_text(CHECK.replace("PAGES", json.dumps(names)))
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom",
                       "--virtual-time-budget=120000",
                       f"--user-data-dir={tmp_path / 'profile'}"]  # fmt: skip
            check = f"http://127.0.0.1:{http.server_port}/check.html"
            run = subprocess.run(
                [chromium, *options, check], capture_output=True, text=True, timeout=300, check=True
            )
        finally:
            http.shutdown()
            thread.join()
    found = json.loads(html.unescape(run.stdout.split("<pre>")[1].split("</pre>")[0]))
    assert [page["page"] for page in found] == names
    assert sum(page["equations"] for page in found) > 30
    assert [page for page in found if page["wrong"] or page["missing"]] == []
    assert {page["shown"] for page in found} <= set(range(360, 391))
    assert [page["page"] for page in found if page["over"]] == []
