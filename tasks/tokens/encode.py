"""Byte-level BPE over columns of texts, in compiled code: the tokens that the stored tokenizer gives.

A text is cut into pieces by GPT-2's pattern (Radford et al. 2019, section 2.2); in each piece the pair of tokens that
was learnt first is merged until none is left (Sennrich et al. 2016, algorithm 1). A piece met before is looked up.
"""

from __future__ import annotations

import heapq
import json
import unicodedata
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from tasks.core.compiled import compiled
from tasks.text.characters import CODE_POINTS, code_point
from tasks.tokens.alphabet import SPLIT, byte_characters

OTHER, LETTER, NUMBER, SPACE, UNSURE = range(5)
_OF_CATEGORY = {"L": LETTER, "N": NUMBER}  # by the first letter of Unicode's general category
_UNASSIGNED = "Cn"  # in Python's version of Unicode; the tokenizer's may be newer, so that it knows better
_ASSIGNED = (range(0x34000), range(0xE0000, 0xE0200))  # letters and signs; tags and variation selectors
_SEPARATORS = range(0x1C, 0x20)  # spaces to Python, but not by Unicode's property White_Space
_NOT_PLAIN = ("continuing_subword_prefix", "end_of_word_suffix", "ignore_merges", "dropout")
_SLOT_BITS = 16
_KEPT_BYTES, _KEPT_TOKENS = 15, 7  # of a piece that is remembered: it and its size are two numbers of 64 bits
_SHORT = 64  # bytes of a piece in which looking at every pair is faster than keeping them in order
_NONE = -1
_NEVER = np.uint64(0xFFFFFFFFFFFFFFFF)  # a pair that was not learnt: it comes after all others
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_HALF, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)


class Merges(NamedTuple):
    """The token of each byte; a hash table of pairs of tokens, with when each was learnt and what it becomes."""

    of_byte: npt.NDArray[np.int32]
    table: npt.NDArray[np.uint64]  # slots x (pair, rank and token)


class Pieces(NamedTuple):
    """Short pieces met before, one a slot: their bytes as two numbers; how many tokens they are, and which."""

    spelled: npt.NDArray[np.uint64]
    tokens: npt.NDArray[np.int32]


class Encoder:
    """The encoding of a byte-level BPE tokenizer. Raises ValueError for tokenizers of other kinds."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        stored = json.loads(tokenizer.to_str())
        model = stored["model"]
        if (
            model["type"] != "BPE"
            or any(model.get(key) for key in _NOT_PLAIN)
            or stored["normalizer"]
            or stored["truncation"]
        ):
            raise ValueError("the tokenizer is no plain byte-level BPE")
        if not _splits_as_gpt2(stored["pre_tokenizer"]):
            raise ValueError("the tokenizer does not split texts by GPT-2's pattern")
        if any(not token["special"] for token in stored["added_tokens"]):
            raise ValueError("the tokenizer has words beside those of its merges")
        try:
            self._merges = _merges_of(model["vocab"], model["merges"])
        except KeyError as error:
            raise ValueError(f"the tokenizer's vocabulary lacks {error}") from error
        self._kinds = _kinds()

    def __call__(self, texts: list[str]) -> list[npt.NDArray[np.int32] | None]:
        """The tokens of each text; what looks like a special token is text like any other.

        None for a text with a character that this Python does not know: a newer library may take it for a letter.
        """
        encoded = [text.encode() for text in texts]
        offsets = np.cumsum([0, *map(len, encoded)])
        data = np.frombuffer(b"".join(encoded), np.uint8)
        tokens = np.empty(len(data), np.int32)
        stops, sure = np.zeros(len(offsets), np.int64), np.ones(len(texts), np.bool_)
        slots = 1 << _SLOT_BITS
        met = Pieces(np.zeros((slots, 2), np.uint64), np.zeros((slots, 1 + _KEPT_TOKENS), np.int32))
        _encode(data, offsets, self._kinds, self._merges, met, tokens, stops, sure)
        return [tokens[stops[row] : stops[row + 1]] if sure[row] else None for row in range(len(texts))]


def _splits_as_gpt2(stored: dict[str, Any] | None) -> bool:
    """Whether a stored pre-tokenizer is GPT-2's pattern and bytes: in one, as transformers stores it, or one after the other."""
    steps = [] if stored is None else stored.get("pretokenizers", [stored])
    bytes_last = bool(steps) and steps[-1]["type"] == "ByteLevel" and not steps[-1]["add_prefix_space"]
    if len(steps) == 1:
        return bytes_last and bool(steps[0]["use_regex"])
    return (
        bytes_last
        and len(steps) == 2
        and not steps[1]["use_regex"]
        and steps[0]["type"] == "Split"
        and steps[0]["pattern"] == {"Regex": SPLIT}
        and steps[0]["behavior"] == "Isolated"
        and not steps[0]["invert"]
    )


def _merges_of(vocabulary: dict[str, int], merges: list[list[str]]) -> Merges:
    of_byte = np.array([vocabulary[character] for _, character in sorted(byte_characters().items())], np.int32)
    table = np.full((1 << max(8, (4 * len(merges)).bit_length()), 2), _NEVER)
    _fill(
        np.array([[vocabulary[a], vocabulary[b], vocabulary[a + b]] for a, b in merges], np.int64).reshape(-1, 3), table
    )
    return Merges(of_byte, table)


@cache
def _kinds() -> npt.NDArray[np.uint8]:
    """Code point -> letter, number, space or other."""
    kinds = np.full(CODE_POINTS, UNSURE, np.uint8)
    for code in chain(*_ASSIGNED):
        category = unicodedata.category(chr(code))
        if category != _UNASSIGNED:
            kinds[code] = _OF_CATEGORY.get(category[0], OTHER)
    spaces = [code for code in range(0x3001) if chr(code).isspace() and code not in _SEPARATORS]
    kinds[spaces] = SPACE
    return kinds


@compiled
def _both(left: int, right: int) -> Any:
    """Two numbers of 32 bits as one, which the left one orders."""
    return np.uint64(left) << _HALF | np.uint64(right)


@compiled
def _slot(pair: Any, table: Any) -> Any:
    """The slot of a pair, or the free one where it belongs."""
    mask = np.uint64(len(table) - 1)
    slot = (pair * _FACTOR >> _HALF) & mask
    while table[slot, 0] != pair and table[slot, 0] != _NEVER:
        slot = (slot + np.uint64(1)) & mask
    return slot


@compiled
def _fill(ids: Any, table: Any) -> None:
    for rank in range(len(ids)):
        pair = _both(ids[rank, 0], ids[rank, 1])
        slot = _slot(pair, table)
        if table[slot, 0] == _NEVER:
            table[slot, 0], table[slot, 1] = pair, _both(rank, ids[rank, 2])


@compiled
def _learnt(left: int, right: int, table: Any) -> Any:
    """When a pair of tokens was learnt, above what it becomes: the lower, the earlier."""
    return table[_slot(_both(left, right), table), 1]


@compiled
def _encode(
    data: Any, offsets: Any, kinds: Any, merges: Merges, met: Pieces, tokens: Any, stops: Any, sure: Any
) -> None:
    """Writes the tokens of all texts, where those of each stop, and whether all its characters are known."""
    count, learnt = 0, np.empty(_SHORT, np.uint64)
    for text in range(len(offsets) - 1):
        stop, end = offsets[text], offsets[text + 1]
        while stop < end:
            at = stop
            stop, kind = _piece_stop(data, at, end, kinds)
            if kind == UNSURE:
                sure[text] = False
            if stop - at == 1:
                tokens[count] = merges.of_byte[data[at]]
                count += 1
                continue
            # A call for each piece would take longer than this look.
            low, high = _spelled(data, at, min(stop, at + _KEPT_BYTES))
            slot = ((low ^ high * _FACTOR) * _FACTOR) >> np.uint64(64 - _SLOT_BITS)
            if met.spelled[slot, 0] == low and met.spelled[slot, 1] == high and stop - at <= _KEPT_BYTES:
                for place in range(1, met.tokens[slot, 0] + 1):
                    tokens[count] = met.tokens[slot, place]
                    count += 1
            elif stop - at > _SHORT:
                count = _merge_long(data, at, stop, merges, tokens, count)
            else:
                after = _merge(data, at, stop, merges, learnt, tokens, count)
                if after - count <= _KEPT_TOKENS and stop - at <= _KEPT_BYTES:
                    met.spelled[slot, 0], met.spelled[slot, 1], met.tokens[slot, 0] = low, high, after - count
                    met.tokens[slot, 1 : after - count + 1] = tokens[count:after]
                count = after
        stops[text + 1] = count


@compiled
def _spelled(data: Any, at: int, stop: int) -> Any:
    """A piece's size and bytes as two numbers."""
    low, high = np.uint64(stop - at), np.uint64(0)
    for place in range(at, min(at + 7, stop)):
        low = low << np.uint64(8) | np.uint64(data[place])
    for place in range(at + 7, stop):
        high = high << np.uint64(8) | np.uint64(data[place])
    return low, high


@compiled
def _kind(data: Any, at: int, kinds: Any) -> Any:
    if data[at] < 0x80:
        return kinds[data[at]], 1
    code, size = code_point(data, at)
    return kinds[code], size


@compiled
def _piece_stop(data: Any, at: int, end: int, kinds: Any) -> Any:
    """Where the piece that begins at a byte stops, and its kind: UNSURE where Python does not know a character of it."""
    if data[at] == 39 and at + 1 < end:  # 's 't 'm 'd 're 've 'll
        a, b = data[at + 1], data[at + 2] if at + 2 < end else 0
        if a in (115, 116, 109, 100):
            return at + 2, OTHER
        if (a == 114 and b == 101) or (a == 118 and b == 101) or (a == 108 and b == 108):
            return at + 3, OTHER
    first = at
    if data[at] == 32 and at + 1 < end and _kind(data, at + 1, kinds)[0] != SPACE:
        at += 1  # one space goes with what follows
    kind, size = _kind(data, at, kinds)
    last = at
    at += size
    while at < end:
        same, size = _kind(data, at, kinds)
        if same != kind:
            # The last of several spaces goes with what follows.
            return (last if kind == SPACE and last > first else at), kind
        last = at
        at += size
    return end, kind


@compiled
def _merge(data: Any, at: int, stop: int, merges: Merges, learnt: Any, tokens: Any, count: int) -> int:
    """Adds the tokens of a short piece: of all pairs, the one learnt first is merged, again and again."""
    table, size = merges.table, stop - at
    for place in range(size):
        tokens[count + place] = merges.of_byte[data[at + place]]
    for place in range(size - 1):
        learnt[place] = _learnt(tokens[count + place], tokens[count + place + 1], table)
    while size > 1:
        first = 0
        for place in range(1, size - 1):
            if learnt[place] < learnt[first]:
                first = place
        if learnt[first] == _NEVER:
            break
        here = count + first
        tokens[here] = learnt[first] & _LOW
        for place in range(first + 1, size - 1):
            tokens[count + place], learnt[place] = tokens[count + place + 1], learnt[place + 1]
        size -= 1
        if first + 1 < size:
            learnt[first] = _learnt(tokens[here], tokens[here + 1], table)
        if first > 0:
            learnt[first - 1] = _learnt(tokens[here - 1], tokens[here], table)
    return count + size


@compiled
def _merge_long(data: Any, at: int, stop: int, merges: Merges, tokens: Any, count: int) -> int:
    """Adds the tokens of a long piece, whose pairs are kept in the order in which they were learnt."""
    table, size = merges.table, stop - at
    ids, after, before = np.empty(size, np.int64), np.arange(1, size + 1), np.arange(-1, size - 1)
    for place in range(size):
        ids[place] = merges.of_byte[data[at + place]]
    pairs = [(_learnt(ids[place], ids[place + 1], table), place) for place in range(size - 1)]
    heapq.heapify(pairs)
    while pairs:
        learnt, place = heapq.heappop(pairs)
        if learnt == _NEVER:
            break
        right = after[place]
        # A pair's tokens may have been merged with others since.
        if ids[place] < 0 or right == size or _learnt(ids[place], ids[right], table) != learnt:
            continue
        ids[place], ids[right], after[place] = learnt & _LOW, _NONE, after[right]
        if after[place] < size:
            before[after[place]] = place
            heapq.heappush(pairs, (_learnt(ids[place], ids[after[place]], table), place))
        if before[place] >= 0:
            heapq.heappush(pairs, (_learnt(ids[before[place]], ids[place], table), before[place]))
    for place in range(size):
        if ids[place] >= 0:
            tokens[count] = ids[place]
            count += 1
    return count
