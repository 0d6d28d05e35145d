"""Settings of what the work runs on, and of what devices share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from audiotag.config.schema import Settings, settings


@settings
class Trainer(Settings):
    """How several devices fit one network together."""

    sync_batchnorm: bool = True
    """Normalise over the clips of all devices, as one device would; false: each device over its own."""


@settings
class Hardware(Settings):
    """What the work runs on; nothing here belongs to the experiment."""

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """auto, cpu or gpu."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true"] = "auto"
    """auto: bfloat16 mixed precision where the processor has it, else float32; or a precision that Lightning names."""
    channels_last: bool | None = None
    """Memory layout of the convolutions; null: channels last on every device (faster on both)."""
    threads: int | None = Field(None, ge=1, le=1024)
    """Threads of each process on a CPU; null: the cores, shared out among the job's processes. Results are equal to
    the bit only for an equal number."""
    workers: int | None = Field(None, ge=0, le=1024)
    """Processes that decode audio and compute spectrograms; null: one per core, 0: none, in this process."""
    store_on_device: bool | None = None
    """Keep the spectrogram store in the GPU's memory; null: where it fits."""
    share_devices: bool = False
    """Start on GPUs that other runs of this user hold; false: wait until enough are free."""
    wait_s: float = Field(180.0, ge=0, le=30 * 86_400)
    """How long to wait, in seconds, for cells of other jobs that nobody works on, before giving up. On a cluster: as
    long as a job may stand in the queue; a file of another machine may be seen a minute late over NFS."""
