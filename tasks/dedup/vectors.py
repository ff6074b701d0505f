"""Loops over text as vector instructions, which numba's own loops are not turned into.

Each function here is a numba intrinsic that writes LLVM's portable vector operations; a processor with AVX-512 has an
instruction for each, others do them piece by piece. They index without checks: callers give them padded arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 16  # 32-bit numbers in a vector
CHUNK = 64  # bytes in a vector
PADDING = 2 * CHUNK  # bytes, or numbers, that arrays are longer than what is in them
XXH_PRIMES = (2654435761, 2246822519, 3266489917, 668265263, 374761393)

_BIT, _BYTE, _INT, _LONG = (ir.IntType(bits) for bits in (1, 8, 32, 64))
_INTS, _BYTES = ir.VectorType(_INT, LANES), ir.VectorType(_BYTE, CHUNK)
_INT_MASK = ir.VectorType(_BIT, LANES)


class _Vectors:
    """Writes vector instructions into a function that numba compiles."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> None:
        self._context, self.builder, self._signature, self.arguments = context, builder, signature, arguments

    def pointer(self, argument: int) -> Any:
        """To the first element of an argument that is an array."""
        array = self._context.make_array(self._signature.args[argument])
        return array(self._context, self.builder, self.arguments[argument]).data

    def load(self, pointer: Any, at: Any, kind: Any) -> Any:
        place = self.builder.bitcast(self.builder.gep(pointer, [at]), kind.as_pointer())
        loaded = self.builder.load(place)
        loaded.align = 1
        return loaded

    def store(self, value: Any, pointer: Any, at: Any) -> None:
        place = self.builder.bitcast(self.builder.gep(pointer, [at]), value.type.as_pointer())
        self.builder.store(value, place).align = 1

    def sixteen_bytes(self, pointer: Any, offsets: Any) -> list[Any]:
        """The 16 bytes at each of 16 byte offsets: four vectors of the first, second, third and fourth 32-bit numbers.

        Loads and shuffles, since gather instructions are slow where they are guarded against speculation.
        """
        builder, four = self.builder, ir.VectorType(_INT, 4)
        loaded = []
        for lane in range(LANES):
            offset = builder.zext(builder.extract_element(offsets, _INT(lane)), _LONG)
            loaded.append(self.load(pointer, offset, four))
        rows = [self._joined([loaded[4 * slot + row] for slot in range(4)]) for row in range(4)]
        low, high = ([self._interleaved(rows[n], rows[n + 1], half) for n in (0, 2)] for half in (0, 2))
        pairs = ((low, 0), (low, 2), (high, 0), (high, 2))
        return [self._shuffled(a, b, [(0, half), (0, half + 1), (1, half), (1, half + 1)]) for (a, b), half in pairs]

    def _joined(self, fours: list[Any]) -> Any:
        eight = [self.builder.shuffle_vector(fours[n], fours[n + 1], _indices(range(8))) for n in (0, 2)]
        return self.builder.shuffle_vector(eight[0], eight[1], _indices(range(LANES)))

    def _interleaved(self, a: Any, b: Any, half: int) -> Any:
        return self._shuffled(a, b, [(0, half), (1, half), (0, half + 1), (1, half + 1)])

    def _shuffled(self, a: Any, b: Any, taken: list[tuple[int, int]]) -> Any:
        """In each quarter of a vector the named elements of the same quarter of ``a`` (0) or ``b`` (1)."""
        places = [LANES * which + 4 * quarter + element for quarter in range(4) for which, element in taken]
        return self.builder.shuffle_vector(a, b, _indices(places))

    def rotated(self, value: Any, bits: int) -> Any:
        call = self._function("llvm.fshl.v16i32", _INTS, [_INTS] * 3)
        return self.builder.call(call, [value, value, ints(bits)])

    def smaller(self, a: Any, b: Any) -> Any:
        return self.builder.call(self._function("llvm.umin.v16i32", _INTS, [_INTS] * 2), [a, b])

    def compressed(self, value: Any, mask: Any) -> Any:
        """The elements that the mask names, moved to the front."""
        call = self._function("llvm.experimental.vector.compress.v16i32", _INTS, [_INTS, _INT_MASK, _INTS])
        return self.builder.call(call, [value, mask, ints(0)])

    def count(self, bits: Any) -> Any:
        """How many bits of an integer are set, as 64 bits."""
        width = bits.type.width
        call = self._function(f"llvm.ctpop.i{width}", bits.type, [bits.type])
        counted = self.builder.call(call, [bits])
        return counted if width == _LONG.width else self.builder.zext(counted, _LONG)

    def everywhere(self, value: Any, kind: Any = _INTS) -> Any:
        """A vector of one number."""
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, _INT(0))
        return self.builder.shuffle_vector(
            first, ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(_INT, kind.count), None)
        )

    def _function(self, name: str, result: Any, arguments: Sequence[Any]) -> Any:
        module = self.builder.module
        return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, arguments), name)


def ints(value: int) -> Any:
    """A vector of one 32-bit constant."""
    return ir.Constant(_INTS, [value & 0xFFFFFFFF] * LANES)


def _indices(places: Iterable[int]) -> Any:
    chosen = list(places)
    return ir.Constant(ir.VectorType(_INT, len(chosen)), chosen)


def _bytes(value: int) -> Any:
    return ir.Constant(_BYTES, [value & 0xFF] * CHUNK)


@intrinsic  # type: ignore[untyped-decorator]
def ascii_words(_typing: Any, text: Any, at: Any, limit: Any, out: Any, n: Any, inside: Any) -> Any:
    """Writes the ASCII bytes at ``text[at:]`` to ``out[n:]``: letters in lower case, digits and _, one space after a word.

    At most ``limit`` bytes are read, at most ``CHUNK``, and none from the first on that is not ASCII. ``inside`` (0 or 1)
    says whether the byte before was of a word. Returns bytes read, bytes written and the new ``inside``, 8 bits each.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        v = _Vectors(context, builder, signature, arguments)
        chunk = v.load(v.pointer(0), arguments[1], _BYTES)
        high = builder.bitcast(builder.icmp_signed("<", chunk, _bytes(0)), _LONG)
        plain = builder.cttz(high, _BIT(0))  # 64 where all are ASCII
        read = builder.select(builder.icmp_unsigned("<", plain, arguments[2]), plain, arguments[2])
        read = builder.select(builder.icmp_unsigned("<", read, _LONG(CHUNK)), read, _LONG(CHUNK))
        is_upper = builder.icmp_unsigned("<", builder.sub(chunk, _bytes(ord("A"))), _bytes(26))
        lower = builder.select(is_upper, builder.or_(chunk, _bytes(0x20)), chunk)
        is_letter = builder.icmp_unsigned("<", builder.sub(lower, _bytes(ord("a"))), _bytes(26))
        is_digit = builder.icmp_unsigned("<", builder.sub(lower, _bytes(ord("0"))), _bytes(10))
        is_word = builder.or_(builder.or_(is_letter, is_digit), builder.icmp_unsigned("==", lower, _bytes(ord("_"))))
        word = builder.bitcast(is_word, _LONG)
        # A shift by 64 is undefined: nothing is read only where the first byte is not ASCII, which the caller sees to.
        used = builder.lshr(_LONG(-1), builder.and_(builder.sub(_LONG(CHUNK), read), _LONG(CHUNK - 1)))
        kept = builder.and_(builder.or_(word, builder.or_(builder.shl(word, _LONG(1)), arguments[5])), used)
        spaced = builder.select(is_word, lower, _bytes(ord(" ")))
        to = arguments[4]
        for first in range(0, CHUNK, LANES):  # as 32-bit numbers, since few processors compress bytes
            lanes = ir.Constant(ir.VectorType(_INT, LANES), list(range(first, first + LANES)))
            wide = builder.zext(builder.shuffle_vector(spaced, ir.Constant(_BYTES, ir.Undefined), lanes), _INTS)
            mask = builder.trunc(builder.lshr(kept, _LONG(first)), ir.IntType(LANES))
            packed = v.compressed(wide, builder.bitcast(mask, _INT_MASK))
            v.store(builder.trunc(packed, ir.VectorType(_BYTE, LANES)), v.pointer(3), to)
            to = builder.add(to, v.count(mask))
        last = builder.and_(builder.lshr(word, builder.and_(builder.sub(read, _LONG(1)), _LONG(CHUNK - 1))), _LONG(1))
        return builder.or_(builder.or_(read, builder.shl(v.count(kept), _LONG(8))), builder.shl(last, _LONG(16)))

    return types.int64(text, at, limit, out, n, inside), code


@intrinsic  # type: ignore[untyped-decorator]
def word_starts(_typing: Any, words: Any, at: Any, starts: Any, n: Any) -> Any:
    """Writes the places behind the spaces among 16 bytes of ``words`` to ``starts[n:]``; returns their number."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        v = _Vectors(context, builder, signature, arguments)
        kind = ir.VectorType(_BYTE, LANES)
        spaces = builder.icmp_unsigned(
            "==", v.load(v.pointer(0), arguments[1], kind), ir.Constant(kind, [ord(" ")] * LANES)
        )
        behind = builder.add(
            v.everywhere(builder.trunc(arguments[1], _INT)), ir.Constant(_INTS, list(range(1, LANES + 1)))
        )
        v.store(v.compressed(behind, spaces), v.pointer(2), arguments[3])
        return v.count(builder.bitcast(spaces, ir.IntType(LANES)))

    return types.int64(words, at, starts, n), code


@intrinsic  # type: ignore[untyped-decorator]
def xxh32_of_shingles(_typing: Any, words: Any, starts: Any, first: Any, behind: Any, count: Any, hashes: Any) -> Any:
    """XXH32, seed 0, of 16 shingles: from the word ``first`` to before the word ``behind``, and so on for those after it.

    Lanes from ``count`` on are empty texts. A shingle ends before the space before the word behind it.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        v = _Vectors(context, builder, signature, arguments)
        prime = [ints(value) for value in XXH_PRIMES]
        add, mul, xor, select = builder.add, builder.mul, builder.xor, builder.select
        text, places = v.pointer(0), v.pointer(1)
        begin = v.load(places, arguments[2], _INTS)
        used = builder.icmp_unsigned(
            "<", ir.Constant(_INTS, list(range(LANES))), v.everywhere(builder.trunc(arguments[4], _INT))
        )
        length = builder.sub(builder.sub(v.load(places, arguments[3], _INTS), ints(1)), begin)
        length = select(used, length, ints(0))
        stripes = builder.lshr(length, ints(4))
        entry = builder.block
        head, body, tail = (builder.append_basic_block(name) for name in ("head", "body", "tail"))
        builder.branch(head)
        builder.position_at_end(head)
        done, at = builder.phi(_INTS), builder.phi(_INTS)
        lanes = [builder.phi(_INTS) for _ in range(4)]
        start = (XXH_PRIMES[0] + XXH_PRIMES[1], XXH_PRIMES[1], 0, -XXH_PRIMES[0])
        done.add_incoming(ints(0), entry)
        at.add_incoming(begin, entry)
        for lane, value in zip(lanes, start, strict=True):
            lane.add_incoming(ints(value), entry)
        active = builder.icmp_unsigned("<", done, stripes)
        some = builder.icmp_unsigned("!=", builder.bitcast(active, ir.IntType(LANES)), ir.IntType(LANES)(0))
        builder.cbranch(some, body, tail)
        builder.position_at_end(body)
        for lane, read in zip(lanes, v.sixteen_bytes(text, at), strict=True):
            mixed = mul(v.rotated(add(lane, mul(read, prime[1])), 13), prime[0])
            lane.add_incoming(select(active, mixed, lane), body)
        done.add_incoming(add(done, ints(1)), body)
        at.add_incoming(select(active, add(at, ints(16)), at), body)
        builder.branch(head)
        builder.position_at_end(tail)
        folded = add(
            add(v.rotated(lanes[0], 1), v.rotated(lanes[1], 7)), add(v.rotated(lanes[2], 12), v.rotated(lanes[3], 18))
        )
        value = add(select(builder.icmp_unsigned("!=", stripes, ints(0)), folded, prime[4]), length)
        left = builder.and_(length, ints(15))
        words_left = v.sixteen_bytes(text, at)
        last = words_left[0]
        for number in range(3):  # whole 32-bit words behind the last stripe
            there = builder.icmp_unsigned(">=", left, ints(4 * number + 4))
            read = words_left[number]
            value = select(there, mul(v.rotated(add(value, mul(read, prime[2])), 17), prime[3]), value)
            last = select(there, words_left[number + 1], last)
        rest = builder.and_(length, ints(3))
        for number in range(3):  # single bytes behind them
            there = builder.icmp_unsigned(">", rest, ints(number))
            byte = builder.and_(builder.lshr(last, ints(8 * number)), ints(0xFF))
            value = select(there, mul(v.rotated(add(value, mul(byte, prime[4])), 11), prime[0]), value)
        value = mul(xor(value, builder.lshr(value, ints(15))), prime[1])
        value = mul(xor(value, builder.lshr(value, ints(13))), prime[2])
        v.store(xor(value, builder.lshr(value, ints(16))), v.pointer(5), arguments[2])
        return context.get_dummy_value()

    return types.void(words, starts, first, behind, count, hashes), code


@intrinsic  # type: ignore[untyped-decorator]
def affine_minima(_typing: Any, hashes: Any, count: Any, a: Any, b: Any, at: Any, minima: Any) -> Any:
    """minima[k] = min over the hashes h of a[k] * h + b[k] modulo 2^32, for 128 k from ``at`` on, kept in registers."""
    groups = 128 // LANES

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        v = _Vectors(context, builder, signature, arguments)
        read, place = v.pointer(0), v.pointer(5)
        places = [builder.add(arguments[4], _LONG(group * LANES)) for group in range(groups)]
        factors = [v.load(v.pointer(2), at, _INTS) for at in places]
        terms = [v.load(v.pointer(3), at, _INTS) for at in places]
        entry = builder.block
        head, body, tail = (builder.append_basic_block(name) for name in ("head", "body", "tail"))
        builder.branch(head)
        builder.position_at_end(head)
        at = builder.phi(_LONG)
        least = [builder.phi(_INTS) for _ in range(groups)]
        at.add_incoming(_LONG(0), entry)
        for value in least:
            value.add_incoming(ints(-1), entry)
        builder.cbranch(builder.icmp_unsigned("<", at, arguments[1]), body, tail)
        builder.position_at_end(body)
        one = v.everywhere(builder.load(builder.gep(read, [at])))
        for factor, term, value in zip(factors, terms, least, strict=True):
            value.add_incoming(v.smaller(value, builder.add(builder.mul(factor, one), term)), body)
        at.add_incoming(builder.add(at, _LONG(1)), body)
        builder.branch(head)
        builder.position_at_end(tail)
        for value, to in zip(least, places, strict=True):
            v.store(value, place, to)
        return context.get_dummy_value()

    return types.void(hashes, count, a, b, at, minima), code
