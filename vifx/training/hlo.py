"""What a compiled program does, read from its text: operations, memory traffic and communication of one device.

XLA's own analysis counts the body of a loop once, however often it runs, and on some platforms there is none. Here a
loop counts as often as the compiler says that it runs.
"""

from __future__ import annotations

__all__ = ["Collective", "Tally", "parse", "tally"]

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple, TypeAlias

from vifx.training.hlo_flops import FREE, Instruction, Shape, flops, is_matmul, is_opaque

Computation: TypeAlias = Mapping[str, Instruction]

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_LINE = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_SHAPE = re.compile(r"([a-z]\w*)\[([\d,<=]*)\]")
_NAME = re.compile(r"%([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CALLED = re.compile(r"\b(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)")
_NAMED = {kind: re.compile(rf"\b{kind}=%?([\w.\-]+)") for kind in ("condition", "body")}
_INDEX = re.compile(r"\bindex=(\d+)")
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
_COLLECTIVES = (
    *("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "ragged-all-to-all"),
    *("collective-permute", "collective-broadcast"),
)
_SLICES = ("dynamic-slice", "gather")


class Collective(NamedTuple):
    """What one kind of collective operation moves in one run of the program.

    Attributes:
      calls: how many there are.
      bytes: of the arrays that are reduced, gathered, scattered, exchanged or passed on, as one device sees them whole:
        what is reduced or scattered before, what is gathered after the operation.
      sent: bytes that each device sends if the devices form a ring: ``2 (n − 1)/n`` times the bytes for an
        all-reduce of n devices, ``(n − 1)/n`` times for a gather, a scatter or an exchange, once for a permutation.
      devices: how many take part, in the largest of them.
    """

    calls: int
    bytes: int
    sent: float
    devices: int


@dataclass
class Tally:
    """What one run of a computation does on one device.

    Attributes:
      flops: operations on floating-point numbers: ``2 m n k`` for a matrix product, likewise for a convolution, and one
        for each element of anything else.
      matmul_flops: those of matrix products and convolutions.
      bytes_accessed: read and written by every operation that is not fused into another one.
      communication: by kind of operation.
      loops: how many loops run an unknown number of times; their bodies count once.
      opaque: names of library calls, whose operations are not known and not counted.
    """

    flops: float = 0.0
    matmul_flops: float = 0.0
    bytes_accessed: float = 0.0
    communication: dict[str, Collective] = field(default_factory=dict)
    loops: int = 0
    opaque: set[str] = field(default_factory=set)

    def add(self, other: Tally, *, times: int = 1) -> None:
        """Add what another computation does, so many times."""
        self.flops += times * other.flops
        self.matmul_flops += times * other.matmul_flops
        self.bytes_accessed += times * other.bytes_accessed
        for kind, (calls, size, sent, devices) in other.communication.items():
            self.communicate(kind, Collective(times * calls, times * size, times * sent, devices))
        self.loops += other.loops
        self.opaque |= other.opaque

    def communicate(self, kind: str, more: Collective) -> None:
        """Add a collective operation."""
        old = self.communication.get(kind, Collective(0, 0, 0.0, 0))
        self.communication[kind] = Collective(
            old.calls + more.calls, old.bytes + more.bytes, old.sent + more.sent, max(old.devices, more.devices)
        )


def parse(text: str) -> tuple[dict[str, dict[str, Instruction]], str]:
    """Read the text of a compiled program: its computations by name, and which of them is the entry.

    Raises:
      ValueError: if there is no entry.
    """
    computations: dict[str, dict[str, Instruction]] = {}
    entry, current = "", {}
    for line in text.splitlines():
        if header := _HEADER.match(line):
            current = computations.setdefault(header[2], {})
            entry = header[2] if header[1] else entry
        elif found := _LINE.match(line):
            kind, rest = _split(found[3])
            opcode, _, rest = rest.partition("(")
            inside, attributes = _split(f"({rest}")
            shapes = tuple(_shape(*match) for match in _SHAPE.findall(kind))
            operands = tuple(_NAME.findall(inside))
            whole = opcode in ("parameter", "constant") and inside.removeprefix("-").isdecimal()
            number = int(inside) if whole else None
            current[found[2]] = Instruction(found[2], opcode, shapes, operands, attributes, bool(found[1]), number)
    if not entry:
        raise ValueError("the text of the program has no ENTRY computation; give that of compiled.as_text()")
    return computations, entry


def tally(text: str, devices: int) -> Tally:
    """Count what one run of a compiled program does on one of its `devices`.

    Args:
      text: of ``compiled.as_text()``.
      devices: how many a collective operation without groups spans.

    Raises:
      ValueError: if it is not the text of a program.
    """
    computations, entry = parse(text)

    @cache
    def whole(name: str, fused: bool) -> Tally:
        return _counted(computations[name], computations, devices, fused, whole)

    return whole(entry, False)


def _counted(
    computation: Computation,
    computations: Mapping[str, Computation],
    devices: int,
    fused: bool,
    whole: Callable[[str, bool], Tally],
) -> Tally:
    total = Tally()
    for each in computation.values():
        kind = each.opcode.removesuffix("-start")
        operands = [computation[name] for name in each.operands if name in computation]
        called = _CALLED.findall(each.attributes)
        if each.opcode == "while":
            trips = _trips(each, operands, computation, computations)
            total.loops += trips is None
            for name in called:
                total.add(whole(name, fused), times=1 if trips is None else trips)
        elif each.opcode == "conditional":
            branches = _BRANCHES.search(each.attributes)
            names = _NAME.findall(branches[1]) if branches else called
            total.add(max((whole(name, fused) for name in names), key=lambda branch: branch.flops))
        elif each.opcode in ("fusion", "call", "async-start"):
            for name in called:
                total.add(whole(name, fused or each.opcode == "fusion"))
            if each.opcode == "fusion" and not fused:
                total.bytes_accessed += _fusion_bytes(operands, computations[called[0]])
        elif kind in _COLLECTIVES:
            total.communicate(kind, _collective(kind, each, operands, devices))
            total.bytes_accessed += 0 if fused else each.bytes + sum(operand.bytes for operand in operands)
        elif each.opcode not in FREE and not each.opcode.endswith(("-done", "-update")):
            own = flops(each, operands)
            total.flops += own
            total.matmul_flops += own if is_matmul(each) else 0.0
            total.bytes_accessed += 0 if fused else _bytes(each, operands)
            if is_opaque(each):
                total.opaque.add(each.target)
    return total


def _trips(
    loop: Instruction, operands: list[Instruction], around: Computation, computations: Mapping[str, Computation]
) -> int | None:
    """Return how often a loop runs: as the compiler says, or by its counter, from a constant by ones to a constant.

    None if it is not known.
    """
    if found := _TRIPS.search(loop.attributes):
        return int(found[1])
    named = {kind: _NAMED[kind].search(loop.attributes) for kind in ("condition", "body")}
    condition, body = (computations[found[1]] if found else {} for found in named.values())
    test = next((each for each in condition.values() if each.root), None)
    if test is None or test.opcode != "compare" or "direction=LT" not in test.attributes:
        return None
    counter, limit = (condition[name] for name in test.operands)
    place = _INDEX.search(counter.attributes)
    result = next(each for each in body.values() if each.root)
    if limit.constant is None or place is None or result.opcode != "tuple" or operands[0].opcode != "tuple":
        return None
    after, begin = body[result.operands[int(place[1])]], around.get(operands[0].operands[int(place[1])])
    while begin is not None and begin.opcode in ("copy", "copy-start", "copy-done"):
        begin = around.get(begin.operands[0])
    by_one = after.opcode == "add" and 1 in [body[name].constant for name in after.operands if name in body]
    if not by_one or begin is None or begin.constant is None:
        return None
    return max(0, limit.constant - begin.constant)


def _bytes(each: Instruction, operands: list[Instruction]) -> int:
    """Bytes that an operation reads and writes: of what it slices or updates, only that part."""
    if each.opcode in _SLICES:
        return 2 * each.bytes + sum(operand.bytes for operand in operands[1:])
    if each.opcode == "dynamic-update-slice":
        return 2 * operands[1].bytes
    return each.bytes + sum(operand.bytes for operand in operands)


def _fusion_bytes(operands: list[Instruction], inside: Computation) -> int:
    """Bytes that a fusion reads and writes: of an operand that is only sliced or updated in place, that part."""
    users: dict[str, list[Instruction]] = {}
    for each in inside.values():
        for name in each.operands:
            users.setdefault(name, []).append(each)

    def ends(name: str) -> list[tuple[Instruction, str]]:
        """Who reads a value, and under which name, looking through bitcasts."""
        found = []
        for user in users.get(name, []):
            found += ends(user.name) if user.opcode == "bitcast" else [(user, name)]
        return found

    total = 0
    for each in inside.values():
        if each.opcode != "parameter":
            continue
        readers = ends(each.name)
        sliced = [user.bytes for user, name in readers if user.opcode in _SLICES and user.operands[0] == name]
        updated = [u for u, name in readers if u.opcode == "dynamic-update-slice" and u.operands[0] == name]
        whole = len(sliced) + len(updated) < len(readers) or not readers
        total += operands[each.number or 0].bytes if whole else sum(sliced)
    return total + _written(next(each for each in inside.values() if each.root), inside)


def _written(root: Instruction, inside: Computation) -> int:
    if root.opcode == "tuple":
        return sum(_written(inside[name], inside) for name in root.operands)
    if root.opcode == "bitcast" and root.operands[0] in inside:
        return _written(inside[root.operands[0]], inside)
    return inside[root.operands[1]].bytes if root.opcode == "dynamic-update-slice" else root.bytes


def _collective(kind: str, each: Instruction, operands: list[Instruction], devices: int) -> Collective:
    size = _group_size(each.attributes, devices)
    own = sum(operand.bytes for operand in (operands[:1] if kind == "collective-permute" else operands))
    whole = own * size if kind == "all-gather" else own
    share = {"all-reduce": 2 * (size - 1) / size, "collective-permute": 1.0}.get(kind, (size - 1) / size)
    return Collective(1, whole, whole * share, size)


def _group_size(attributes: str, devices: int) -> int:
    """Return how many devices one group of a collective operation has, in any of the ways in which groups are said."""
    if mesh := re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", attributes):
        sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", mesh[1])}
        count = 1
        for name, part in re.findall(r"'([^']+)'(?::\(\d+\)(\d+))?", mesh[2]):
            count *= int(part) if part else sizes[name]
        return count
    if iota := re.search(r"replica_groups=\[(\d+),(\d+)\]<=", attributes):
        return int(iota[2])
    if explicit := re.search(r"replica_groups=\{\{([\d,]+)\}", attributes):
        return len(explicit[1].split(","))
    return devices


def _split(text: str) -> tuple[str, str]:
    """Split what begins with a parenthesis behind the one that closes it, and anything else at its first space."""
    if not text.startswith("("):
        head, _, rest = text.partition(" ")
        return head, rest
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return text[1:place], text[place + 1 :].lstrip()
    return text, ""


def _shape(dtype: str, dims: str) -> Shape:
    return Shape(dtype, tuple(int(size.removeprefix("<=")) for size in dims.split(",") if size))
