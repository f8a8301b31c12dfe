"""torch.distributed.device_mesh"""

from ..parallel.device_mesh import DeviceMesh, init_device_mesh

__all__ = ["DeviceMesh", "init_device_mesh"]
