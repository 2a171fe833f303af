# SPDX-License-Identifier: Apache-2.0
"""The DNS resolver against a small server on loopback that answers what each case says, over UDP and TCP."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from moatmail.core.limits import net as limits
from moatmail.core.ports.resolver import Answer, DNSError, Resolver
from moatmail.net.resolver import DnsResolver

RECORDS = {
    ("example.test.", "MX"): ["10 MX1.example.test.", "20 mx2.example.test."],
    ("example.test.", "TXT"): ['"v=spf1 " "-all"', '"\\255\\000"'],
    ("null.test.", "MX"): ["0 ."],
    ("mx1.example.test.", "A"): ["192.0.2.1"],
    ("mx1.example.test.", "AAAA"): ["2001:db8::1"],
    ("v4.example.test.", "A"): ["192.0.2.4"],
    ("half.example.test.", "A"): ["192.0.2.5"],
    ("large.test.", "TXT"): [f'"{number:04d} {"x" * 200}"' for number in range(100)],
    ("4.2.0.192.in-addr.arpa.", "PTR"): ["MAIL.example.test."],
    ("endless.test.", "A"): [f"10.0.{number // 250}.{number % 250}" for number in range(2000)],
}
FAILING = {("half.example.test.", "AAAA"), ("broken.test.", "MX"), ("broken.test.", "A"), ("broken.test.", "AAAA")}


@dataclass
class Server(asyncio.DatagramProtocol):
    """Answers from RECORDS; "slow.test" never, "garbage.test" with nonsense, names ending in "lost.test" with NXDOMAIN."""

    asked: list[tuple[str, str, str]] = field(default_factory=list)
    questions: list[dns.message.Message] = field(default_factory=list)
    transport: asyncio.DatagramTransport | None = None
    port: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if (answer := self.answer(data, "udp")) is not None:
            assert self.transport is not None
            self.transport.sendto(answer, addr)

    def answer(self, data: bytes, way: str) -> bytes | None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind, way))
        self.questions.append(query)
        if name == "slow.test.":
            return None
        if name == "garbage.test.":
            return data[:2] + b"\xff" * 40
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA | (dns.flags.AD if query.flags & dns.flags.AD else 0)
        if (name, kind) in FAILING:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif name.endswith("lost.test."):
            response.set_rcode(dns.rcode.NXDOMAIN)
            response.authority.append(dns.rrset.from_text("lost.test.", 900, "IN", "SOA", "ns.lost.test. admin.lost.test. 1 2 3 4 77"))
        elif records := RECORDS.get((name, kind)):
            response.answer.append(dns.rrset.from_text_list(question.name, 300, "IN", kind, records))
        if way == "tcp":
            return response.to_wire(max_size=65535)
        try:
            return response.to_wire(max_size=512)
        except dns.exception.TooBig:
            response.answer.clear()
            response.flags |= dns.flags.TC
            return response.to_wire()

    async def stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2), "big")
        answer = self.answer(await reader.readexactly(size), "tcp") or b""
        writer.write(len(answer).to_bytes(2, "big") + answer)
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    transport, server, listening = await same_port()
    yield server
    transport.close()
    listening.close()


async def same_port() -> tuple[asyncio.DatagramTransport, Server, asyncio.Server]:
    """Bind UDP and TCP to one number, whichever is free for both."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(Server, ("127.0.0.1", 0))
    server.port = transport.get_extra_info("sockname")[1]
    try:
        return transport, server, await asyncio.start_server(server.stream, "127.0.0.1", server.port)
    except OSError:
        transport.close()
        return await same_port()


def resolver(server: Server, *, trusted: bool = False, seconds: float = 3.0) -> DnsResolver:
    return DnsResolver(["127.0.0.1"], port=server.port, trusted=trusted, seconds=seconds)


@pytest.mark.parametrize(
    ("kind", "name", "answer"),
    [
        ("mx", "example.test", Answer(((10, "mx1.example.test"), (20, "mx2.example.test")))),
        ("mx", "Example.TEST.", Answer(((10, "mx1.example.test"), (20, "mx2.example.test")))),
        ("txt", "example.test", Answer((b"v=spf1 -all", b"\xff\x00"))),
        ("mx", "null.test", Answer(((0, ""),))),
        ("addresses", "mx1.example.test", Answer(("192.0.2.1", "2001:db8::1"))),
        ("addresses", "v4.example.test", Answer(("192.0.2.4",))),
        ("addresses", "half.example.test", Answer(("192.0.2.5",))),
        ("a", "mx1.example.test", Answer(("192.0.2.1",))),
        ("aaaa", "mx1.example.test", Answer(("2001:db8::1",))),
        ("aaaa", "v4.example.test", Answer()),
        ("ptr", "4.2.0.192.in-addr.arpa", Answer(("mail.example.test",))),
        ("mx", "v4.example.test", Answer()),
        ("addresses", "null.test", Answer()),
        ("mx", "lost.test", Answer(exists=False)),
        ("addresses", "lost.test", Answer(exists=False)),
    ],
    ids=[
        "MX, lower-case, without the last dot",
        "names are asked in any letters",
        "TXT as octets, parts joined",
        "null MX",
        "both kinds of address",
        "one kind",
        "one kind while the other fails",
        "A alone",
        "AAAA alone",
        "AAAA where there is only A",
        "PTR, lower-case, without the last dot",
        "no such data",
        "no such data of either kind",
        "no such name",
        "no such name for addresses",
    ],
)
async def test_the_dns_answers(server: Server, kind: str, name: str, answer: Answer) -> None:
    asker: Resolver = resolver(server)
    found = await getattr(asker, kind)(name)
    assert (set(found.records), found.exists, found.authentic) == (set(answer.records), answer.exists, False)


@pytest.mark.parametrize(("kind", "name"), [("mx", "broken.test"), ("addresses", "broken.test"), ("mx", "slow.test"), ("txt", "garbage.test")])
async def test_no_usable_answer_is_a_temporary_error_in_time(server: Server, kind: str, name: str) -> None:
    async with asyncio.timeout(20):
        with pytest.raises(DNSError):
            await getattr(resolver(server, seconds=0.3), kind)(name)


async def test_a_server_that_is_not_there_is_a_temporary_error(server: Server) -> None:
    with pytest.raises(DNSError):
        await DnsResolver(["127.0.0.1"], port=1, seconds=0.3).mx("example.test")


async def test_an_answer_too_large_for_udp_comes_over_tcp(server: Server) -> None:
    found = await resolver(server).txt("large.test")
    assert len(found.records) == 100
    assert [way for _, _, way in server.asked] == ["udp", "tcp"]


async def test_an_answer_without_end_is_looked_at_in_part(server: Server) -> None:
    assert len((await resolver(server).addresses("endless.test")).records) == limits.DNS_RECORDS


@pytest.mark.parametrize("trusted", [False, True], ids=["not trusted", "trusted"])
@pytest.mark.parametrize("name", ["example.test", "lost.test", "v4.example.test"], ids=["data", "no name", "no data"])
async def test_the_authentic_bit_counts_only_from_a_trusted_server(server: Server, trusted: bool, name: str) -> None:
    assert (await resolver(server, trusted=trusted).mx(name)).authentic is trusted


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        pytest.param("example.test", 300, id="data: the TTL of the records"),
        pytest.param("lost.test", 77, id="no such name: the smaller number of the SOA"),
    ],
)
async def test_an_answer_says_how_long_it_may_be_kept(server: Server, name: str, seconds: float) -> None:
    assert (await resolver(server).mx(name)).ttl == seconds


async def test_half_an_answer_is_not_authentic(server: Server) -> None:
    assert not (await resolver(server, trusted=True).addresses("half.example.test")).authentic
    assert (await resolver(server, trusted=True).addresses("mx1.example.test")).authentic


@pytest.mark.parametrize(
    "name",
    ["", "a..b", ".", "x" * 64 + ".test", ".".join(["abc"] * 70), "böse.test", " ".join(["a"] * 3) + "\x00" * 60 + "..test"],
    ids=lambda name: repr(name[:12]),
)
async def test_what_cannot_be_a_name_does_not_exist_and_is_not_asked(server: Server, name: str) -> None:
    assert await resolver(server).mx(name) == Answer(exists=False)
    assert server.asked == []


async def test_escapes_in_a_name_are_not_read(server: Server) -> None:
    await resolver(server).mx("a\\046lost.test")
    assert server.asked[0][0] == "a\\\\046lost.test."
    assert len(server.questions[0].question[0].name.labels) == 3


async def test_questions_are_absolute_and_small(server: Server) -> None:
    await resolver(server).mx("example")
    assert [name for name, _, _ in server.asked] == ["example."]
    assert server.questions[0].payload == 1232


def test_the_library_is_not_loaded_before_a_resolver_is_made() -> None:
    code = "import sys, moatmail.net.resolver, moatmail.net.resolver_table; assert not [m for m in sys.modules if m.split('.')[0] == 'dns']"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
