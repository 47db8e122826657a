"""What `mirage plan --train` says of a GPU's share is what FSDP2 gives it: on the meta device, among GPUs that are not
there."""

import json

import pytest
import torch
import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore

from helpers import refusal
from mirage.cli import main
from mirage.models.fitting.budget import world_of
from mirage.training import parallel
from mirage.training.budget import COPIES, learning, share, training_budget
from mirage.training.optimizer import MuonAdamW


@pytest.fixture
def fake():
    """Starts a group of so many processes, of which this one alone is there."""

    def start(count: int) -> None:
        dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=count)

    yield start
    dist.destroy_process_group()


@pytest.mark.parametrize("gpus", [8, 64])
def test_the_share_of_the_five_billion(fake, gpus, capsys):
    assert main(["plan", "--train", "--gpus", str(gpus), "--gpu", "80GB", "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["fits"]

    fake(gpus)
    network, blocks = learning(world_of("wan2.2-ti2v-5b", torch.bfloat16))
    whole = sum(p.numel() for p in network.parameters())
    assert whole > 7e9
    assert len(blocks) == 30 + 15
    parallel.shard(network, [*network.transformer.blocks, *network.branch.blocks], bf16=True)  # pyright: ignore
    local = {True: 0, False: 0}
    for p in network.parameters():
        local[p.requires_grad] += parallel.local(p).numel() * p.element_size()
    optimizer = MuonAdamW(network.named_parameters(), muon_lr=1.0, adamw_lr=1.0, adamw=".")
    moments = sum(parallel.local(t).numel() * 4 for t in optimizer.state().values())
    assert local[False] == said["parts"]["frozen"]
    assert local[True] + moments + 2 * local[True] == said["parts"]["learning"]  # and gradients and averages
    assert said["parts"]["learning"] == local[True] * COPIES
    assert whole / gpus <= (local[True] // 4 + local[False] // 2) < 1.1 * whole / gpus


@pytest.mark.parametrize("shape", [(), (1,), (5,), (7, 3), (8, 2, 2), (64,)])
@pytest.mark.parametrize("count", [1, 2, 8])
def test_the_first_share_is_the_largest(shape, count):
    tensor = torch.empty(shape)
    if tensor.ndim:
        assert share(tensor, count) == tensor.chunk(count)[0].numel()
    else:
        assert share(tensor, count) == 1


def test_more_gpus_take_less_each_and_a_lora_takes_more():
    one, four = (training_budget("mini", gpus=gpus) for gpus in (1, 4))
    assert four["learning"] < one["learning"] / 3
    assert four["whole"] == one["whole"]
    assert one["gathered"] == 0
    assert training_budget("mini", gpus=4, lora_rank=8)["learning"] > four["learning"]
    refusal(lambda: training_budget("none", gpus=1), words=["none"])
