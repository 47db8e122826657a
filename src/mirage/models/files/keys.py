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
    "lora.", "pipe.", "dit.", "vace.", "base_model.", "transformer.", "first_stage_model.", "vae.", "text_encoders.",
    "umt5xxl.",
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
PARTS = {
    r"lora_B(?:\.\w+)??\.bias": "B bias",
    r"(?:lora_A|lora_down|lora\.down|lora_linear_layer\.down)(?:\.\w+)??(?:\.weight)?": "A",
    r"(?:lora_B|lora_up|lora\.up|lora_linear_layer\.up)(?:\.\w+)??(?:\.weight)?": "B",
    "alpha": "alpha",
    "diff": "weight",
    "w_norm": "weight",
    "diff_b": "bias",
    "b_norm": "bias",
    "diff_m": "weight",
}
"""How names of a LoRA's tensors end, and what each is: A and B of a pair, the bias of its B, its alpha; or what is
added to a weight or bias itself (lightx2v, LyCORIS; "diff_m": to the modulation of a block)."""
FLAT = ("lora_unet__", "lora_unet_", "lora_prior_unet_", "lora_transformer_", "lycoris_")
"""What kohya, musubi, VideoX-Fun and LyCORIS put before a module's name, whose dots they turn into underscores."""
OTHERS = {
    "dora_scale": "DoRA",
    "dora_layer": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "lokr_": "LoKr",
    "hada_": "LoHa",
    "oft_": "OFT",
    "boft_": "BOFT",
    "vera_lambda": "VeRA",
    "ia3_l": "IA3",
    "on_input": "IA3",
    "[ab][12].weight": "GLoRA",
    "hra_": "HRA",
    "randlora_": "RandLoRA",
    "lora_mid": "LoCon with a core",
    "use_rslora_flag": "rank-stabilised LoRA by a flag",
    "lora_embedding_": "LoRA of an embedding",
    "reshape_weight": "LoRA that reshapes weights",
    "set_weight": "LoRA that replaces weights",
}
"""Parts of names by which adapters of other kinds are told."""
TEXT_ENCODER = {"token_embedding": "shared", "norm": "encoder.final_layer_norm"}


def bare(name: str) -> str:
    """Without the wrappers before it: pipe.dit.blocks.0.norm3.bias -> blocks.0.norm3.bias."""
    while prefix := next((wrapper for wrapper in WRAPPERS if name.startswith(wrapper)), None):
        name = name.removeprefix(prefix)
    return name


def is_branch(name: str) -> bool:
    """Whether a tensor is of a published side branch, whatever stands before its name."""
    return bare(name).startswith(("vace_blocks.", "vace_patch_embedding.")) and lora_part(name) is None


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
    """Of the UMT5 encoder in transformers, whose own names ComfyUI's files keep."""
    if re.fullmatch(
        r"shared\.weight|encoder\.(?:block\.\d+\.layer\.[01]|final_layer_norm)\..*weight|encoder\.final_layer_norm\.weight",
        name,
    ):
        return name
    if found := re.fullmatch(r"blocks\.(\d+)\.(.+)", name):
        return _inside(f"encoder.block.{found[1]}", found[2], TEXT_BLOCK)
    return _renamed(name, TEXT_ENCODER)


def lora_part(name: str) -> tuple[str, str] | None:
    """What the file calls the module that a tensor of a LoRA is for, and which part of it: see `PARTS`."""
    for end, part in PARTS.items():
        if found := re.fullmatch(rf"(.+)\.{end}", name):
            return (f"{found[1]}.modulation" if end == "diff_m" else found[1]), part
    return None


def lora_module(name: str) -> str | None:
    """A module or lone parameter of Wan's transformer in diffusers, by whatever name a LoRA's file has for it."""
    if flat := next((prefix for prefix in FLAT if name.startswith(prefix)), None):
        name = name.removeprefix(flat)
        block, table = re.fullmatch(r"(blocks)_(\d+)_(.+)", name), _FLAT_BLOCK
    else:
        name = bare(name)
        block, table = re.fullmatch(r"(blocks)\.(\d+)\.(.+)", name), _BLOCK
    if block is not None:
        renamed = table.get(block[3])
        return None if renamed is None else f"blocks.{int(block[2])}.{renamed}"
    return (_FLAT_TRANSFORMER if flat else _TRANSFORMER).get(name)


def other_adapter(name: str) -> str | None:
    """The kind of adapter, not a plain LoRA, that a tensor of this name belongs to."""
    return next((kind for mark, kind in OTHERS.items() if re.search(rf"(?:^|[._]){mark}", name)), None)


def _inside(prefix: str, rest: str, table: dict[str, str]) -> str | None:
    renamed = _renamed(rest, table)
    return None if renamed is None else f"{prefix}.{renamed}"


def _renamed(name: str, table: dict[str, str]) -> str | None:
    """By the table, which holds names of modules and of lone parameters."""
    module, _, leaf = name.rpartition(".")
    if leaf in ("weight", "bias", "gamma") and module in table:
        return f"{table[module]}.{leaf}"
    return table[name] if name in table and leaf == "modulation" else None


def _both(table: dict[str, str]) -> dict[str, str]:
    """From the original names and from those of diffusers alike."""
    return {new: new for new in table.values()} | table


_BLOCK, _TRANSFORMER = _both(BLOCK), _both(TRANSFORMER)
_FLAT_BLOCK, _FLAT_TRANSFORMER = (
    {old.replace(".", "_"): new for old, new in table.items()} for table in (_BLOCK, _TRANSFORMER)
)
