"""Names of runs, objects and folders as people type them, and any others that can be thought of."""

from hypothesis import strategies as st

ODD_NAMES = [
    "lam 8 ts 3", "#3_ts", "data_7", "loop_", "_x", "it's", 'a "b"', "a=b", "wt,ko", "x (copy 2)",
    "[1]", "{a: 1}", "Größe Å", "日本", "50%", "a;b", "$HOME", "a&b", "<b>", "a\\b", "a  b", "a\tb",
    "1_0", "1e3", "1.0", "007", "2024_11_25", "0x1F", "1:30", "no", "Yes", "null", "~", "nan",
    "true", "=1+1", "-x", "*", "${a}", "@b", "!c", "- d", "e: f", "k|v", "`ls`",
]  # fmt: skip
NAMES = st.one_of(
    st.sampled_from(ODD_NAMES),
    st.text(st.sampled_from("ab_01.- #'\"%=,[](){}:;$ü\\"), min_size=1, max_size=8),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8),
)
