"""What moves, by its name: Qwen3-VL says which things in the frames do, SAM 3 says where they are. Both are of
transformers, both optional; a session takes the outcome as `moving` and keeps it out of the memory.

    frames -> names ("person", "dog")        given by the user, or asked of Qwen3-VL for every chunk
    frames, names -> mask                    SAM 3, each frame alone: all things of that name

Both run without torchvision, which the processors of transformers need for SAM 3: frames are prepared here.
`F` frames, `H W` pixels, `H' W'` those of a mask.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPTokenizer, PreTrainedTokenizerFast, Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.sam3.modeling_sam3 import Sam3Model

from mirage.errors import InputError
from mirage.models.loading import quiet

SAM3 = "facebook/sam3"
QWEN3 = "Qwen/Qwen3-VL-4B-Instruct"
THERE, INSIDE = 0.3, 0.5
"""Score above which SAM 3 has found a thing, and above which a pixel is of it: the thresholds of its own processor."""
PICTURES = 4  # of a chunk that Qwen3-VL looks at, spread evenly
WORDS = 8  # names that are believed of one answer: SAM 3 looks once for each
QUESTION = (
    "These pictures are frames of one video. Which kinds of things in them move by themselves, such as people, "
    "animals or vehicles? Answer with nouns in the singular, separated by commas, or with: none"
)

Names = Callable[[Tensor], tuple[str, ...]]
"""Frames [F,3,H,W] in [0, 1] -> names of what moves in them."""


class MovingThings:
    """A session's segmenter: where things are whose `names` the frames get."""

    def __init__(self, model: Sam3Model, tokenizer: CLIPTokenizer, names: Names) -> None:
        its: Any = model.config
        side = its.vision_config.image_size
        self.model, self.tokenizer, self.names = model.eval(), tokenizer, names
        self.size = (side, side) if isinstance(side, int) else tuple(side)
        self.length = its.text_config.max_position_embeddings

    @torch.no_grad()
    def __call__(self, first: int, count: int, frames: Callable[[], Tensor]) -> Tensor:
        """1 where something moves, else 0: [count,H',W'] of the whole frames."""
        video = frames()
        words = [self._read(name) for name in self.names(video)]
        found = []
        for frame in video:  # one at a time: a chunk at once would need a chunk's memory
            seen = F.interpolate(frame[None].to(self.model.device), self.size, mode="bilinear", antialias=True)
            sight: Any = self.model.get_vision_features(pixel_values=(seen * 2 - 1).to(self.model.dtype))
            height, width = sight.fpn_hidden_states[0].shape[-2:]
            mask = torch.zeros(height, width, dtype=torch.bool, device=self.model.device)
            for features, known in words:
                answer: Any = self.model(vision_embeds=sight, text_embeds=features, attention_mask=known)
                there = (answer.pred_logits.sigmoid() * answer.presence_logits.sigmoid() > THERE)[0]
                mask |= (answer.pred_masks[0, there].sigmoid() > INSIDE).any(0)
            found.append(mask)
        return torch.stack(found).float()

    def _read(self, name: str) -> tuple[Any, Tensor]:
        """A name as the network takes it: features, and which of its tokens are words."""
        tokens = self.tokenizer(
            name, padding="max_length", truncation=True, max_length=self.length, return_tensors="pt"
        ).to(self.model.device)
        features = self.model.get_text_features(tokens.input_ids, tokens.attention_mask)
        return features, tokens.attention_mask


class AskedNames:
    """`Names` that Qwen3-VL gives."""

    def __init__(
        self,
        model: Qwen3VLForConditionalGeneration,
        tokenizer: PreTrainedTokenizerFast,
        pictures: Qwen2VLImageProcessorPil,
    ) -> None:
        self.model: Any = model.eval()
        self.tokenizer, self.pictures = tokenizer, pictures

    @torch.no_grad()
    def __call__(self, frames: Tensor) -> tuple[str, ...]:
        chosen = torch.linspace(0, len(frames) - 1, min(PICTURES, len(frames))).round().long().unique()
        pixels = (frames[chosen.to(frames.device)].clamp(0, 1) * 255).round().byte().movedim(1, -1).cpu().numpy()
        seen = self.pictures(list(pixels), input_data_format="channels_last", return_tensors="pt")
        tokens = torch.tensor([self._asked(seen.image_grid_thw)], device=self.model.device)
        said = self.model.generate(
            input_ids=tokens, attention_mask=torch.ones_like(tokens),
            mm_token_type_ids=(tokens == self.model.config.image_token_id).int(),
            pixel_values=seen.pixel_values.to(self.model.device, self.model.dtype),
            image_grid_thw=seen.image_grid_thw.to(self.model.device), max_new_tokens=64, do_sample=False)  # fmt: skip
        return names_in(str(self.tokenizer.decode(said[0, tokens.shape[1] :], skip_special_tokens=True)))

    def _asked(self, grids: Tensor) -> list[int]:
        """One turn of Qwen's chat, as tokens: the pictures, of which the network is given the grids [F,3], and the
        question."""
        its = self.model.config
        merged = its.vision_config.spatial_merge_size**2
        tokens = self.tokenizer.encode("<|im_start|>user\n", add_special_tokens=False)
        for grid in grids.tolist():
            cells = [its.image_token_id] * (grid[0] * grid[1] * grid[2] // merged)
            tokens += [its.vision_start_token_id, *cells, its.vision_end_token_id]
        return tokens + self.tokenizer.encode(
            f"{QUESTION}<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=False
        )


def names_in(answer: str) -> tuple[str, ...]:
    """The names in an answer such as "Person, dog." or "none"."""
    words = (re.sub(r"[^\w' -]", " ", word).strip().lower() for word in re.split(r"[,;\n]", answer))
    names = (word for word in words if any(map(str.isalpha, word)) and word != "none" and len(word) <= 40)
    return tuple(dict.fromkeys(names))[:WORDS]


def load_moving(asked: str, *, segmenter: str = SAM3, device: torch.device | str) -> MovingThings:
    """What moves, for a session.

    asked       names such as "person, dog"; or "ask", and Qwen3-VL names them, "ask:HUB-ID" or "ask:FOLDER" with other
                weights than its usual ones
    segmenter   SAM 3: hub id or folder
    """
    check_moving(asked)
    kind, _, weights = asked.partition(":")
    if kind == "ask":
        name = weights or QWEN3
        names = AskedNames(
            _whole(Qwen3VLForConditionalGeneration, name, dtype="auto").to(device),
            _loaded(PreTrainedTokenizerFast, name),
            _loaded(Qwen2VLImageProcessorPil, name),
        )
    else:
        names = _given(names_in(asked))
    return MovingThings(_whole(Sam3Model, segmenter).to(device), _loaded(CLIPTokenizer, segmenter), names)


def check_moving(asked: str) -> None:
    """`InputError` if that names nothing; no weights are loaded."""
    kind, colon, weights = asked.partition(":")
    if kind != "ask" and not names_in(asked):
        raise InputError(f'moving things {asked!r} names nothing; accepted: names such as "person, dog", or ask')
    there = weights and Path(weights).expanduser().is_dir()
    if kind == "ask" and colon and not (there or re.fullmatch(r"[\w.-]+/[\w.-]+", weights)):
        raise InputError(f"moving things {asked!r}: {weights!r} is neither a folder nor a hub id owner/name")


def _given(names: tuple[str, ...]) -> Names:
    """The same ones whatever the frames show."""
    return lambda frames: names


def _whole(kind: Any, name: str, **choices: Any) -> Any:
    """A network with all of its weights: transformers itself would make up what a file lacks."""
    model, found = _loaded(kind, name, output_loading_info=True, use_safetensors=True, **choices)
    lacking = sorted(str(key) for group in ("missing_keys", "mismatched_keys") for key in found[group])
    if lacking:
        raise InputError(f"{kind.__name__} {name!r} lacks {len(lacking)} weights, such as {lacking[0]}")
    return model


def _loaded(kind: Any, name: str, **choices: Any) -> Any:
    try:
        with quiet():
            return kind.from_pretrained(name, **choices)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise InputError(f"{kind.__name__} {name!r} does not load: {' '.join(str(error).split())[:300]}") from error
