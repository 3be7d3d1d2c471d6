"""OData by odatapy, with our own small model: it parses and judges the query, evaluates `$filter`, and serves
`$metadata`. The records themselves are written here, because a page of odatapy takes seconds.
"""

import datetime
import re
from decimal import Decimal
from pathlib import Path

from odatapy.data import Entity, ValueType
from odatapy.edm.xml_io import XmlEdmProvider
from odatapy.server import OData, ODataRequest
from odatapy.server.eval import evaluate_filter
from odatapy.server.inmemory import InMemoryDataStore, InMemoryProcessor

EDMX = Path(__file__).with_name("feed.edmx")


class Service:
    def __init__(self):
        text = EDMX.read_text()
        odata = OData.new_instance()
        metadata = odata.create_service_metadata(XmlEdmProvider(text))
        self.handler = odata.create_handler(metadata)
        # It has no records: it judges queries only.
        self.handler.register(InMemoryProcessor(InMemoryDataStore()))
        self.parser = self.handler._parser
        self.types = {}
        for name, body in re.findall(r'<EntityType Name="(\w+)">(.*?)</EntityType>', text, re.DOTALL):
            self.types[name] = dict(re.findall(r'<Property Name="(\w+)" Type="([\w.()]+)"', body))

    def process(self, base, path, query):
        """The response of odatapy: status, body, content type."""
        request = ODataRequest(raw_odata_path=path, raw_query_path=query or None, raw_base_uri=base)
        response = self.handler.process(request)
        content = response.content if response.stream is None else b"".join(response.stream)
        return response.status_code, content, response.get_header("Content-Type")

    def query(self, resource, query):
        """The parsed query, as the parts that reading needs."""
        info = self.parser.parse_uri(resource, query or None)
        select = [item.path[0] for item in info.select.items if item.path] if info.select else None
        raw = info.filter.raw if info.filter else ""
        return {
            "expression": info.filter.expression if info.filter else None,
            "aliases": info.aliases,
            "filter": raw,
            "fields": [name for name in self.types[resource] if re.search(rf"\b{name}\b", raw)],
            "least": _least(raw),
            "select": select,
            "expand": bool(info.expand),
            "top": info.top.value if info.top else None,
            "count": bool(info.count and info.count.value),
        }

    def fits(self, resource, query, record):
        if query["expression"] is None:
            return True
        entity = Entity()
        for name in query["fields"]:
            kind = self.types[resource][name]
            if kind.startswith("Collection"):
                entity.set_property(name, record.get(name) or [], ValueType.COLLECTION_PRIMITIVE, kind)
            else:
                entity.set_property(name, _typed(kind, record.get(name)), ValueType.PRIMITIVE, kind)
        return evaluate_filter(entity, query["expression"], query["aliases"]) is True


def _least(raw):
    """A bound of ModificationTimestamp that holds for every match, so that a delta does not read a million records."""
    found = re.search(r"\bModificationTimestamp g[te] (\d{4}-[\d:.TZ+-]+)", raw)
    if not found or re.search(r"\b(or|not)\b", raw):
        return None
    return int(_instant(found[1]).timestamp() * 1000) - 1


def _instant(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def _typed(kind, value):
    if value is None:
        return None
    if kind == "Edm.DateTimeOffset":
        return _instant(value)
    if kind == "Edm.Date":
        return datetime.date.fromisoformat(value)
    return Decimal(str(value)) if kind == "Edm.Decimal" else value
