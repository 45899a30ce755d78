"""Runs a daemon on a feed of its own, and reads its listener with other people's clients.

Usage: check.py BINARY FOLDER_OF_CLIENTS (see the script `check`)
"""

import functools
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
HOUR_S = 3600
HOSTILE = "</title>]]><script>alert(1)</script>\"'&\\;,\r\nEND:VEVENT\r\nBEGIN:VALARM"
CONFIGURATION = """
watch = ["iCloud Backup", "iCloud Mail"]
[feed]
url = "http://127.0.0.1:{port}/feed.js"
[schedule]
poll = "*/5 * * * * *"
trouble = "*/5 * * * * *"
jitter_s = 0
[state]
directory = "{folder}/state"
[channel.desktop]
enabled = false
[web]
listen = "127.0.0.1:0"
"""
# A confirmation takes at least 30 s.
PATIENCE_S = 180


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def event(message_id, kind, status, start, end, message):
    millis = lambda time_s: time_s and time_s * 1000
    return {
        "usersAffected": "Some users are affected",
        "epochStartDate": millis(start),
        "epochEndDate": millis(end),
        "messageId": message_id,
        "statusType": kind,
        "eventStatus": status,
        "message": message,
    }


def feed(now, is_later):
    """Returns Apple's document. Later, the outage is over and the maintenance has moved."""
    down = event("100", "Outage", "ongoing", now - 3 * HOUR_S, None, "Users may be unable to back up.")
    if is_later:
        down |= {"eventStatus": "resolved", "epochEndDate": (now - 60) * 1000}
    start = now + (26 if is_later else 20) * HOUR_S
    services = {
        "iCloud Backup": [down],
        "Photos": [down],
        "iCloud Mail": [event("200", "Issue", "resolved", now - 20 * HOUR_S, now - 19 * HOUR_S, HOSTILE)],
        'Apple Pay; "<b>x</b>" & more': [event("300", "Maintenance", "upcoming", start, start + HOUR_S, HOSTILE)],
        "iMessage": [event("500", "Performance", "ongoing", now - HOUR_S, None, "Slow.")],
        "Apple TV+": [],
    }
    listing = [{"redirectUrl": None, "serviceName": name, "events": events} for name, events in services.items()]
    return json.dumps({"drpost": False, "drMessage": None, "services": listing})


def get(base, path):
    with urllib.request.urlopen(base + path, timeout=10) as answer:
        return json.load(answer)


def wait_until(what, is_reached):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if is_reached():
                return
        except OSError:
            pass
        time.sleep(0.5)
    sys.exit(f"timed out waiting for {what}")


def run(*command, **more):
    print("==", *command, flush=True)
    return subprocess.run(command, check=True, **more)


def feeds(base):
    """Returns the id of each entry and event with what follows it."""
    output = run(sys.executable, str(HERE / "read_feeds.py"), base, stdout=subprocess.PIPE, text=True).stdout
    return dict(line.split(" ", 1) for line in output.splitlines())


def read(base, clients):
    description = str(HERE / "../../src/web/api/openapi.json")
    run("openapi-spec-validator", description)
    # Streams do not end.
    run(
        "schemathesis", "--config-file", str(HERE / "schemathesis.toml"), "run", f"{base}/api/openapi.json",
        "--url", base, "--exclude-path", "/api/v1/events", "--max-examples", "50",
        cwd=clients,
    )
    run(sys.executable, str(HERE / "read_statuspage.py"), base)
    if shutil.which("node") and (clients / "node_modules").exists():
        run("node", str(HERE / "read_statuspage.mjs"), base, cwd=clients)


def main():
    binary, clients = sys.argv[1], pathlib.Path(sys.argv[2])
    folder = pathlib.Path(tempfile.mkdtemp(prefix="statusd-web-"))
    document, now = folder / "feed.js", int(time.time())
    document.write_text(feed(now, False), encoding="utf-8")
    handler = functools.partial(QuietHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    configuration = folder / "statusd.toml"
    configuration.write_text(CONFIGURATION.format(port=server.server_port, folder=folder), encoding="utf-8")
    log = folder / "log"
    with log.open("w", encoding="utf-8") as output:
        daemon = subprocess.Popen(
            [binary, "run", "--config", str(configuration)], stdout=output, stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        )
    try:
        wait_until("the listener", lambda: "listening on http://" in log.read_text(encoding="utf-8"))
        base = "http://" + log.read_text(encoding="utf-8").split("listening on http://")[1].split()[0]
        unresolved = lambda: get(base, "/api/v2/incidents/unresolved.json")["incidents"]
        planned = lambda: get(base, "/api/v2/scheduled-maintenances/upcoming.json")["scheduled_maintenances"]
        wait_until("the confirmation", lambda: len(unresolved()) == 2 and len(planned()) == 1)
        read(base, clients)
        before = feeds(base)
        document.write_text(feed(now, True), encoding="utf-8")
        wait_until("the end of the outage", lambda: len(unresolved()) == 1)
        wait_until("the move", lambda: len(planned()[0]["incident_updates"]) == 2)
        after = feeds(base)
        assert before.keys() == after.keys(), "an id has changed"
        changed = [f"{before[one]} -> {after[one]}" for one in before if before[one] != after[one]]
        print("\n".join(changed))
        assert len(changed) == 2, "the end of the outage and the move are updates"
    finally:
        daemon.terminate()
        assert daemon.wait(timeout=10) == 0, log.read_text(encoding="utf-8")
        server.shutdown()
        shutil.rmtree(folder)


main()
