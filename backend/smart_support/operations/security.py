"""What a document says about who may call: its security schemes, and what each operation needs.

Sources: OpenAPI 3.1.1 and 3.2.0, "Security Scheme Object" and "Security Requirement Object";
Swagger 2.0, the same; RFC 6749; OpenID Connect Discovery 1.0.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Literal, TypedDict
from urllib.parse import urldefrag, urljoin, urlsplit

import orjson

from smart_support.operations.document import Document, Unusable
from smart_support.operations.text import clean

SchemeType = Literal["apiKey", "basic", "bearer", "oauth2", "openIdConnect", "refused"]
Flow = Literal["clientCredentials", "authorizationCode"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNFIT = re.compile(r"[\s{}\\<>]")
_FLOWS: Mapping[str, Flow] = {
    "clientCredentials": "clientCredentials",
    "application": "clientCredentials",  # in Swagger 2.0
    "authorizationCode": "authorizationCode",
    "accessCode": "authorizationCode",
}
_REFUSED_FLOWS = {
    "implicit": "the implicit flow puts tokens into addresses",
    "password": "the password flow would need the customer's own password",
    "deviceAuthorization": "the device flow is for machines without a browser",
}


class FlowPlan(TypedDict):
    """One way to a token. The URLs are absolute."""

    token_url: str
    authorize_url: str | None
    refresh_url: str | None


class Scheme(TypedDict, total=False):
    """One security scheme, as plain JSON; which keys there are depends on `type`."""

    type: SchemeType
    place: Literal["header", "query", "cookie"]
    name: str
    flows: dict[str, FlowPlan]
    url: str
    """Of OpenID Connect: where its metadata is."""
    reason: str
    """Why it cannot be used, if it is `refused`."""
    description: str


Requirement = Mapping[str, list[str]]
"""Schemes that are needed together, each with its scopes."""


def read_schemes(document: Document, base_url: str | None) -> dict[str, Scheme]:
    """The security schemes of a document by their names. Relative URLs are so to the API's."""
    if document.swagger:
        written = document.root.get("securityDefinitions")
    else:
        components = document.root.get("components")
        written = components.get("securitySchemes") if isinstance(components, dict) else None
    found: dict[str, Scheme] = {}
    for key, entry in written.items() if isinstance(written, dict) else ():
        name = clean(key, 200)
        try:
            scheme = document.resolved(entry)
        except Unusable as reason:
            found[name] = _refused(f"{reason}")
            continue
        read = _scheme(scheme if isinstance(scheme, dict) else {}, base_url or document.source)
        if description := clean(scheme.get("description"), 300) if isinstance(scheme, dict) else "":
            read["description"] = description
        found[name] = read
    return found


def read_requirements(document: Document, operation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What one of must be had to call `operation`; empty if nothing is needed.

    An empty requirement among others means that it can be called without as well.
    """
    listed = operation.get("security", document.root.get("security"))
    return [
        {clean(name, 200): _scopes(scopes) for name, scopes in entry.items()}
        for entry in (listed if isinstance(listed, list) else ())
        if isinstance(entry, dict)
    ]


def _scopes(written: Any) -> list[str]:
    scopes = written if isinstance(written, list) else ()
    return [clean(scope, 500) for scope in scopes if isinstance(scope, str)]


def scheme_hash(scheme: Scheme) -> str:
    """What a credential was given for: SHA-256, hex, of the scheme without its description."""
    meant = {key: value for key, value in scheme.items() if key != "description"}
    return hashlib.sha256(orjson.dumps(meant, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _refused(reason: str) -> Scheme:
    return Scheme(type="refused", reason=clean(reason, 300))


def _scheme(written: Mapping[str, Any], base: str) -> Scheme:
    match written.get("type"):
        case "apiKey":
            return _api_key(written)
        case "basic":
            return Scheme(type="basic")
        case "http":
            how = str(written.get("scheme", "")).lower()
            if how == "basic":
                return Scheme(type="basic")
            if how == "bearer":
                return Scheme(type="bearer")
            return _refused(f"HTTP authentication {how!r} is not supported, only basic and bearer")
        case "oauth2":
            return _oauth(written, base)
        case "openIdConnect":
            url = _url(written.get("openIdConnectUrl"), base)
            if url is None:
                return _refused("it has no usable openIdConnectUrl")
            return Scheme(type="openIdConnect", url=url)
        case "mutualTLS":
            return _refused("mutual TLS needs a client certificate, which cannot be given here yet")
        case other:
            return _refused(f"a scheme of type {clean(other, 40)!r} is not known")


def _api_key(written: Mapping[str, Any]) -> Scheme:
    place, name = written.get("in"), written.get("name")
    if place not in {"header", "query", "cookie"} or not isinstance(name, str) or not name:
        return _refused("it does not say where its key is sent")
    if not (_TOKEN.fullmatch(name) or (place == "query" and clean(name, 200) == name)):
        return _refused(f"{clean(name, 80)!r} is no name for a {place}")
    return Scheme(type="apiKey", place=place, name=name)


def _oauth(written: Mapping[str, Any], base: str) -> Scheme:
    flows = written.get("flows")
    if not isinstance(flows, dict):  # Swagger 2.0 has one flow, beside everything else
        flows = {str(written.get("flow")): written}
    found: dict[str, FlowPlan] = {}
    reasons: list[str] = []
    for name, flow in flows.items():
        if name in _REFUSED_FLOWS:
            reasons.append(_REFUSED_FLOWS[name])
        if name not in _FLOWS or not isinstance(flow, dict):
            continue
        token_url = _url(flow.get("tokenUrl"), base)
        authorize_url = _url(flow.get("authorizationUrl"), base)
        if token_url is None or (_FLOWS[name] == "authorizationCode" and authorize_url is None):
            reasons.append(f"its flow {name} lacks a usable address")
            continue
        found[_FLOWS[name]] = FlowPlan(
            token_url=token_url,
            authorize_url=authorize_url,
            refresh_url=_url(flow.get("refreshUrl"), base),
        )
    if not found:
        return _refused("; ".join(reasons) or "it has no flow that is known")
    return Scheme(type="oauth2", flows=found)


def _url(written: Any, base: str) -> str | None:
    """An absolute http(s) URL without a fragment or a user; None if there is none."""
    if not isinstance(written, str) or not written.strip():
        return None
    try:
        url = urljoin(f"{base.rstrip('/')}/" if "://" in base else "", written.strip())
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        return None
    if not usable or parts.username is not None or _UNFIT.search(url):
        return None
    return urldefrag(url).url
