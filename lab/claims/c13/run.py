"""C13: HTTPS silently becomes HTTP/2."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import servers
from clients import ask, versions
from judgement import Judgement, figures_table

CLAIM = "HTTPS silently becomes HTTP/2: the same call, with https instead of http, speaks another protocol"
METHOD = (
    "nginx offers HTTP/2 and HTTP/1.1 in the TLS handshake (ALPN), and answers 200 to HTTP/1.1 and 299 to HTTP/2. "
    "Every client asks once by http and once by https, with nothing set but whose certificates it trusts."
)
LIMITS = "Defaults of these versions. SDKs speak what the client under them speaks, unless they set it."
CLIENTS = ("requests", "httpx", "httpx2", "urllib3", "aiohttp", "curl", "node", "axios", "java", "go")
SPOKEN = {200: "HTTP/1.1", 299: "HTTP/2"}
TELL = 'default_type text/plain; if ($server_protocol = "HTTP/2.0") { return 299; }'
STORE_PASSWORD = "changeit"


def trusting(folder: Path, cert: Path) -> dict[str, str]:
    """Name one authority to every client, each by its own variable."""
    store = folder / "trusted.p12"
    command = ["keytool", "-importcert", "-noprompt", "-alias", "claims", "-file", str(cert), "-storetype", "PKCS12"]
    subprocess.run([*command, "-keystore", str(store), "-storepass", STORE_PASSWORD], check=True, capture_output=True)
    java = f"-Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStorePassword={STORE_PASSWORD}"
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    return {**dict.fromkeys(names, str(cert)), "JAVA_TOOL_OPTIONS": java}


async def measure(wait_s: float) -> dict[str, Any]:
    """Let each ask once by http, and once by https."""
    del wait_s
    rows = []
    with tempfile.TemporaryDirectory(prefix="claims-c13-") as name:
        folder = Path(name)
        cert, key = servers.certificate(folder)
        environ = await asyncio.to_thread(trusting, folder, cert)
        tls = f"ssl_certificate {cert}; ssl_certificate_key {key};"
        async with (
            servers.silent() as server,
            servers.nginx(server.port, lines=TELL) as plain,
            servers.nginx(server.port, lines=TELL, listen="ssl http2", http=tls) as secure,
        ):
            for client in CLIENTS:
                told = [
                    await ask(client, url, 0.0, environ=environ)
                    for url in (f"http://localhost:{plain}/", f"https://localhost:{secure}/")
                ]
                assert all(each.status in SPOKEN for each in told), f"{client} was not served: {told}"
                http, https = (SPOKEN[each.status or 0] for each in told)
                rows.append({"client": client, "http": http, "https": https})
    return {"rows": rows, "versions": versions(*CLIENTS) | {"nginx": servers.nginx_version()}}


def judge(figures: dict[str, Any]) -> Judgement:
    """True if all of them do, partly if some do."""
    changed = [row["client"] for row in figures["rows"] if (row["http"], row["https"]) == ("HTTP/1.1", "HTTP/2")]
    kept = [row["client"] for row in figures["rows"] if row["https"] == "HTTP/1.1"]
    word = "true" if not kept else "partly" if changed else "false"
    return Judgement(
        word=word,
        why=f"By https {', '.join(changed) or 'none'} changed to HTTP/2 without being told; "
        f"{', '.join(kept) or 'none'} stayed with HTTP/1.1.",
        advice="What was tried by http says nothing of https with a client that changes. Where one connection for all "
        "4K images is too slow (C4), tell the client to speak HTTP/1.1, or let the server offer nothing else, as "
        "holdfast does.",
    )


def table(figures: dict[str, Any]) -> str:
    """Write who speaks what."""
    return figures_table(("client", "http", "https"), [tuple(row.values()) for row in figures["rows"]])
