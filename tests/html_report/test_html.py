"""The page holds its content as text, whatever the text is."""

import json
import re

from octopi.html_report.html import render_page


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
