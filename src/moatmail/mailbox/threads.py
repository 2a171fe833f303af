# SPDX-License-Identifier: Apache-2.0
"""Messages as conversations: by their references, or by subject and date.

Obeys RFC 5256 §3 (THREAD=REFERENCES, THREAD=ORDEREDSUBJECT).
Must never know where messages are kept, nor the protocol that asks.

The steps are generators that yield now and then and return their result, so that who runs them can let others have a turn. Every step is
linear in messages and references, whatever they say: no tree is walked down, and looking upwards for loops has a budget.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import msgspec

from moatmail.core.limits import mailbox as limits


# Nothing here is an object that the collector of circles has to look at: hundreds of thousands would hold everybody up.
class Member(msgspec.Struct, frozen=True, gc=False):
    """One message: its place, base subject in the form that compares, whether that was a reply's, its Message-ID and references as numbers."""

    place: int
    subject: str
    is_reply: bool
    message_id: int = -1
    references: tuple[int, ...] = ()


class Threads:
    """Who answers whom, by date: nodes are places of messages; negative ones hold siblings together whom no message joins."""

    __slots__ = ("children", "roots")

    def __init__(self) -> None:
        self.roots: list[int] = []
        self.children: dict[int, list[int]] = {}

    def answer(self, parent: int, child: int) -> None:
        """Take `child` as the next that answers `parent`."""
        self.children.setdefault(parent, []).append(child)


Steps = Generator[None, None, Threads]


class Interned:
    """Message-IDs as numbers, each kept once."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._octets = 0

    def __call__(self, message_id: bytes) -> int:
        """Give the number of a Message-ID; raises OverflowError beyond THREAD_OCTETS, more than a mailbox of people's holds."""
        number = self._numbers.get(message_id)
        if number is None:
            number = self._numbers[message_id] = len(self._numbers)
            self._octets += len(message_id) + limits.THREAD_ID_COST
            if self._octets > limits.THREAD_OCTETS:
                raise OverflowError("too many references")
        return number


# ---------------------------------------------------------------- ORDEREDSUBJECT


def by_subject(members: Sequence[Member]) -> Steps:
    """Thread `members` (by date) by base subject: the first of each is the root, all others answer it (RFC 5256 §3)."""
    threads = Threads()
    roots: dict[str, int] = {}
    for count, member in enumerate(members):
        root = roots.setdefault(member.subject, member.place)
        if root == member.place:
            threads.roots.append(root)
        else:
            threads.answer(root, member.place)
        if count % limits.THREAD_SLICE == 0:
            yield
    return threads


# ---------------------------------------------------------------- REFERENCES


def by_references(members: Sequence[Member], dates: Sequence[int]) -> Steps:
    """Thread `members` by their references; `dates` gives their indices by date (RFC 5256 §3, steps 1 to 6)."""
    links = _Links(len(members))
    for index, member in enumerate(members):
        links.add(index, member)
        if index % limits.THREAD_SLICE == 0 or links.walked > 10 * limits.THREAD_DEPTH:
            links.walked = 0
            yield
    forest = _Forest(members, dates)
    yield from forest.prune(links)
    yield from forest.join_subjects()
    return (yield from forest.build())


class _Links:
    """Step 1: who answers whom. A container stands for a Message-ID or a message, of which `messages` knows the index."""

    def __init__(self, count: int) -> None:
        self.parents: dict[int, int] = {}
        self.messages: dict[int, int] = {}
        self._containers = 0
        self._by_id: dict[int, int] = {}
        self._has_children: set[int] = set()
        self._budget = limits.THREAD_WALK * (count + 1)
        self.walked = 0

    def add(self, index: int, member: Member) -> None:
        """Take a message and what it says of others."""
        container = self._container(member.message_id)
        if container in self.messages:
            container = self._new()  # step 1: who repeats a Message-ID has none that counts
        self.messages[container] = index
        parent = -1
        for reference in member.references:
            child = self._container(reference)
            # Step 1.A: what is linked already stays so.
            if parent >= 0 and child not in self.parents:
                self._link(parent, child)
            parent = child
        # Step 1.B: the last reference is the parent, whatever others said of this message.
        if self.parents.get(container, -1) != parent:
            self.parents.pop(container, None)
            if parent >= 0:
                self._link(parent, container)

    def _new(self) -> int:
        self._containers += 1
        return self._containers - 1

    def _container(self, message_id: int) -> int:
        if message_id < 0:
            return self._new()
        container = self._by_id.get(message_id)
        if container is None:
            container = self._by_id[message_id] = self._new()
        return container

    def _link(self, parent: int, child: int) -> None:
        if child == parent:
            return
        if child in self._has_children:
            # Only who has children can stand above its new parent: then there would be a loop.
            above, steps = parent, min(self._budget, limits.THREAD_DEPTH)
            while above >= 0 and above != child and steps:
                steps -= 1
                self._budget -= 1
                self.walked += 1
                above = self.parents.get(above, -1)
            if above >= 0:
                return
        self.parents[child] = parent
        self._has_children.add(parent)


class _Top(msgspec.Struct, gc=False):
    """A child of the root: a message (by its index), or -1 with the siblings that only a missing message joins."""

    message: int
    siblings: list[int] = msgspec.field(default_factory=list)

    @property
    def first(self) -> int:
        """Give the message whose subject counts."""
        return self.message if self.message >= 0 else self.siblings[0]


class _Forest:
    """Steps 2 to 6: what is missing goes, what has one subject is joined, all by date."""

    def __init__(self, members: Sequence[Member], dates: Sequence[int]) -> None:
        self._members = members
        self._dates = dates
        self._parents = [-1] * len(members)
        self._tops: list[_Top] = []

    def prune(self, links: _Links) -> Generator[None, None, None]:
        """Let each message answer the nearest that is there; those joined by a missing one stay together (steps 2 to 4)."""
        known: dict[int, int] = {}  # missing container -> nearest container with a message, or the topmost one
        heads: dict[int, int] = {}  # message -> the missing container on top of it
        for count, (container, index) in enumerate(links.messages.items()):
            above = _nearest(links, container, known)
            if above >= 0 and above in links.messages:
                self._parents[index] = links.messages[above]
            elif above >= 0:
                heads[index] = above
            if count % limits.THREAD_SLICE == 0:
                yield
        joined: dict[int, _Top] = {}
        for count, index in enumerate(self._dates):
            if self._parents[index] < 0:
                self._put(index, heads.get(index, -1), joined)
            if count % limits.THREAD_SLICE == 0:
                yield
        for top in joined.values():
            if len(top.siblings) == 1:
                # Step 3.B: a missing message with one child only leaves its place to it.
                top.message, top.siblings = top.siblings[0], []

    def _put(self, index: int, head: int, joined: dict[int, _Top]) -> None:
        if head < 0:
            self._tops.append(_Top(index))
        elif head in joined:
            joined[head].siblings.append(index)
        else:
            joined[head] = _Top(-1, [index])
            self._tops.append(joined[head])

    def join_subjects(self) -> Generator[None, None, None]:
        """Make one thread of those with one base subject (step 5)."""
        table: dict[str, _Top] = {}
        for count, top in enumerate(self._tops):
            subject = self._members[top.first].subject
            if subject and self._leads(top, table.get(subject)):
                table[subject] = top
            if count % limits.THREAD_SLICE == 0:
                yield
        left: list[_Top] = []
        for count, top in enumerate(self._tops):
            leader = table.get(self._members[top.first].subject)
            if leader is None or leader is top:
                left.append(top)
            else:
                self._join(leader, top)
            if count % limits.THREAD_SLICE == 0:
                yield
        self._tops = left

    def _leads(self, top: _Top, leader: _Top | None) -> bool:
        """Step 5.B: a missing message leads, else one that is no reply, else the first."""
        if leader is None:
            return True
        if leader.message < 0:
            return False
        return top.message < 0 or (self._members[leader.message].is_reply and not self._members[top.message].is_reply)

    def _join(self, leader: _Top, top: _Top) -> None:
        """Step 5.C."""
        if leader.message < 0:
            leader.siblings.extend(top.siblings if top.message < 0 else (top.message,))
        elif self._members[top.message].is_reply and not self._members[leader.message].is_reply:
            self._parents[top.message] = leader.message
        else:
            leader.siblings, leader.message = [leader.message, top.message], -1

    def build(self) -> Steps:
        """Tell who answers whom; as messages are taken by date, all siblings come out in that order (step 6)."""
        threads = Threads()
        holders: dict[int, int] = {}  # message -> the node that joins it with its siblings
        for count, top in enumerate(self._tops, 1):
            if top.message < 0:
                holders.update(dict.fromkeys(top.siblings, -count))
            if count % limits.THREAD_SLICE == 0:
                yield
        for count, index in enumerate(self._dates):
            node, holder = self._members[index].place, holders.get(index)
            if self._parents[index] >= 0:
                threads.answer(self._members[self._parents[index]].place, node)
            elif holder is None:
                threads.roots.append(node)
            else:
                if holder not in threads.children:
                    threads.roots.append(holder)
                threads.answer(holder, node)
            if count % limits.THREAD_SLICE == 0:
                yield
        return threads


def _nearest(links: _Links, container: int, known: dict[int, int]) -> int:
    """Give the nearest container above that has a message, or the topmost one above; -1 where nothing is above."""
    passed: list[int] = []
    above = links.parents.get(container, -1)
    found = above
    while above >= 0:
        found = above
        if above in links.messages:
            break
        if above in known:
            found = known[above]
            break
        passed.append(above)
        above = links.parents.get(above, -1)
    known.update(dict.fromkeys(passed, found))
    return found


# ---------------------------------------------------------------- flat


def walk(threads: Threads) -> Iterator[int | str]:
    """Give places and parentheses as THREAD writes them: a chain in one list, siblings in lists of their own (RFC 5256 §4)."""
    children = threads.children
    stack: list[int | str] = list(reversed(threads.roots))
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            yield node
            continue
        yield "("
        below = children.get(node, ())
        if node >= 0:
            yield node
            while len(below) == 1:
                node = below[0]
                yield node
                below = children.get(node, ())
        stack.append(")")
        stack.extend(reversed(below))
