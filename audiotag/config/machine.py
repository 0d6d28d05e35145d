"""Settings of what the work runs on, and of what devices share."""

from __future__ import annotations

from dataclasses import dataclass

from audiotag.config.checks import at_least, one_of


@dataclass(frozen=True)
class Trainer:
    """How several devices fit one network together."""

    sync_batchnorm: bool = True
    """Normalise over the clips of all devices, as one device would; false: each device over its own."""


@dataclass(frozen=True)
class Hardware:
    """What the work runs on; nothing here belongs to the experiment."""

    accelerator: str = "auto"
    """auto, cpu or gpu."""
    precision: str = "auto"
    """auto: bfloat16 mixed precision where the processor has it, else float32; or a precision that Lightning names."""
    channels_last: bool | None = None
    """Memory layout of the convolutions; null: channels last on every device (faster on both)."""
    threads: int | None = None
    """Threads of each process on a CPU; null: the cores, shared out among the job's processes. Results are equal to
    the bit only for an equal number."""
    workers: int | None = None
    """Processes that decode audio and compute spectrograms; null: one per core, 0: none, in this process."""
    store_on_device: bool | None = None
    """Keep the spectrogram store in the GPU's memory; null: where it fits."""
    share_devices: bool = False
    """Start on GPUs that other runs of this user hold; false: wait until enough are free."""
    wait_s: float = 180.0
    """How long to wait, in seconds, for cells of other jobs that nobody works on, before giving up. On a cluster: as
    long as a job may stand in the queue; a file of another machine may be seen a minute late over NFS."""

    def problems(self) -> list[str]:
        found = one_of("hardware.accelerator", self.accelerator, ("auto", "cpu", "gpu"))
        allowed = ("auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true")
        found += one_of("hardware.precision", self.precision, allowed)
        found += at_least("hardware.threads", self.threads, 1) + at_least("hardware.workers", self.workers, 0)
        return found + at_least("hardware.wait_s", self.wait_s, 0)
