"""Reads a running listener with statuspage-prometheus-exporter, a client of Statuspage's public API.

Usage: read_statuspage.py BASE (for example http://127.0.0.1:7380)
"""

import json
import os
import sys
import tempfile

base = sys.argv[1].rstrip("/")
folder = tempfile.mkdtemp()
services = os.path.join(folder, "services.json")
with open(services, "w", encoding="utf-8") as file:
    json.dump({"apple": {"url": f"{base}/api/v2/summary.json", "name": "Apple"}}, file)
# The client reads its configuration when it is imported, and caches in the current folder.
os.environ["SERVICES_JSON_PATH"] = services
os.chdir(folder)

from statuspage_prometheus_exporter import service_checker  # noqa: E402

found = service_checker.check_service_status("apple", service_checker.SERVICES["apple"])
print(json.dumps(found, indent=1, default=str))
assert found.get("status") is not None, "the client found no status"
assert not found.get("error"), found.get("error")
