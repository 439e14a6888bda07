"""The page in a real browser: what it says on the console, and what it asks the network for."""

import json
import shutil
import subprocess
from urllib.parse import urlparse

import pytest

from launcher import answer
from launcher.core.benchmark import Benchmark
from launcher.report import page
from launcher.report.form import Format
from tests import recorded

pytestmark = [pytest.mark.browser, pytest.mark.slow]
BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
# What the browser asks for by itself, whatever page it shows.
ITS_OWN = ("google.com", "googleapis.com", "gstatic.com")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def opened(html, folder, *options):
    """Open a page; return its console lines, what it asked for, and the screenshot."""
    if BROWSER is None:
        pytest.skip("no Chromium on PATH")
    folder.mkdir()
    (folder / "page.html").write_text(html)
    done = subprocess.run(
        [
            BROWSER,
            *QUIET,
            f"--user-data-dir={folder / 'profile'}",
            "--enable-logging=stderr",
            f"--log-net-log={folder / 'net.json'}",
            f"--screenshot={folder / 'shot.png'}",
            *options,
            (folder / "page.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    events = json.loads((folder / "net.json").read_text())["events"]
    asked = {(event.get("params") or {}).get("url", "") for event in events}
    hosts = {urlparse(url).hostname for url in asked if url.startswith("http")}
    own = {host for host in hosts if host and host.endswith(ITS_OWN)}
    return console, hosts - own, (folder / "shot.png").read_bytes()


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    root = tmp_path_factory.mktemp("results") / "node"
    for benchmark in Benchmark:
        recorded.write(root / benchmark.value, benchmark)
    return page.render(answer.load([root], answer.unasked), Format.HTML)


def test_this_way_of_looking_sees_errors_and_requests(tmp_path):
    bad = '<img src="http://example.invalid/x.png"><script>console.error("seen")</script>'
    console, hosts, _ = opened(f"<!DOCTYPE html>{bad}", tmp_path / "bad")
    assert any("seen" in line for line in console)
    assert hosts == {"example.invalid"}


@pytest.mark.parametrize(
    "options",
    [
        ("--window-size=1280,2000",),
        ("--window-size=390,2000",),
        ("--window-size=1280,2000", "--blink-settings=preferredColorScheme=0"),
    ],
    ids=["desk", "phone", "dark"],
)
def test_the_page_opens_without_a_word_or_a_request(html, tmp_path, options):
    console, hosts, shot = opened(html, tmp_path / "good", *options)
    assert console == []
    assert hosts == set()
    assert len(shot) > 50_000  # a picture with something on it
