"""Home Assistant's client of Google Calendar, gcal-sync, which keeps a calendar in step by sync tokens.

The first line of standard input is {"base", "token", "calendar"}. Each other line is an order:
{"do": "sync"} runs a sync, {"do": "calendars"} syncs the list of calendars, and both return what the client holds then;
{"do": "timeline", "from", "to"} returns the occurrences between two times as [start, summary], series expanded.
"""

import asyncio
import datetime
import json
import sys

import aiohttp
from gcal_sync.api import GoogleCalendarService
from gcal_sync.auth import AbstractAuth
from gcal_sync.exceptions import ApiException
from gcal_sync.store import InMemoryCalendarStore
from gcal_sync.sync import CalendarEventSyncManager, CalendarListSyncManager


class Auth(AbstractAuth):
    def __init__(self, session, base, token):
        super().__init__(session, base)
        self.token = token

    async def async_get_access_token(self):
        return self.token


async def obey(order, events, calendars, store):
    if order["do"] == "sync":
        await events.run()
        kept = (await store.async_load())["event_sync"][order["calendar"]]
        items = kept["items"].values()
        return {"items": {item["id"]: [item["status"], item.get("summary")] for item in items}}
    if order["do"] == "calendars":
        await calendars.run()
        return {"items": [one.id for one in (await calendars.store_service.async_list_calendars()).calendars]}
    start, end = (datetime.datetime.fromisoformat(order[name]) for name in ("from", "to"))
    timeline = await events.store_service.async_get_timeline(datetime.UTC)
    found = timeline.overlapping(start, end)
    return {"items": sorted([one.start.value.isoformat(), one.summary] for one in found)}


async def main():
    settings = json.loads(sys.stdin.readline())
    async with aiohttp.ClientSession() as session:
        service = GoogleCalendarService(Auth(session, settings["base"], settings["token"]))
        store = InMemoryCalendarStore()
        events = CalendarEventSyncManager(service, settings["calendar"], store)
        calendars = CalendarListSyncManager(service)
        print(json.dumps({"ok": True}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            try:
                order = {**settings, **json.loads(line)}
                result = await obey(order, events, calendars, store)
            except ApiException as error:
                result = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(result), flush=True)


asyncio.run(main())
