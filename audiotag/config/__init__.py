"""The typed schema of every setting: what it means, what it may be, and what does not go together.

YAML files under `conf/` give values; this package gives meaning. A composed configuration is merged onto it by
`audiotag.config.schema.validate`, which refuses unknown keys, wrong types and impossible combinations, all problems at
once and before any work starts.
"""

from audiotag.config.augment import Augment
from audiotag.config.compare import CompareConfig
from audiotag.config.data import Columns, Data, Noise, Synthetic
from audiotag.config.features import Features
from audiotag.config.hardware import Hardware, Trainer
from audiotag.config.logger import Logger
from audiotag.config.model import Model
from audiotag.config.predict import Ensemble, PredictConfig, ScoredData
from audiotag.config.report import AuditConfig, ReportConfig
from audiotag.config.train import TrainConfig
from audiotag.config.training import Phase, Training
from audiotag.config.verification import Verification, VerificationChange
from audiotag.config.verify import VerifyConfig
