"""Beginnings of texts that were computed, kept for other requests that begin with the same ids.

A radix tree: each node has the ids behind its parent's and their keys and values, so a beginning
that texts share is kept once. Where the limit of bytes is passed, the leaf that was not used for
the longest time goes. Knows ids and buffers [kv heads, positions, ...]; does not know sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

__all__ = ["Found", "Prefixes", "shared"]

Buffers = Mapping[str, np.ndarray]


def shared(first: np.ndarray, second: np.ndarray) -> int:
    """Return how many ids two sequences begin with in common."""
    count = min(len(first), len(second))
    differ = np.flatnonzero(first[:count] != second[:count])
    return int(differ[0]) if differ.size else count


class _Node:
    """Positions of a text; ``children`` by their first ids."""

    def __init__(self, ids: np.ndarray, buffers: Buffers, parent: _Node | None) -> None:
        self.ids, self.buffers, self.parent = ids, buffers, parent
        self.children: dict[int, _Node] = {}
        self.used = 0

    @property
    def bytes(self) -> int:
        return self.ids.nbytes + sum(buffer.nbytes for buffer in self.buffers.values())

    def split(self, count: int) -> None:
        """Keep the first positions; a child takes the others."""
        first, rest = _part(self, 0, count), _Node(*_part(self, count, len(self.ids)), self)
        rest.children, rest.used = self.children, self.used
        for child in rest.children.values():
            child.parent = rest
        self.ids, self.buffers = first
        self.children = {int(rest.ids[0]): rest}


class Found:
    """The nodes that a text begins with; ``length`` positions of them."""

    def __init__(self, nodes: list[_Node], length: int) -> None:
        self._nodes, self.length = nodes, length

    def write(self, buffers: Buffers) -> None:
        """Copy the positions into a row's buffers."""
        begin = 0
        for node in self._nodes:
            count = min(len(node.ids), self.length - begin)
            for name, buffer in node.buffers.items():
                buffers[name][:, begin : begin + count] = buffer[:, :count]
            begin += count


class Prefixes:
    """Positions up to a limit of bytes; 0 keeps none."""

    def __init__(self, limit: int) -> None:
        self._limit, self._uses = limit, 0
        self._root = _Node(np.empty(0, np.int64), {}, None)
        self.bytes = 0

    def find(self, ids: np.ndarray) -> Found:
        """Return the longest beginning of the ids that is kept."""
        nodes, length = self._walk(ids)
        return Found(nodes, length)

    def texts(self) -> list[tuple[np.ndarray, Found]]:
        """Return the texts that are kept, the one that was used last at the end.

        Each is whole, also where others begin in the same way: of more than the limit of bytes in
        all, those that were used last are returned.
        """
        found, room = list[tuple[np.ndarray, Found]](), self._limit
        for leaf in sorted(self._leaves(), key=lambda node: -node.used):
            nodes, node = list[_Node](), leaf
            while node.parent is not None:
                nodes.insert(0, node)
                node = node.parent
            if (size := sum(node.bytes for node in nodes)) <= room:
                room -= size
                ids = np.concatenate([node.ids for node in nodes])
                found.insert(0, (ids, Found(nodes, len(ids))))
        return found

    def keep(self, ids: Sequence[int], part: Callable[[int, int], Buffers]) -> None:
        """Keep the positions of ids, as far as the limit allows: of a longer text, its beginning.

        part(begin, end) returns a copy of positions; it is asked for those that are not kept yet.
        """
        new = np.array(ids, np.int64)
        nodes, length = self._walk(new)
        if length == len(new) or not self._limit:
            return
        last = nodes[-1] if nodes else self._root
        before = length - sum(len(node.ids) for node in nodes[:-1])
        if nodes and before < len(last.ids):
            last.split(before)
        child = _Node(new[length:], part(length, len(new)), last)
        room = self._limit - sum(node.bytes for node in nodes)
        if child.bytes > room:
            fitting = room * len(child.ids) // child.bytes
            if not fitting:
                return
            child.ids, child.buffers = _part(child, 0, fitting)
        child.used = self._uses
        last.children[int(child.ids[0])] = child
        self.bytes += child.bytes
        while self.bytes > self._limit:
            self._drop(min(self._leaves(), key=lambda node: node.used))

    def _walk(self, ids: np.ndarray) -> tuple[list[_Node], int]:
        """Return the nodes that the ids begin with, the last one maybe in part; mark their use."""
        self._uses += 1
        nodes, length, node = list[_Node](), 0, self._root
        while length < len(ids):
            child = node.children.get(int(ids[length]))
            if child is None:
                break
            common = shared(child.ids, ids[length:])
            nodes.append(child)
            child.used = self._uses
            length += common
            if common < len(child.ids):
                break
            node = child
        return nodes, length

    def _leaves(self) -> Iterator[_Node]:
        waiting = list(self._root.children.values())
        while waiting:
            node = waiting.pop()
            if not node.children:
                yield node
            waiting += node.children.values()

    def _drop(self, leaf: _Node) -> None:
        assert leaf.parent is not None, "the root is not dropped"
        del leaf.parent.children[int(leaf.ids[0])]
        self.bytes -= leaf.bytes


def _part(node: _Node, begin: int, end: int) -> tuple[np.ndarray, Buffers]:
    """Return a copy of some positions: a view would keep all of them in memory."""
    buffers = {name: buffer[:, begin:end].copy() for name, buffer in node.buffers.items()}
    return node.ids[begin:end].copy(), buffers
