"""What tensors are called: in the files of Wan2.2 and of the published Mirage, and in diffusers and transformers.

    blocks.3.self_attn.q.weight         -> blocks.3.attn1.to_q.weight            transformer_name
    vace_blocks.1.after_proj.bias       -> blocks.1.proj_out.bias                branch_name
    encoder.middle.0.residual.2.weight  -> encoder.mid_block.resnets.0.conv1.weight    vae_name
    blocks.3.ffn.gate.0.weight          -> encoder.block.3.layer.1.DenseReluDense.wi_0.weight    text_encoder_name

Each function gives the new name of a tensor, or None where the old one is not of its network. Tables only: this file
reads nothing.
"""

import re

WRAPPERS = (
    "module.", "_fsdp_wrapped_module.", "_orig_mod.", "model.", "diffusion_model.", "state_dict.", "generator.",
    "lora.", "pipe.", "dit.", "vace.", "base_model.", "transformer.",
)  # fmt: skip
"""What trainers and pipelines put before a name: they say who held the network, not what it is."""

ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out.0", "norm_q": "norm_q", "norm_k": "norm_k"}
BLOCK = {
    **{f"self_attn.{old}": f"attn1.{new}" for old, new in ATTENTION.items()},
    **{f"cross_attn.{old}": f"attn2.{new}" for old, new in ATTENTION.items()},
    "norm3": "norm2",  # Wan numbers its norms in the order of their making, diffusers in that of their use
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    "modulation": "scale_shift_table",
}
TRANSFORMER = {
    "patch_embedding": "patch_embedding",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "head.modulation": "scale_shift_table",
    "head.head": "proj_out",
}
RESIDUAL = {
    "residual.0": "norm1",
    "residual.2": "conv1",
    "residual.3": "norm2",
    "residual.6": "conv2",
    "shortcut": "conv_shortcut",
}
RESAMPLE = {"resample.1": "resample.1", "time_conv": "time_conv"}
MIDDLE_ATTENTION = {"norm": "norm", "to_qkv": "to_qkv", "proj": "proj"}
CODER = {"conv1": "conv_in", "head.0": "norm_out", "head.2": "conv_out"}
QUANTISER = {"conv1": "quant_conv", "conv2": "post_quant_conv"}
TEXT_BLOCK = {
    "norm1": "layer.0.layer_norm",
    **{f"attn.{part}": f"layer.0.SelfAttention.{part}" for part in "qkvo"},
    "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
    "norm2": "layer.1.layer_norm",
    "ffn.gate.0": "layer.1.DenseReluDense.wi_0",
    "ffn.fc1": "layer.1.DenseReluDense.wi_1",
    "ffn.fc2": "layer.1.DenseReluDense.wo",
}
TEXT_ENCODER = {"token_embedding": "shared", "norm": "encoder.final_layer_norm"}


def bare(name: str) -> str:
    """Without the wrappers before it: pipe.dit.blocks.0.norm3.bias -> blocks.0.norm3.bias."""
    while prefix := next((wrapper for wrapper in WRAPPERS if name.startswith(wrapper)), None):
        name = name.removeprefix(prefix)
    return name


def transformer_name(name: str) -> str | None:
    """Of Wan's diffusion transformer in diffusers."""
    if found := re.fullmatch(r"blocks\.(\d+)\.(.+)", name):
        return _inside(f"blocks.{found[1]}", found[2], BLOCK)
    return _renamed(name, TRANSFORMER)


def branch_name(name: str) -> str | None:
    """Of a published side branch in `MemoryBranch`."""
    if found := re.fullmatch(r"vace_blocks\.(\d+)\.(.+)", name):
        projections = {"before_proj": "proj_in", "after_proj": "proj_out"}
        return _inside(f"blocks.{found[1]}", found[2], projections) or _inside(
            f"blocks.{found[1]}.block", found[2], BLOCK
        )
    return _renamed(name, {"vace_patch_embedding": "patch_embedding"})


def vae_name(name: str) -> str | None:
    """Of Wan2.2's autoencoder in diffusers (`is_residual`)."""
    if found := re.fullmatch(r"(encoder|decoder)\.middle\.([02])\.(.+)", name):
        return _inside(f"{found[1]}.mid_block.resnets.{int(found[2]) // 2}", found[3], RESIDUAL)
    if found := re.fullmatch(r"(encoder|decoder)\.middle\.1\.(.+)", name):
        return _inside(f"{found[1]}.mid_block.attentions.0", found[2], MIDDLE_ATTENTION)
    if found := re.fullmatch(r"(?:encoder\.(down)|decoder\.(up))samples\.(\d+)\.(?:down|up)samples\.(\d+)\.(.+)", name):
        way, coder = found[1] or found[2], "encoder" if found[1] else "decoder"
        level = f"{coder}.{way}_blocks.{found[3]}"
        return _inside(f"{level}.resnets.{found[4]}", found[5], RESIDUAL) or _inside(
            f"{level}.{way}sampler", found[5], RESAMPLE
        )
    if found := re.fullmatch(r"(encoder|decoder)\.(.+)", name):
        return _inside(found[1], found[2], CODER)
    return _renamed(name, QUANTISER)


def text_encoder_name(name: str) -> str | None:
    """Of the UMT5 encoder in transformers."""
    if found := re.fullmatch(r"blocks\.(\d+)\.(.+)", name):
        return _inside(f"encoder.block.{found[1]}", found[2], TEXT_BLOCK)
    return _renamed(name, TEXT_ENCODER)


def lora_part(name: str) -> tuple[str, str] | None:
    """The module that a LoRA tensor is for, as diffusers calls it, and which part of it: "A", "B" or "alpha"."""
    ends = {
        r"lora_(?:A|down)(?:\.default)?\.weight": "A", r"lora_(?:B|up)(?:\.default)?\.weight": "B", r"alpha": "alpha",
    }  # fmt: skip
    for end, part in ends.items():
        if found := re.fullmatch(rf"(.+)\.{end}", bare(name)):
            renamed = transformer_name(f"{found[1]}.weight")
            return (renamed.removesuffix(".weight") if renamed else found[1]), part
    return None


def _inside(prefix: str, rest: str, table: dict[str, str]) -> str | None:
    renamed = _renamed(rest, table)
    return None if renamed is None else f"{prefix}.{renamed}"


def _renamed(name: str, table: dict[str, str]) -> str | None:
    """By the table, which holds names of modules and of lone parameters."""
    module, _, leaf = name.rpartition(".")
    if leaf in ("weight", "bias", "gamma") and module in table:
        return f"{table[module]}.{leaf}"
    return table[name] if name in table and leaf == "modulation" else None
