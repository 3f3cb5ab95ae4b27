"""One of several processes: the first takes its part of a tensor before another may begin."""

from datetime import timedelta

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from guardcore.sharding import as_in, own, whole

distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
rank, world = distributed.get_rank(), distributed.get_world_size()
values = torch.arange(15.0).reshape(5, 3)
target = distribute_tensor(torch.zeros(5, 3), init_device_mesh("cpu", (world,)), [Shard(0)])

if rank:
    distributed.barrier()
part = as_in(values, target)
if not rank:
    distributed.barrier()

assert torch.equal(own(part), values.chunk(world)[rank])
assert torch.equal(whole(part), values)
distributed.destroy_process_group()
