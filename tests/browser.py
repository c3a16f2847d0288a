"""A headless Chromium for tests that look at a page, driven by WebDriver over HTTP."""

import json
import shutil
import socket
import subprocess
import time
import urllib.request

DRIVER, CHROMIUM = shutil.which("chromedriver"), shutil.which("chromium")
MISSING = "chromium and chromedriver are not installed (apt-get install chromium chromium-driver)"
_QUIET = (
    "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
    "disable-component-update disable-sync"
)


class Browser:
    """A browser with a new profile; `close` ends it.

    Args:
        profile: an empty folder.
        width: of the window, in pixels.
        height: likewise.
    """

    def __init__(self, profile, width=1200, height=900):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            [DRIVER, f"--port={self.port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        flags = [f"--{flag}" for flag in _QUIET.split()]
        flags += [f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        wanted = {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"binary": CHROMIUM, "args": flags},
        }
        self.session = ""
        self._wait()
        made = self._call("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"/{made['sessionId']}"

    def open(self, path):
        """Open a file."""
        self.visit(path.as_uri())

    def visit(self, address):
        """Open an address."""
        self._call("POST", "/url", {"url": address})

    def run(self, script, *args):
        """Return what JavaScript returns; it sees `args` as `arguments`."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(args)})

    def type(self, keys):
        """Press keys, one after the other, in the element that has the focus."""
        presses = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._call(
            "POST", "/actions", {"actions": [{"type": "key", "id": "k", "actions": presses}]}
        )

    def to_paper(self):
        """Show pages as they are printed, from now on."""
        wanted = {"cmd": "Emulation.setEmulatedMedia", "params": {"media": "print"}}
        self._call("POST", "/goog/cdp/execute", wanted)

    def errors(self):
        """Return what the console of the page has shown since the last call."""
        return [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"})]

    def close(self):
        """End the browser."""
        try:
            self._call("DELETE", "")
        finally:
            self.process.terminate()
            self.process.wait()

    def _wait(self):
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status")
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError("chromedriver did not start within 10 seconds")

    def _call(self, method, path, body=None):
        url = f"http://127.0.0.1:{self.port}/session{self.session}{path}"
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, data, headers, method=method)
        return json.load(urllib.request.urlopen(request, timeout=60))["value"]
