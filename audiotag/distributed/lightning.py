"""What Lightning is told of the processes that fit one network together."""

from __future__ import annotations

from pytorch_lightning.plugins.environments import LightningEnvironment

from audiotag.distributed.context import current


class RanksEnvironment(LightningEnvironment):
    """Tells Lightning of the context found here, so that it looks for none of its own and starts no process."""

    creates_processes_externally = True  # always: a property there

    def __init__(self) -> None:
        super().__init__()
        self._global_rank, self._world_size = current().rank, current().world_size

    def local_rank(self) -> int:
        """Return the number of this rank on its machine."""
        return current().local_rank

    def node_rank(self) -> int:
        """Return the number of the machine."""
        return current().rank // current().local_world_size

    def set_world_size(self, size: int) -> None:
        """Keep what was found, which holds where machines have different numbers of devices, too."""

    def set_global_rank(self, rank: int) -> None:
        """Keep what was found."""

    def teardown(self) -> None:
        """Leave the environment's variables as they are: other networks are fitted after this one."""
