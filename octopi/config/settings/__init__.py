"""The settings of each command: its groups and the scalars beside them."""

from octopi.config.settings.picks import ExportSettings, ExtractSettings, MergePicksSettings
from octopi.config.settings.pipeline import (
    CreateTargetsSettings,
    LocalizeSettings,
    SegmentSettings,
    TrainSettings,
)
from octopi.config.settings.projects import (
    CheckSettings,
    DoctorSettings,
    ImportTomogramsSettings,
    PlanSettings,
    StatusSettings,
)
from octopi.config.settings.results import (
    CompareSettings,
    EvaluateSettings,
    ReportSettings,
    ReviewSettings,
    SummarizeSettings,
)

SETTINGS_CLASSES: dict[str, type] = {
    "create_targets": CreateTargetsSettings,
    "train": TrainSettings,
    "segment": SegmentSettings,
    "localize": LocalizeSettings,
    "evaluate": EvaluateSettings,
    "compare": CompareSettings,
    "summarize": SummarizeSettings,
    "check": CheckSettings,
    "doctor": DoctorSettings,
    "status": StatusSettings,
    "plan": PlanSettings,
    "report": ReportSettings,
    "review": ReviewSettings,
    "merge_picks": MergePicksSettings,
    "extract": ExtractSettings,
    "export": ExportSettings,
    "import_tomograms": ImportTomogramsSettings,
}
