"""What each command must be given, as overrides."""

BASE = {
    "segment": ["checkpoint=model.pth"],
    "summarize": ["folder=sweep"],
    "compare": ["methods=['loss=dice']"],
    "merge_picks": ["picks=[octopi/1,curator/1]", "user_id=merged"],
    "extract": ["membrane=membrane:tool/1"],
    "export": ["format=csv"],
    "import_tomograms": ["folder=mrc", "tomo_type=wbp"],
}
