"""World models from nothing but numbers: `build_world` for the bundled model, `tiny_world` for tests.

Random weights, a tokenizer made in memory, no download. The classes are those of Wan2.2-TI2V; only the sizes differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from mirage.models.depth_head import LatentDepthHead
from mirage.models.grouped import GroupedAutoencoder
from mirage.models.streams import Autoencoder
from mirage.models.transformer import MemoryBranch
from mirage.models.world import WorldModel


@dataclass(frozen=True)
class GroupedSizes:
    """Of a `GroupedAutoencoder`."""

    width: int = 256
    top: int = 64
    body: int = 4
    head: int = 2
    decoder_body: int | None = None


@dataclass(frozen=True)
class MiniConfig:
    """Sizes of a whole world model. The defaults are the bundled one's; `TINY` is for tests."""

    # autoencoder: of groups; None: in the layout of Wan's, of these sizes
    grouped: GroupedSizes | None = GroupedSizes(decoder_body=2)
    channels: int = 32
    base_dim: int = 24
    decoder_base_dim: int = 24
    dim_mult: tuple[int, ...] = (1, 4, 4)
    res_blocks: int = 1
    temporal_downsample: tuple[bool, ...] = (True, True)
    stride: int = 8
    # transformer and its branch
    heads: int = 4
    head_dim: int = 64
    layers: int = 6
    ffn_dim: int = 1024
    patch_size: tuple[int, int, int] = (1, 4, 4)
    branch_layers: tuple[int, ...] = (0, 2, 4)
    use_offset: bool = True
    use_motion: bool = True
    use_rays: bool = True
    detail_channels: int = 64
    detail_blocks: int = 4
    # text
    text_dim: int = 64
    text_layers: int = 2
    text_heads: int = 4
    text_length: int = 112
    # depth
    depth_hidden: int = 64
    # sampling
    prediction: Literal["flow_prediction", "sample"] = "sample"
    flow_shift: float = 3.0
    shift_terminal: float | None = 0.5  # where a sampler's last step begins, however many there are; None: as they fall
    default_steps: int = 2
    drafts: bool = True
    noise_scale: float = 0.6
    draft_guidance: float = 2.0
    draft_steps: int | None = 10
    size: tuple[int, int] = (192, 256)
    chunk_frames: int = 33


TINY = MiniConfig(
    grouped=None,
    use_motion=False,
    base_dim=8,
    decoder_base_dim=8,
    channels=48,
    dim_mult=(1, 2, 4, 4),
    temporal_downsample=(False, True, True),
    stride=16,
    heads=2,
    head_dim=24,
    layers=4,
    ffn_dim=96,
    patch_size=(1, 2, 2),
    branch_layers=(0, 2),
    detail_channels=0,
    detail_blocks=0,
    text_dim=32,
    text_length=16,
    depth_hidden=16,
    prediction="flow_prediction",
    flow_shift=5.0,
    shift_terminal=None,
    default_steps=3,
    drafts=False,
    noise_scale=1.0,
    draft_guidance=1.0,
    draft_steps=None,
    size=(64, 96),
    chunk_frames=9,
)
"""Wan2.2-TI2V-5B's layout (stride 16, 48 channels, patch 2, velocity) at toy widths."""


def tiny_world(seed: int = 0, **overrides: Any) -> WorldModel:
    """A random world model in the layout of Wan2.2-TI2V, built in a fraction of a second; overrides as `MiniConfig`."""
    return build_world(replace(TINY, **overrides), words=("a", "room", "with", "red", "walls"), seed=seed)


def build_world(config: MiniConfig, *, words: Sequence[str], seed: int = 0) -> WorldModel:
    """A world model with random weights; `words` are all that its tokenizer knows. The same seed, the same weights."""
    tokenizer = word_tokenizer(words)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = _autoencoder(config)
        transformer = WanTransformer3DModel(
            patch_size=config.patch_size,
            num_attention_heads=config.heads,
            attention_head_dim=config.head_dim,
            in_channels=config.channels,
            out_channels=config.channels,
            text_dim=config.text_dim,
            freq_dim=256,
            ffn_dim=config.ffn_dim,
            num_layers=config.layers,
            cross_attn_norm=True,
        )
        branch = MemoryBranch.from_transformer(
            transformer,
            layers=config.branch_layers,
            use_offset=config.use_offset,
            use_motion=config.use_motion,
            use_rays=config.use_rays,
            detail_channels=config.detail_channels,
            detail_blocks=config.detail_blocks,
        )
        text_encoder = UMT5EncoderModel(
            UMT5Config(
                vocab_size=len(tokenizer),
                d_model=config.text_dim,
                d_kv=config.text_dim // config.text_heads,
                d_ff=2 * config.text_dim,
                num_layers=config.text_layers,
                num_heads=config.text_heads,
                feed_forward_proj="gated-gelu",
                dropout_rate=0.0,
            )
        )
        depth_head = LatentDepthHead(channels=config.channels, hidden=config.depth_hidden)
    terminal: Any = config.shift_terminal  # a number, whatever diffusers' annotation says
    scheduler = UniPCMultistepScheduler(
        prediction_type=config.prediction,
        use_flow_sigmas=True,
        num_train_timesteps=1000,
        flow_shift=config.flow_shift,
        shift_terminal=terminal,
    )
    model = WorldModel(
        vae=vae,
        transformer=transformer,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=scheduler,
        memory_branch=branch,
        depth_head=depth_head,
        chunk_frames=config.chunk_frames,
        height=config.size[0],
        width=config.size[1],
        default_steps=config.default_steps,
        text_length=config.text_length,
        drafts=config.drafts,
        noise_scale=config.noise_scale,
        draft_guidance=config.draft_guidance,
        draft_steps=config.draft_steps,
    )
    return model.eval()


def _autoencoder(config: MiniConfig) -> Autoencoder:
    if config.grouped is not None:
        return GroupedAutoencoder(z_dim=config.channels, **asdict(config.grouped))
    return AutoencoderKLWan(
        base_dim=config.base_dim,
        decoder_base_dim=config.decoder_base_dim,
        z_dim=config.channels,
        dim_mult=list(config.dim_mult),
        num_res_blocks=config.res_blocks,
        temperal_downsample=list(config.temporal_downsample),
        latents_mean=[0.0] * config.channels,
        latents_std=[1.0] * config.channels,
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=config.stride,
        scale_factor_temporal=4,
    )


def word_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words, in lower case; others become <unk>."""
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(["<pad>", "</s>", "<unk>", *words]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single="$A </s>", special_tokens=[("</s>", vocabulary["</s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", padding_side="right"
    )
