"""The typed schema of every setting: what it means, what it may be, and what does not go together.

YAML files under `conf/` give values; this package gives meaning. A composed configuration is merged onto it by
`audiotag.config.schema.validate`, which refuses unknown keys, wrong types and impossible combinations, all problems at
once and before any work starts.
"""

from audiotag.config.data import Columns, Data, Noise, Synthetic
from audiotag.config.export import ExportConfig
from audiotag.config.predict import Ensemble, PredictConfig, ScoredData
from audiotag.config.programs import AuditConfig, CompareConfig, ReportConfig, ReviewConfig, TrainConfig, VerifyConfig
from audiotag.config.sections import (
    Augment,
    Features,
    Hardware,
    Logger,
    Model,
    Phase,
    Trainer,
    Training,
    Verification,
    VerificationChange,
)
from audiotag.config.streams import Pcm, ReferenceLevel, Segmentation
