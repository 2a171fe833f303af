# SPDX-License-Identifier: Apache-2.0
"""Names made, deleted, renamed, subscribed at random, told after each change as a model of two sets has them: which exist, which are subscribed.

Obeys RFC 9051 §6.3.4-§6.3.9, RFC 5258.
"""

from __future__ import annotations

from random import Random

import pytest

from tests.unit.endpoints.imap.lab import Client, Lab

START = frozenset(("INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"))
USES = {name: f"\\{name}" for name in START - {"INBOX"}}
LEVELS = ("a", "b", "\N{LATIN SMALL LETTER E WITH ACUTE}", "x y")
STEPS = 45


def above(name: str) -> list[str]:
    levels = name.split("/")
    return ["/".join(levels[:depth]) for depth in range(1, len(levels))]


class Model:
    """What the server has to say."""

    def __init__(self) -> None:
        self.names = {name: USES.get(name, "") for name in START}
        self.subscribed = set(START)

    def create(self, name: str) -> str:
        if name in self.names:
            return "NO [ALREADYEXISTS]"
        for one in (*above(name), name):
            self.names.setdefault(one, "")
        return "OK"

    def delete(self, name: str) -> str:
        if name == "INBOX":
            return "NO [CANNOT]"
        if name not in self.names:
            return "NO [HASCHILDREN]" if self.below(name) else "NO [NONEXISTENT]"
        del self.names[name]
        return "OK"

    def rename(self, name: str, new: str) -> str:
        if name == "INBOX":
            return self.create(new)
        moved = [one for one in self.names if one == name] + self.below(name)
        if not moved:
            return "NO [NONEXISTENT]"
        if new.startswith(name + "/"):
            return "NO [CANNOT]"
        targets = {one: new + one[len(name) :] for one in moved}
        if new == name or any(target in self.names and target not in targets for target in targets.values()):
            return "NO [ALREADYEXISTS]"
        uses = {target: self.names.pop(one) for one, target in targets.items()}
        for one in above(new):
            self.names.setdefault(one, "")
        self.names.update(uses)
        return "OK"

    def below(self, name: str) -> list[str]:
        return [one for one in self.names if one.startswith(name + "/")]

    def listed(self) -> set[str]:
        """Tell LIST of everything, with all attributes."""
        lines = set()
        for name in self.names.keys() | {level for one in self.names for level in above(one)}:
            attributes = [] if name in self.names else ["\\NonExistent"]
            attributes += ["\\Subscribed"] if name in self.subscribed else []
            attributes.append("\\HasChildren" if self.below(name) else "\\HasNoChildren")
            attributes += [use] if (use := self.names.get(name)) else []
            lines.add(f'LIST ({" ".join(attributes)}) "/" {written(name)}')
        return lines

    def lsub(self, pattern: str) -> set[str]:
        if pattern == "*":
            return {f'LSUB () "/" {written(name)}' for name in self.subscribed}
        tops = {name.split("/", maxsplit=1)[0] for name in self.subscribed}
        return {f'LSUB ({"" if top in self.subscribed else chr(92) + "Noselect"}) "/" {written(top)}' for top in tops}


def written(name: str) -> str:
    return f'"{name}"' if " " in name or not name.isascii() else name


async def look(client: Client, model: Model, done: str) -> None:
    """Compare all that can be asked for."""
    everything = {line.decode() for line in await client.ok('LIST "" (*) RETURN (SUBSCRIBED CHILDREN SPECIAL-USE)')}
    assert everything == model.listed(), done
    for pattern in "*%":
        assert {line.decode() for line in await client.ok(f'LSUB "" {pattern}')} == model.lsub(pattern), done
    chosen = {line.decode().partition(") ")[2] for line in await client.ok('LIST (SUBSCRIBED) "" *')}
    assert chosen == {f'"/" {written(name)}' for name in model.subscribed}, done


@pytest.mark.parametrize("seed", range(8))
async def test_names_are_told_as_they_are_after_each_change(lab: Lab, seed: int) -> None:
    random, model, client = Random(seed), Model(), await lab.client()
    await client.ok("ENABLE UTF8=ACCEPT")

    def name(depth: int = 3) -> str:
        top = random.choice((*LEVELS, "INBOX", "Sent"))
        return "/".join([top, *random.choices(LEVELS, k=random.randrange(depth))])

    for _ in range(STEPS):
        what, one, other = random.choice(("CREATE", "CREATE", "DELETE", "RENAME", "RENAME", "SUBSCRIBE", "UNSUBSCRIBE")), name(), name()
        command = f'{what} "{one}"'
        match what:
            case "CREATE":
                wanted = model.create(one)
            case "DELETE":
                wanted = model.delete(one)
            case "RENAME":
                command += f' "{other}"'
                wanted = model.rename(one, other)
            case "SUBSCRIBE":
                model.subscribed.add(one)
                wanted = "OK"
            case _:
                model.subscribed.discard(one)
                wanted = "OK"
        await client.command(command)
        assert client.tagged.decode().startswith(wanted), (command, client.tagged)
        await look(client, model, command)
