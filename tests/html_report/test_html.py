"""The page holds its content as text, whatever the text is."""

import json
import re

import pytest

from octopi.errors import DataError, ResourceError
from octopi.html_report.html import choose_page_path, render_page


def test_text_cannot_leave_its_element():
    evil = "</script><script>document.title='owned'</script>@@content@@<!--"
    page = render_page({"name": evil}, {"run-0": {"name": evil}}, title=evil)
    assert page.count("<script>") == 1
    assert page.count("</script>") == 3
    assert page.count("<!--") == 0
    content = re.search(r'id="content">(.*?)</script>', page, re.DOTALL)
    assert content
    assert json.loads(content[1])["name"] == evil


def test_numbers_that_json_lacks_are_null():
    page = render_page({"values": [float("nan"), float("inf"), 1.0]}, {}, title="")
    assert '{"values":[null,null,1.0]}' in page


def test_a_page_replaces_only_what_it_may(tmp_path):
    ours, link = tmp_path / "ours.html", tmp_path / "link"
    ours.touch()
    link.symlink_to(tmp_path / "nothing")

    def choose(output):
        return choose_page_path(output, tmp_path / "new", may_replace=ours.samefile, other="mine")

    assert choose(None) == tmp_path / "new"
    assert choose(str(ours)) == ours
    for path in (tmp_path, link):
        with pytest.raises(DataError, match=f"{path} exists, and is mine. It is not replaced"):
            choose(str(path))
    with pytest.raises(ResourceError, match="Choose another file with output="):
        choose("/proc/page.html")
