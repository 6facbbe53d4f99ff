"""Where a request to a caller's own address may go: every way in that is known, and the ordinary ones that are not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.policy.addresses import (
    FILE_URL_CHARS_MAX,
    URL_CHARS_MAX,
    AddressRules,
    Destination,
    Refused,
    destination_of,
    obstacle,
)

PUBLIC = AddressRules()
OPEN = AddressRules(allow_private=True, allow_http=True)


def refusal(url: str, rules: AddressRules = PUBLIC) -> str:
    """Why a URL is refused."""
    found = destination_of(url, rules)
    assert isinstance(found, Refused), found
    return found.reason


def reason(address: str, rules: AddressRules = PUBLIC) -> str | None:
    """Why an address is refused."""
    found = obstacle([address], rules)
    return None if found is None else found.reason.removeprefix("leads to an address that is ")


def test_an_ordinary_url_is_taken_apart() -> None:
    """Scheme, host in lower case, port, and the target of the request line."""
    assert destination_of("https://Hooks.Example.com/a/b?c=d", PUBLIC) == Destination(
        is_tls=True, host="hooks.example.com", port=443, target="/a/b?c=d"
    )


@pytest.mark.parametrize(
    ("url", "authority", "target"),
    [
        ("https://hooks.example.com", "hooks.example.com", "/"),
        ("https://hooks.example.com:443/x", "hooks.example.com", "/x"),
        ("https://hooks.example.com:8443/x", "hooks.example.com:8443", "/x"),
        ("https://hooks.example.com.?q", "hooks.example.com", "/?q"),
        ("https://[2606:4700::1]:8443/", "[2606:4700::1]:8443", "/"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", "/"),
        ("https://a_b.example.com/", "a_b.example.com", "/"),
    ],
)
def test_the_host_header_names_what_the_url_names(url: str, authority: str, target: str) -> None:
    """A port stands there only where it is not the scheme's own."""
    found = destination_of(url, PUBLIC)
    assert isinstance(found, Destination)
    assert (found.authority, found.target) == (authority, target)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "characters"),
        ("https://a.example.com/" + "x" * URL_CHARS_MAX, "characters"),
        ("http://hooks.example.com/", "https://"),
        ("ftp://hooks.example.com/", "https://"),
        ("file:///etc/passwd", "https://"),
        ("hooks.example.com/", "https://"),
        ("https://user@hooks.example.com/", "user name"),
        ("https://user:word@hooks.example.com/", "user name"),
        ("https://hooks.example.com@127.0.0.1/", "user name"),
        ("https://@hooks.example.com/", "user name"),
        ("https://hooks.example.com/#x", "fragment"),
        ("https://hooks.example.com\\@127.0.0.1/", "ASCII"),
        ("https://hooks.example.com/a b", "ASCII"),
        ("https://hooks.example.com/\r\nX-Evil: 1", "ASCII"),
        ("https://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example/", "xn--"),
        ("https:///x", "host"),
        ("https://./x", "host"),
        ("https://a..example/", "host"),
        ("https://a b.example/", "ASCII"),
        ("https://a;b.example/", "host"),
        ("https://" + "a" * 64 + ".example/", "host"),
        ("https://" + "a." * 130 + "example/", "host"),
        ("https://hooks.example.com:x/", "no URL"),
        ("https://hooks.example.com:99999/", "no URL"),
        ("https://[::1/", "no URL"),
        ("https://hooks.example.com:0/", "port"),
        ("https://hooks.example.com:22/", "port"),
        ("https://hooks.example.com:25/", "port"),
        ("https://hooks.example.com:1023/", "port"),
        ("https://intranet/", "public internet"),
        ("https://localhost/", "public internet"),
        ("https://LOCALHOST./", "public internet"),
        ("https://me.localhost/", "public internet"),
        ("https://printer.local/", "public internet"),
        ("https://metadata.google.internal/", "public internet"),
        ("https://2130706433/", "four decimal numbers"),
        ("https://0x7f000001/", "four decimal numbers"),
        ("https://0x7f.0x0.0x0.0x1/", "four decimal numbers"),
        ("https://0177.0.0.1/", "four decimal numbers"),
        ("https://127.1/", "four decimal numbers"),
        ("https://hooks.example.com.1/", "four decimal numbers"),
        ("https://127.0.0.1/", "loopback"),
        ("https://[::1]/", "loopback"),
        ("https://[fe80::1%25eth0]/", "no plain address"),
        ("https://169.254.169.254/latest/meta-data/", "a metadata service"),
    ],
)
def test_what_may_not_be_named_is_refused_with_the_reason(url: str, said: str) -> None:
    """Before anything is resolved; whoever registers it is told what to write instead."""
    assert said in refusal(url)


def test_a_refusal_never_repeats_the_url() -> None:
    """It may hold a secret in its path or query, and the reason goes to a log."""
    for url in ("https://10.0.0.1/s3cret", "https://hooks.example.com:22/s3cret", "http://a.example/s3cret?s3cret"):
        assert "s3cret" not in refusal(url)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("::1", "loopback"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.1.1", "private"),
        ("fc00::1", "private"),
        ("fdff:ffff::1", "private"),
        ("100.64.0.1", "behind a carrier's NAT"),
        ("100.127.255.255", "behind a carrier's NAT"),
        ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("169.254.169.254", "a metadata service"),
        ("168.63.129.16", "a metadata service"),
        ("100.100.100.200", "a metadata service"),
        ("192.0.0.192", "a metadata service"),
        ("fd00:ec2::254", "a metadata service"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("0.1.2.3", "reserved"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.250", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("240.0.0.1", "reserved"),
        ("192.0.2.1", "reserved"),
        ("198.18.0.1", "reserved"),
        ("198.51.100.1", "reserved"),
        ("203.0.113.1", "reserved"),
        ("2001:db8::1", "reserved"),
        ("2001:20::1", "reserved"),
        ("100::1", "reserved"),
        ("5f00::1", "reserved"),
        ("fec0::1", "reserved"),
        ("::ffff:127.0.0.1", "an IPv4 address inside an IPv6 one"),
        ("::ffff:8.8.8.8", "an IPv4 address inside an IPv6 one"),
        ("::127.0.0.1", "an IPv4 address inside an IPv6 one"),
        ("::a9fe:a9fe", "an IPv4 address inside an IPv6 one"),
        ("64:ff9b::7f00:1", "an IPv4 address inside an IPv6 one"),
        ("64:ff9b::169.254.169.254", "an IPv4 address inside an IPv6 one"),
        ("64:ff9b:1::a00:1", "an IPv4 address inside an IPv6 one"),
        ("2002:7f00:1::", "an IPv4 address inside an IPv6 one"),
        ("2002:a9fe:a9fe::1", "an IPv4 address inside an IPv6 one"),
        ("2001:0:7f00:1::", "an IPv4 address inside an IPv6 one"),
        ("2606:4700::1%eth0", "no plain address"),
        ("localhost", "no plain address"),
        ("0177.0.0.1", "no plain address"),
        ("", "no plain address"),
    ],
)
def test_an_address_that_is_not_of_the_public_internet_is_refused(address: str, said: str) -> None:
    """Whoever named the host gets no request of ours into the network that we stand in."""
    assert reason(address) == said


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "172.15.0.1", "100.63.0.1", "100.128.0.1", "2606:4700::1111"]
)
def test_an_address_of_the_public_internet_is_taken(address: str) -> None:
    """The neighbours of what is refused included."""
    assert reason(address) is None


@pytest.mark.parametrize("position", [0, 1, 2])
def test_one_address_that_is_refused_refuses_them_all(position: int) -> None:
    """Which one the connection would take is chance, and an attacker's to influence."""
    addresses = ["8.8.8.8", "2606:4700::1111"]
    addresses.insert(position, "10.0.0.1")
    assert obstacle(addresses, PUBLIC) == Refused(reason="leads to an address that is private")


def test_a_name_without_an_address_leads_nowhere() -> None:
    """No answer is no permission."""
    assert obstacle([], PUBLIC) == Refused(reason="leads nowhere: the name has no address")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.1.2.3", "192.168.1.1", "100.64.0.1", "fd12::1", "8.8.8.8"])
def test_an_operator_may_open_its_own_network(address: str) -> None:
    """A gateway and its receivers often stand in one."""
    assert reason(address, OPEN) is None


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "fd00:ec2::254", "168.63.129.16", "100.100.100.200", "169.254.1.1", "fe80::1"),
        *("224.0.0.1", "0.0.0.0", "::", "255.255.255.255", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"),
    ],
)
def test_nobody_may_open_metadata_services_and_odd_forms(address: str) -> None:
    """Credentials of the machine are behind the first, and nothing that anybody needs behind the others."""
    assert reason(address, OPEN) is not None


@pytest.mark.parametrize(
    "url", ["http://receiver:9/x", "http://localhost:81/", "https://10.0.0.1:25/", "http://[::1]/"]
)
def test_an_open_network_takes_short_names_and_any_port(url: str) -> None:
    """`http://receiver/` is what containers call each other."""
    assert isinstance(destination_of(url, OPEN), Destination)


@pytest.mark.parametrize("url", ["http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/"])
def test_an_open_network_has_its_numbers_written_plainly_too(url: str) -> None:
    """What a URL says is what is connected to, for whoever reads it."""
    assert "four decimal numbers" in refusal(url, OPEN)


def test_plain_http_and_private_addresses_are_opened_apart() -> None:
    """Neither setting brings the other along."""
    assert "https://" in refusal("http://127.0.0.1/", AddressRules(allow_private=True))
    assert "loopback" in refusal("http://127.0.0.1/", AddressRules(allow_http=True))
    found = destination_of("http://hooks.example.com/", AddressRules(allow_http=True))
    assert isinstance(found, Destination)
    assert (found.port, found.authority) == (80, "hooks.example.com")


@pytest.mark.parametrize(
    "base_url",
    [
        *(
            "http://127.0.0.1:16900",
            "http://localhost:16900/fal",
            "http://[::1]:1/",
            "https://10.0.0.7/",
            "http://sim:9/",
        ),
        *("http://100.64.0.1/", "https://simulator.internal/"),
    ],
)
def test_an_upstream_inside_may_have_its_files_inside(base_url: str) -> None:
    """A simulator on this machine names pictures that lie on this machine."""
    assert AddressRules.beside(base_url) == replace(OPEN, url_chars_max=FILE_URL_CHARS_MAX)


@pytest.mark.parametrize(
    "base_url",
    [
        *("https://queue.fal.run", "http://queue.fal.run:81/", "https://8.8.8.8:444", "http://169.254.169.254/"),
        *("http://2130706433/", "http://0.0.0.0/", "https:///", "nothing", "http://a..b/"),
    ],
)
def test_an_upstream_outside_names_no_address_inside(base_url: str) -> None:
    """Whatever its port; what is no plain private address opens nothing."""
    assert AddressRules.beside(base_url) == AddressRules(url_chars_max=FILE_URL_CHARS_MAX)


def test_a_link_of_an_upstream_may_be_longer_than_an_address_of_a_caller() -> None:
    """A signed one holds its token; a bound there is all the same."""
    link = "https://files.example/x.png?token=" + "t" * 4000
    assert isinstance(destination_of(link, AddressRules()), Refused)
    rules = AddressRules.beside("https://queue.fal.run")
    found = destination_of(link, rules)
    assert isinstance(found, Destination)
    assert found.target.endswith("t" * 4000)
    longest = link + "t" * (FILE_URL_CHARS_MAX - len(link))
    assert isinstance(destination_of(longest, rules), Destination)
    refused = destination_of(longest + "t", rules)
    assert refused == Refused(reason=f"must have 1 to {FILE_URL_CHARS_MAX} characters")
