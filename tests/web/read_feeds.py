"""Reads the Atom feed and the calendar of a running listener with feedparser and icalendar.

Usage: read_feeds.py BASE (for example http://127.0.0.1:7380)
"""

import sys
import urllib.request

import feedparser
import icalendar


def fetch(address):
    with urllib.request.urlopen(address, timeout=10) as answer:
        return answer.read()


def check_feed(base):
    feed = feedparser.parse(f"{base}/feed.atom")
    assert not feed.bozo, feed.get("bozo_exception")
    assert feed.version == "atom10", feed.version
    assert feed.feed.id and feed.feed.updated_parsed and feed.feed.title
    ids = [entry.id for entry in feed.entries]
    assert len(ids) == len(set(ids)), "two entries with one id"
    for entry in feed.entries:
        assert entry.updated_parsed >= entry.published_parsed, entry.title
        assert entry.link.startswith(f"{base}/outages/"), entry.link
        assert entry.content[0].type == "text/plain", entry.content
    return feed


def check_calendar(base):
    body = fetch(f"{base}/maintenance.ics")
    lines = body.split(b"\r\n")
    assert all(b"\n" not in line and len(line) <= 75 for line in lines), "a line is not folded"
    calendar = icalendar.Calendar.from_ical(body)
    assert not calendar.errors, calendar.errors
    events = list(calendar.walk("VEVENT"))
    uids = [str(event["UID"]) for event in events]
    assert len(uids) == len(set(uids)), "two events with one UID"
    for event in events:
        assert not event.errors, event.errors
        assert not event.walk("VALARM"), "a text left its property"
        assert event["DTSTART"].dt.utcoffset().total_seconds() == 0
        assert "DTEND" not in event or event["DTEND"].dt > event["DTSTART"].dt
        assert str(event["STATUS"]) in ("CONFIRMED", "CANCELLED")
        assert int(event["SEQUENCE"]) >= 0
    return events


base = sys.argv[1].rstrip("/")
feed, events = check_feed(base), check_calendar(base)
for entry in feed.entries:
    print(f"{entry.id} {entry.updated} {entry.title}")
for event in events:
    print(f"{event['UID']} {event['SEQUENCE']} {event['STATUS']} {event['DTSTART'].dt} {event['SUMMARY']}")
