"""Whatever is written as a URL, and whatever a resolver says, nothing leads into the gateway's own network."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from holdfast.policy.addresses import AddressRules, Destination, Refused, destination_of, obstacle

PUBLIC = AddressRules()
rules = st.builds(AddressRules, allow_private=st.booleans(), allow_http=st.booleans())
v4 = st.ip_addresses(v=4)
wrapped = st.tuples(v4, st.sampled_from(["::ffff:{}", "::{}", "64:ff9b::{}"])).map(lambda each: each[1].format(each[0]))
wrapped_in_front = st.tuples(v4, st.sampled_from(["2002", "2001:0"])).map(
    lambda each: str(ipaddress.IPv6Address(f"{each[1]}:{int(each[0]) >> 16:x}:{int(each[0]) & 0xFFFF:x}::1"))
)


@given(st.ip_addresses())
def test_what_is_taken_is_global_by_python_s_own_tables(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Our list is at least as strict as the standard library's."""
    if obstacle([str(address)], PUBLIC) is None:
        assert address.is_global
        assert not address.is_multicast


@given(wrapped | wrapped_in_front, rules)
def test_an_address_inside_another_is_refused_whatever_it_is(address: str, rules: AddressRules) -> None:
    """Every such form is a way around a list of plain ones; only `::` and `::1` are addresses of their own."""
    if ipaddress.ip_address(address) not in (ipaddress.ip_address("::"), ipaddress.ip_address("::1")):
        assert isinstance(obstacle([address], rules), Refused)


@given(st.lists(st.ip_addresses().map(str), max_size=5), rules)
def test_a_host_is_as_good_as_its_worst_address(addresses: list[str], rules: AddressRules) -> None:
    """And one without an address is not good."""
    each = [obstacle([address], rules) for address in addresses]
    assert (obstacle(addresses, rules) is None) == (bool(addresses) and not any(each))


@given(st.text(max_size=60) | st.text("htps:/@.[]%?#a1-\\\n ", max_size=40).map(lambda rest: f"https://{rest}"), rules)
def test_what_is_taken_apart_can_be_written_on_one_line(url: str, rules: AddressRules) -> None:
    """Neither host nor target can bring a line of their own into the request."""
    found = destination_of(url, rules)
    if isinstance(found, Destination):
        assert found.host == found.host.lower()
        assert found.target.startswith("/")
        assert all("!" <= character <= "~" for character in found.authority + found.target)
        assert not set("@/?#\\") & set(found.authority)
        assert 0 < found.port < 65_536


@given(st.ip_addresses(), rules)
def test_a_literal_address_is_judged_like_one_that_was_resolved(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, rules: AddressRules
) -> None:
    """A host of numbers is no way around the check."""
    host = f"[{address}]" if address.version == 6 else str(address)
    is_taken = isinstance(destination_of(f"https://{host}/", rules), Destination)
    assert is_taken == (obstacle([str(address)], rules) is None)
