# SPDX-License-Identifier: Apache-2.0
"""What a hostile DNS server, or somebody beside the way to it, can send: nothing but the answer to our question is believed, and the time is bounded."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import dns.message
import dns.rcode
import dns.rrset
import pytest

from moatmail.core.limits import net as limits
from moatmail.core.ports.resolver import Answer, DNSError
from moatmail.net.resolver import DnsResolver
from moatmail.net.system_dns import SystemServers

Script = Callable[[dns.message.Message], Sequence[bytes]]
Address = tuple[str, int]


class Scripted(asyncio.DatagramProtocol):
    """Answers each question over UDP with the datagrams that `script` makes of it; over TCP with `over_tcp` of it, if there is one."""

    def __init__(self) -> None:
        self.script: Script = lambda query: [good(query)]
        self.over_tcp: Script | None = None
        self.asked: list[tuple[str, int, Address]] = []
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.DatagramTransport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: Address) -> None:
        query = dns.message.from_wire(data)
        self.asked.append(("udp", query.id, addr))
        for datagram in self.script(query):
            self.transport.sendto(datagram, addr)

    async def stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        query = dns.message.from_wire(await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big")))
        self.asked.append(("tcp", query.id, ("", 0)))
        for message in self.over_tcp(query) if self.over_tcp else ():
            writer.write(len(message).to_bytes(2, "big") + message)
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    loop = asyncio.get_running_loop()
    while True:
        transport, server = await loop.create_datagram_endpoint(Scripted, ("127.0.0.1", 0))
        server.port = transport.get_extra_info("sockname")[1]
        try:
            listening = await asyncio.start_server(server.stream, "127.0.0.1", server.port)
        except OSError:
            transport.close()
            continue
        break
    yield server
    transport.close()
    listening.close()


def reply(query: dns.message.Message, *answers: tuple[str, str, str], authority: Sequence[tuple[str, str, str]] = (), code: int = 0) -> dns.message.Message:
    response = dns.message.make_response(query)
    response.set_rcode(dns.rcode.Rcode(code))
    for section, records in ((response.answer, answers), (response.authority, authority)):
        section.extend(dns.rrset.from_text(name, 300, "IN", kind, text) for name, kind, text in records)
    return response


def good(query: dns.message.Message) -> bytes:
    return reply(query, ("a.test.", "A", "192.0.2.1")).to_wire()


def forged(query: dns.message.Message, **changes: object) -> bytes:
    """Give an answer with another address to a question with another id, name or kind."""
    other = dns.message.make_query(str(changes.get("name", "a.test.")), str(changes.get("kind", "A")), id=int(str(changes.get("id", query.id))))
    return reply(other, ("a.test.", "A", "203.0.113.66")).to_wire()


def resolver(server: Scripted, *, seconds: float = 0.4) -> DnsResolver:
    return DnsResolver(["127.0.0.1"], port=server.port, seconds=seconds)


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(lambda query: forged(query, id=query.id ^ 1), id="another id"),
        pytest.param(lambda query: forged(query, name="b.test."), id="another name"),
        pytest.param(lambda query: forged(query, kind="MX"), id="another kind"),
        pytest.param(lambda query: query.to_wire(), id="our own question, sent back"),
        pytest.param(lambda query: query.to_wire()[:2] + b"\x81\x80" + bytes(8), id="an answer without a question"),
        pytest.param(lambda query: query.to_wire()[:2] + b"\xff" * 40, id="our id, then garbage"),
        pytest.param(lambda query: query.to_wire()[:2] + b"\xa8\x00" + query.to_wire()[4:], id="another operation"),
        pytest.param(lambda query: query.to_wire()[:7], id="half a head"),
        pytest.param(lambda query: b"", id="nothing"),
    ],
)
async def test_what_is_no_answer_is_not_heard_and_the_true_one_still_counts(server: Scripted, first: Callable[[dns.message.Message], bytes]) -> None:
    server.script = lambda query: [first(query), good(query)]
    assert await resolver(server).a("a.test") == Answer(("192.0.2.1",))
    assert len(server.asked) == 1


async def test_an_answer_from_another_port_is_not_heard(server: Scripted) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.1", 0))

        def script(query: dns.message.Message) -> list[bytes]:
            stranger.sendto(reply(query, ("a.test.", "A", "203.0.113.66")).to_wire(), server.asked[-1][2])
            return [good(query)]

        server.script = script
        assert await resolver(server).a("a.test") == Answer(("192.0.2.1",))


async def test_who_guesses_ids_makes_us_ask_over_tcp(server: Scripted) -> None:
    server.script = lambda query: [forged(query, id=query.id ^ (guess + 1)) for guess in range(limits.DNS_FORGED_MAX)]
    server.over_tcp = lambda query: [good(query)]
    assert await resolver(server).a("a.test") == Answer(("192.0.2.1",))
    assert [way for way, _, _ in server.asked] == ["udp", "tcp"]


async def test_ids_and_ports_are_other_ones_for_each_question(server: Scripted) -> None:
    asker = resolver(server, seconds=2)
    await asyncio.gather(*(asker.a("a.test") for _ in range(40)))
    assert len({number for _, number, _ in server.asked}) > 35
    assert len({address[1] for _, _, address in server.asked}) > 35
    before = len(server.asked)
    for _ in range(20):
        await asker.a("a.test")
    assert len({address[1] for _, _, address in server.asked[before:]}) > 15


CHAIN = tuple((f"{number}.test.", "CNAME", f"{number + 1}.test.") for number in range(limits.DNS_CHAIN_MAX))


@pytest.mark.parametrize(
    ("name", "answers", "found"),
    [
        pytest.param(
            "a.test",
            (("a.test.", "CNAME", "B.test."), ("b.test.", "CNAME", "c.test."), ("c.test.", "A", "192.0.2.3")),
            ("192.0.2.3",),
            id="a chain is followed",
        ),
        pytest.param("a.test", (("b.test.", "A", "192.0.2.3"), ("a.test.", "CNAME", "b.test.")), ("192.0.2.3",), id="in any order"),
        pytest.param("a.test", (("evil.test.", "A", "203.0.113.66"),), (), id="a record of another name is not ours"),
        pytest.param("a.test", (("a.test.", "CNAME", "b.test."), ("c.test.", "A", "203.0.113.66")), (), id="a chain that leads elsewhere"),
        pytest.param("0.test", (*CHAIN[:-1], (f"{limits.DNS_CHAIN_MAX - 1}.test.", "A", "192.0.2.9")), ("192.0.2.9",), id="as long as may be"),
        pytest.param("0.test", (*CHAIN, (f"{limits.DNS_CHAIN_MAX}.test.", "A", "192.0.2.9")), None, id="too long"),
        pytest.param("a.test", (("a.test.", "CNAME", "a.test."),), None, id="a loop of one"),
        pytest.param("a.test", (("a.test.", "CNAME", "b.test."), ("b.test.", "CNAME", "a.test.")), None, id="a loop of two"),
        pytest.param("a.test", (("a.test.", "TXT", '"x"'), ("a.test.", "A", "192.0.2.1")), ("192.0.2.1",), id="a kind that nobody asked for"),
        pytest.param("a.test", (("a.test.", "A", "192.0.2.1"), ("a.test.", "A", "192.0.2.1")), ("192.0.2.1",), id="the same record twice"),
    ],
)
async def test_aliases_are_followed_within_the_answer(
    server: Scripted, name: str, answers: tuple[tuple[str, str, str], ...], found: tuple[str, ...] | None
) -> None:
    server.script = lambda query: [reply(query, *answers).to_wire()]
    if found is None:
        with pytest.raises(DNSError, match="without end"):
            await resolver(server).a(name)
    else:
        assert await resolver(server).a(name) == Answer(found)


@pytest.mark.parametrize(
    ("answers", "authority", "ttl"),
    [
        ((), (("test.", "SOA", "ns.test. x.test. 1 2 3 4 77"),), 77),
        ((), (("evil.", "SOA", "ns.test. x.test. 1 2 3 4 77"),), 5),
        ((), (), 5),
        ((("a.test.", "CNAME", "gone.test."),), (("test.", "SOA", "ns.test. x.test. 1 2 3 4 3600"),), 300),
    ],
    ids=["as the SOA says", "an SOA of another zone says nothing", "without SOA a moment", "no longer than the alias that led there"],
)
async def test_a_name_that_is_not_there_is_kept_as_long_as_its_zone_says(
    server: Scripted, answers: tuple[tuple[str, str, str], ...], authority: tuple[tuple[str, str, str], ...], ttl: float
) -> None:
    server.script = lambda query: [reply(query, *answers, authority=authority, code=3).to_wire()]
    found = await resolver(server).a("a.test")
    assert (found.exists, found.records, found.ttl) == (False, (), ttl)


def cut(query: dns.message.Message) -> bytes:
    whole = good(query)
    return whole[: len(whole) - 15]


def with_octets(find: bytes, instead: bytes) -> Callable[[dns.message.Message], bytes]:
    return lambda query: good(query).replace(find, instead, 1)


ADDRESS = b"\x00\x04\xc0\x00\x02\x01"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(cut, id="an end within a record"),
        pytest.param(with_octets(ADDRESS, b"\x00\x03\xc0\x00\x02\x01"), id="an address of three octets"),
        pytest.param(with_octets(ADDRESS, b"\xff\xff\xc0\x00\x02\x01"), id="a record longer than the message"),
        pytest.param(with_octets(b"\xc0\x0c\x00\x01", b"\xc0\xff\x00\x01"), id="a name that points forward"),
        pytest.param(with_octets(b"\x00\x01\x00\x01\xc0\x0c\x00\x01", b"\x00\x01\x00\x01\xc0\x18\x00\x01"), id="a name that points at itself"),
        pytest.param(lambda query: reply(query, ("a.test.", "A", "192.0.2.1"), code=3).to_wire(), id="records of a name that does not exist"),
        pytest.param(lambda query: reply(query, code=2).to_wire(), id="SERVFAIL"),
        pytest.param(lambda query: reply(query, code=5).to_wire(), id="REFUSED"),
        pytest.param(lambda query: query.to_wire()[:2] + b"\x81\x81" + bytes(8), id="FORMERR without the question"),
    ],
)
async def test_an_answer_that_says_nothing_is_a_temporary_error_at_once(server: Scripted, answer: Callable[[dns.message.Message], bytes]) -> None:
    server.script = lambda query: [answer(query)]
    async with asyncio.timeout(20):
        with pytest.raises(DNSError):
            await resolver(server, seconds=30).a("a.test")


@pytest.mark.parametrize(
    "over_tcp",
    [
        pytest.param(None, id="closes"),
        pytest.param(lambda query: [forged(query, id=query.id ^ 1)], id="answers another question"),
        pytest.param(lambda query: [good(query)[:20]], id="half an answer"),
        pytest.param(lambda query: [good(query)[:2] + b"\x87" + good(query)[3:]], id="cut off once more"),
        pytest.param(lambda query: [b""], id="nothing of no length"),
    ],
)
async def test_a_hostile_server_on_tcp_is_a_temporary_error(server: Scripted, over_tcp: Script | None) -> None:
    server.script = lambda query: [good(query)[:2] + b"\x87" + good(query)[3:]]
    server.over_tcp = over_tcp
    async with asyncio.timeout(20):
        with pytest.raises(DNSError):
            await resolver(server, seconds=30).a("a.test")


async def test_a_datagram_larger_than_we_take_is_asked_for_over_tcp(server: Scripted) -> None:
    many = [("a.test.", "A", f"192.0.2.{number}") for number in range(200)]
    server.script = lambda query: [reply(query, *many).to_wire(max_size=65535)]
    server.over_tcp = lambda query: [good(query)]
    assert await resolver(server).a("a.test") == Answer(("192.0.2.1",))
    assert [way for way, _, _ in server.asked] == ["udp", "tcp"]


async def test_the_next_server_is_asked_when_one_fails(server: Scripted) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.3", server.port))  # silent; nothing at all is at 127.0.0.2
        asker = DnsResolver(["127.0.0.2", "127.0.0.1"], port=server.port, seconds=5)
        assert await asker.a("a.test") == Answer(("192.0.2.1",))


async def test_a_silent_server_is_not_waited_for_without_end(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DNS_TRY_SECONDS", 0.05)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.3", server.port))
        asker = DnsResolver(["127.0.0.3", "127.0.0.1"], port=server.port, seconds=5)
        assert await asker.a("a.test") == Answer(("192.0.2.1",))


async def test_a_server_that_lost_the_question_is_asked_again(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DNS_TRY_SECONDS", 0.05)
    server.script = lambda query: [good(query)] if len(server.asked) > 2 else []
    assert await resolver(server, seconds=5).a("a.test") == Answer(("192.0.2.1",))
    assert len({address[1] for _, _, address in server.asked}) == len(server.asked) == 3


async def test_octets_changed_by_chance_never_raise_anything_else(server: Scripted) -> None:
    chance = random.Random(3)

    def script(query: dns.message.Message) -> list[bytes]:
        answer = bytearray(
            reply(query, ("a.test.", "CNAME", "b.test."), ("b.test.", "MX", "1 c.test."), authority=(("test.", "SOA", "n.test. x.test. 1 2 3 4 5"),)).to_wire()
        )
        for _ in range(chance.randint(1, 4)):
            answer[chance.randrange(24, len(answer))] = chance.choice((0, 0xC0, 0xFF, chance.randrange(256)))
        return [bytes(answer[: chance.randint(24, len(answer))])]

    server.script = script
    asker = resolver(server, seconds=0.05)
    for _ in range(400):
        try:
            await asker.mx("a.test")
        except DNSError:
            continue


async def test_the_largest_answer_holds_the_loop_for_a_moment_only(server: Scripted) -> None:
    """65,535 octets of records whose names are as long as names can be: the thread's own time, the least of three, for what comes in between is not ours."""
    labels = b"".join(b"\x01x" for _ in range(120)) + b"\x00"
    record = b"\xc0\x18" + b"\x00\x10\x00\x01" + bytes(4) + b"\x00\x02\x01x"

    def stuffed(query: dns.message.Message) -> bytes:
        head = query.to_wire()[:2] + b"\x81\x80\x00\x01\xff\xff\x00\x00\x00\x00" + query.to_wire()[12:24]
        first = labels + b"\x00\x10\x00\x01" + bytes(4) + b"\x00\x02\x01x"
        return (head + first + record * 6000)[:65535]

    server.script = lambda query: [good(query)[:2] + b"\x87" + good(query)[3:]]
    server.over_tcp = lambda query: [stuffed(query)]
    spent = []
    for _ in range(3):
        begun = time.thread_time()
        await resolver(server, seconds=5).a("a.test")
        spent.append(time.thread_time() - begun)
    assert min(spent) < 0.05


def test_the_system_list_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("# nameserver 192.0.2.9\nsearch example.test\noptions ndots:5\nnameserver 192.0.2.1\nnameserver fe80::1\nnameserver nonsense\nnameserver\n")
    servers = SystemServers(file)
    assert [server.address[:2] for server in servers.at(0)] == [("192.0.2.1", 53), ("fe80::1", 53)]
    file.write_text("nameserver 192.0.2.22\n")
    assert servers.at(1)[0].address[0] == "192.0.2.1"  # not looked at for each question
    assert servers.at(limits.DNS_SYSTEM_SECONDS)[0].address[0] == "192.0.2.22"
    file.write_text("")
    assert servers.at(2 * limits.DNS_SYSTEM_SECONDS)[0].address[0] == "192.0.2.22"
    file.unlink()
    assert servers.at(3 * limits.DNS_SYSTEM_SECONDS)[0].address[0] == "192.0.2.22"


@pytest.mark.parametrize("text", [None, "", "search example.test\n", "nameserver nonsense\n"], ids=["no file", "empty", "no server", "no address"])
def test_a_system_without_servers_is_told_at_once(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "resolv.conf"
    if text is not None:
        file.write_text(text)
    with pytest.raises(DNSError, match="no DNS server"):
        SystemServers(file)


def test_a_server_that_is_no_address_is_told() -> None:
    with pytest.raises(DNSError, match="no address"):
        DnsResolver(["dns.example"])
