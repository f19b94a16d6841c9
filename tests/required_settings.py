"""What each command must be given, as overrides."""

BASE = {
    "segment": ["checkpoint=model.pth"],
    "summarize": ["folder=sweep"],
    "extract": ["membrane=membrane:tool/1"],
    "export": ["format=csv"],
    "import_tomograms": ["folder=mrc", "tomo_type=wbp"],
}
