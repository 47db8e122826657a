"""Decoding in tiles: a frame as large as need be in the memory of one tile, and no seam."""

from itertools import pairwise
from typing import Any

import pytest
import torch

from mirage.errors import InputError
from mirage.models.codec import StreamDecoder, Tiles, cuts
from mirage.models.fold import fold_time
from mirage.models.streams import Autoencoder
from mirage.models.tiny import tiny_world


@pytest.fixture(scope="module")
def vae() -> Autoencoder:
    return fold_time(tiny_world().vae)


def latents(t: int, h: int, w: int) -> torch.Tensor:
    return torch.randn((t, 48, h, w), generator=torch.Generator().manual_seed(0))


def test_tiles_that_see_enough_give_the_whole_frame(vae) -> None:
    z = latents(2, 2, 26)
    whole = StreamDecoder(vae).decode(z)
    tiled = StreamDecoder(vae, tiles=Tiles(core=13, margin=12)).decode(z)
    assert tiled.shape == whole.shape
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


def test_tiles_whose_margins_reach_the_same_edge_are_different_tiles(vae) -> None:
    z = latents(2, 2, 4)
    tiled = StreamDecoder(vae, tiles=Tiles(core=2, margin=4)).decode(z)  # each one sees everything
    torch.testing.assert_close(tiled, StreamDecoder(vae).decode(z), rtol=0, atol=1e-5)


def test_the_error_of_a_small_margin_is_small_and_shrinks(vae) -> None:
    z = latents(2, 2, 22)
    whole = StreamDecoder(vae).decode(z)
    errors = [(StreamDecoder(vae, tiles=Tiles(core=11, margin=m)).decode(z) - whole).abs().max() for m in (1, 3, 8)]
    assert all(larger >= smaller for larger, smaller in pairwise(errors))
    assert 0 < errors[0] < 0.3  # it does differ: the law above is not empty
    assert errors[-1] < errors[0] / 4


def test_a_tiled_stream_in_pieces_is_the_tiled_stream_at_once_wherever_its_cache_rests(vae) -> None:
    z, tiles = latents(4, 2, 6), Tiles(core=3, margin=1)
    whole = StreamDecoder(vae, tiles=tiles).decode(z)
    stream = StreamDecoder(vae, tiles=tiles, rest="cpu")
    first = stream.decode(z[:2])
    fork = stream.copy()
    assert torch.equal(torch.cat([first, stream.decode(z[2:])]), whole)
    assert torch.equal(torch.cat([first, fork.decode(z[2:])]), whole)


def test_the_cache_does_not_grow(vae) -> None:
    stream, sizes = StreamDecoder(vae, tiles=Tiles(core=2, margin=1)), []
    for piece in latents(4, 2, 4).split(1):
        stream.decode(piece)
        entries = [entry for cache in stream._caches.values() for entry in cache if isinstance(entry, torch.Tensor)]
        sizes.append(sum(entry.numel() for entry in entries))
    assert len(set(sizes[2:])) == 1


@pytest.mark.parametrize("count", [1, 3, 8, 44, 80])
@pytest.mark.parametrize("core", [2, 5, 20])
def test_weights_of_tiles_add_up_to_one(count, core) -> None:
    total, tiles = torch.zeros(count), Tiles(core=core, margin=3)
    for cells, weight in cuts(count, tiles):
        assert len(weight) == cells.stop - cells.start <= core + 6
        total[cells] += weight
    torch.testing.assert_close(total, torch.ones(count))


def test_tiles_and_grids_that_do_not_fit_say_so(vae) -> None:
    with pytest.raises(InputError, match="accepted: 2 cells or more"):
        Tiles(core=1)
    stream = StreamDecoder(vae)
    stream.decode(latents(1, 2, 2))
    with pytest.raises(InputError, match=r"this stream's is \[2, 2\]"):
        stream.decode(latents(1, 2, 4))


def test_the_tiles_of_diffusers_are_of_two_sizes_and_none_of_ours() -> None:
    """AutoencoderKLWan cuts a frame into patches before it cuts it into tiles, so what it calls 256 pixels are 512 of
    the encoder and 256 of the decoder. A model that somebody has switched to them encodes whole, as before, and decodes
    by `WorldModel.tiles` alone; `mirage plan` counts that."""
    model = tiny_world()
    vae: Any = model.vae
    seen: dict[str, set[tuple[int, ...]]] = {"encoder": set(), "decoder": set()}
    for part, its in seen.items():
        vae.get_submodule(part).register_forward_pre_hook(lambda _, args, its=its: its.add(tuple(args[0].shape[-2:])))
    picture, few = torch.rand(1, 3, 16, 1056, generator=torch.Generator().manual_seed(0)), latents(1, 2, 20)
    whole, frames = model.encode(picture), model.decode(few)
    assert seen == {"encoder": {(8, 528)}, "decoder": set()}  # ours calls the decoder's parts
    vae.enable_tiling()
    seen["encoder"].clear()
    assert torch.equal(model.encode(picture), whole)
    assert torch.equal(model.decode(few), frames)
    assert seen == {"encoder": {(8, 528)}, "decoder": set()}
    seen["encoder"].clear()
    vae.encode(picture.transpose(0, 1)[None] * 2 - 1)
    vae.decode(few.transpose(0, 1)[None])
    patch = vae.config.patch_size
    assert {width * patch for _, width in seen["encoder"]} == {512, 1056 - 2 * 384}
    assert {width * model.stride for _, width in seen["decoder"]} == {256, (20 - 12) * model.stride}
