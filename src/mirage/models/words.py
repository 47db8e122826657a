"""What a model reads of a prompt, and what it does not: words beyond its length, and words that it does not know.

read = words_read(model, "a red room with a dragon")
read.unknown                                            # ("dragon",)
for line in read.remarks(): print(line, file=sys.stderr)
vocabulary(model)                                       # every word of a closed vocabulary; None: it reads any text
"""

import html
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ftfy

if TYPE_CHECKING:
    from mirage.models.world import WorldModel

LISTED = 12  # words that a line names
PIECES = 10_000  # entries from which on a vocabulary is one of pieces, that make any word


@dataclass(frozen=True)
class WordsRead:
    """Of a prompt: `unread`, its last words, beyond `limit` tokens; `unknown`, those that all count as one unknown
    word, each once and in their order, of the part that is read."""

    unread: tuple[str, ...]
    unknown: tuple[str, ...]
    limit: int

    def remarks(self) -> list[str]:
        """A line for each that there are, for a person."""
        said = []
        if self.unread:
            count = len(self.unread)
            which = "word is" if count == 1 else f"{count} words are"
            said.append(f"the last {which} not read, the model reads {self.limit} tokens: {_listed(self.unread)}")
        if self.unknown:
            said.append(f"words that the model does not know, and which change nothing: {_listed(self.unknown)}")
        return said


def words_read(model: "WorldModel", prompt: str) -> WordsRead:
    """What of a prompt does not arrive, by the model's own tokenizer and length."""
    tokenizer, limit = model.tokenizer, int(model.config["text_length"])
    text = cleaned(prompt)
    encoded = tokenizer(text, return_offsets_mapping=True, truncation=False, add_special_tokens=False, verbose=False)
    spans: list[tuple[int, int]] = encoded["offset_mapping"]  # pyright: ignore[reportAssignmentType]
    room = limit - tokenizer.num_special_tokens_to_add()
    end = spans[room][0] if len(spans) > room else len(text)
    tokens = zip(list(encoded["input_ids"])[:room], spans, strict=False)
    strange = [text[slice(*span)].strip().lower() for token, span in tokens if token == tokenizer.unk_token_id]
    return WordsRead(tuple(text[end:].split()), tuple(word for word in dict.fromkeys(strange) if _is_word(word)), limit)


def cleaned(prompt: str) -> str:
    """The text that is read, as Wan's own tokenizer has it: what was decoded wrongly mended by ftfy, which also makes
    curly quotes straight and wide letters narrow; character references resolved; white space made single blanks."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(prompt))).split())


def vocabulary(model: "WorldModel") -> list[str] | None:
    """Every word that the model knows, sorted; None where it reads any text, in pieces of words."""
    known = model.tokenizer.get_vocab()
    if len(known) >= PIECES:
        return None
    return sorted(word for word in known if word not in model.tokenizer.all_special_tokens)


def _listed(words: tuple[str, ...]) -> str:
    more = f", and {len(words) - LISTED} more" if len(words) > LISTED else ""
    return ", ".join(words[:LISTED]) + more


def _is_word(text: str) -> bool:
    """Not punctuation alone, which changes nothing in any language."""
    return any(unicodedata.category(character)[0] not in "PZ" for character in text)
