"""The radix tree against a plain list of prompts, and the shape it must keep."""

import time

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.routing.radix import Node, Tree, tokens_as_text
from tests.unit.routing_prompts import Prompts

HOLDERS = st.integers(0, 3)
TEXTS = st.text("ab", max_size=12) | st.text("aé😀", max_size=8) | st.sampled_from(["aaaa", "aaaabbbb", "a", ""])


class TreeMachine(RuleBasedStateMachine):
    """Prompts are remembered, matched, evicted and forgotten; the list of them always says the same."""

    @initialize(max_size=st.sampled_from([12, 40, 4000]), per_prompt=st.sampled_from([1, 4, 400]))
    def begin(self, max_size: int, per_prompt: int) -> None:
        self.tree, self.plain, self.now = Tree(max_size, per_prompt), Prompts(max_size, per_prompt), 0.0
        self.generation = dict.fromkeys(range(4), 0)

    def holder(self, number: int) -> int:
        return number + 10 * self.generation[number]

    @rule(number=HOLDERS, text=TEXTS, tokens=st.booleans())
    def insert(self, number: int, text: str, tokens: bool) -> None:
        self.now += 1.0
        path = self.tree.match(text, tokens=tokens)
        self.tree.insert(text, path, self.holder(number), self.now, tokens=tokens)
        self.plain.insert(self.holder(number), text, tokens, self.now)

    @rule(text=TEXTS, tokens=st.booleans())
    def match(self, text: str, tokens: bool) -> None:
        path = self.tree.match(text, tokens=tokens)
        for number in self.generation:
            holder = self.holder(number)
            found = max((upto for node, upto in path if holder in node.holders), default=0)
            assert found == self.plain.matched(holder, text, tokens)

    @rule(number=HOLDERS)
    def forget(self, number: int) -> None:
        self.tree.forget(self.holder(number))
        if self.plain.share(self.holder(number)):
            self.plain.forget(self.holder(number))
        self.generation[number] += 1

    @rule(at_most=st.integers(1, 3))
    def free(self, at_most: int) -> None:
        for _ in range(self.tree.free(at_most)):
            assert self.plain.free()

    @rule(age=st.integers(0, 6))
    def expire(self, age: int) -> None:
        while self.tree.expire(self.now - age, 2):
            pass
        self.plain.expire(self.now - age)

    @invariant()
    def the_figures_are_those_of_the_list(self) -> None:
        assert (self.tree.size, self.tree.ends) == (self.plain.size(), self.plain.ends())
        for number in self.generation:
            assert self.tree.share(self.holder(number)) == self.plain.share(self.holder(number))

    @invariant()
    def the_shape_is_sound(self) -> None:
        assert sum(sound(child) for root in (self.tree._root, self.tree._token_root) for child in below(root)) == (
            self.tree.size
        )


def below(node: Node) -> list[Node]:
    children = node.children
    assert children is None or all(one.parent is node and one.edge[0] == key for key, one in children.items())
    return list(children.values()) if children is not None else []


def sound(node: Node) -> int:
    """The characters from this node on. Fails where it is malformed."""
    assert node.edge
    assert node.holders
    for child in below(node):
        assert all(node.holders[holder] >= at for holder, at in child.holders.items())
    return len(node.edge) + sum(sound(child) for child in below(node))


TestTree = TreeMachine.TestCase
TestTree.settings = hypothesis_settings(max_examples=80, stateful_step_count=40, deadline=None)


@given(st.lists(st.integers(0, 0x10FFFF)))
def test_token_ids_become_as_many_characters_and_different_ids_different_ones(tokens: list[int]) -> None:
    assert [ord(one) for one in tokens_as_text(tokens)] == tokens


@pytest.mark.parametrize("tokens", [[-1], [0x110000], [2**40]])
def test_what_is_no_token_id_gives_no_text(tokens: list[int]) -> None:
    assert tokens_as_text(tokens) == ""


def test_a_prompt_longer_than_a_quarter_of_the_bound_is_remembered_up_to_there() -> None:
    tree = Tree(400, 1)
    tree.insert("x" * 399, tree.match("x" * 399), 1, 0.0)
    assert (tree.size, tree.match("x" * 399)[-1][1]) == (100, 100)


def test_matching_does_not_grow_with_the_square_of_the_text() -> None:
    def cost(length: int) -> float:
        tree, text = Tree(10**8, 1), "abcdefgh" * (length // 8)
        tree.insert(text, tree.match(text), 1, 0.0)
        other = text[: length - 10] + "?" + text[length - 9 :]
        best = 1.0
        for _ in range(30):
            began = time.perf_counter()
            tree.match(other)
            best = min(best, time.perf_counter() - began)
        return best

    assert cost(800_000) < 200 * cost(8_000) + 1e-4


def test_a_big_prompt_among_small_ones_evicts_in_slices_until_the_bound_holds() -> None:
    tree = Tree(100_000, 1)
    for number in range(20_000):
        text = f"{number:010}"[::-1]
        tree.insert(text, tree.match(text), number % 3, float(number))
    assert tree.size <= 100_000
    ends = tree.ends
    tree.insert("x" * 25_000, [], 1, 1e6)
    assert ends - tree.ends < 20
    assert tree.size > 100_000
    while tree.trim(100):
        pass
    assert tree.size <= 100_000
    assert tree.match("x" * 25_000)[-1][1] == 25_000
