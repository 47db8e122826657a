"""A SentencePiece model, the bytes that ComfyUI keeps inside its umt5 file, as a tokenizer; no further package.

    tokenizer = tokenizer_of(bytes)         # the ids are SentencePiece's own, </s> behind them

The bytes are a protocol buffer (sentencepiece_model.proto): fields of (number << 3 | kind), where kind 0 is a varint, 1
eight bytes, 2 a length and so many bytes, 5 four bytes. Of it are read:

    1 pieces             1 text, 2 score, 3 type (1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte)
    2 trainer_spec       3 model type (1 unigram, 2 BPE), 35 byte fallback
    3 normalizer_spec    2 table of characters, 3 add a space in front, 4 remove extra spaces, 5 escape spaces
"""

import struct
from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from mirage.errors import InputError

SPACE = "\u2581"
UNKNOWN, CONTROL, USER, BYTE = 2, 3, 4, 6
Value = int | bytes


def tokenizer_of(model: bytes, *, source: object) -> PreTrainedTokenizerFast:
    """The tokenizer of a SentencePiece model, unigram as T5's; `InputError`, which names `source`, for other bytes."""
    try:
        fields = list(_fields(model))
        pieces = [_piece(value) for number, value in fields if number == 1 and isinstance(value, bytes)]
        trainer = dict(_fields(_last(fields, 2)))
        spec = dict(_fields(_last(fields, 3)))
        if not pieces or trainer.get(3, 1) != 1 or sum(kind == UNKNOWN for _, _, kind in pieces) != 1:
            raise ValueError("no unigram model with one unknown piece")
        return _made(pieces, spec, bytes_too=bool(trainer.get(35, 0)))
    except (ValueError, TypeError, IndexError, struct.error) as error:
        raise InputError(f"{source} holds a tokenizer that is no SentencePiece model of T5's kind: {error}") from error


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Numbers and values of one message."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128 or shift > 63:
                return value

    def taken(size: int) -> bytes:
        nonlocal at
        if at + size > len(data):
            raise ValueError("it is cut short")
        at += size
        return data[at - size : at]

    while at < len(data):
        tag = varint()
        number, kind = tag >> 3, tag & 7
        if number == 0 or kind not in (0, 1, 2, 5):
            raise ValueError(f"there is no field {number} of kind {kind}")
        yield number, varint() if kind == 0 else taken({1: 8, 5: 4}.get(kind) or varint())


def _last(fields: list[tuple[int, Value]], wanted: int) -> bytes:
    found = [value for number, value in fields if number == wanted]
    if not found or not isinstance(found[-1], bytes):
        return b""
    return found[-1]


def _piece(message: bytes) -> tuple[str, float, int]:
    """Text, score, type."""
    said = dict(_fields(message))
    text, score, kind = said.get(1, b""), said.get(2, bytes(4)), said.get(3, 1)
    if not isinstance(text, bytes) or not isinstance(score, bytes) or not isinstance(kind, int):
        raise ValueError("a piece has fields of wrong kinds")
    return text.decode(), struct.unpack("<f", score)[0], kind


def _made(pieces: list[tuple[str, float, int]], spec: dict[int, Value], *, bytes_too: bool) -> PreTrainedTokenizerFast:
    kinds = [kind for _, _, kind in pieces]
    names = [text for text, _, _ in pieces]
    unknown = kinds.index(UNKNOWN)
    vocabulary = [(text, score) for text, score, _ in pieces]
    its = Tokenizer(models.Unigram(vocabulary, unk_id=unknown, byte_fallback=bytes_too))
    table = spec.get(2, b"")
    steps: list[normalizers.Normalizer] = []
    if isinstance(table, bytes) and table:
        steps.append(normalizers.Precompiled(table))
    if spec.get(4, 1):
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    if steps:
        its.normalizer = normalizers.Sequence(steps)  # pyright: ignore[reportAttributeAccessIssue]
    scheme = "always" if spec.get(3, 1) else "never"
    its.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, scheme, split=False)  # pyright: ignore[reportAttributeAccessIssue]
    its.decoder = decoders.Metaspace(SPACE, scheme)  # pyright: ignore[reportAttributeAccessIssue]
    if "</s>" not in names or kinds[names.index("</s>")] != CONTROL:
        raise ValueError("it has no </s>")
    end = ("</s>", names.index("</s>"))
    its.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single="$A </s>", special_tokens=[end]
    )
    pad = "<pad>" if "<pad>" in names else "</s>"
    return PreTrainedTokenizerFast(
        tokenizer_object=its, pad_token=pad, eos_token="</s>", unk_token=names[unknown], padding_side="right"
    )
