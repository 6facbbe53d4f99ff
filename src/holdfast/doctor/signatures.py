"""How the hops that people have end a call they have waited for too long: the table by which one is recognised.

Pure: no I/O, clock or randomness. `measured` rows were seen with the real server, with the version named; the others
follow the vendor's pages, whose date is when they were read. An error page is written by whoever gives up, so its words
weigh more than a Server header, which the next proxy may have replaced by its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.doctor.http1 import Exchange, Head

_BY_BODY, _BY_HEADER = 2, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One kind of hop."""

    name: str
    """For programs; a name of its own for each row."""
    title: str
    """For people."""
    gives_up: tuple[int, ...]
    """Statuses with which it ends what *it* has waited for too long."""
    passes_on: tuple[int, ...]
    """Statuses with which it tells that the connection behind it was closed before an answer."""
    body: str | None = None
    """What its error pages hold, as a regular expression; empty: its error pages are empty."""
    headers: tuple[tuple[str, str], ...] = ()
    """Headers by which it is known on any answer, each a name and a regular expression."""
    usual_s: float
    """Its limit unless set otherwise."""
    setting: str
    """What to set there, with `{seconds}` for the number."""
    source: str


SIGNATURES: tuple[Signature, ...] = (
    Signature(
        name="openresty",
        title="OpenResty",
        gives_up=(504,),
        passes_on=(502,),
        body=r"<center>openresty",
        headers=(("server", r"openresty"),),
        usual_s=60.0,
        setting="`proxy_read_timeout {seconds}s;` in its `location`, or `server`, or `http`",
        source="as nginx, whose code it runs",
    ),
    Signature(
        name="nginx",
        title="nginx",
        gives_up=(504,),
        passes_on=(502,),
        body=r"<center>nginx",
        headers=(("server", r"nginx"),),
        usual_s=60.0,
        setting="`proxy_read_timeout {seconds}s;` in its `location`, or `server`, or `http`",
        source="measured, 1.22.1; nginx.org, ngx_http_proxy_module",
    ),
    Signature(
        name="haproxy",
        title="HAProxy",
        gives_up=(504,),
        passes_on=(502,),
        body=r"The server (?:didn't respond in time|returned an invalid or incomplete response)\.",
        usual_s=60.0,
        setting="`timeout server {seconds}s` in its `defaults` or `backend`",
        source="measured, 2.6.12; docs.haproxy.org, `timeout server`: no default; most examples set 50 or 60 s",
    ),
    Signature(
        name="apache",
        title="Apache httpd",
        gives_up=(502, 504),
        passes_on=(502,),
        body=r"<h1>Proxy Error</h1>|gateway did not receive a timely response",
        headers=(("server", r"Apache"),),
        usual_s=60.0,
        setting="`ProxyTimeout {seconds}`, or `timeout={seconds}` behind the `ProxyPass`",
        source="measured, 2.4; httpd.apache.org, mod_proxy, ProxyTimeout and Timeout",
    ),
    Signature(
        name="varnish",
        title="Varnish",
        gives_up=(503,),
        passes_on=(503,),
        body=r"<p>Varnish cache server</p>|Guru Meditation",
        headers=(("x-varnish", r"."), ("via", r"varnish")),
        usual_s=60.0,
        setting="`.first_byte_timeout = {seconds}s;` (and `.between_bytes_timeout`) in its `backend`",
        source="measured, 7.1.1; varnish-cache.org, VCL backends, first_byte_timeout",
    ),
    Signature(
        name="squid",
        title="Squid",
        gives_up=(504,),
        passes_on=(502,),
        body=r"(?s)ERR_(?:READ_TIMEOUT|ZERO_SIZE_OBJECT|READ_ERROR)|Generated .{0,80}\(squid",
        headers=(("x-squid-error", r"ERR_"), ("via", r"squid"), ("server", r"squid")),
        usual_s=900.0,
        setting="`read_timeout {seconds} seconds`",
        source="measured, 5.7; squid-cache.org, read_timeout",
    ),
    Signature(
        name="cloudflare",
        title="Cloudflare",
        gives_up=(524,),
        passes_on=(520, 502),
        body=r"error code: 5\d\d|cloudflare\.com/5xx-error|Cloudflare Ray ID",
        headers=(("cf-ray", r"."), ("server", r"cloudflare")),
        usual_s=100.0,
        setting="the proxy read timeout (Enterprise plans only); else a name that is not proxied (DNS only)",
        source="developers.cloudflare.com, error 524: 100 s; 120-125 s as projects measured; not measured here",
    ),
    Signature(
        name="heroku",
        title="the Heroku router",
        gives_up=(503,),
        passes_on=(503,),
        body=r"herokucdn\.com/error-pages|herokuapp\.com/error-pages",
        headers=(("via", r"vegur|heroku"), ("server", r"^(?:Cowboy|Heroku)$")),
        usual_s=30.0,
        setting="nothing: the 30 s to the first byte are fixed (then 55 s from byte to byte); beats keep both",
        source="devcenter.heroku.com, Request Timeout (May 2024); not measured here",
    ),
    Signature(
        name="cloudfront",
        title="CloudFront",
        gives_up=(504,),
        passes_on=(502,),
        body=r"Generated by cloudfront \(CloudFront\)",
        headers=(("x-amz-cf-id", r"."), ("server", r"CloudFront")),
        usual_s=30.0,
        setting="the origin's response timeout: {seconds}",
        source="docs.aws.amazon.com, CloudFront, originReadTimeout: 30 s, 1 to 120; not measured here",
    ),
    Signature(
        name="api-gateway",
        title="Amazon API Gateway",
        gives_up=(504,),
        passes_on=(502,),
        body=r"Endpoint request timed out",
        headers=(("x-amz-apigw-id", r"."), ("apigw-requestid", r".")),
        usual_s=29.0,
        setting="the integration timeout, which counts the whole call: use `Prefer: respond-async`, or go round it",
        source="docs.aws.amazon.com, API Gateway quotas: 29 s; not measured here",
    ),
    Signature(
        name="alb",
        title="the AWS load balancer (ALB)",
        gives_up=(504,),
        passes_on=(502,),
        # nginx's page with the same first lines has its name below; this one ends there.
        body=r"<center><h1>50[24] [A-Za-z -]+</h1></center>\s*</body>",
        headers=(("server", r"awselb"), ("x-amzn-trace-id", r".")),
        usual_s=60.0,
        setting="`idle_timeout.timeout_seconds = {seconds}` of the load balancer",
        source="docs.aws.amazon.com, ALB, HTTP 504 and idle timeout: 60 s; not measured here",
    ),
    Signature(
        name="google",
        title="the Google Cloud load balancer",
        gives_up=(502, 504),
        passes_on=(502,),
        body=r"(?s)<h1>Error: Server Error</h1>.{0,200}Please try again in 30 seconds",
        headers=(("via", r"1\.1 google"),),
        usual_s=30.0,
        setting="`timeoutSec: {seconds}` of the backend service; it counts the whole answer",
        source="cloud.google.com, load balancing, backend service timeout: 30 s; not measured here",
    ),
    Signature(
        name="fastly",
        title="Fastly",
        gives_up=(503,),
        passes_on=(503,),
        body=r"first byte timeout|between bytes timeout",
        headers=(("x-served-by", r"cache-"),),
        usual_s=15.0,
        setting="the host's first byte timeout: {seconds}000 ms",
        source="docs.fastly.com, first_byte_timeout: 15 s; not measured here",
    ),
    Signature(
        name="azure",
        title="the Azure gateway",
        gives_up=(504, 503),
        passes_on=(502,),
        body=r"Microsoft-Azure-Application-Gateway|OriginTimeout",
        headers=(("x-azure-ref", r"."), ("server", r"Microsoft-Azure")),
        usual_s=20.0,
        setting="the request timeout of its backend settings: {seconds}",
        source="learn.microsoft.com, Application Gateway, request timeout: 20 s; not measured here",
    ),
    Signature(
        name="envoy",
        title="Envoy",
        gives_up=(504, 408),
        passes_on=(503,),
        body=r"^(?:upstream request timeout|stream timeout|upstream connect error or disconnect/reset before headers)",
        headers=(("server", r"envoy|istio"), ("x-envoy-upstream-service-time", r".")),
        usual_s=15.0,
        setting="`timeout: {seconds}s` of the route, which counts the whole answer (0s: none), and `idle_timeout`",
        source="envoyproxy.io, RouteAction.timeout: 15 s; not measured here",
    ),
    Signature(
        name="traefik",
        title="Traefik",
        gives_up=(504,),
        passes_on=(502,),
        body=r"^(?:Gateway Timeout|Bad Gateway)$",
        usual_s=60.0,
        setting="`forwardingTimeouts.responseHeaderTimeout` of its servers transport: {seconds}s",
        source="doc.traefik.io, ServersTransport; not measured here",
    ),
    Signature(
        name="node",
        title="a server in Node",
        gives_up=(408,),
        passes_on=(),
        body=r"^Error occurred while trying to proxy",
        usual_s=120.0,
        setting="`server.timeout` and `server.requestTimeout` (0: none), or the proxy's `timeout` and `proxyTimeout`",
        source="nodejs.org, http: server.timeout 120 s before Node 13, requestTimeout 300 s; not measured here",
    ),
    Signature(
        name="caddy",
        title="Caddy",
        gives_up=(504,),
        passes_on=(502,),
        body="",
        headers=(("server", r"Caddy"), ("via", r"Caddy")),
        usual_s=0.0,
        setting="`response_header_timeout {seconds}s` and `read_timeout {seconds}s` in `transport http` of its "
        "`reverse_proxy`; it has none unless set",
        source="measured, 2.6.2; caddyserver.com, reverse_proxy, transport http",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who wrote an error answer, as far as it can be told."""

    signature: Signature
    is_sure: bool
    """By its own words, not only by a header."""

    def gave_up(self, status: int) -> bool:
        """Whether it was the one that waited too long, and not the messenger of a connection closed behind it."""
        return status in self.signature.gives_up


def author_of(answer: Exchange) -> Author | None:
    """Say who wrote an error answer; None: nobody of the table."""
    head = answer.head
    if head is None:
        return None
    text = answer.body.decode("utf-8", "replace").strip()
    best: tuple[int, Signature] | None = None
    for each in SIGNATURES:
        if head.status not in (*each.gives_up, *each.passes_on):
            continue
        weight = _weight(each, head, text)
        if weight and (best is None or weight > best[0]):
            best = (weight, each)
    return None if best is None else Author(signature=best[1], is_sure=best[0] >= _BY_BODY)


def _weight(signature: Signature, head: Head, text: str) -> int:
    """Weigh how much an answer looks like a hop's own; an empty page with another's name on it was passed on by it."""
    weight = _BY_HEADER if is_named(signature, head) else 0
    if signature.body == "":
        return weight + _BY_BODY if not text else 0
    if signature.body is not None and re.search(signature.body, text):
        return weight + _BY_BODY
    # Whoever has pages of his own did not write an empty one.
    return weight if text else 0


def is_named(signature: Signature, head: Head) -> bool:
    """Whether a header names this hop."""
    return any(
        (value := head.get(name)) is not None and re.search(pattern, value, re.IGNORECASE)
        for name, pattern in signature.headers
    )


def hops_named(heads: Sequence[Head]) -> tuple[Signature, ...]:
    """List the hops that answers name in their headers, each once."""
    return tuple(each for each in SIGNATURES if any(is_named(each, head) for head in heads))
