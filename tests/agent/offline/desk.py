"""A support desk in one process: the demo company, its imported document, the offline model."""

import json
from typing import Any
from urllib.parse import quote

import httpx

from smart_support.agent.offline import reply
from smart_support.operations.document import read_document
from smart_support.operations.records import DraftOperation
from smart_support.operations.spec import read_operations
from smart_support.tools import answer

CUSTOMER = "cus_ada"
BOUND = {"customer_id", "Idempotency-Key"}
Json = dict[str, Any]


def tools_of(document: bytes) -> dict[str, DraftOperation]:
    """The operations of an OpenAPI document by their tool names."""
    spec = read_operations(read_document(document, source="shop.json"))
    return {operation.tool_name: operation for operation in spec.operations}


def function(operation: DraftOperation) -> Json:
    """An operation as the model sees it, without what is bound to the customer."""
    schema = dict(operation.schema)
    schema["properties"] = {k: v for k, v in schema["properties"].items() if k not in BOUND}
    schema["required"] = [name for name in schema.get("required", ()) if name not in BOUND]
    text = "\n".join(dict.fromkeys((operation.summary, operation.description)))
    return {
        "type": "function",
        "function": {"name": operation.tool_name, "description": text, "parameters": schema},
    }


class Desk:
    """One conversation: what was said, which tools were called, what they answered."""

    def __init__(self, operations: dict[str, DraftOperation], shop: httpx.AsyncClient) -> None:
        self.operations = operations
        self.tools = [function(each) for each in operations.values()]
        self.messages: list[Json] = [{"role": "system", "content": "You help customers."}]
        self.calls: list[tuple[str, Json]] = []
        self._shop = shop

    async def says(self, text: str) -> str:
        """Send `text`, carry out what the model wants, and return its words."""
        self.calls = []
        self.messages.append({"role": "user", "content": text})
        for _ in range(8):
            said = reply(self.messages, self.tools)
            if not said.tool_calls:
                self.messages.append({"role": "assistant", "content": said.text})
                return said.text
            wires = []
            for call in said.tool_calls:
                named = {"name": call.name, "arguments": call.arguments_json}
                wires.append({"id": call.id, "type": "function", "function": named})
            self.messages.append({"role": "assistant", "content": None, "tool_calls": wires})
            for call in said.tool_calls:
                arguments = json.loads(call.arguments_json)
                self.calls.append((call.name, arguments))
                result = await self._carry_out(self.operations[call.name], arguments)
                self.messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        raise AssertionError("the model goes round in circles")

    async def _carry_out(self, operation: DraftOperation, arguments: Json) -> str:
        query: Json = {"customer_id": CUSTOMER}
        path = operation.path
        for name, value in arguments.items():
            if f"{{{name}}}" in path:
                path = path.replace(f"{{{name}}}", quote(str(value), safe=""))
            elif name != "body":
                query[name] = value
        response = await self._shop.request(
            operation.method, path, params=query, json=arguments.get("body")
        )
        if response.is_success:
            kind = response.headers.get("content-type", "")
            return answer.success(response.status_code, kind, response.content)
        return answer.failure(
            "TOOL_REJECTED",
            "failed",
            "The API refused the request.",
            status=response.status_code,
            body=response.content,
        )
