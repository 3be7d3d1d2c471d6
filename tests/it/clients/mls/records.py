"""The records of a feed: made from a seed and their number when they are read, so that a million cost no memory. Only
those that a test has changed are kept.
"""

import datetime
import heapq

FIRST = 1_764_547_200_000  # 1 December 2025, in milliseconds
DAY = 86_400_000
STATUSES = ("Active", "Active", "Active", "ActiveUnderContract", "Pending", "Closed", "Closed", "Expired")
CITIES = ("Austin", "Round Rock", "Pflugerville", "Cedar Park", "Zürich")
KEYS = {
    "Property": "ListingKey",
    "Member": "MemberKey",
    "Office": "OfficeKey",
    "OpenHouse": "OpenHouseKey",
    "Media": "MediaKey",
}
PREFIXES = {"Property": "L", "Member": "M", "Office": "O", "OpenHouse": "H", "Media": "P"}


def time_text(millis):
    at = datetime.datetime.fromtimestamp(millis / 1000, datetime.timezone.utc)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{millis % 1000:03d}Z"


class Resource:
    """One entity set. `same_time` neighbours share a ModificationTimestamp."""

    def __init__(self, name, system, seed, count, step=1000, same_time=1, media=2):
        self.name, self.system, self.seed, self.count = name, system, seed, count
        self.step, self.same_time, self.media = step, same_time, media
        self.changed = {}  # number: {"at", "patch", "deleted", "hidden_at"}
        self.prefix = ("ACT" if system == "actris" else "") + PREFIXES[name]

    def key(self, number):
        return f"{self.prefix}{number:08d}"

    def number(self, key):
        digits = key[len(self.prefix):]
        number = int(digits) if key.startswith(self.prefix) and digits.isdigit() else -1
        return number if 0 <= number < self.count else None

    def time(self, number):
        known = self.changed.get(number)
        return known["at"] if known else FIRST + number // self.same_time * self.step

    def change(self, number, at, patch=None, deleted=None, hidden=None):
        known = self.changed.setdefault(number, {"at": at, "patch": {}, "deleted": False, "hidden_at": None})
        known["at"] = at
        known["patch"].update(patch or {})
        if deleted is not None:
            known["deleted"] = deleted
        if hidden is not None:
            known["hidden_at"] = at if hidden else None

    def lives(self, number, now):
        """Whether the feed still has a record; MLS Grid shows for seven days that one may not be viewed any more."""
        known = self.changed.get(number)
        if not known:
            return True
        gone = known["hidden_at"] is not None and now - known["hidden_at"] > 7 * DAY
        return not known["deleted"] and not gone

    def by_number(self, after):
        return range(0 if after is None else after + 1, self.count)

    def by_time(self, after, least):
        """Numbers by (time, number), after a place of that form, and not before a time."""
        start, place = 0, after or (least if least is not None else FIRST - 1, -1)
        if place[0] > FIRST:
            # Neighbours with the same time are looked at again; the comparison below skips those that were shown.
            start = (place[0] - FIRST) // self.step * self.same_time
        base = ((self.time(one), one) for one in range(max(0, start), self.count) if one not in self.changed)
        changed = sorted((known["at"], one) for one, known in self.changed.items())
        for at, number in heapq.merge(base, changed):
            if (at, number) > place:
                yield number

    def record(self, number):
        h = (number * 2_654_435_761 + self.seed * 40_503) & 0xFFFF_FFFF
        at = time_text(self.time(number))
        made = getattr(self, f"_{self.name.lower()}")(number, h, at)
        made |= {
            "OriginatingSystemName": self.system,
            "ModificationTimestamp": at,
            "MlgCanView": not (number in self.changed and self.changed[number]["hidden_at"] is not None),
        }
        if self.name != "Media":
            made["BridgeModificationTimestamp"] = at
        if number in self.changed:
            made |= self.changed[number]["patch"]
        return made

    def _property(self, number, h, at):
        status, price = STATUSES[h % 8], 150_000 + h % 900_000
        day = (datetime.date(2025, 6, 1) + datetime.timedelta(days=number % 180)).isoformat()
        return {
            "ListingKey": self.key(number), "ListingId": f"{self.prefix}-{number}", "OriginatingSystemKey": str(number),
            "StandardStatus": status, "MlsStatus": status, "MajorChangeType": "New Listing",
            "MajorChangeTimestamp": at, "StatusChangeTimestamp": at, "PriceChangeTimestamp": at,
            "OriginalEntryTimestamp": at, "PhotosChangeTimestamp": at, "ListingContractDate": day,
            "OnMarketDate": day, "PurchaseContractDate": None, "CloseDate": day if status == "Closed" else None,
            "ExpirationDate": None, "DaysOnMarket": number % 180, "ListPrice": price, "OriginalListPrice": price,
            "PreviousListPrice": None, "ClosePrice": price if status == "Closed" else None,
            "AssociationFee": 45.5, "PropertyType": "Residential", "PropertySubType": "Single Family Residence",
            "UnparsedAddress": f"{number} Elm Street", "StreetNumber": str(number), "StreetName": "Elm",
            "StreetSuffix": "Street", "UnitNumber": None, "City": CITIES[h % 5], "StateOrProvince": "TX",
            "PostalCode": f"{78_600 + h % 150}", "CountyOrParish": "Travis", "Country": "US",
            "Latitude": 30 + h % 10_000 / 10_000, "Longitude": -97 - h % 9_000 / 10_000,
            "ParcelNumber": f"{h % 1_000_000:06d}", "BedroomsTotal": 1 + h % 5, "BathroomsTotalInteger": 1 + h % 3,
            "BathroomsFull": 1 + h % 3, "BathroomsHalf": 0, "LivingArea": 900 + h % 3000,
            "LivingAreaUnits": "Square Feet", "LotSizeArea": 0.25, "YearBuilt": 1950 + h % 75,
            "PublicRemarks": "Close to the park.", "ListAgentKey": f"M{h % 997:08d}",
            "ListAgentFullName": "Ada Agent", "ListOfficeKey": f"O{h % 97:08d}", "ListOfficeName": "Elm Homes",
            "CoListAgentKey": None, "BuyerAgentKey": None, "InternetEntireListingDisplayYN": True,
            "InternetAddressDisplayYN": h % 50 != 0, "MlgCanUse": ["IDX", "VOW", "BO"],
        }

    def _member(self, number, h, at):
        return {
            "MemberKey": self.key(number), "MemberMlsId": str(number), "MemberFullName": f"Agent {number}",
            "MemberEmail": f"agent{number}@example.com", "MemberStatus": "Active", "OfficeKey": f"O{h % 97:08d}",
        }

    def _office(self, number, h, at):
        return {
            "OfficeKey": self.key(number), "OfficeMlsId": str(number), "OfficeName": f"Office {number}",
            "OfficePhone": "+15125550100", "OfficeStatus": "Active",
        }

    def _openhouse(self, number, h, at):
        return {
            "OpenHouseKey": self.key(number), "ListingKey": f"{self.prefix[:-1]}L{number:08d}",
            "OpenHouseDate": "2026-12-06", "OpenHouseStartTime": "2026-12-06T16:00:00.000Z",
            "OpenHouseEndTime": "2026-12-06T18:00:00.000Z", "OpenHouseStatus": "Active",
        }

    def _media(self, number, h, at):
        listing, order = divmod(number, self.media or 1)
        return self._photo(f"{self.prefix[:-1]}L{listing:08d}", number, order, at)

    def _photo(self, listing, number, order, at):
        url = f"https://media.example/token={h_text(number)}/{listing}/{order}.jpg"
        return {
            "MediaKey": f"{self.prefix[:-1]}P{number:08d}", "ResourceRecordKey": listing, "ResourceName": "Property",
            "Order": order, "MediaCategory": "Photo", "MediaURL": url, "MediaModificationTimestamp": at,
            "ModificationTimestamp": at, "PreferredPhotoYN": order == 0,
        }

    def photos(self, number):
        """The media of a listing, for `$expand=Media`. `Order` begins at 1 for one listing in two."""
        at, first = time_text(self.time(number)), number % 2
        return [
            self._photo(self.key(number), number * self.media + one, one + first, at) for one in range(self.media)
        ]


def h_text(number):
    return f"{(number * 2_654_435_761) & 0xFFFF_FFFF:08x}"
